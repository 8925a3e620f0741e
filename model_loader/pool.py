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
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from model_loader import orphans, starting
from model_loader.crew import Crew
from model_loader.death import Cause
from model_loader.errors import DeadlineExceeded, ModelLoaderError, NotReady
from model_loader.line import Asking, Line, PoolLimits
from model_loader.pace import Pace
from model_loader.prediction import Prediction, PredictRequest
from model_loader.process import Answer, Recipient, WorkerPlan, WorkerProcess
from model_loader.recycling import Recycling, Upkeep
from model_loader.slot import Slot, Tally
from model_loader.spares import Spares

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0
_REAP_EVERY = 10.0
_NO_UPKEEP = Upkeep()
log = logging.getLogger(__name__)


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


#: Builds the environment and whatever else must be there before a worker can start; it may take minutes. It is given a
#: function that takes a sentence about how far it is.
Prepare = Callable[[Callable[[str], None]], Awaitable[Launch]]


def start_delays() -> Iterator[float]:
    """Seconds to wait after each failed start in a row: doubling, with jitter so that workers spread out."""
    delay = _FIRST_DELAY
    while True:
        yield delay * random.uniform(0.8, 1.2)
        delay = min(delay * 2, _LONGEST_DELAY)


class WorkerPool:
    """Workers for one package. Use it on one event loop, on the process's main thread.

    `delays` gives the seconds to wait after each failed start in a row; a start that succeeds begins anew with it.
    """

    def __init__(
        self,
        prepare: Prepare,
        limits: PoolLimits,
        delays: Callable[[], Iterator[float]] = start_delays,
        *,
        upkeep: Upkeep = _NO_UPKEEP,
    ) -> None:
        self._prepare = prepare
        self._limits = limits
        self._delays = delays
        self._slots: list[Slot] = []
        self._line = Line(limits, lambda: len(self._slots), self._not_ready, self._may_take_another)
        self._load_pace = Pace()
        self._stopping = False
        self._reason = "the model's environment is being prepared"
        self._failure: ModelLoaderError | None = None
        self._settled = asyncio.Event()
        self._since = time.monotonic()
        self._facts: dict[str, Any] = {}
        self._serving: asyncio.Task[None] | None = None
        self._keeper = orphans.Keeper()
        self._crew = Crew(self._keeper.family, limits.startup_timeout)
        self._spares = Spares(upkeep.spare_workers, self._crew, delays)
        self._recycling = Recycling(upkeep, delays)
        self._tallies: defaultdict[int, Tally] = defaultdict(Tally)
        self._has_changed = asyncio.Event()

    async def start(self) -> None:
        """Begin to prepare and to load; returns at once. Starting what was started changes nothing."""
        if self._serving is None:
            orphans.become_subreaper()
            self._serving = asyncio.create_task(self._serve())

    async def stop(self, grace: float) -> None:
        """Refuse what is new, let what runs or waits finish for `grace` seconds, end every worker.

        Stopping a second time, while the first still gives grace, cuts that short.
        """
        self._stopping = True
        self._settled.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._line.quiet.wait(), grace)
        self._line.close()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        await self._crew.close()
        orphans.end_strays()

    @property
    def state(self) -> PoolState:
        """The state that `describe` and `check_ready` tell of."""
        if self._stopping:
            return PoolState.STOPPING
        for slot in self._slots:  # asked several times for each request
            if slot.serving:
                return PoolState.READY
        if self._failure is not None:
            return PoolState.FAILED
        return PoolState.STARTING if self._slots else PoolState.PREPARING

    @property
    def failure(self) -> ModelLoaderError | None:
        """What the last start failed with; None since a worker was ready, or since preparing succeeded."""
        return self._failure

    @property
    def restarts_by_cause(self) -> Counter[str]:
        """How often a worker ended, spares included, and how often a start failed: counts by `Cause`."""
        return sum((tally.by_cause for tally in self._tallies.values()), self._spares.restarts_by_cause.copy())

    def reload(self, why: str) -> None:
        """Prepare anew and start other workers; those that are there end when what they do is done.

        `why` is part of a sentence, as "its mdai_deploy.py has changed". What failed before is tried again at once.
        """
        if not self._stopping:
            self._reason, self._since = why, time.monotonic()
            self._has_changed.set()

    async def until_settled(self) -> None:
        """Wait until `state` is none of PREPARING and STARTING: a worker is ready, or the last start failed."""
        while self.state in (PoolState.PREPARING, PoolState.STARTING):
            self._settled.clear()
            await self._settled.wait()

    def check_ready(self) -> None:
        """Raises NotReady where no worker could take a request; its text is the reason."""
        if self.state is not PoolState.READY:
            raise self._not_ready()

    def check_admission(self) -> None:
        """Raises NotReady or QueueFull where a request that came now would be refused."""
        self.check_ready()
        self._line.check_room()

    def ask(self, request: PredictRequest, recipient: Recipient) -> Asking:
        """Have the request answered: the recipient gets an `Answer`, NotReady, or PredictFailed for this request alone.

        Raises NotReady or QueueFull where it is refused; then the recipient hears nothing.
        """
        self.check_ready()
        return self._line.ask(request, recipient)

    def leave(self, asking: Asking) -> None:
        """Nobody waits for it any more, which its recipient says.

        One that waits in line is dropped. Where one runs, the model is told, and runs to its end for nobody, or is
        stopped where the limits say so.
        """
        self._line.leave(asking)

    async def predict(self, request: PredictRequest) -> Prediction:
        """The model's answer. Raises NotReady, QueueFull, or PredictFailed for this request alone.

        Cancelled, it leaves: see `leave`. Where the request's own time is over, the model is stopped.
        """
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        asking = self.ask(request, reply)
        if request.timeout is None:
            return await self._answer(asking, reply)
        allowed = min(request.timeout, self._limits.predict_timeout)
        try:
            async with asyncio.timeout(allowed) as limit:
                return await self._answer(asking, reply, limit.expired)
        except TimeoutError:
            raise _late(allowed, asking.queued) from None

    async def _answer(
        self, asking: Asking, reply: "asyncio.Future[Answer]", is_over: Callable[[], bool] = lambda: False
    ) -> Prediction:
        try:
            answer = await reply
        except asyncio.CancelledError:
            self._line.leave(asking, is_over=is_over())
            if not reply.cancelled() and reply.exception() is None:
                reply.result().body.close()
            raise
        return Prediction(answer, asking.queued or 0.0)

    def expected_wait(self) -> float:
        """Seconds after which a request that is refused now might find room, as predictions have gone lately."""
        return self._line.expected_wait()

    def describe(self) -> dict[str, Any]:
        """Facts for people, as JSON: state, reason, queue, workers, and what preparing found out."""
        ready = self.state is PoolState.READY
        return {
            "state": str(self.state),
            "reason": None if ready else str(self._not_ready()),
            "waiting": len(self._line),
            "workers": [slot.describe() for slot in self._slots],
            "spares": self._spares.describe(),
            "restarts_by_cause": dict(self.restarts_by_cause),
            **self._facts,
        }

    async def _serve(self) -> None:
        try:
            with suppress(OSError):  # the service can do without
                self._keeper.start()
            while True:
                await self._serve_until_changed()
                self._make_way()
        finally:
            try:
                await self._crew.close()
            finally:  # who stops a second time cancels that, and ends the workers itself
                self._keeper.stop()

    async def _serve_until_changed(self) -> None:
        self._has_changed.clear()
        tasks = [asyncio.create_task(what) for what in (self._serve_once(), self._until_changed())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_changed(self) -> None:
        await self._has_changed.wait()

    def _make_way(self) -> None:
        """Part with all workers; nobody who waits in line is refused for that."""
        for slot in self._slots:
            if slot.worker is not None and slot.serving:
                slot.tally.restarts += 1
                self._crew.dismiss(slot.worker, Cause.RELOAD)
        self._spares.dismiss(Cause.RELOAD)
        self._line.forget_idle()
        self._slots = []
        self._failure = None

    async def _serve_once(self) -> None:
        launch = await self._prepared()
        self._facts = launch.facts
        self._reason, self._since = "the model is loading", time.monotonic()
        self._slots = [Slot(index, plan, self._crew, self._tallies[index]) for index, plan in enumerate(launch.plans)]
        # Not before: preparing starts processes that are waited for elsewhere, which must not be taken for strays.
        await asyncio.gather(
            self._reap(), self._recycling.patrol(), self._spares.keep(launch.plans), *map(self._keep, self._slots)
        )

    async def _prepared(self) -> Launch:
        delays = self._delays()
        while True:
            try:
                launch = await self._prepare(self._progress)
            except Exception as error:  # noqa: BLE001 (`_failed` logs what is not foreseen)
                await asyncio.sleep(self._failed(error, next(delays)))
            else:
                self._failure = None
                return launch

    def _progress(self, sentence: str) -> None:
        """Called from the thread that prepares."""
        log.info("%s", sentence.strip())
        self._reason = f"the model's environment is being prepared: {sentence.strip()}"

    async def _started(self, slot: Slot) -> WorkerProcess:
        began = time.monotonic()
        worker = await slot.start()
        self._load_pace.note(time.monotonic() - began)
        return worker

    async def _keep(self, slot: Slot) -> None:
        """Have a worker in the slot, one after the other, for as long as the pool lives."""
        delays = self._delays()
        worker: WorkerProcess | None = None
        while True:
            try:
                worker = worker or await self._started(slot)
            except Exception as error:  # noqa: BLE001 (`_failed` logs what is not foreseen)
                slot.tally.by_cause[Cause.FAILED_START] += 1
                await asyncio.sleep(self._failed(error, next(delays)))
                continue
            delays = self._delays()
            try:
                worker = await self._watch(slot, worker)
            except Exception as error:  # noqa: BLE001 (the start of a successor failed, and meanwhile the worker ended)
                slot.tally.by_cause[Cause.FAILED_START] += 1
                await asyncio.sleep(self._failed(error, next(delays)))
                worker = None

    async def _watch(self, slot: Slot, worker: WorkerProcess) -> WorkerProcess | None:
        """Have a worker that is ready take requests until it ends or is replaced by the one that is returned."""
        self._failure = None
        self._settled.set()
        log.info("worker %d is ready on %s (process %d)", worker.number, worker.plan.device.name, worker.pid)
        slot.adopt(worker)
        self._spares.begin()
        self._recycling.begin(worker)
        self._line.release(worker)
        successor, cause = await self._recycling.successor(worker, lambda: self._beside(slot))
        self._line.forget(worker)
        slot.tally.restarts += 1
        if cause is not None:
            self._crew.dismiss(worker, cause)
        successor = successor or self._spares.take(slot.device)
        if successor is None:
            await worker.ended.wait()
            words = worker.cause.replace("_", " ")
            self._reason, self._since = f"the worker ended ({words}) and starts again", time.monotonic()
        return successor

    async def _beside(self, slot: Slot) -> WorkerProcess:
        return self._spares.take(slot.device) or await slot.load_beside()

    def _failed(self, error: Exception, delay: float) -> float:
        """A start failed and is tried again after `delay` seconds, which is returned.

        Who waits in line is told so, unless another worker is ready or starts and has not failed.
        """
        if not isinstance(error, ModelLoaderError):
            if not isinstance(error, OSError):  # no disk space, descriptors or memory left
                log.exception("an error that was not foreseen")
            error = ModelLoaderError(f"the model cannot be started: {type(error).__name__}: {error}.")
        if self._failure is None or self._failure.text != error.text:
            log.error(
                "%s\n\nThis is tried again in %.0f s, and from then on every minute at least.", error.report, delay
            )
        self._failure = error
        self._settled.set()
        if not any(slot.is_promising for slot in self._slots):
            self._line.refuse_waiting()
        return delay

    def _may_take_another(self, worker: WorkerProcess) -> bool:
        """A worker has nothing to do."""
        if worker.dismissed_for is not None:
            self._crew.dismiss(worker, worker.dismissed_for)
            return False
        self._recycling.released(worker)
        return True

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAP_EVERY)
            with suppress(OSError, RuntimeError):  # no descriptors or no threads left; there is a next time
                await asyncio.wrap_future(starting.reap_strays())

    def _not_ready(self) -> NotReady:
        if self._stopping:
            return NotReady("the server is shutting down.")
        if self._failure is not None:
            return NotReady(self._failure.text, traceback=self._failure.traceback, retry_after=5.0, quotes=True)
        passed = time.monotonic() - self._since
        return NotReady(f"{self._reason} ({passed:.0f} s so far).", retry_after=self._load_pace.left_of(passed))


def _late(allowed: float, queued: float | None) -> DeadlineExceeded:
    """The request's own time is over: `queued` seconds of it in line, or all where that is None."""
    if queued is None:
        return DeadlineExceeded(
            f"the request waited {allowed:g} s in line, which is all the time that it allows, and never ran:"
            " try again later, or allow more."
        )
    return DeadlineExceeded(
        f"predict(data) had not ended when the {allowed:g} s that the request allows were over ({queued:.1f} s of them"
        " in line): it was told so, and the worker is stopped unless it ends now. Allow more."
    )
