"""Workers that are loaded and wait to take the place of one that ends, so that its end costs no load time."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from model_loader.crew import Crew
from model_loader.death import Cause
from model_loader.errors import ModelLoaderError
from model_loader.process import WorkerPlan, WorkerProcess, WorkerState
from model_loader.recycling import first_of

log = logging.getLogger(__name__)


class Spares:
    """As many as `count`, spread over the devices of the workers; one takes the place of a worker of its device only.

    They load one after the other, and not before a worker has become ready: where none does, none of these would.
    """

    def __init__(self, count: int, crew: Crew, delays: Callable[[], Iterator[float]]) -> None:
        self.restarts_by_cause: Counter[str] = Counter()
        self._count = count
        self._crew = crew
        self._delays = delays
        self._loaded: dict[WorkerProcess, asyncio.Event] = {}
        self._is_wanted = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def begin(self) -> None:
        """A worker is ready."""
        self._is_wanted.set()

    def take(self, device: str) -> WorkerProcess | None:
        """A loaded worker for this device, if there is one; another then loads in its stead."""
        for worker, taken in self._loaded.items():
            if worker.plan.device.name == device and worker.state is WorkerState.READY:
                del self._loaded[worker]
                taken.set()
                return worker
        return None

    def dismiss(self, cause: Cause) -> None:
        """End those that are loaded."""
        for worker in self._loaded:
            self._crew.dismiss(worker, cause)
        self._loaded.clear()
        self._is_wanted.clear()

    async def keep(self, plans: Sequence[Callable[[], WorkerPlan]]) -> None:
        """Have them there until cancelled; `plans` are the workers'."""
        await asyncio.gather(*(self._keep_one(plans[number % len(plans)]) for number in range(self._count)))

    def describe(self) -> dict[str, Any]:
        """Facts for people, as JSON."""
        loaded = [{"worker": w.number, "pid": w.pid, "device": w.plan.device.name} for w in self._loaded]
        return {"wanted": self._count, "loaded": loaded, "restarts_by_cause": dict(self.restarts_by_cause)}

    async def _keep_one(self, plan: Callable[[], WorkerPlan]) -> None:
        delays = self._delays()
        while True:
            await self._is_wanted.wait()
            try:
                async with self._one_at_a_time:
                    worker = await self._crew.loaded(plan)
            except Exception as error:  # noqa: BLE001 (the workers' own starts tell of what is not foreseen)
                self.restarts_by_cause[Cause.FAILED_START] += 1
                delay = next(delays)
                text = error.text if isinstance(error, ModelLoaderError) else f"{type(error).__name__}: {error}."
                log.warning("a spare worker did not become ready, and is tried again in %.0f s: %s", delay, text)
                await asyncio.sleep(delay)
                continue
            delays = self._delays()
            log.info("worker %d is loaded as a spare for %s", worker.number, worker.plan.device.name)
            taken = self._loaded[worker] = asyncio.Event()
            await first_of(taken, worker.leaving)
            if self._loaded.pop(worker, None) is not None:
                await worker.ended.wait()
                self.restarts_by_cause[worker.cause] += 1
