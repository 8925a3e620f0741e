"""One request through the application, the model being a plain object."""

import asyncio
import errno
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from starlette.testclient import TestClient

from model_loader import errors
from model_loader.shared_buffer import SharedBuffer

DICOM = b"\0" * 128 + b"DICM" + b"rest"
BODY = msgpack.packb({"files": [{"content": DICOM, "content_type": "application/dicom"}]})
MSGPACK = {"Content-Type": "application/msgpack"}
OUTPUT = {"type": "NONE", "study_uid": "1.2.3"}


@pytest.fixture
def client(make_app: Callable[..., Any]) -> Iterator[TestClient]:
    with TestClient(make_app(max_body=100_000)) as client:
        yield client


def test_the_models_list_comes_back_and_the_model_sees_the_body(client: TestClient, pool: Any) -> None:
    pool.outputs = [OUTPUT]
    answer = client.post("/predict", content=BODY, headers=MSGPACK)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/msgpack")
    assert msgpack.unpackb(answer.content) == [OUTPUT]
    assert pool.bodies == [BODY]
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("path", ["/predict", "/inference"])
@pytest.mark.parametrize(
    "media",
    [
        "application/msgpack",
        "application/x-msgpack",
        "application/vnd.msgpack",
        "Application/MsgPack; charset=binary",
    ],
)
def test_every_name_of_msgpack_is_read_on_both_paths(client: TestClient, path: str, media: str) -> None:
    assert client.post(path, content=BODY, headers={"Content-Type": media}).status_code == 200


LUNG = {"class_index": 0, "label": {"id": "L", "name": "Lung", "type": "GLOBAL", "scope": "SERIES"}}
ODD = {"type": "ANNOTATION", "study_uid": "1.2", "class_index": 7}
UNCLASSED = {"files": [{"content": DICOM, "content_type": "application/dicom"}]}
BY_PACKAGE = "class_index is not among the label classes, 0"
BY_REQUEST = "class_index is not among the label classes, 3"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({}, BY_PACKAGE),
        ({"label_classes": None}, BY_PACKAGE),
        ({"label_classes": [{"class_index": 3}]}, BY_REQUEST),
        ({"label_classes": [{"class_index": 7}]}, None),
        ({"label_classes": []}, None),
        ({"label_classes": [{"class_index": "unreadable"}]}, "takes no part in the label rules"),
        ({"label_classes": {}}, "label_classes is a map where the interface has a list."),
    ],
)
def test_outputs_are_judged_by_the_classes_that_the_model_saw(
    make_app: Callable[..., Any], pool: Any, package: Any, sent: dict[str, Any], told: str | None
) -> None:
    """The worker gives those of an export to a request without, and none to one that says that it has none."""
    pool.outputs = [ODD]
    body = msgpack.packb(UNCLASSED | sent)
    with TestClient(make_app(package=replace(package, version=1, label_classes=(LUNG,)))) as client:
        answer = client.post("/predict", content=body, headers=MSGPACK)
    assert (answer.status_code, msgpack.unpackb(answer.content)) == (200, [ODD])
    assert pool.bodies == [body]
    warnings = answer.headers.get("x-model-warnings", "")
    assert (told or "") in warnings and bool(warnings) is bool(told)
    assert (BY_PACKAGE in warnings) is (told is BY_PACKAGE)


def test_the_scope_of_a_packaged_label_asks_for_its_uids(make_app: Callable[..., Any], pool: Any, package: Any) -> None:
    pool.outputs = [ODD | {"class_index": 0}]
    with TestClient(make_app(package=replace(package, version=1, label_classes=(LUNG,)))) as client:
        warnings = client.post("/predict", content=BODY, headers=MSGPACK).headers["x-model-warnings"]
    assert "series_uid is missing" in warnings and "scope SERIES" in warnings


def test_a_form_reaches_the_model_as_msgpack(client: TestClient, pool: Any) -> None:
    answer = client.post(
        "/predict",
        files=[("files", ("a.dcm", DICOM, "application/octet-stream"))],
        data={"threshold": "0.5"},
        headers={"Accept": "application/json"},
    )
    assert (answer.status_code, answer.json()) == (200, [])
    assert msgpack.unpackb(pool.bodies[0]) == {
        "files": [{"content": DICOM, "content_type": "application/dicom"}],
        "args": {"threshold": "0.5"},
    }


