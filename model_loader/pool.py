"""The workers of a service: made ready, kept alive, and handed one request at a time each.

The pool is the only place that limits how much runs at once: a request goes to an idle worker or waits in line. A
worker that had been ready starts again at once when it ends; starts that fail in a row back off, and meanwhile every
request is told the last error.
"""

import asyncio
import enum
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

from model_loader import orphans
from model_loader.channel import Message
from model_loader.errors import DiedLoading, ModelLoaderError, NotReady, QueueFull
from model_loader.process import Done, WorkerPlan, WorkerProcess, WorkerState, result_of
from model_loader.shared_buffer import SharedBuffer

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0
_REAP_EVERY = 10.0
log = logging.getLogger(__name__)

Accept = Literal["msgpack", "json"]


@dataclass(frozen=True)
class PredictRequest:
    """One request: its body as msgpack in a shared buffer, the form of the answer, an id for the logs."""

    body: SharedBuffer
    accept: Accept
    request_id: str


class Prediction:
    """The answer to one request; leaving its `with` block gives the memory back.

    The response is the first `size` bytes of `body`. `timings` has seconds by phase: queue, decode, predict, encode.
    """

    def __init__(self, body: SharedBuffer, done: Done, queued: float) -> None:
        self.body = body
        self.size = done.size
        self.skeleton = body.read(done.size, done.skeleton)
        self.timings = {"queue": queued, **done.timings}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.body.close()


class PoolState(enum.StrEnum):
    """What the pool as a whole is doing; requests are taken in READY only."""

    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Launch:
    """What preparing gives: one way to start a worker per device, and facts about them for people.

    Each entry of `plans` makes a fresh plan (with fresh folders) whenever a worker starts.
    """

    plans: tuple[Callable[[], WorkerPlan], ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class PoolLimits:
    """Seconds and counts that the operator sets."""

    startup_timeout: float = 600.0
    predict_timeout: float = 600.0
    max_queue: int = 16


#: Builds the environment and whatever else must be there before a worker can start; it may take minutes. It is given a
#: function that takes a sentence about how far it is.
Prepare = Callable[[Callable[[str], None]], Awaitable[Launch]]


class WorkerPool:
    """Workers for one package. Use it on one event loop, on the process's main thread."""

    def __init__(self, prepare: Prepare, limits: PoolLimits) -> None:
        self._prepare = prepare
        self._limits = limits
        self._slots: list[_Slot] = []
        self._idle: deque[WorkerProcess] = deque()
        self._waiting: deque[asyncio.Future[WorkerProcess]] = deque()
        self._in_flight = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._stopping = False
        self._reason = "the model's environment is being prepared"
        self._failure: ModelLoaderError | None = None
        self._since = time.monotonic()
        self._facts: dict[str, Any] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to prepare and to load; returns at once."""
        orphans.become_subreaper()
        self._tasks = [asyncio.create_task(self._serve()), asyncio.create_task(self._reap())]

    async def stop(self, grace: float) -> None:
        """Refuse what is new, let what runs or waits finish for `grace` seconds, end every worker."""
        self._stopping = True
        self._reason = "the server is shutting down"
        with suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._refuse_waiting(self._not_ready())
        await asyncio.gather(*(slot.close() for slot in self._slots))

    @property
    def state(self) -> PoolState:
        """The state that `describe` and `check_ready` tell of."""
        if self._stopping:
            return PoolState.STOPPING
        if any(slot.serving for slot in self._slots):
            return PoolState.READY
        if self._failure is not None:
            return PoolState.FAILED
        return PoolState.STARTING if self._slots else PoolState.PREPARING

    def check_ready(self) -> None:
        """Raises NotReady where no worker could take a request; its text is the reason."""
        if self.state is not PoolState.READY:
            raise self._not_ready()

    async def predict(self, request: PredictRequest) -> Prediction:
        """The model's answer. Raises NotReady, QueueFull, or PredictFailed for this request alone.

        Cancelled while it waits, the request is dropped; cancelled while it runs, it runs to its end for nobody.
        """
        self.check_ready()
        self._in_flight += 1
        self._quiet.clear()
        try:
            return await self._predict(request)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._quiet.set()

    async def _predict(self, request: PredictRequest) -> Prediction:
        arrived = time.perf_counter()
        worker = await self._idle_worker()
        queued = time.perf_counter() - arrived
        response = SharedBuffer.create()
        try:
            reply = worker.submit(
                request.body, response, request.accept, request.request_id, self._limits.predict_timeout
            )
        except BaseException:
            response.close()
            self._release(worker)
            raise
        reply.add_done_callback(lambda _: self._release(worker))
        try:
            answer = await asyncio.shield(reply)
        except asyncio.CancelledError:
            reply.add_done_callback(lambda done: _abandon(done, response))
            raise
        except BaseException:
            response.close()
            raise
        return Prediction(response, result_of(answer), queued)

    def describe(self) -> dict[str, Any]:
        """Facts for people, as JSON: state, reason, queue, workers, and what preparing found out."""
        ready = self.state is PoolState.READY
        return {
            "state": str(self.state),
            "reason": None if ready else str(self._not_ready()),
            "waiting": len(self._waiting),
            "workers": [slot.describe() for slot in self._slots],
            **self._facts,
        }

    async def _serve(self) -> None:
        launch = await self._prepared()
        self._facts = launch.facts
        self._reason, self._since = "the model is loading", time.monotonic()
        self._slots = [_Slot(index, plan) for index, plan in enumerate(launch.plans)]
        await asyncio.gather(*(self._keep(slot) for slot in self._slots))

    async def _prepared(self) -> Launch:
        delays = _delays()
        while True:
            try:
                launch = await self._prepare(self._progress)
            except ModelLoaderError as error:
                await self._back_off(error, next(delays))
            else:
                self._failure = None
                return launch

    def _progress(self, sentence: str) -> None:
        """Called from the thread that prepares."""
        log.info("%s", sentence.strip())
        self._reason = f"the model's environment is being prepared: {sentence.strip()}"

    async def _keep(self, slot: "_Slot") -> None:
        """Start the slot's worker again and again, for as long as the pool lives."""
        delays = _delays()
        while True:
            try:
                await slot.start(self._limits.startup_timeout)
            except ModelLoaderError as error:
                await self._back_off(error, next(delays))
                continue
            delays = _delays()
            self._failure = None
            worker = slot.worker
            assert worker is not None
            log.info("worker %d is ready on %s (process %d)", worker.number, worker.plan.device.name, worker.pid)
            self._release(worker)
            await worker.ended.wait()
            slot.restarts += 1
            self._reason, self._since = "the worker ended and starts again", time.monotonic()

    async def _back_off(self, error: ModelLoaderError, delay: float) -> None:
        if self._failure is None or self._failure.text != error.text:
            log.error("%s", error.text)
        self._failure = error
        if self.state is not PoolState.READY:
            self._refuse_waiting(self._not_ready())
        await asyncio.sleep(delay)

    async def _idle_worker(self) -> WorkerProcess:
        """A worker that is READY; one that ended after it was set aside or handed over is passed by."""
        while True:
            worker = self._idle.popleft() if self._idle else await self._wait_in_line()
            if worker.state is WorkerState.READY:
                return worker

    async def _wait_in_line(self) -> WorkerProcess:
        if len(self._waiting) >= self._limits.max_queue:
            raise QueueFull(
                f"{len(self._waiting)} requests wait already, which is as many as --max-queue allows: try again later."
            )
        place: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
            elif not place.cancelled() and place.exception() is None:
                self._release(place.result())
            raise

    def _release(self, worker: WorkerProcess) -> None:
        """A worker has nothing to do: give it to who waits longest, or set it aside."""
        if worker.state is not WorkerState.READY:
            return
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(worker)
                return
        self._idle.append(worker)

    def _refuse_waiting(self, error: NotReady) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAP_EVERY)
            orphans.reap_strays({slot.worker.pid for slot in self._slots if slot.worker})

    def _not_ready(self) -> NotReady:
        if self._failure is not None and not self._stopping:
            return NotReady(self._failure.text, traceback=self._failure.traceback, retry_after=5.0)
        waited = "" if self._stopping else f" ({time.monotonic() - self._since:.0f} s so far)"
        return NotReady(f"{self._reason}{waited}.")


