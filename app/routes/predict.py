"""`POST /predict`: one request, from its headers to the last byte of its answer."""

import asyncio
import logging
import re
import time
from contextlib import nullcontext

from starlette.exceptions import HTTPException

from app.about import own_url
from app.accept import wanted_by
from app.body import UploadLimits, declared_length, media_type, receive_body
from app.body_budget import BodyBudget, BodyShare
from app.exchange import Exchange
from app.hangup import UntilHangUp
from app.interface.labels import LabelClass, packaged_label_classes
from app.interface.outputs import judge, judge_in_slices
from app.interface.request import RequestSummary, read_request_in_slices
from app.loaded_files import LoadedFiles, TakenFiles
from app.patience import Patience
from app.predictor import Prediction, Predictor
from app.problems import Headers
from app.refusals import ClientGone
from app.served import Served
from app.settings import Settings
from app.time_limit import time_limit
from model_loader.errors import PredictFailed
from model_loader.memory_file import WarmFiles
from model_loader.prediction import Accept, PredictRequest
from model_loader.shared_buffer import SharedBuffer

PATHS = ("/predict", "/inference")

model_log = logging.getLogger("model")

_CHUNK = 512 * 1024
#: What the answer is called in its head, by its form.
MEDIA: dict[Accept, bytes] = {"msgpack": b"application/msgpack", "json": b"application/json"}
_LONGEST_WARNINGS = 2000


class PredictRoute:
    """Serves `PATHS`; the worker's bytes are relayed as they are."""

    def __init__(
        self,
        predictor: Predictor,
        settings: Settings,
        served: Served,
        loaded: LoadedFiles,
        budget: BodyBudget,
        bodies: WarmFiles,
    ) -> None:
        self.predictor = predictor
        self._loaded = loaded
        self._settings = settings
        self._upload_limits = UploadLimits.of(settings)
        self.budget = budget
        self._bodies = bodies
        self._served = served
        self._package = served.package
        self._packaged = packaged_label_classes(served.package.label_classes)

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.method != "POST":
            raise HTTPException(405, _how_to_post(exchange), headers={"Allow": "POST"})
        media = media_type(exchange.headers)
        length = declared_length(exchange.headers, self._settings.max_body)
        timeout = time_limit(exchange.headers)
        self.predictor.check_admission()
        with BodyShare(self.budget, length) as share, SharedBuffer(self._bodies, length) as body:
            await receive_body(exchange, media, body, self._upload_limits, share.grow_to)
            exchange.timings["upload"] = time.perf_counter() - exchange.started_at
            summary = await _summary_of(body)
            _tell_doubts(exchange, summary.warnings)
            form = wanted_by(exchange.headers.get(b"accept", b"")).prediction
            async with await self._files_named_in(summary) as inputs:
                request = PredictRequest(
                    body, form, exchange.request_id, timeout=timeout, inputs=inputs, taken_by=exchange.taken_by
                )
                with UntilHangUp(exchange), await self.predictor.predict(request) as prediction:
                    body.close()
                    share.give_back()
                    await self.judged(exchange, prediction, summary, form)

    async def judged(self, exchange: Exchange, prediction: Prediction, summary: RequestSummary, form: Accept) -> None:
        """Judge the answer, and send it where it may pass."""
        predicted_at = time.perf_counter()
        exchange.timings |= prediction.timings
        classes = self._classes_of(summary)
        doubts = await judge_in_slices(prediction.skeleton, classes, strict=self._settings.strict)
        _tell_doubts(exchange, doubts)
        exchange.timings["judge"] = time.perf_counter() - predicted_at
        headers = [(b"content-type", MEDIA[form]), (b"server-timing", server_timing(exchange.timings))]
        await self._respond(exchange, prediction, headers + _told(summary.warnings + doubts))

    def doubts(self, skeleton: bytes, summary: RequestSummary) -> tuple[str, ...]:
        """What there is to say of outputs that are judged at once. Raises InvalidOutput."""
        return judge(skeleton, self._classes_of(summary), strict=self._settings.strict)

    def _classes_of(self, summary: RequestSummary) -> tuple[LabelClass, ...]:
        """What the model saw: the worker gives a request that brings none those of the package."""
        return summary.label_classes if summary.has_label_classes else self._packaged_classes()

    def _packaged_classes(self) -> tuple[LabelClass, ...]:
        if self._package is not self._served.package:
            self._package = self._served.package
            self._packaged = packaged_label_classes(self._package.label_classes)
        return self._packaged

    async def _files_named_in(self, summary: RequestSummary) -> TakenFiles | nullcontext[None]:
        """Those that were loaded ahead, or none where the request names none."""
        if not summary.content_paths:
            return nullcontext()
        return await asyncio.to_thread(self._loaded.take, summary.content_paths)

    async def _respond(self, exchange: Exchange, prediction: Prediction, headers: Headers) -> None:
        size = prediction.size
        chunk = prediction.body.read(0, min(size, _CHUNK))
        if len(chunk) != min(size, _CHUNK):
            raise PredictFailed("The worker wrote less of the answer than it said.")
        headers.append((b"content-length", b"%d" % size))
        if len(chunk) == size:
            await exchange.answer(200, headers, chunk)
            return
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._stream(exchange, prediction, chunk)

    async def _stream(self, exchange: Exchange, prediction: Prediction, chunk: bytes) -> None:
        """Send the body, `chunk` first; a client that takes nothing for `read_timeout` seconds is cut off."""
        sent = 0
        try:
            with Patience(self._settings.read_timeout) as patience:
                while chunk:
                    sent += len(chunk)
                    more = sent < prediction.size
                    await exchange.send({"type": "http.response.body", "body": chunk, "more_body": more})
                    patience.renew()
                    await asyncio.sleep(0)  # to a client that takes all at once, nothing waits in `send`
                    chunk = prediction.body.read(sent, min(_CHUNK, prediction.size - sent))
        except TimeoutError:
            raise ClientGone from None
        if sent < prediction.size:
            raise PredictFailed("The worker wrote less of the answer than it said.")


