"""The OpenAPI document: valid, true of what the routes do, and readable without a network."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import msgpack
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.testclient import TestClient

from app.body import MSGPACK_TYPES
from app.problems import PROBLEMS
from model_loader.errors import NotReady

PATHS = ("/predict", "/inference")
BODY = msgpack.packb({"files": [{"content": b"DICM", "content_type": "application/dicom"}]})
OUTPUTS = [{"type": "NONE", "study_uid": "1.2.3"}]


@pytest.fixture
def client(make_app: Callable[..., Any]) -> Iterator[TestClient]:
    with TestClient(make_app(), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def document(client: TestClient) -> Any:
    return client.get("/openapi.json").json()


@pytest.fixture
def validates(document: Any) -> Callable[[Any, Any], bool]:
    """Whether a value is as a schema of the document says."""

    def is_valid(schema: Any, value: Any) -> bool:
        return jsonschema.Draft202012Validator({**schema, "components": document["components"]}).is_valid(value)

    return is_valid


def test_the_document_is_valid_openapi(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.parametrize("path", PATHS)
def test_both_paths_take_msgpack_and_forms(document: Any, path: str) -> None:
    operation = document["paths"][path]["post"]
    assert operation["requestBody"]["required"]
    assert set(operation["requestBody"]["content"]) == {*MSGPACK_TYPES, "multipart/form-data"}
    assert set(operation["responses"]["200"]["content"]) == {"application/msgpack", "application/json"}


def test_operations_have_names_of_their_own(document: Any) -> None:
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", PATHS)
def test_every_status_that_an_error_can_have_is_documented(document: Any, path: str) -> None:
    documented = document["paths"][path]["post"]["responses"]
    statuses = {str(problem.status) for problem in PROBLEMS.values()}
    assert set(documented) == {"200"} | statuses
    for status in statuses:
        assert set(documented[status]["content"]) == {"text/plain", "application/problem+json"}


def test_the_examples_validate(document: Any, validates: Callable[[Any, Any], bool]) -> None:
    operation = document["paths"]["/predict"]["post"]
    for content in [*operation["requestBody"]["content"].values(), *operation["responses"]["200"]["content"].values()]:
        if "example" in content:
            assert validates(content["schema"], content["example"])
    assert "example" in operation["requestBody"]["content"]["application/msgpack"]
    assert "example" in operation["responses"]["200"]["content"]["application/json"]


def test_an_answer_is_as_documented(
    client: TestClient, pool: Any, document: Any, validates: Callable[[Any, Any], bool]
) -> None:
    pool.outputs = OUTPUTS
    documented = document["paths"]["/predict"]["post"]["responses"]["200"]
    for media, read in (("application/json", json.loads), ("application/msgpack", msgpack.unpackb)):
        answer = client.post("/predict", content=BODY, headers={"Content-Type": MSGPACK_TYPES[0], "Accept": media})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media)
        assert validates(documented["content"][media]["schema"], read(answer.content))
        for name in ("X-Request-Id", "Server-Timing"):
            assert name in documented["headers"] and name in answer.headers


@pytest.mark.parametrize("kind", PROBLEMS)
def test_every_problem_is_as_documented(
    client: TestClient, pool: Any, document: Any, validates: Callable[[Any, Any], bool], kind: type[Exception]
) -> None:
    pool.raises = kind("Something is wrong.")
    headers = {"Content-Type": MSGPACK_TYPES[0], "Accept": "application/problem+json"}
    answer = client.post("/predict", content=BODY, headers=headers)
    documented = document["paths"]["/predict"]["post"]["responses"][str(answer.status_code)]
    assert answer.status_code == PROBLEMS[kind].status
    assert validates(documented["content"]["application/problem+json"]["schema"], answer.json())
    assert ("retry-after" in answer.headers) == ("Retry-After" in documented["headers"])


@pytest.mark.parametrize("path", ["/healthz", "/ready", "/metrics", "/version", "/info"])
def test_what_the_service_says_about_itself_is_as_documented(
    client: TestClient, pool: Any, document: Any, validates: Callable[[Any, Any], bool], path: str
) -> None:
    answer = client.get(path)
    media = answer.headers["content-type"].partition(";")[0]
    content = document["paths"][path]["get"]["responses"]["200"]["content"]
    assert set(content) == {media}
    assert validates(content[media]["schema"], answer.json() if media == "application/json" else answer.text)
    if path == "/ready":
        pool.not_ready = NotReady("It loads.")
        assert str(client.get(path).status_code) in document["paths"][path]["get"]["responses"]


def test_a_request_id_is_as_documented(
    client: TestClient, document: Any, validates: Callable[[Any, Any], bool]
) -> None:
    parameter, _ = document["paths"]["/predict"]["post"]["parameters"]
    for sent in ("a", "x" * 128, "~!", "x" * 129, "a b", "ä"):
        answer = client.post("/predict", content=BODY, headers={"X-Request-Id": sent.encode()})
        assert (answer.headers["x-request-id"] == sent) == validates(parameter["schema"], sent)


def test_the_page_is_complete_without_a_network(client: TestClient) -> None:
    page = client.get("/docs").text
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.", page), "no address of anybody else's"
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", page) + re.findall(r"""url: ['"]([^'"]+)""", page)
    assert len(sources) >= 3
    for source in sources:
        answer = client.get(source)
        assert source.startswith("/") and answer.status_code == 200
        if answer.headers["content-type"].startswith("text/css"):
            assert "@import" not in answer.text and not re.search(r"url\(\s*['\"]?(https?:)?//", answer.text)


def test_the_curl_line_in_the_description_works(client: TestClient, pool: Any, document: Any) -> None:
    description = document["paths"]["/predict"]["post"]["description"]
    assert "curl -F files=@chest.dcm -F threshold=0.5 -H 'Accept: application/json'" in description
    answer = client.post(
        "/predict",
        files={"files": ("chest.dcm", b"\0" * 128 + b"DICM", "application/octet-stream")},
        data={"threshold": "0.5"},
        headers={"Accept": "application/json"},
    )
    assert answer.status_code == 200
    assert msgpack.unpackb(pool.bodies[0])["args"] == {"threshold": "0.5"}