def test_json_is_made_by_the_worker_on_demand(client: TestClient, pool: Any) -> None:
    pool.outputs = [OUTPUT]
    answer = client.post("/predict", content=BODY, headers=MSGPACK | {"Accept": "application/json"})
    assert pool.requests[0].accept == "json"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [OUTPUT]


def test_every_answer_tells_its_id_and_its_times(client: TestClient, pool: Any) -> None:
    answer = client.post("/predict", content=BODY, headers=MSGPACK | {"X-Request-Id": "study 7"})
    made_up = answer.headers["x-request-id"]
    assert len(made_up) == 32, "an id with a space in it is replaced"
    assert pool.requests[0].request_id == made_up
    names = [entry.split(";dur=")[0] for entry in answer.headers["server-timing"].split(", ")]
    assert names == ["upload", "queue", "decode", "predict", "encode", "judge"]
    assert "predict;dur=3.00" in answer.headers["server-timing"]


@pytest.mark.parametrize("given", ["a", "x" * 128, "550e8400-e29b-41d4-a716-446655440000", "a=b;c"])
def test_a_request_id_of_the_callers_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "tab\tbed"])
def test_a_request_id_that_would_spoil_a_log_is_replaced(client: TestClient, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] != given


@pytest.mark.parametrize(
    ("traceparent", "is_taken"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", True),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("4bf92f3577b34da6a3ce929d0e0e4736", False),
    ],
)
def test_a_request_without_an_id_has_that_of_its_trace(client: TestClient, traceparent: str, is_taken: bool) -> None:
    answer = client.get("/healthz", headers={"Traceparent": traceparent})
    assert (answer.headers["x-request-id"] == "4bf92f3577b34da6a3ce929d0e0e4736") == is_taken


def test_a_request_with_an_id_keeps_it_and_its_line_names_the_trace(
    client: TestClient, log_of_app: pytest.LogCaptureFixture
) -> None:
    headers = {"Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "X-Request-Id": "r1"}
    assert client.get("/version", headers=headers).headers["x-request-id"] == "r1"
    (record,) = (record for record in log_of_app.records if record.name == "app.access")
    assert record.__dict__["fields"]["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_warnings_come_as_a_header_in_ascii_of_at_most_2_kB(client: TestClient, pool: Any) -> None:
    """Any number of warnings, in any alphabet, makes a header that every client can parse."""
    pool.outputs = [OUTPUT | {f"stüdy\n{number}": 1} for number in range(100)]
    answer = client.post("/predict", content=BODY, headers=MSGPACK)
    warnings = answer.headers["x-model-warnings"]
    assert answer.status_code == 200
    assert warnings.isascii() and warnings.isprintable()
    assert "outputs[0]" in warnings
    assert 1900 < len(warnings) <= 2000 and warnings.endswith(" ...")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "empty"),
        (BODY[:-1], 400, ""),
        (b"\xdd\xff\xff\xff\xff", 400, ""),
        (b"\x91" * 10_000, 400, ""),
        (b"\x81\xa5files" + b"\x91" * 10_000, 422, ""),
        (b"not msgpack", 400, ""),
        (b'{"files": []}', 400, "JSON"),
        (BODY + b"\xc0", 400, "one msgpack map"),
        (msgpack.packb({"annotations": []}), 422, "files is missing"),
        (msgpack.packb({"files": {}}), 422, "not a list"),
        (msgpack.packb({"files": [{"content": "text", "content_type": "x"}]}), 422, "is a str, not bytes"),
        (msgpack.packb({1: 2}), 400, ""),
        (msgpack.packb([1, 2]), 422, "not a map"),
        (b"\x82\xa5files\x90\xa4args\x81\xa1a\xa1\xff", 400, "UTF-8"),
    ],
)
def test_a_bad_body_is_refused_before_the_model_hears_of_it(
    client: TestClient, pool: Any, content: bytes, status: int, words: str
) -> None:
    answer = client.post("/predict", content=content, headers=MSGPACK)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("Error reading input data: ")
    assert words in answer.text
    assert pool.bodies == []
    assert client.post("/predict", content=BODY, headers=MSGPACK).status_code == 200, "the service goes on"


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 415, "no Content-Type. Send a msgpack map as application/msgpack"),
        (
            {"Content-Type": "text/html; a=b"},
            415,
            "sent as text/html. Send a msgpack map as application/msgpack",
        ),
        ({"Content-Type": "application/json"}, 415, "multipart/form-data (curl: -F files=@chest.dcm)"),
        ({"Content-Type": "application/msgpack", "Content-Encoding": "gzip"}, 415, "Content-Encoding gzip"),
        ({"Content-Type": "multipart/form-data"}, 400, "no usable boundary"),
        ({"Content-Type": "multipart/form-data; boundary=" + "x" * 300}, 400, "no usable boundary"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 400, "not the multipart/form-data"),
    ],
)
def test_a_body_of_another_kind_is_refused_with_what_is_read(
    client: TestClient, headers: dict[str, str], status: int, words: str
) -> None:
    answer = client.post("/predict", content=BODY, headers=headers)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert answer.text.startswith("Error reading input data: ")


