"""The quick way of a small request: from the socket to a worker and back by two calls, without a task of its own.

Who asks again and again sends the same head each time. A head that led to a good answer is kept, byte for byte, with
what it means. When the same bytes come again, with the whole of a body behind them, nothing is left to parse: one call
reads the body and hands it to a worker, or puts it into line; another, when the worker has answered, judges that and
writes it.

Only what is in order gets through here, and nothing is refused here. Before a worker has the request, whatever is odd
about it sends it the usual way, from its beginning. When a worker has had it, the usual way goes on with what it said,
and tells what is wrong with it.
"""

import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from app.accept import MSGPACK_TYPES, wanted_by
from app.body import media_type
from app.body_budget import BodyShare
from app.exchange import Exchange, FrontDoor
from app.interface.errors import InterfaceError
from app.interface.request import RequestSummary, read_request
from app.protocol import HttpProtocol, lines_of
from app.routes.predict import MEDIA, PredictRoute, server_timing
from app.security_headers import with_defaults
from model_loader.line import Asking
from model_loader.prediction import Accept, Prediction, PredictRequest
from model_loader.process import Answer
from model_loader.shared_buffer import SharedBuffer

#: Bytes that are read, or judged, without a turn for others in between.
_SHORT_BODY, _SHORT_SKELETON = 16 * 1024, 4 * 1024
_SHORT_HEAD, _MOST_HEADS = 4 * 1024, 64
#: What says how a request is to be read or answered, and what is another's each time.
_UNUSUAL = frozenset(
    (
        b"content-encoding", b"expect", b"http2-settings", b"te", b"traceparent", b"trailer", b"transfer-encoding",
        b"upgrade", b"x-request-id", b"x-request-timeout",
    )
)  # fmt: skip

_FIXED_LINES = {form: lines_of(with_defaults([(b"content-type", media)])) for form, media in MEDIA.items()}


@dataclass(frozen=True, slots=True)
class _Head:
    """What a head means: ASGI's scope of it, the length of its body, and the form of the answer."""

    scope: Scope
    length: int
    form: Accept


class QuickWay:
    """Takes requests that `route` would serve behind `door`."""

    def __init__(self, door: FrontDoor, route: PredictRoute) -> None:
        self.door = door
        self.route = route
        self._heads: dict[bytes, _Head] = {}

    def begin(self, connection: HttpProtocol, data: bytes) -> "Passage | None":
        """Take the request that is all of `data`; None where it has to go the usual way, of which nothing has begun."""
        end = _end_of_head(data)
        head = self._heads.get(data[:end])
        if head is None or len(data) - end != head.length:
            return None
        try:
            return self._taken(connection, head, data[end:])
        except Exception:  # noqa: BLE001 (the usual way meets it again, and tells it)
            return None

    def learn(self, data: bytes, scope: Scope) -> None:
        """The request of `scope`, with which `data` began, got an answer of status 200 the usual way."""
        end = _end_of_head(data)
        headers = dict(scope["headers"])
        length = len(data) - end
        if (
            end
            and data.startswith(b"POST /")
            and self.door.direct.get(scope["path"]) is self.route
            and scope["http_version"] == "1.1"
            and headers.get(b"content-length") == b"%d" % length
            and length <= _SHORT_BODY
            and headers.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and len(headers) == len(scope["headers"])
            and not _UNUSUAL & headers.keys()
            and media_type(headers) in MSGPACK_TYPES
        ):
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            form = wanted_by(headers.get(b"accept", b"")).prediction
            self._heads[data[:end]] = _Head({**scope, "extensions": {}}, length, form)

    def _taken(self, connection: HttpProtocol, head: _Head, body: bytes) -> "Passage | None":
        exchange = self.door.exchange(head.scope, _nothing_more, _nowhere)
        exchange.has_received(len(body))
        self.door.admit(exchange)
        summary = read_request(body)
        if summary.warnings or summary.content_paths:
            return None
        exchange.timings["upload"] = time.perf_counter() - exchange.started_at
        passage = Passage(self, connection, exchange, summary, head.form)
        passage.ask(body)
        self.door.began(exchange)
        return passage


