"""Requests as spans of OpenTelemetry; `app.tracing` imports this where traces are asked for.

A request's spans are made when it has ended, from the times that were noted on its way: so it costs nothing while it
is served, and no context has to follow it through tasks. They say what the access line and the metrics say, in words of
this service's own, and nothing of a request's content.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import Message, Receive, Scope, Send

from app.about import SERVICE, service_version
from app.exchange import Exchange
from app.metrics import stages_of
from app.problems import Headers

#: How long the end of the service waits for the last spans to be taken.
_LAST_SPANS_SECONDS = 1.0
#: Asked again and again by machines; traced only for a caller who wants that.
_ROUTINE = ("/healthz", "/ready", "/metrics")
#: https://opentelemetry.io/docs/specs/semconv/http/http-spans/: any other might be a text of the caller's.
_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
_IN_WORKER = ("decode", "predict", "encode")
_STATUS = re.compile(r"code: (\d{3})")
log = logging.getLogger(__name__)


class TracedExchange(Exchange):
    """Knows also which worker got the request and when, and when its answer began; 0 for what has not happened."""

    __slots__ = ("answered_at", "taken_at", "worker")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self.answered_at = self.taken_at = 0.0
        self.worker = 0

    def taken_by(self, worker: int) -> None:
        self.worker, self.taken_at = worker, time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answered_at = time.perf_counter()
        await super().send(message)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        self.answered_at = time.perf_counter()
        await super().answer(status, headers, body)

    def has_answered(self, status: int, size: int) -> None:
        self.answered_at = self.answered_at or time.perf_counter()
        super().has_answered(status, size)


class SpanTracing:
    """Sends a span for each request, with its stages as children, to the collector that `environ` describes.

    A thread sends them, in batches; what a collector does not take in time is dropped. Raises what OpenTelemetry raises
    where a variable has no meaning.
    """

    exchange = TracedExchange

    def __init__(self, environ: Mapping[str, str], endpoint: str) -> None:
        self._provider = TracerProvider(resource=_resource(environ), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter(OTLPSpanExporter(), endpoint)))
        self._tracer = self._provider.get_tracer("mdai_model", service_version())
        self._context = TraceContextTextMapPropagator()

    def ended(self, exchange: Exchange, *, is_known: bool) -> None:
        """Make the spans of a request that has its answer, or whose client has left."""
        assert isinstance(exchange, TracedExchange)
        if exchange.path in _ROUTINE and not exchange.trace_id:
            return
        now, clock = time.perf_counter(), time.time_ns()

        def when(moment: float) -> int:
            return clock - int((now - moment) * 1e9)

        name, attributes = _description(exchange, is_known=is_known)
        span = self._tracer.start_span(
            name, self._caller(exchange), SpanKind.SERVER, attributes, start_time=when(exchange.started_at)
        )
        if span.is_recording():
            if _has_failed(exchange):
                span.set_status(Status(StatusCode.ERROR))
            inside = set_span_in_context(span, Context())
            for stage, begin, end in stages_in_time(exchange, now):
                self._tracer.start_span(stage, inside, start_time=when(begin)).end(when(end))
        span.end(clock)

    async def close(self) -> None:
        """Send what has not been sent; a collector that takes its time is not waited for."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _LAST_SPANS_SECONDS)

    def _caller(self, exchange: Exchange) -> Context:
        """The caller's span; its `tracestate`, which may say anything, goes no further."""
        if not exchange.trace_id:
            return Context()
        return self._context.extract({"traceparent": exchange.headers[b"traceparent"].decode("latin-1")}, Context())