def test_a_body_over_the_limit_is_refused_with_the_option_that_raises_it(client: TestClient) -> None:
    answer = client.post("/predict", content=b"x" * 100_001, headers=MSGPACK)
    assert answer.status_code == 413
    assert answer.text.startswith(
        "Error reading input data: The body is 100,001 bytes long; this server takes 100,000."
    )
    assert "--max-body" in answer.text


TRACEBACK = """Traceback (most recent call last):
  File "/models/lungs/.mdai/mdai_deploy.py", line 42, in predict
    raise KeyError(patient)
KeyError: 'Jane Doe'
"""


@pytest.mark.parametrize(
    ("error", "status", "beginning"),
    [
        (
            errors.ModelRaised("KeyError", traceback=TRACEBACK),
            500,
            "Error running model: KeyError\n\nTraceback",
        ),
        (errors.OutputUnwritable("outputs[0] is a set."), 500, "Error writing output data: outputs[0] is"),
        (errors.WorkerDied("Killed by SIGSEGV."), 500, "Error running model: Killed"),
        (errors.DeadlineExceeded("It took 600 s."), 504, "Error running model: It took"),
        (errors.RequestUnreadable("No."), 400, "Error reading input data: No."),
        (errors.QueueFull("Busy.", retry_after=2.5), 503, "Error running model: Busy."),
        (errors.NotReady("Gone."), 503, "Error initializing model: Gone."),
    ],
)
def test_what_fails_in_the_pool_is_told_with_the_references_sentence(
    client: TestClient, pool: Any, error: Exception, status: int, beginning: str
) -> None:
    pool.raises = error
    answer = client.post("/predict", content=BODY, headers=MSGPACK)
    assert answer.status_code == status
    assert answer.text.startswith(beginning)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert pool.requests[0].body.read is not None
    with pytest.raises(ValueError, match="closed"):
        _ = pool.requests[0].body.fd


def test_problem_details_hold_the_same_facts(client: TestClient, pool: Any) -> None:
    pool.raises = errors.ModelRaised("KeyError: 'x'", traceback=TRACEBACK)
    headers = MSGPACK | {"Accept": "application/problem+json", "X-Request-Id": "r1"}
    answer = client.post("/predict", content=BODY, headers=headers)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:mdai-model:model-raised",
        "title": "Error running model",
        "status": 500,
        "detail": "KeyError: 'x'",
        "instance": "urn:mdai-model:request:r1",
        "request_id": "r1",
        "traceback": TRACEBACK,
    }


def test_a_model_that_is_not_loaded_is_told_before_the_body_is_read(client: TestClient, pool: Any) -> None:
    pool.not_ready = errors.NotReady("MDAIModel() raised.", traceback=TRACEBACK, retry_after=7)
    answer = client.post("/predict", content=b"", headers=MSGPACK)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.text.startswith("Error initializing model: MDAIModel() raised.\n\nTraceback")
    assert client.post("/predict", content=b"").status_code == 415, "headers come first"


@pytest.mark.parametrize(("sent", "seconds"), [("30", 30.0), ("1.5", 1.5), ("90s", 90.0), (" 2m ", 120.0)])
def test_the_time_that_a_caller_allows_reaches_the_pool(
    client: TestClient, pool: Any, sent: str, seconds: float
) -> None:
    assert client.post("/predict", content=BODY, headers=MSGPACK | {"X-Request-Timeout": sent}).status_code == 200
    assert client.post("/predict", content=BODY, headers=MSGPACK).status_code == 200
    assert [request.timeout for request in pool.requests] == [seconds, None]