class Passage:
    """One request on the quick way: the recipient of its own answer."""

    __slots__ = ("_asking", "_connection", "_exchange", "_form", "_is_done", "_share", "_summary", "_way")

    _asking: Asking

    def __init__(
        self, way: QuickWay, connection: HttpProtocol, exchange: Exchange, summary: RequestSummary, form: Accept
    ) -> None:
        self._way = way
        self._connection = connection
        self._exchange = exchange
        self._summary = summary
        self._form = form
        self._is_done = False

    def ask(self, body: bytes) -> None:
        """Hand it to a worker, or put it into line. Raises ModelLoaderError where it is refused."""
        route, exchange = self._way.route, self._exchange
        self._share = BodyShare(route.budget, len(body))
        buffer = SharedBuffer()
        buffer.write(body)
        try:
            request = PredictRequest(buffer, self._form, exchange.request_id, taken_by=exchange.taken_by)
            self._asking = route.predictor.ask(request, self)
        except Exception:
            buffer.close()
            self._share.give_back()
            raise

    def done(self) -> bool:
        """Whether it has its answer, or nobody waits for one."""
        return self._is_done

    def exception(self) -> None:
        """Nothing that anybody would complain of."""

    def client_left(self) -> None:
        """Nobody waits for the answer any more."""
        self._end()
        self._way.route.predictor.leave(self._asking)
        self._exchange.gone = True
        self._exchange.has_lost_client()
        self._way.door.ended(self._exchange)

    def set_result(self, answer: Answer) -> None:
        """Judge the answer and send it, if it may pass without a word."""
        self._end()
        try:
            prediction = Prediction(answer, self._asking.queued or 0.0)
            body = self._approved(prediction)
        except Exception as error:  # noqa: BLE001 (told as usual)
            answer.body.close()
            self._go_on_usually(_raising(error))
            return
        if body is None:
            self._go_on_usually(self._judged(prediction))
            return
        exchange = self._exchange
        exchange.has_answered(200, len(body))
        lines = b"%bserver-timing: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n" % (
            *(_FIXED_LINES[self._form], server_timing(exchange.timings)),
            *(len(body), exchange.request_id.encode()),  # which is of our own making
        )
        self._connection.answer(lines, body)
        self._way.door.ended(exchange)

    def set_exception(self, error: Exception) -> None:
        """Have it told."""
        self._end()
        self._go_on_usually(_raising(error))

    def _end(self) -> None:
        self._is_done = True
        self._asking.request.body.close()
        self._share.give_back()

    def _approved(self, prediction: Prediction) -> bytes | None:
        """The response, where nothing is to be said of it; it is no longer in `prediction` then."""
        if not self._connection.can_answer() or prediction.body.small is None:
            return None
        if len(prediction.skeleton) > _SHORT_SKELETON:
            return None
        predicted_at = time.perf_counter()
        try:
            if self._way.route.doubts(prediction.skeleton, self._summary):
                return None
        except InterfaceError:
            return None
        body = prediction.body.read(0, prediction.size)
        if len(body) != prediction.size:
            return None
        prediction.body.close()
        self._exchange.timings |= prediction.timings
        self._exchange.timings["judge"] = time.perf_counter() - predicted_at
        return body

    async def _judged(self, prediction: Prediction) -> None:
        with prediction:
            await self._way.route.judged(self._exchange, prediction, self._summary, self._form)

    def _go_on_usually(self, serving: Coroutine[Any, Any, None]) -> None:
        exchange = self._exchange

        async def rest(scope: Scope, receive: Receive, send: Send) -> None:
            exchange.adopt(scope, receive, send)
            await self._way.door.through(exchange, serving)

        self._connection.go_on_usually(dict(exchange.scope), rest)


def _end_of_head(data: bytes) -> int:
    """How long the head is with which `data` begins; 0 where it is none, or a long one."""
    found = data.find(b"\r\n\r\n", 0, _SHORT_HEAD)
    return found + 4 if found >= 0 else 0


async def _raising(error: Exception) -> None:
    raise error


async def _nothing_more() -> Message:
    raise AssertionError("all of the request has been read")


async def _nowhere(message: Message) -> None:
    raise AssertionError("nothing is sent on the quick way")
