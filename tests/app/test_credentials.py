"""Requests with API keys, without, and with the wrong ones."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from starlette.testclient import TestClient

from app.settings import SettingsError
from model_loader.errors import NotReady, QueueFull

KEY, OTHER, WRONG = "right-key-" + "0" * 16, "other-key-" + "1" * 16, "wrong-key-" + "2" * 16
BODY = msgpack.packb({"files": [{"content": b"DICM", "content_type": "application/dicom"}]})
MSGPACK = {"Content-Type": "application/msgpack"}
CLOSED = ["/", "/predict", "/inference", "/predict/", "/info", "/version", "/docs", "/openapi.json", "/nowhere"]
CLOSED += ["/static-offline-docs/swagger-ui.css", "/healthz/", "/ready/x", "//healthz", "/HEALTHZ"]


def basic(password: str, user: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def client(make_app: Callable[..., Any]) -> Iterator[TestClient]:
    app = make_app(api_keys=f"{KEY} {OTHER}", max_body=1000)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", CLOSED)
def test_everything_but_the_probes_needs_a_key(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/ready"])
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": WRONG}])
def test_probes_have_no_key(client: TestClient, path: str, headers: dict[str, str]) -> None:
    assert client.get(path, headers=headers).status_code == 200


def test_without_a_key_readiness_says_why_not_but_shows_no_traceback(client: TestClient, pool: Any) -> None:
    pool.not_ready = NotReady("importing mdai_deploy.py failed: KeyError.", traceback="Traceback: of the model")
    assert client.get("/ready").text == "importing mdai_deploy.py failed: KeyError.\n"
    answer = client.post("/predict", content=BODY, headers=MSGPACK | {"X-API-Key": KEY})
    assert answer.status_code == 503 and "Traceback: of the model" in answer.text


@pytest.mark.parametrize("key", [KEY, OTHER])
@pytest.mark.parametrize(
    "headers",
    [
        lambda key: {"Authorization": f"Bearer {key}"},
        lambda key: {"authorization": f"bearer   {key} "},
        lambda key: {"X-API-Key": key},
        lambda key: {"Authorization": basic(key)},
        lambda key: {"Authorization": basic(key, "somebody")},
        lambda key: {"Authorization": f"Bearer {WRONG}", "X-API-Key": key},
        lambda key: {"Authorization": basic("of a proxy", "user"), "X-API-Key": key},
    ],
)
def test_a_key_is_taken_from_either_header(client: TestClient, pool: Any, key: str, headers: Any) -> None:
    pool.outputs = [{"type": "NONE", "study_uid": "1"}]
    assert client.post("/predict", content=BODY, headers=MSGPACK | headers(key)).status_code == 200
    assert client.get("/info", headers=headers(key)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": WRONG},
        {"X-API-Key": ""},
        {"X-API-Key": f"{KEY},{OTHER}"},
        {"X-API-Key": f"Bearer {KEY}"},
        {"Authorization": KEY},
        {"Authorization": f"Bearer {WRONG}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Digest {KEY}"},
        {"Authorization": "Basic ???"},
        {"Authorization": basic("", KEY)},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Cookie": f"X-API-Key={KEY}"},
    ],
)
def test_anything_else_is_refused_in_words_that_hold_no_key(
    client: TestClient, pool: Any, headers: Any, log_of_app: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/predict", content=BODY, headers=MSGPACK | headers)
    assert answer.status_code == 401
    assert "as `Authorization: Bearer KEY` or `X-API-Key: KEY`" in answer.text
    for text in (answer.text, str(answer.headers), log_of_app.text):
        assert not any(key in text for key in (KEY, OTHER, WRONG))
    assert pool.bodies == []


def test_a_key_in_the_address_is_none(client: TestClient) -> None:
    """Addresses stand in the logs of everybody between here and there."""
    assert client.get(f"/info?api_key={KEY}&X-API-Key={KEY}").status_code == 401


def test_the_challenge_tells_a_missing_key_from_a_wrong_one(client: TestClient) -> None:
    missing, wrong = client.get("/info"), client.get("/info", headers={"X-API-Key": WRONG})
    assert missing.headers["www-authenticate"] == 'Bearer realm="mdai-model"'
    assert wrong.headers["www-authenticate"] == 'Bearer realm="mdai-model", error="invalid_token"'
    assert missing.text.startswith("The request has no API key.")
    assert wrong.text.startswith("The API key in X-API-Key is not accepted here.")


def test_a_client_that_reads_json_gets_problem_details(client: TestClient) -> None:
    answer = client.get("/info", headers={"Accept": "application/json"})
    assert answer.status_code == 401 and answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["type"], answer.json()["title"]) == ("urn:mdai-model:unauthorized", "Unauthorized")


def test_a_browser_is_made_to_ask_for_the_key(client: TestClient) -> None:
    challenge = client.get("/docs", headers={"Accept": "text/html,*/*"}).headers["www-authenticate"]
    assert challenge.startswith("Bearer ") and ", Basic realm=" in challenge
    assert client.get("/docs", headers={"Accept": "text/html", "Authorization": basic(KEY)}).status_code == 200


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 401), ("same-site", 401), ("same-origin", 200), ("none", 200)]
)
def test_a_stranger_s_page_cannot_predict_with_the_password_that_a_browser_knows(
    client: TestClient, pool: Any, site: str, status: int
) -> None:
    pool.outputs = [{"type": "NONE", "study_uid": "1"}]
    headers = {"Authorization": basic(KEY), "Sec-Fetch-Site": site}
    files = {"files": ("x.dcm", b"\0" * 128 + b"DICM")}
    assert client.post("/predict", files=files, headers=headers).status_code == status
    assert client.get("/docs", headers=headers).status_code == 200  # following a link is no harm


@pytest.mark.parametrize("trouble", ["media type", "length", "not ready", "queue full", "method", "nowhere"])
def test_who_has_no_key_learns_of_nothing_else(client: TestClient, pool: Any, trouble: str) -> None:
    pool.not_ready = NotReady("The model is loading.") if trouble == "not ready" else None
    pool.queue_full = QueueFull("Busy.") if trouble == "queue full" else None
    headers = {} if trouble == "media type" else MSGPACK
    method = "PUT" if trouble == "method" else "POST"
    path = "/nowhere" if trouble == "nowhere" else "/predict"
    content = b"x" * (2000 if trouble == "length" else 10)
    expected = {"media type": 415, "length": 413, "not ready": 503, "queue full": 503, "method": 405, "nowhere": 404}
    assert client.request(method, path, content=content, headers=headers).status_code == 401
    with_key = client.request(method, path, content=content, headers=headers | {"X-API-Key": KEY})
    assert with_key.status_code == expected[trouble]


def test_info_tells_no_key(client: TestClient) -> None:
    text = client.get("/info", headers={"X-API-Key": KEY}).text
    assert KEY not in text and OTHER not in text


def test_the_openapi_document_says_which_routes_need_a_key(client: TestClient, make_app: Callable[..., Any]) -> None:
    document = client.get("/openapi.json", headers={"X-API-Key": KEY}).json()
    assert document["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert set(document["components"]["securitySchemes"]) == {"ApiKey", "Bearer"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            is_open = path in ("/healthz", "/ready")
            assert (operation.get("security") == [], "401" in operation["responses"]) == (is_open, not is_open), path
    assert "security" not in TestClient(make_app()).get("/openapi.json").json()


def test_keys_that_cannot_be_used_are_no_open_door(make_app: Callable[..., Any]) -> None:
    with pytest.raises(SettingsError):
        make_app(api_keys="short")