@pytest.mark.parametrize("sent", ["soon", "-1", "0", "0.0s", "", "nan", "inf", "1e3", "9" * 500, "1 s; 2", "\xb2"])
def test_a_time_that_is_none_is_refused_with_a_sentence(client: TestClient, pool: Any, sent: str) -> None:
    answer = client.post("/predict", content=BODY, headers=MSGPACK | {"X-Request-Timeout": sent.encode("latin-1")})
    assert (answer.status_code, pool.requests) == (400, [])
    assert answer.text.startswith("Error reading input data: X-Request-Timeout is ")
    assert "write seconds, as 30, or a duration, as 90s" in answer.text


def test_outputs_that_mean_nothing_are_refused_by_name(client: TestClient, pool: Any) -> None:
    pool.outputs = [{"type": "ANNOTATION", "study_uid": "1.2.3"}]
    answer = client.post("/predict", content=BODY, headers=MSGPACK)
    assert answer.status_code == 500
    assert answer.text.startswith("Invalid data format returned by model: outputs[0]")
    assert "class_index" in answer.text
    assert pool.predictions[0].is_closed


@pytest.mark.parametrize("missing", [1, 10**7])
def test_a_worker_that_wrote_too_little_is_no_200(client: TestClient, pool: Any, missing: int) -> None:
    pool.missing_bytes = missing
    answer = client.post("/predict", content=BODY, headers=MSGPACK)
    assert (answer.status_code, "less of the answer" in answer.text) == (500, True)


def test_a_fault_of_our_own_is_a_500_with_the_id_and_its_traceback_in_the_log(
    client: TestClient, pool: Any, log_of_app: pytest.LogCaptureFixture
) -> None:
    pool.raises = ZeroDivisionError("a secret")
    answer = client.post("/predict", content=BODY, headers=MSGPACK | {"X-Request-Id": "r7"})
    assert answer.status_code == 500
    assert answer.text.startswith("Internal error: The service itself failed")
    assert "request id r7" in answer.text
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in log_of_app.text


def test_the_log_has_one_line_per_request_and_nothing_of_the_patient(
    client: TestClient, pool: Any, log_of_app: pytest.LogCaptureFixture
) -> None:
    pool.raises = errors.ModelRaised("KeyError: 'Jane Doe'", traceback=TRACEBACK)
    client.post("/predict?patient=Doe", content=BODY, headers=MSGPACK)
    records = [record for record in log_of_app.records if record.name.startswith("app")]
    assert [record.getMessage() for record in records] == ["POST /predict 500"]
    fields = records[0].__dict__["fields"]
    assert fields["problem"] == "ModelRaised (KeyError at mdai_deploy.py:42)"
    assert (fields["bytes_in"], fields["bytes_out"] > 100) == (len(BODY), True)
    assert "Doe" not in str([record.__dict__ for record in records if record.name.startswith("app")])


def test_a_large_answer_is_relayed_in_pieces_and_whole(client: TestClient, pool: Any) -> None:
    pool.response = bytes(range(256)) * 5000
    pool.outputs = []
    answer = client.post("/predict", content=BODY, headers=MSGPACK)
    assert answer.content == pool.response
    assert pool.predictions[0].is_closed


def test_the_pool_lives_as_long_as_the_application(make_app: Callable[..., Any], pool: Any) -> None:
    with TestClient(make_app(grace="5s")):
        assert pool.events == ["started"]
    assert pool.events == ["started", "stopped with 5 s of grace"]


def test_a_fault_in_the_middle_of_an_answer_cuts_it(make_app: Callable[..., Any], pool: Any) -> None:
    """A worker that shrinks its file cannot make the service pass off a part as the whole answer."""
    pool.response = b"x" * 600_000
    pool.missing_bytes = 10
    messages = asyncio.run(_exchange(make_app(), BODY))
    assert messages[0]["status"] == 200
    assert all(message.get("more_body") for message in messages[1:])


async def _exchange(app: Any, body: bytes) -> list[dict[str, Any]]:
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/msgpack"), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    await app(scope, receive, send)
    return sent


def test_json_numbers_of_an_error_are_json(client: TestClient) -> None:
    answer = client.post("/predict", content=b"", headers=MSGPACK | {"Accept": "application/json"})
    assert json.loads(answer.content)["status"] == 400


def test_a_machine_without_memory_for_the_body_says_so_and_asks_to_come_back(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(SharedBuffer, "write", fail)
    answer = client.post("/predict", content=BODY, headers=MSGPACK)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "cannot hold the body (Too many open files)" in answer.text
