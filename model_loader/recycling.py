"""Workers that are replaced between two requests: after so many of them, or for the memory that they hold.

The replacement is loaded first, so that there is always one that serves. It is told to begin a little before the
number is reached, by chance, so that workers which started together do not go together.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from model_loader import orphans
from model_loader.death import Cause
from model_loader.errors import ModelLoaderError
from model_loader.memory import families, footprint
from model_loader.process import WorkerProcess, WorkerState

#: Of --max-requests-per-worker, how many each worker may be spared, by chance.
_JITTER = 0.1
#: Of --worker-memory, as much may be held while a request runs; what holds more is killed.
_HARD = 2
#: Where a worker holds more before its first prediction, replacing it is in vain: it may hold so many times that.
_ROOM = 1.25
_PATROL_EVERY = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upkeep:
    """What the operator set: spares in all, predictions of a worker, bytes that it may hold between two of them."""

    spare_workers: int = 0
    max_requests_per_worker: int | None = None
    worker_memory: int | None = None


@dataclass
class _Watched:
    allowed: float
    ceiling: float
    pids: frozenset[int]
    due: asyncio.Event = field(default_factory=asyncio.Event)
    cause: Cause = Cause.ENDED
    measured_at: float = 0.0
    pause: float = 0.0
    was_stopped: bool = False


class Recycling:
    """Tells which workers are due to be replaced, and has each replaced."""

    def __init__(self, upkeep: Upkeep, delays: Callable[[], Iterator[float]]) -> None:
        self._upkeep = upkeep
        self._delays = delays
        self._watched: dict[WorkerProcess, _Watched] = {}
        self._one_at_a_time = asyncio.Lock()
        self._has_warned = False

    def begin(self, worker: WorkerProcess) -> None:
        """A worker is ready, and has not been given a request."""
        most, ceiling = self._upkeep.max_requests_per_worker, self._upkeep.worker_memory
        worker.frees_first = ceiling is not None
        allowed = float("inf") if most is None else most - int(random.uniform(0, _JITTER) * most)
        self._watched[worker] = _Watched(allowed, float("inf") if ceiling is None else ceiling, frozenset({worker.pid}))
        self.released(worker)

    def released(self, worker: WorkerProcess) -> None:
        """A worker has nothing to do: it is looked at, and may be due from now on."""
        watched = self._watched.get(worker)
        if watched is None or watched.due.is_set():
            return
        if worker.predictions >= watched.allowed:
            self._is_due(worker, watched, Cause.RECYCLED_REQUESTS)
            log.info("worker %d is replaced after %d predictions", worker.number, worker.predictions)
        elif self._upkeep.worker_memory is not None:
            self._measure(worker, watched)

    async def successor(
        self, worker: WorkerProcess, find: Callable[[], Awaitable[WorkerProcess]]
    ) -> tuple[WorkerProcess | None, Cause | None]:
        """Wait until a worker that was begun with ends or has to go.

        `find` gives another that is ready, or raises as starts do; two that load at once would take more memory.
        The other, if there is one, and why the worker has to go; None where it has ended. There is a cause and no other
        where two do not fit in memory: the worker then goes first.
        """
        watched = self._watched[worker]
        delays: Iterator[float] | None = None
        try:
            while True:
                await first_of(watched.due, worker.leaving)
                if worker.leaving.is_set():
                    return None, None
                try:
                    async with self._one_at_a_time:
                        if worker.leaving.is_set():
                            continue
                        found = await find()
                except Exception as error:
                    if worker.leaving.is_set():
                        raise
                    if _is_for_memory(error):
                        log.warning("worker %d ends before there is another: two do not fit in memory", worker.number)
                        return None, watched.cause
                    delays = delays or self._delays()
                    delay = next(delays)
                    log.warning(
                        "worker %d serves on, because one in its place did not start; again in %.0f s: %s",
                        *(worker.number, delay, error),
                    )
                    await first_of(worker.leaving, within=delay)
                else:
                    return found, watched.cause
        finally:
            del self._watched[worker]

    async def patrol(self) -> None:
        """Look at all workers every second.

        Idle ones that a signal has stopped are ended, others may be due; whatever holds far too much is killed.
        """
        ceiling = self._upkeep.worker_memory
        while True:
            await asyncio.sleep(_PATROL_EVERY)
            self._end_stopped()
            if ceiling is None:
                continue
            leaders = {worker.pid for worker in self._watched}
            held = await asyncio.to_thread(_held, leaders, ceiling)
            for worker, watched in list(self._watched.items()):
                watched.pids, size = held.get(worker.pid, (watched.pids, 0))
                if worker.state is WorkerState.READY:
                    self.released(worker)
                elif size > _HARD * watched.ceiling and worker.state is WorkerState.BUSY:
                    worker.kill_overgrown(_overgrown(size, watched.ceiling))

    def _end_stopped(self) -> None:
        """Twice in a row: who copies a process's memory may stop it for a moment."""
        for worker, watched in self._watched.items():
            is_stopped = worker.state is WorkerState.READY and orphans.is_stopped(worker.pid)
            if is_stopped and watched.was_stopped:
                worker.kill_stopped()
            watched.was_stopped = is_stopped

    def _measure(self, worker: WorkerProcess, watched: _Watched) -> None:
        began = time.monotonic()
        if began - watched.measured_at < watched.pause:
            return
        size = footprint(watched.pids, matters_above=int(watched.ceiling))
        watched.measured_at = time.monotonic()
        watched.pause = 20 * (watched.measured_at - began)  # so that looking takes a twentieth of the time at most
        if size <= watched.ceiling:
            return
        if not worker.predictions:
            self._warn(size, watched.ceiling)
            watched.ceiling = _ROOM * size
            return
        self._is_due(worker, watched, Cause.RECYCLED_MEMORY)
        log.info(
            "worker %d is replaced: it holds %s between requests, and may hold %s",
            *(worker.number, _shown(size), _shown(watched.ceiling)),
        )

    def _warn(self, size: int, ceiling: float) -> None:
        if not self._has_warned:
            log.warning(
                "a worker holds %s before its first prediction, which is more than --worker-memory allows (%s): it is"
                " replaced when it holds %g times that. Allow more.",
                *(_shown(size), _shown(ceiling), _ROOM),
            )
        self._has_warned = True

    def _is_due(self, worker: WorkerProcess, watched: _Watched, cause: Cause) -> None:
        watched.cause = cause
        watched.due.set()


async def first_of(*events: asyncio.Event, within: float | None = None) -> None:
    """Wait until one of the events is set, or for `within` seconds."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _held(leaders: set[int], ceiling: int) -> dict[int, tuple[frozenset[int], int]]:
    return {
        leader: (pids, footprint(pids, matters_above=_HARD * ceiling)) for leader, pids in families(leaders).items()
    }


def _is_for_memory(error: Exception) -> bool:
    text = error.report if isinstance(error, ModelLoaderError) else str(error)
    return isinstance(error, MemoryError) or any(
        sign in text
        for sign in ("MemoryError", "out of memory", "OutOfMemory", "memory ran out", "Cannot allocate memory")
    )


def _overgrown(size: int, ceiling: float) -> str:
    return (
        f"the worker's process was stopped while it predicted: it held {_shown(size)}, more than twice what"
        f" --worker-memory allows between requests ({_shown(ceiling)}). Allow more where this request needs it."
    )


def _shown(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"
