"""What the service says about itself, to probes, people and tools."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from model_loader import errors


@pytest.fixture
def client(make_app: Callable[..., Any]) -> Iterator[TestClient]:
    with TestClient(make_app(max_queue=3, predict_timeout="90s")) as client:
        yield client


def test_live_while_the_model_is_not(client: TestClient, pool: Any) -> None:
    pool.not_ready = errors.NotReady("The environment is being built.")
    assert client.get("/healthz").status_code == 200
    answer = client.get("/ready")
    assert (answer.status_code, answer.text) == (503, "The environment is being built.\n")
    assert answer.headers["retry-after"] == "1"
    pool.not_ready = errors.NotReady("The model is loading.", retry_after=41.2)
    assert client.get("/ready").headers["retry-after"] == "42", "what is left, as starts have gone lately"
    pool.not_ready = None
    assert client.get("/ready").status_code == 200


def test_a_full_queue_is_no_reason_to_be_unready(client: TestClient, pool: Any) -> None:
    pool.queue_full = errors.QueueFull("Busy.")
    assert client.get("/ready").status_code == 200


def test_the_version_is_that_of_the_interface(client: TestClient) -> None:
    answer = client.get("/version")
    assert (answer.text, answer.headers["content-type"]) == ("0.4", "text/plain; charset=utf-8")


def test_info_tells_what_is_served_and_no_secrets(client: TestClient, package: Any) -> None:
    answer = client.get("/info")
    facts = answer.json()
    assert facts["model"]["name"] == "lungs"
    assert facts["model"]["digest"] == package.digest
    assert facts["model"]["config"]["base_image"] == "py38"
    assert facts["model"]["config"]["env"] == ["TOKEN"]
    assert "secret-value" not in answer.text
    assert facts["model"]["warnings"] == ["A warning."]
    assert facts["service"]["name"] == "mdai-model-server"
    assert facts["service"]["api_version"] == "0.4"
    assert facts["service"]["uptime_seconds"] >= 0
    assert facts["limits"]["max_queue"] == 3
    assert facts["limits"]["predict_timeout"] == 90
    assert (facts["state"], facts["reason"]) == ("ready", None)
    counts: dict[str, Any] = {"restarts": 0, "restarts_by_cause": {}}
    assert facts["workers"] == [{"id": 0, "state": "ready", "pid": 1, "device": "cpu", **counts}]
    assert (facts["environment"]["packages"], facts["devices"]) == ({"numpy": "1.18.5"}, ["cpu"])


def test_info_tells_what_an_export_says(make_app: Callable[..., Any], package: Any) -> None:
    assert TestClient(make_app()).get("/info").json()["model"]["export"] is None
    label = {"id": "L", "name": "Lung", "scope": "SERIES"}
    classes = ({"class_index": 2, "label": label}, {"class_index": 0, "label": label | {"name": None}})
    exported = replace(package, version=3, versions=(1, 3), scope="SERIES", label_classes=classes)
    assert TestClient(make_app(package=exported)).get("/info").json()["model"]["export"] == {
        "version": 3,
        "versions": [1, 3],
        "scope": "SERIES",
        "label_classes": [{"class_index": 2, "name": "Lung"}, {"class_index": 0, "name": None}],
    }


@pytest.mark.parametrize("path", ["/healthz", "/ready", "/version", "/info", "/", "/docs", "/openapi.json"])
def test_head_answers_as_get_without_a_body(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize("path", ["/predict", "/inference"])
def test_who_looks_at_predict_in_a_browser_learns_how_to_post(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert f"curl -F files=@chest.dcm -H 'Accept: application/json' http://testserver{path}" in answer.text


@pytest.mark.parametrize("path", ["/", "/predict"])
@pytest.mark.parametrize("host", ["$(rm -rf x)", "[", "a/b", "x:99999999", ""])
def test_a_host_header_is_not_echoed_unless_it_is_one(client: TestClient, path: str, host: str) -> None:
    """It ends up in a command line that people copy."""
    assert "http://localhost:6324/predict" in client.get(path, headers={"Host": host}).text


def test_other_paths_and_methods_are_refused_in_words(client: TestClient) -> None:
    nothing = client.get("/predictt", headers={"Accept": "application/json"})
    assert (nothing.status_code, nothing.json()["type"]) == (404, "about:blank")
    assert "Post files to /predict" in nothing.json()["detail"]
    wrong = client.post("/version", content=b"x")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
    assert "POST means nothing here" in wrong.text


def test_the_first_page_has_the_line_to_try(client: TestClient) -> None:
    assert "curl -F files=@chest.dcm -H 'Accept: application/json' http://testserver/predict" in client.get("/").text


def test_docs_need_nothing_from_the_network(client: TestClient) -> None:
    page = client.get("/docs").text
    sources = [part.split('"')[1] for part in page.split("src=")[1:]]
    assert sources and all(source.startswith("/") for source in sources)
    assert all(client.get(source).status_code == 200 for source in sources)
    assert "cdn" not in page


def test_openapi_tells_both_forms_of_request_and_answer(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/predict", "/inference"):
        operation = document["paths"][path]["post"]
        assert set(operation["requestBody"]["content"]) == {
            "application/msgpack",
            "application/x-msgpack",
            "application/vnd.msgpack",
            "multipart/form-data",
        }
        assert set(operation["responses"]["200"]["content"]) == {"application/msgpack", "application/json"}
        assert set(operation["responses"]) == {"200", "400", "401", "408", "413", "415", "422", "500", "503", "504"}
        assert set(operation["responses"]["503"]["content"]) == {"text/plain", "application/problem+json"}
        assert "Retry-After" in operation["responses"]["503"]["headers"]
    assert {"/healthz", "/ready", "/version", "/info"} <= set(document["paths"])


def test_every_reference_in_the_openapi_document_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    references = list(_references(document))
    assert references
    for reference in references:
        target = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


def test_a_fault_behind_any_path_is_told_with_the_request_id(
    client: TestClient, pool: Any, log_of_app: pytest.LogCaptureFixture
) -> None:
    pool.describe = None
    answer = client.get("/info", headers={"X-Request-Id": "r3"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "r3")
    assert "request id r3" in answer.text and "NoneType" not in answer.text
    assert "TypeError" in log_of_app.text
