"""HTTP/1.1 on one connection: uvicorn's protocol with a limit on heads, and deaf to offers of other protocols.

The parser collects a head in memory, however long it grows, and waits for its end, however long that takes. And
where a client offers to change to another protocol (Java's and curl's HTTP/2 clients do with every request over
plain TCP) it takes what follows for that protocol and loses the body. A server may ignore such an offer: RFC 9110,
section 7.8.
"""

import asyncio
from collections.abc import Iterable, Sized
from typing import Any, Protocol

import httptools
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

#: Bytes of a request line with its headers, of trailers, or of a chunk's framing.
MAX_HEAD_BYTES = 64 * 1024

#: Bytes of a request that may go the quick way, head and body.
_SHORT = 32 * 1024

#: Requests of one connection that wait for the one before them; no more is read of it then.
_MOST_PIPELINED = 16

#: The ASGI extension by which a request finds its connection.
CONNECTION = "mdai_model.connection"

_OFFER = (b"upgrade", b"connection", b"http2-settings")
_REFUSAL = (
    b"HTTP/1.1 %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s\n"
)


class Passage(Protocol):
    """A request that is on its way without a cycle of ASGI's."""

    def client_left(self) -> None:
        """Its client has closed the connection."""


class QuickWay(Protocol):
    """A way around parser and ASGI for requests that are whole when they come."""

    def begin(self, connection: "HttpProtocol", data: bytes) -> Passage | None:
        """Take a request which is all of `data`; None where it has to go the usual way, of which nothing has begun.

        Once it is taken, `answer` or `go_on_usually` has to follow, unless the client leaves before.
        """

    def learn(self, data: bytes, scope: Scope) -> None:
        """The request of `scope`, with which `data` began, got an answer of status 200 the usual way."""


def http_protocol(head_seconds: float, quick_way: QuickWay | None = None) -> type["HttpProtocol"]:
    """The protocol for uvicorn; a head must be complete so many seconds after its first byte, or after connecting."""
    return type("HttpProtocol", (HttpProtocol,), {"head_seconds": head_seconds, "quick_way": quick_way})