def stages_in_time(exchange: TracedExchange, ended_at: float) -> Iterator[tuple[str, float, float]]:
    """(stage, begin, end) of each stage that is known, as `time.perf_counter` counts.

    A worker tells how long its stages took and not when; they follow one another from the moment when it got the
    request. Where it has not told, all of its time is `predict`, and the wait before includes the request's reading.
    """
    known = dict(stages_of(exchange.timings))
    answered_at = exchange.answered_at or ended_at
    if "upload" in known:
        uploaded_at = exchange.started_at + known["upload"]
        yield "upload", exchange.started_at, uploaded_at
        taken_at = exchange.taken_at or uploaded_at + known.get("queue", 0.0)
        if exchange.taken_at or "queue" in known:
            yield "queue", max(uploaded_at, taken_at - known.get("queue", taken_at)), taken_at
        if exchange.taken_at and "predict" not in known:
            yield "predict", taken_at, answered_at
        for stage in _IN_WORKER:
            if stage in known:
                begin, taken_at = taken_at, min(taken_at + known[stage], answered_at)
                yield stage, begin, taken_at
        if "judge" in known:
            yield "judge", max(taken_at, answered_at - known["judge"]), answered_at
    if exchange.answered_at:
        yield "send", answered_at, ended_at


def _description(exchange: TracedExchange, *, is_known: bool) -> tuple[str, dict[str, AttributeValue]]:
    method = exchange.method if exchange.method in _METHODS else ""
    attributes: dict[str, AttributeValue] = {
        "http.request.method": method or "_OTHER",
        "url.scheme": exchange.scope.get("scheme", "http"),
        "network.protocol.version": exchange.scope.get("http_version", "1.1"),
        "http.request.body.size": exchange.received,
        "http.response.body.size": exchange.sent,
        "mdai_model.request_id": exchange.request_id,
        "mdai_model.outcome": _outcome(exchange),
    }
    if is_known:
        attributes |= {"http.route": exchange.path, "url.path": exchange.path}
    if exchange.status:
        attributes["http.response.status_code"] = exchange.status
    if _has_failed(exchange):
        attributes["error.type"] = exchange.problem_type or str(exchange.status)
    if exchange.worker:
        attributes["mdai_model.worker"] = exchange.worker
    if exchange.doubts:
        attributes["mdai_model.doubts"] = exchange.doubts
    return f"{method or 'HTTP'} {exchange.path}" if is_known else method or "HTTP", attributes


def _outcome(exchange: Exchange) -> str:
    """`ok`, the type of the problem, or the status of what has no type."""
    return exchange.problem_type or ("ok" if exchange.status < 400 else f"http-{exchange.status}")


def _has_failed(exchange: Exchange) -> bool:
    """The model, or this service: what a caller does wrong is no error of a server's span."""
    if exchange.status >= 400:
        return exchange.status >= 500
    return exchange.problem_type not in ("", "client-gone")  # the answer had begun, and was cut


def _resource(environ: Mapping[str, str]) -> Resource:
    """Who sends the spans: OpenTelemetry's variables say it, or else this service is called by its own name."""
    own: dict[str, AttributeValue] = {"service.version": service_version()}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own["service.name"] = SERVICE
    return Resource.create(own)


class _Exporter(SpanExporter):
    """Says once that spans do not get to the collector, and once that they do again; the one inside would each time."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        address = urlsplit(endpoint)  # without what may be a password or a token
        self._collector = f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
        self._failure = ""
        self._last_status = ""
        for name in ("opentelemetry", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._words = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        self._words.setLevel(logging.ERROR)
        self._words.addFilter(self._note)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._last_status = ""
        result = self._exporter.export(spans)
        failure = ""
        if result is not SpanExportResult.SUCCESS:
            failure = f"it answers {self._last_status}" if self._last_status else "it cannot be reached, or is too busy"
        if failure and failure != self._failure:
            log.warning(
                "Traces do not get to the collector at %s: %s. They are dropped until it takes them, and nothing"
                " waits for that.",
                self._collector,
                failure,
            )
        elif self._failure and not failure:
            log.info("Traces get to the collector at %s again", self._collector)
        self._failure = failure
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
        self._words.removeFilter(self._note)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _note(self, record: logging.LogRecord) -> bool:
        """Keep the status that the exporter tells of, and let no line of its through."""
        if found := _STATUS.search(record.getMessage()):
            self._last_status = found[1]
        return False