async def _summary_of(body: SharedBuffer) -> RequestSummary:
    if body.small is not None:
        return await read_request_in_slices(bytes(body.small))
    with body.mapped() as view:
        return await read_request_in_slices(view)


def server_timing(seconds: dict[str, float]) -> bytes:
    """The header of that name: how long each stage took."""
    return ", ".join([f"{name};dur={value * 1000:.2f}" for name, value in seconds.items()]).encode("ascii")


def _tell_doubts(exchange: Exchange, doubts: tuple[str, ...]) -> None:
    """Among what the model prints: they quote the request and the outputs, which the service's own log never does."""
    if doubts:
        exchange.doubts += len(doubts)
        text = " ".join(doubts)
        tags = {"stream": "doubts"}
        model_log.warning("%s", text[:_LONGEST_WARNINGS], extra={**tags, "fields": tags})


def _told(doubts: tuple[str, ...]) -> Headers:
    """What is doubtful, as a header: on one line, in ASCII, of at most 2 kB."""
    if not doubts:
        return []
    escaped = re.sub(rb"[^ -~]+", b" ", " ".join(doubts).encode("ascii", "backslashreplace"))
    if len(escaped) > _LONGEST_WARNINGS:
        escaped = escaped[: _LONGEST_WARNINGS - 4] + b" ..."
    return [(b"x-model-warnings", escaped.strip())]


def _how_to_post(exchange: Exchange) -> str:
    url = own_url(exchange.scope.get("scheme", "http"), exchange.headers.get(b"host", b""))
    return (
        f"{exchange.method} means nothing here: send the files with POST, for example\n\n"
        f"    curl -F files=@chest.dcm -H 'Accept: application/json' {url}{exchange.path}"
    )