class _Slot:
    """One device and the worker that holds it, whichever it is at the time."""

    def __init__(self, index: int, plan: Callable[[], WorkerPlan]) -> None:
        self._index = index
        self._plan = plan
        self.worker: WorkerProcess | None = None
        self.restarts = 0

    @property
    def serving(self) -> bool:
        return self.worker is not None and self.worker.state in (WorkerState.READY, WorkerState.BUSY)

    async def start(self, timeout: float) -> None:
        """Start a worker and wait until it is ready. Raises LoadFailed."""
        try:
            plan = await asyncio.to_thread(self._plan)
            self.worker = WorkerProcess(plan)
        except OSError as error:  # no disk space, descriptors or processes left
            raise DiedLoading(f"a worker cannot be started: {error}.") from error
        await self.worker.load(timeout)

    async def close(self) -> None:
        """End the worker, if there is one."""
        if self.worker is not None:
            await self.worker.stop()

    def describe(self) -> dict[str, Any]:
        """Facts about the slot's present worker, as JSON."""
        worker = self.worker
        if worker is None:
            return {"id": self._index, "state": "starting", "restarts": self.restarts}
        ready_at = worker.ready_at and datetime.fromtimestamp(worker.ready_at, UTC).isoformat(timespec="seconds")
        return {
            "id": self._index,
            "state": str(worker.state),
            "pid": worker.pid,
            "device": worker.plan.device.name,
            "ready_at": ready_at or None,
            "predictions": worker.predictions,
            "restarts": self.restarts,
        }


def _delays() -> Iterator[float]:
    """Seconds to wait after each failed start in a row: doubling, with jitter so that workers spread out."""
    delay = _FIRST_DELAY
    while True:
        yield delay * random.uniform(0.8, 1.2)
        delay = min(delay * 2, _LONGEST_DELAY)


def _abandon(reply: asyncio.Future[Message], response: SharedBuffer) -> None:
    """Nobody waits for this answer any more."""
    response.close()
    if not reply.cancelled():
        reply.exception()
