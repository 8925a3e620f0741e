"""Requests as spans of OpenTelemetry, as a collector gets them: what they say, whose they are, when there are none."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import msgpack
import pytest

from app.exchange import Tracing
from app.tracing import tracing_asked_for
from model_loader.errors import ModelRaised, QueueFull, WorkerDied
from tests.app.sockets import answer_on, connected, head
from tests.collector import Collector, collecting, values

Serve = Callable[..., SimpleNamespace]

NONE = {"type": "NONE", "study_uid": "1.2"}
BODY = msgpack.packb({"files": [{"content": b"x" * 100, "content_type": "application/dicom"}]})
MSGPACK = {"Content-Type": "application/msgpack"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with collecting() as one:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.url)
        yield one


@pytest.fixture
def tracing(collector: Collector) -> Iterator[Tracing]:
    """Sends to `collector`, and has a worker in place of the pool's."""
    made = tracing_asked_for({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert made is not None
    yield made
    asyncio.run(made.close())


@pytest.fixture
def served(serve: Serve, tracing: Tracing, pool: Any) -> SimpleNamespace:
    answer = pool.predict

    async def predict(request: Any) -> Any:
        request.taken_by(7)
        return await answer(request)

    pool.predict = predict
    pool.outputs = [NONE]
    return serve(tracing=tracing)


def post(server: SimpleNamespace, path: str = "/predict", content: bytes = BODY, **headers: str) -> httpx2.Response:
    return httpx2.post(server.url + path, content=content, headers=MSGPACK | headers)


def test_a_request_is_a_span_that_says_how_it_went(served: SimpleNamespace, collector: Collector) -> None:
    before = time.time_ns()
    answer = post(served, **{"X-Request-Id": "asked-for-a-trace"})
    span = collector.wait_for_span("POST /predict")
    assert values(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "url.path": "/predict",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.request.body.size": len(BODY),
        "http.response.body.size": len(answer.content),
        "mdai_model.request_id": "asked-for-a-trace",
        "mdai_model.outcome": "ok",
        "mdai_model.worker": 7,
    }
    assert span.kind == span.SPAN_KIND_SERVER and span.status.code == 0 and not span.parent_span_id
    assert before <= span.start_time_unix_nano < span.end_time_unix_nano <= time.time_ns()
    assert collector.paths[0] == "/v1/traces"
    resource = collector.resource()
    assert resource["service.name"] == "mdai-model-server" and resource["service.version"]


def test_its_stages_follow_one_another_inside_it(served: SimpleNamespace, collector: Collector) -> None:
    post(served)
    whole = collector.wait_for_span("POST /predict")
    stages = collector.inside(whole)
    assert list(stages) == ["upload", "queue", "decode", "predict", "encode", "judge", "send"]
    moments = [moment for span in stages.values() for moment in (span.start_time_unix_nano, span.end_time_unix_nano)]
    ordered = [whole.start_time_unix_nano, *moments[:2], *moments[4:], whole.end_time_unix_nano]
    assert ordered == sorted(ordered), "the wait in line alone may have begun in the fake pool's imagination"
    assert all(span.trace_id == whole.trace_id for span in stages.values())


def test_a_request_whose_head_is_known_is_the_same_span(
    served: SimpleNamespace, collector: Collector, pool: Any
) -> None:
    """Whether its answer passes, has something odd about it, or is none."""
    told = []
    with connected(served) as client:
        sent = head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY
        other = head("Content-Type: application/msgpack", "X-Request-Id: a", f"Content-Length: {len(BODY)}") + BODY
        client.sendall(sent)
        assert answer_on(client)[0] == 200
        for change in ({}, {"outputs": [NONE | {"odd": 1}]}, {"outputs": [1]}, {"raises": WorkerDied("It died.")}):
            vars(pool).update(change)
            for request in (other, sent):
                client.sendall(request)
                answer_on(client)
                span = collector.wait_for_spans("POST /predict", len(told) + 2)[-1]
                attributes = values(span.attributes)
                attributes.pop("mdai_model.request_id")
                told.append((attributes, span.status.code, span.kind, list(collector.inside(span))))
    assert len(pool.asked) == 4
    assert told[::2] == told[1::2]


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-of later versions \xfc"])
def test_it_continues_the_trace_of_the_caller(served: SimpleNamespace, collector: Collector, header: str) -> None:
    headers = [(b"traceparent", header.encode("latin-1")), (b"tracestate", b"vendor=CANARY")]
    httpx2.post(f"{served.url}/predict", content=BODY, headers=[*MSGPACK.items(), *headers])
    span = collector.wait_for_span("POST /predict")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
    assert b"CANARY" not in collector.raw
    assert values(span.attributes)["mdai_model.request_id"] == TRACE


@pytest.mark.parametrize("header", ["00-zz-yy-01", f"00-{TRACE}-{SPAN}", f"00-{'0' * 32}-{SPAN}-01", "ü"])
def test_a_traceparent_that_is_none_begins_a_trace(served: SimpleNamespace, collector: Collector, header: str) -> None:
    httpx2.post(f"{served.url}/predict", content=BODY, headers=[*MSGPACK.items(), (b"traceparent", header.encode())])
    assert not collector.wait_for_span("POST /predict").parent_span_id


def test_a_caller_that_samples_nothing_gets_no_spans(served: SimpleNamespace, collector: Collector) -> None:
    post(served, traceparent=f"00-{TRACE}-{SPAN}-00")
    post(served)
    assert collector.wait_for_span("POST /predict").trace_id.hex() != TRACE
    assert TRACE not in collector.raw.hex()


@pytest.mark.parametrize(
    ("raised", "status", "outcome"),
    [
        (ModelRaised("the model says CANARY", traceback="CANARY"), 500, "model-raised"),
        (WorkerDied("CANARY"), 500, "worker-died"),
        (QueueFull("full"), 503, "queue-full"),
        (RuntimeError("CANARY"), 500, "internal-error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_failed_is_told_by_type_and_never_in_words(
    served: SimpleNamespace,
    collector: Collector,
    pool: Any,
    raised: Exception,
    status: int,
    outcome: str,
) -> None:
    pool.raises = raised
    assert post(served).status_code == status
    span = collector.wait_for_span("POST /predict")
    attributes = values(span.attributes)
    assert attributes["mdai_model.outcome"] == attributes["error.type"] == outcome
    assert attributes["http.response.status_code"] == status and attributes["mdai_model.worker"] == 7
    assert span.status.code == span.status.STATUS_CODE_ERROR and not span.status.message
    assert list(collector.inside(span)) == ["upload", "queue", "predict", "send"]
    assert b"CANARY" not in collector.raw


def test_what_the_caller_did_wrong_is_no_error_of_the_service(served: SimpleNamespace, collector: Collector) -> None:
    assert post(served, content=b"\xc1").status_code == 400
    span = collector.wait_for_span("POST /predict")
    assert values(span.attributes)["mdai_model.outcome"] not in ("ok", "")
    assert span.status.code == 0 and "error.type" not in values(span.attributes)


def test_a_client_that_leaves_is_told_without_a_status(
    served: SimpleNamespace, collector: Collector, pool: Any
) -> None:
    pool.hold = asyncio.Event()
    with socket.create_connection((served.host, served.port)) as client:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/msgpack\r\nContent-Length: {len(BODY)}"
        client.sendall(head.encode() + b"\r\n\r\n" + BODY)
        assert pool.has_begun.wait(10)
    span = collector.wait_for_span("POST /predict")
    attributes = values(span.attributes)
    assert attributes["mdai_model.outcome"] == "client-gone" and "http.response.status_code" not in attributes
    assert span.status.code == 0


def test_paths_and_methods_that_callers_make_up_are_told_nowhere(served: SimpleNamespace, collector: Collector) -> None:
    httpx2.get(f"{served.url}/CANARY/1.2.3?patient=CANARY", headers={"User-Agent": "CANARY", "Host": "CANARY"})
    httpx2.request("PROPFIND", f"{served.url}/predict?patient=CANARY")
    first, second = collector.wait_for_span("GET"), collector.wait_for_span("HTTP /predict")
    assert "url.path" not in values(first.attributes) and values(first.attributes)["mdai_model.outcome"] == "http-404"
    assert values(second.attributes)["http.request.method"] == "_OTHER"
    assert b"CANARY" not in collector.raw


def test_probes_and_scrapes_are_traced_for_callers_who_ask(served: SimpleNamespace, collector: Collector) -> None:
    for path in ("/healthz", "/ready", "/metrics"):
        httpx2.get(served.url + path)
    httpx2.get(f"{served.url}/ready", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    post(served)
    collector.wait_for_span("POST /predict")
    assert [len(collector.spans(f"GET {path}")) for path in ("/healthz", "/ready", "/metrics")] == [0, 1, 0]


def test_times_that_a_package_made_up_stay_inside_the_request(
    served: SimpleNamespace, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.spans import TracedExchange, stages_in_time

    exchange = TracedExchange({"type": "http", "method": "POST", "path": "/", "headers": []}, None, None)  # type: ignore[arg-type]
    exchange.started_at, exchange.taken_at, exchange.answered_at = 100.0, 101.0, 102.0
    exchange.timings = {
        "upload": 0.5,
        "queue": 0.1,
        "decode": 9e5,
        "predict": float("nan"),
        "CANARY": 1.0,
        "judge": 0.1,
    }
    found = list(stages_in_time(exchange, 103.0))
    assert "CANARY" not in [name for name, _, _ in found]
    assert all(100.0 <= begin <= end <= 103.0 for _, begin, end in found)


def test_the_service_s_name_is_the_operator_s(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.spans import _resource

    for variables in ({"OTEL_SERVICE_NAME": "lungs"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=lungs,team=chest"}):
        with monkeypatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(name, value)
            assert _resource(variables).attributes["service.name"] == "lungs"


def test_a_collector_that_is_down_is_told_of_once_and_once_that_it_is_up(
    serve: Serve, collector: Collector, tracing: Tracing, log_of_app: pytest.LogCaptureFixture
) -> None:
    server = serve(tracing=tracing)
    collector.answers = 404
    for number in (1, 2, 3):
        post(server)
        collector.wait_for_calls(number)
    collector.answers = 200
    post(server)
    collector.wait_for_span("POST /predict")
    asyncio.run(tracing.close())
    told = [record.getMessage() for record in log_of_app.records if "race" in record.getMessage()]
    assert told == [
        f"Traces do not get to the collector at {collector.url}: it answers 404. They are dropped until it takes them,"
        " and nothing waits for that.",
        f"Traces get to the collector at {collector.url} again",
    ]


def test_secrets_in_the_address_of_a_collector_are_not_logged(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, log_of_app: pytest.LogCaptureFixture
) -> None:
    from app.spans import _Exporter

    class Failing:
        def export(self, _: object) -> None: ...
        def shutdown(self) -> None: ...

    exporter = _Exporter(Failing(), "https://user:hunter2@collector:4318/hunter2")  # type: ignore[arg-type]
    exporter.export([])
    exporter.shutdown()
    assert "https://collector:4318: " in log_of_app.text and "hunter2" not in log_of_app.text


def test_the_last_spans_are_sent_when_the_service_ends(
    serve: Serve, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    tracing = tracing_asked_for({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    server = serve(tracing=tracing)
    post(server)
    has_ended = threading.Event()
    server.call(has_ended.set)  # what serves a request ends in the turn in which it answers
    assert has_ended.wait(10) and collector.spans("POST /predict") == [] and tracing is not None
    asyncio.run(tracing.close())
    collector.wait_for_span("POST /predict")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "lungs"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_collector_there_is_no_tracing_and_no_word(
    variables: dict[str, str], log_of_app: pytest.LogCaptureFixture
) -> None:
    assert tracing_asked_for(variables) is None
    assert log_of_app.records == []


def test_an_address_that_is_none_is_told(log_of_app: pytest.LogCaptureFixture) -> None:
    assert tracing_asked_for({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}) is None
    (record,) = log_of_app.records
    assert record.getMessage() == (
        "No traces are sent: OTEL_EXPORTER_OTLP_ENDPOINT is no address of a collector. Write http://HOST:4318."
    )


def test_a_variable_without_meaning_is_told_and_stops_nothing(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, log_of_app: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    assert tracing_asked_for({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) is None
    (record,) = log_of_app.records
    assert "No traces are sent, though OTEL_EXPORTER_OTLP_ENDPOINT asks for them: ValueError: " in record.getMessage()


def test_another_protocol_than_the_one_that_is_spoken_is_told(
    collector: Collector, log_of_app: pytest.LogCaptureFixture
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    made = tracing_asked_for(variables)
    assert made is not None
    asyncio.run(made.close())
    assert "whatever OTEL_EXPORTER_OTLP_PROTOCOL says" in log_of_app.text


WITHOUT_EXTRA = """
import logging, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
logging.basicConfig(format="%(message)s")
from app.tracing import tracing_asked_for
assert tracing_asked_for({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None
"""


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith(
        "No traces are sent, though OTEL_EXPORTER_OTLP_ENDPOINT asks for them: the Python module open"
    )
    assert line.endswith("is not installed. `pip install 'mdai-model-server[otel]'` brings what traces need.")


NOT_IMPORTED = """
import sys
import app.server, app.tracing
app.tracing.tracing_asked_for({})
unasked = ("opentelemetry.sdk", "requests", "app.spans")
sys.exit(", ".join(name for name in sys.modules if name.startswith(unasked)) or 0)
"""


def test_nothing_is_imported_for_traces_that_nobody_asked_for() -> None:
    ran = subprocess.run([sys.executable, "-c", NOT_IMPORTED], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