class _Flow(FlowControl):
    """uvicorn's, but it reads no more while many requests wait in `pipeline`: each answer would let in a thousand."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if len(self._pipeline) <= _MOST_PIPELINED:
            super().resume_reading()


class HttpProtocol(HttpToolsProtocol):
    """One connection of a client's."""

    head_seconds = 30.0
    quick_way: QuickWay | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_between_requests = True
        self._first_data = self._own_data = b""
        self._passage: Passage | None = None
        self._behind = b""
        self._is_last = False
        self._last_bytes_timer: asyncio.TimerHandle | None = None
        self._served: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_complete()
        self._expect_no_last_bytes()
        served = self._served
        if served is not None and not served.response_complete:  # others may have come behind it, and be `cycle`
            served.disconnected = True
            served.message_event.set()
        super().connection_lost(exc)
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.client_left()

    def shutdown(self) -> None:
        if self._passage is None:
            super().shutdown()
        else:
            self._is_last = True

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._passage is not None:  # who sends its next request already waits for its turn
            self._behind += data
            if len(self._behind) > _SHORT:  # not before: its leaving would go unnoticed
                self.flow.pause_reading()
            return
        if self._is_between_requests and self.quick_way is not None:
            if self._is_answered() and (passage := self.quick_way.begin(self, data)):
                self._passage = passage
                self._unset_keepalive_if_required()
                self._head_is_complete()
                return
            self._first_data = data if len(data) <= _SHORT else b""
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_offer(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(
                b"400 Bad Request", b"This is not HTTP/1.1. Use a client for HTTP, and http:// in the address."
            )
        if self._head_bytes > MAX_HEAD_BYTES:
            text = b"The head of the request is longer than %d bytes. Send fewer or shorter headers." % MAX_HEAD_BYTES
            self._refuse(b"431 Request Header Fields Too Large", text)

    def on_message_begin(self) -> None:
        self._is_between_requests = False
        self._own_data, self._first_data = self._first_data, b""  # none of it is the next request's
        self._unset_keepalive_if_required()
        if self._head_timer is None:
            self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_is_complete()
        if not self.parser.should_upgrade():  # with an offer, the request begins once more without it
            self.scope["extensions"] = {CONNECTION: {"protocol": self, "data": self._own_data}}
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        if not self.parser.should_upgrade():
            self._is_between_requests = True
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_last_bytes_taken()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_no_last_bytes()
        # Not at once: who sends a long answer in pieces waits as long himself, and says whose fault it was.
        self._last_bytes_timer = self.loop.call_later(self.head_seconds, self._expect_last_bytes_taken)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._expect_no_last_bytes()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._expect_last_bytes_taken()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        self._served = cycle
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def has_whole_body(self, scope: Scope) -> bool:
        """Whether the body of this request is here, and not read yet."""
        cycle = self.cycle
        return cycle.scope is scope and not cycle.more_body and not cycle.disconnected

    def is_receiving(self, scope: Scope) -> bool:
        """Whether what arrives next belongs to the body of this request, and is not read yet."""
        cycle = self.cycle
        is_open = cycle.scope is scope and cycle.more_body and not cycle.disconnected
        return is_open and not cycle.body and not cycle.waiting_for_100_continue

    def respond(self, scope: Scope, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a whole response at once; False where nothing was written, because it has to go the usual way.

        The usual way writes head and body one after the other, and each of the two costs a system call and wakes the
        client. `headers` have the body's length. Raises RuntimeError for a header that is more than one line.
        """
        cycle = self.cycle
        is_usual = cycle.scope is not scope or cycle.response_started or cycle.disconnected or self.flow.write_paused
        if is_usual or scope["method"] == "HEAD":
            return False
        lines = lines_of((*cycle.default_headers, *headers))
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.writelines((b"".join((STATUS_LINE[status], lines, end)), body))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        data = scope["extensions"][CONNECTION]["data"]
        if status == 200 and data and cycle.keep_alive and self.quick_way is not None:
            self.quick_way.learn(data, scope)
        return True

    def can_answer(self) -> bool:
        """Whether what is written now goes to the client and does not have to wait."""
        return not self.transport.is_closing() and not self.flow.write_paused

    def answer(self, lines: bytes, body: bytes) -> None:
        """Write the whole response, of status 200, to the request on the quick way; `lines` are those of its head."""
        own = lines_of(self.server_state.default_headers)
        end = b"connection: close\r\n\r\n" if self._is_last else b"\r\n"
        self.transport.write(b"".join((STATUS_LINE[200], own, lines, end, body)))
        self._passage = None
        if self._is_last:
            self.transport.close()
        self.on_response_complete()
        self._take_what_is_behind()

    def go_on_usually(self, scope: Scope, app: ASGIApp) -> None:
        """Let `app` serve the request that was on the quick way, the whole of whose body has been read."""
        self._passage = None
        scope["server"], scope["client"], scope["scheme"] = self.server, self.client, self.scheme
        scope["extensions"] = {CONNECTION: {"protocol": self, "data": b""}}
        self.cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=not self._is_last,
            on_response=self.on_response_complete,
        )
        self.cycle.more_body = False
        self._start_asgi_task(self.cycle, app)
        self._take_what_is_behind()

    def _take_what_is_behind(self) -> None:
        behind, self._behind = self._behind, b""
        if behind:
            self.flow.resume_reading()
            self.data_received(behind)

    def hand_over(self, protocol: asyncio.BaseProtocol) -> None:
        """Have `protocol` read the connection."""
        self.flow.pause_reading()
        self.transport.set_protocol(protocol)
        self.flow.resume_reading()

    def take_back(self, *, is_whole: bool) -> None:
        """Read the connection again, where the body was left, or behind it if it `is_whole`."""
        if self.cycle.disconnected:
            return
        self.flow.pause_reading()
        self.transport.set_protocol(self)
        if is_whole:
            self.parser = httptools.HttpRequestParser(self)
            self._is_between_requests = True
            self.cycle.more_body = False

    def _is_answered(self) -> bool:
        """Whether no earlier request waits for its answer."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._end_waiting)

    def _head_is_complete(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_waiting(self) -> None:
        text = b"The head of the request was not complete after %g seconds. Send it again." % self.head_seconds
        self._refuse(b"408 Request Timeout", text)

    def _expect_last_bytes_taken(self, before: int | None = None) -> None:
        """Cut off a client that takes nothing of its answer any more: closing, and the next, would wait without end."""
        self._expect_no_last_bytes()
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:
            self.transport.abort()
        elif left:
            self._last_bytes_timer = self.loop.call_later(self.head_seconds, self._expect_last_bytes_taken, left)

    def _expect_no_last_bytes(self) -> None:
        if self._last_bytes_timer is not None:
            self._last_bytes_timer.cancel()
            self._last_bytes_timer = None

    def _ignore_offer(self, rest: bytes) -> None:
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(b"405 Method Not Allowed", b"This is a model server and no proxy. POST files to /predict.")
            return
        kept = [name + b": " + value for name, value in self.headers if name not in _OFFER]
        head = b"\r\n".join([method + b" " + self.url + b" HTTP/1.1", *kept, b"", b""])
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def _refuse(self, status: bytes, text: bytes) -> None:
        """Answer what never became a request, and hang up; a complete request before it still gets its answer."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_REFUSAL % (status, len(text) + 1, text))
        elif not self.cycle.more_body:
            self.flow.pause_reading()
            self.cycle.keep_alive = False
            return
        self.transport.close()
        self._expect_last_bytes_taken()


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines of a response's head. Raises RuntimeError for a header that would be more than one."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    joined = b"".join(lines)
    if joined.count(b"\n") != len(lines):
        raise RuntimeError("a header of the answer holds a line break")
    return joined
