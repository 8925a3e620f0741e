"""One request and its answer, and the door through which every one of them passes.

The door gives each request its id, takes the paths of the model straight (they are the hot ones), leaves the
rest to FastAPI, turns whatever is raised into an answer, and writes the access line.
"""

import asyncio
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.direct_upload import DirectUpload
from app.hidden import without_the_models_words
from app.logs import request_id as current_request_id
from app.metrics import Metrics
from app.patience import Patience
from app.problems import Headers, log_problem, place_raised, problem_type, render
from app.protocol import CONNECTION
from app.refusals import ClientGone
from app.security_headers import with_defaults
from model_loader.errors import ServerStopped

access = logging.getLogger("app.access")
log = logging.getLogger(__name__)

# An answer that overtakes its request reaches most clients only if their upload is still taken in: closing a
# connection with unread bytes resets it. nginx lingers as long.
LINGER_SECONDS = 30.0
LINGER_IDLE_SECONDS = 2.0

_ACCESS_RECORD = vars(logging.LogRecord(access.name, logging.INFO, "", 0, "%s %s %d", None, None))
_PROBES = ("/healthz", "/ready")
_GIVEN_ID = re.compile(rb"[!-~]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header: version, trace id, parent id, flags; later versions may add.
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class Exchange:
    """A request with its answer: what is needed to serve, refuse, time and log it.

    `receive` and `send` are ASGI's own, and keep count: `upload_pending` says whether more of the body may
    come, `gone` whether the client closed the connection, `status` the answer's status (0 before it has one).
    `timings` has the seconds of each stage that has ended, `doubts` how many warnings the answer carries.
    """

    __slots__ = (
        "_connection", "_receive", "_send", "complete", "doubts", "gone", "headers", "method", "path", "problem",
        "problem_type", "received", "request_id", "scope", "sent", "started_at", "status", "timings", "trace_id",
        "upload_pending",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started_at = time.perf_counter()
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive
        self._send = send
        self._connection = scope.get("extensions", {}).get(CONNECTION, {}).get("protocol")
        self.trace_id = _trace_id(self.headers.get(b"traceparent", b""))
        self.request_id = _request_id(self.headers.get(b"x-request-id", b"")) or self.trace_id or os.urandom(16).hex()
        self.upload_pending = self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers
        self.gone = False
        self.complete = False
        self.status = 0
        self.received = 0
        self.sent = 0
        self.doubts = 0
        self.problem = self.problem_type = ""
        self.timings: dict[str, float] = {}

    def adopt(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on as ASGI's request, the whole of whose body has been read."""
        self.scope, self._receive, self._send = scope, receive, send
        self._connection = scope.get("extensions", {}).get(CONNECTION, {}).get("protocol")

    def has_received(self, size: int) -> None:
        """The whole body is here."""
        self.received = size
        self.upload_pending = False

    def has_answered(self, status: int, size: int) -> None:
        """The whole answer, with a body of `size` bytes, is on its way."""
        self.status, self.sent, self.complete = status, size, True

    def has_lost_client(self) -> None:
        """The client has left before its answer, which is no fault of anybody's here."""
        self.problem, self.problem_type = "ClientGone", "client-gone"

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self.upload_pending = message.get("more_body", False)
        elif message["type"] == "http.disconnect":
            self.gone = True
            self.upload_pending = False
        return message

    def is_whole(self) -> bool:
        """Whether all of the body is here, and the next `receive` gives it."""
        return self._connection is not None and self._connection.has_whole_body(self.scope)

    def takes_directly(self) -> bool:
        """Whether the rest of the body can be taken straight from the socket."""
        return self._connection is not None and self._connection.is_receiving(self.scope)

    async def take_directly(self, size: int, room: Callable[[int], memoryview], arrived: Callable[[int], None]) -> None:
        """Take in the rest of the body, `size` bytes, only where `takes_directly`; see `DirectUpload`.

        It is there unless `gone` is true afterwards.
        """

        def count(size: int) -> None:
            self.received += size
            arrived(size)

        upload = DirectUpload(self._connection, size, room, count)
        await upload.run()
        self.upload_pending = False
        self.gone = not upload.is_whole

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = self._with_own(message["headers"])
            if self.upload_pending:
                headers.append((b"connection", b"close"))
            await self._send({"type": "http.response.start", "status": self.status, "headers": headers})
            return
        self.sent += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self.complete and self.upload_pending:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def taken_by(self, worker: int) -> None:
        """The worker of that number has got the request; whoever wants to know overrides this."""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response, whose length `headers` have."""
        if self._connection is not None and not self.upload_pending:
            complete = self._with_own(headers)
            if self._connection.respond(self.scope, status, complete, body):
                self.has_answered(status, len(body))
                return
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def _with_own(self, headers: Headers) -> Headers:
        return with_defaults([*headers, (b"x-request-id", self.request_id.encode())])

    async def _linger(self) -> None:
        """Take in, and forget, what the client is still sending, so that it comes to read its answer."""
        end = time.monotonic() + LINGER_SECONDS
        with suppress(TimeoutError), Patience(LINGER_IDLE_SECONDS) as patience:
            while self.upload_pending and time.monotonic() < end:
                await self.receive()
                patience.renew()


class Tracing(Protocol):
    """What follows requests for somebody outside: each is an `exchange` of its own kind, and told when it has ended."""

    exchange: type[Exchange]

    def ended(self, exchange: Exchange, *, is_known: bool) -> None:
        """`is_known`: the path is one that is served, and says nothing of anybody."""

    async def close(self) -> None:
        """Nothing ends any more."""


class FrontDoor:
    """The ASGI application: `direct` maps exact paths to what serves them, every other path goes to `app`.

    `admit` looks at each request first and raises where it goes no further. `places` names, for each path, the route
    that it is counted under; paths that are not there are told nowhere. `tracing` follows requests, if it is there.
    """

    def __init__(
        self,
        app: ASGIApp,
        direct: Mapping[str, Callable[[Exchange], Awaitable[None]]],
        admit: Callable[[Exchange], None],
        *,
        places: Mapping[str, str],
        metrics: Metrics,
        tracing: Tracing | None = None,
        hide_tracebacks: bool = False,
    ) -> None:
        self.app = app
        self.direct = direct
        self.admit = admit
        self._places = places
        self._metrics = metrics
        self._tracing = tracing
        self.exchange = Exchange if tracing is None else tracing.exchange
        self._hides = hide_tracebacks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = self.exchange(scope, receive, send)
        self.began(exchange)
        await self.through(exchange, self._serve(exchange))

    def began(self, exchange: Exchange) -> None:
        """It is counted from now on, until it has `ended`."""
        self._metrics.began(self._places.get(exchange.path, "other"))

    async def through(self, exchange: Exchange, serving: Awaitable[None]) -> None:
        """Serve it, whatever comes of that, and take note of its end."""
        token = current_request_id.set(exchange.request_id)
        try:
            await serving
        except ClientGone:
            exchange.has_lost_client()
        except asyncio.CancelledError:  # only the end of the server cancels a whole request
            await self._fail(exchange, ServerStopped("the server was told to stop before this request had ended."))
        except Exception as error:  # noqa: BLE001 - the one place where every error becomes an answer
            await self._fail(exchange, error)
        finally:
            self.ended(exchange)
            current_request_id.reset(token)

    def ended(self, exchange: Exchange) -> None:
        """It has its answer, or nobody waits for one: count it, and tell who follows it."""
        place = self._places.get(exchange.path, "")
        self._metrics.ended(place or "other", exchange)
        _write_access_line(exchange, is_known=bool(place))
        if self._tracing is not None:
            self._tracing.ended(exchange, is_known=bool(place))

    async def _serve(self, exchange: Exchange) -> None:
        self.admit(exchange)
        if serve := self.direct.get(exchange.path):
            await serve(exchange)
        else:
            await self._delegate(exchange)

    async def _delegate(self, exchange: Exchange) -> None:
        scope = exchange.scope
        if exchange.method == "HEAD":  # the HTTP server still knows that it is one, and leaves out the body
            scope = {**scope, "method": "GET"}
        await self.app(scope, exchange.receive, exchange.send)

    async def _fail(self, exchange: Exchange, error: Exception) -> None:
        exchange.problem, exchange.problem_type = type(error).__name__, problem_type(error)
        if place := place_raised(getattr(error, "traceback", "")):
            exchange.problem += f" ({place})"
        log_problem(log, error)
        if self._hides:
            error = without_the_models_words(error, exchange.request_id)
        if exchange.status:
            # Too late for another answer: returning makes the HTTP server cut the one that has begun.
            return
        await exchange.answer(*render(error, exchange.headers.get(b"accept", b""), exchange.request_id))


def _request_id(given: bytes) -> str:
    """The caller's id where it is harmless in headers and logs, else ""."""
    return given.decode() if _GIVEN_ID.fullmatch(given) else ""


def _trace_id(traceparent: bytes) -> str:
    """The trace that the request belongs to, as W3C Trace Context has it, or ""."""
    found = _TRACE.fullmatch(traceparent)
    return found[1].decode() if found else ""


def _write_access_line(exchange: Exchange, *, is_known: bool) -> None:
    level = logging.DEBUG if exchange.path in _PROBES else logging.INFO
    if exchange.status in (500, 504):
        level = logging.WARNING  # the model's fault, or ours
    if not access.isEnabledFor(level):
        return
    status = exchange.status or 499  # 499: as nginx notes a client that left before its answer
    fields: dict[str, object] = {
        "ms": round((time.perf_counter() - exchange.started_at) * 1000, 2),
        "bytes_in": exchange.received,
        "bytes_out": exchange.sent,
    }
    if exchange.problem:
        fields["problem"] = exchange.problem
    if exchange.doubts:
        fields["doubts"] = exchange.doubts
    if exchange.trace_id not in ("", exchange.request_id):
        fields["trace"] = exchange.trace_id
    path = exchange.path if is_known else "(another path)"  # it may name a patient
    access.handle(_access_record(level, (exchange.method, path, status), fields, exchange.request_id))


def _access_record(
    level: int, words: tuple[str, str, int], fields: dict[str, object], request_id: str
) -> logging.LogRecord:
    """As access.log would make it: most of what that costs is for what is known here, and the same each time."""
    record = logging.LogRecord.__new__(logging.LogRecord)
    now = time.time()
    record.__dict__.update(_ACCESS_RECORD)
    record.levelno, record.levelname = level, logging.getLevelName(level)
    record.created, record.msecs = now, int(now % 1 * 1000) + 0.0
    record.args, record.fields, record.request_id = words, fields, request_id
    return record
