"""A collector of OpenTelemetry's traces, as far as tests need one: it takes OTLP over HTTP and keeps the spans."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Collector:
    """`answers` is the status that it gives; `spans` are (resource, span) as protobuf has them."""

    def __init__(self) -> None:
        self.answers = 200
        self.paths: list[str] = []
        self.raw = b""
        self.url = ""
        self._received: list[tuple[Any, Any]] = []
        self._changed = threading.Condition()

    def take(self, path: str, body: bytes) -> int:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        with self._changed:
            self.paths.append(path)
            if self.answers == 200:
                self.raw += body
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    spans = [span for scope in group.scope_spans for span in scope.spans]
                    self._received += [(group.resource, span) for span in spans]
            self._changed.notify_all()
        return self.answers

    def wait_for_calls(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.paths) >= number, 30), self.paths

    def spans(self, name: str) -> list[Any]:
        """Those of that name, as they came."""
        with self._changed:
            return self._named(name)

    def wait_for_span(self, name: str) -> Any:
        """The first of that name, once it is there."""
        return self.wait_for_spans(name, 1)[0]

    def wait_for_spans(self, name: str, number: int) -> list[Any]:
        """Those of that name, once so many are there."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self._named(name)) >= number, 30)
            assert there, [span.name for _, span in self._received]
            return self._named(name)

    def _named(self, name: str) -> list[Any]:
        return [span for _, span in self._received if span.name == name]

    def inside(self, parent: Any) -> dict[str, Any]:
        """The spans below `parent`, by name."""
        with self._changed:
            return {span.name: span for _, span in self._received if span.parent_span_id == parent.span_id}

    def resource(self) -> dict[str, Any]:
        """Who sent them."""
        return values(self._received[0][0].attributes)


def values(attributes: Any) -> dict[str, Any]:
    """OTLP's attributes as a dict."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of 127.0.0.1; skips the test where the packages of the extra are missing."""
    for module in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        pytest.importorskip(module, reason=f"{module} is not installed: the extra `otel` brings it")
    collector = Collector()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            self.send_response(collector.take(self.path, body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
