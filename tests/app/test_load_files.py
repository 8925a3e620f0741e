"""`POST /load-files`, and the requests that use what was loaded, the model being a plain object."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from starlette.testclient import TestClient

from model_loader.errors import NotReady, QueueFull

MSGPACK = {"Content-Type": "application/msgpack"}
FILES = [{"content": b"A", "content_path": "1/a.dcm"}, {"content": b"B" * 300, "content_path": "1/b.dcm"}]
NAMING = {
    "files": [
        {"content": None, "content_path": "1/a.dcm", "content_type": "application/dicom"},
        {"content": None, "content_path": "1/b.dcm", "content_type": "application/dicom"},
    ]
}


@pytest.fixture
def client(make_app: Callable[..., Any]) -> Iterator[TestClient]:
    with TestClient(make_app(max_body=10_000, load_files_quota=1000)) as client:
        yield client


def post(client: TestClient, path: str, body: Any, **headers: str) -> Any:
    return client.post(
        path, content=body if isinstance(body, bytes) else msgpack.packb(body), headers=MSGPACK | headers
    )


@pytest.mark.parametrize("path", ["/load-files", "/load-files/"])
def test_files_are_loaded_with_an_empty_answer(client: TestClient, path: str) -> None:
    answer = post(client, path, FILES)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-request-id"]


def test_the_model_reads_them_where_the_server_says(client: TestClient, pool: Any, tmp_path: Path) -> None:
    seen = {}

    async def read(request: Any) -> Any:
        folder = request.inputs.folder
        seen.update({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.dcm")})
        return await predict(request)

    predict, pool.predict = pool.predict, read
    post(client, "/load-files", FILES)
    answer = post(client, "/predict", NAMING)
    assert answer.status_code == 200
    assert "x-model-warnings" not in answer.headers
    assert seen == {"1/a.dcm": b"A", "1/b.dcm": b"B" * 300}
    again = post(client, "/predict", NAMING)
    assert again.status_code == 422
    assert again.text.startswith("Error reading input data: files[0].content_path names a file that is not here")


def test_a_request_without_paths_has_no_folder(client: TestClient, pool: Any, tmp_path: Path) -> None:
    assert post(client, "/predict", {"files": [{"content": b"x", "content_type": "a"}]}).status_code == 200
    assert pool.requests[0].inputs is None
    assert not (tmp_path / "loaded").exists()


def test_files_are_taken_while_the_model_loads_and_kept_for_a_request_that_was_refused(
    client: TestClient, pool: Any
) -> None:
    pool.not_ready = NotReady("It loads.")
    assert post(client, "/load-files", FILES).status_code == 200
    assert post(client, "/predict", NAMING).status_code == 503
    pool.not_ready, pool.raises = None, QueueFull("Later.")
    assert post(client, "/predict", NAMING).status_code == 503
    pool.raises = None
    answers = [post(client, "/predict", NAMING).status_code for _ in range(2)]
    assert answers == [200, 422]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "Error reading input data: The body is empty: send a list of maps"),
        (b'[{"a": 1}]', 422, "Error reading input data: The body is an int, not a list of maps"),
        ({"files": []}, 422, "Error reading input data: The body is a map, not a list of maps"),
        ([{"content": b"", "content_path": "../x"}], 422, "Error reading input data: files[0].content_path does not"),
        ([{"content": b"x" * 1001, "content_path": "x"}], 413, "Error reading input data: The files have 1,001 bytes"),
        (b"x" * 10_001, 413, "Error reading input data: The body is 10,001 bytes long"),
    ],
)
def test_refusals_have_their_status_and_leave_nothing(
    client: TestClient, tmp_path: Path, body: Any, status: int, text: str
) -> None:
    answer = post(client, "/load-files", body)
    assert (answer.status_code, answer.text[: len(text)]) == (status, text)
    assert not (tmp_path / "loaded").exists()


def test_over_the_quota_it_is_later(client: TestClient) -> None:
    assert post(client, "/load-files", [{"content": b"x" * 900, "content_path": "x"}]).status_code == 200
    answer = post(client, "/load-files", FILES, Accept="application/json")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:mdai-model:loaded-files-full"
    assert answer.json()["title"] == "Error loading files"


def test_another_method_and_another_media_type_are_told(client: TestClient) -> None:
    got = client.get("/load-files")
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    form = client.post("/load-files", files={"files": b"x"})
    assert form.status_code == 415
    assert "Files are loaded ahead as msgpack, not as a form" in form.text


def test_names_of_patients_in_paths_stay_out_of_the_log(
    client: TestClient, log_of_app: pytest.LogCaptureFixture
) -> None:
    for path in ("ROE^JANE/a", "../ROE^JANE", "x" * 300 + "ROE^JANE"):
        answer = post(client, "/load-files", [{"content": b"x", "content_path": path}])
        named = {"content": None, "content_path": path + "b", "content_type": "a"}
        assert "ROE^JANE" not in answer.text + post(client, "/predict", {"files": [named]}).text
    assert "ROE^JANE" not in log_of_app.text


def test_the_document_describes_the_body(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/load-files"]["post"]
    assert set(operation["requestBody"]["content"]) >= {"application/msgpack"}
    assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "503"}
    assert set(document["components"]["schemas"]["FileToLoad"]["properties"]) == {"content", "content_path"}
