"""A place for a worker: one device and whichever process holds it at the time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from model_loader.crew import Crew
from model_loader.process import WorkerPlan, WorkerProcess, WorkerState


@dataclass
class Tally:
    """How often the worker in one place was another's successor, and why; failed starts are counted, too."""

    restarts: int = 0
    by_cause: Counter[str] = field(default_factory=Counter)


class Slot:
    """One device and the worker that holds it, whichever it is at the time."""

    def __init__(self, index: int, plan: Callable[[], WorkerPlan], crew: Crew, tally: Tally) -> None:
        self._index = index
        self._plan = plan
        self._crew = crew
        self.tally = tally
        self.worker: WorkerProcess | None = None
        self._has_failed = False

    @property
    def serving(self) -> bool:
        return self.worker is not None and self.worker.state in (WorkerState.READY, WorkerState.BUSY)

    @property
    def is_promising(self) -> bool:
        """Whether a worker is here or starts that has not failed to since the last one was ready."""
        return not self._has_failed

    @property
    def restarts_by_cause(self) -> Counter[str]:
        """How often a worker here ended, and a start failed, by `Cause`."""
        return self.tally.by_cause

    @property
    def device(self) -> str:
        """The name of the device; empty before the first start."""
        return self.worker.plan.device.name if self.worker is not None else ""

    async def start(self) -> WorkerProcess:
        """Start a worker and wait until it is ready. Raises LoadFailed, or OSError where resources are exhausted."""
        try:
            self.worker = await self._crew.spawn(self._plan)
            await self._crew.load(self.worker)
        except Exception:
            self._has_failed = True
            raise
        return self.worker

    async def load_beside(self) -> WorkerProcess:
        """Another worker for this place, ready, while the present one serves. Raises as `start` does."""
        return await self._crew.loaded(self._plan)

    def adopt(self, worker: WorkerProcess) -> None:
        """This worker, which is ready, is the slot's from now on, and is counted when it has ended."""
        self.worker = worker
        self._has_failed = False
        self._crew.soon(self._count(worker))

    async def _count(self, worker: WorkerProcess) -> None:
        await worker.ended.wait()
        self.restarts_by_cause[worker.cause] += 1

    def describe(self) -> dict[str, Any]:
        """Facts about the slot's present worker, as JSON."""
        facts = {"restarts": self.tally.restarts, "restarts_by_cause": dict(self.restarts_by_cause)}
        worker = self.worker
        if worker is None or not worker.pid:
            return {"id": self._index, "state": "starting", **facts}
        ready_at = worker.ready_at and datetime.fromtimestamp(worker.ready_at, UTC).isoformat(timespec="seconds")
        return {
            "id": self._index,
            "worker": worker.number,
            "state": str(worker.state),
            "pid": worker.pid,
            "device": worker.plan.device.name,
            "ready_at": ready_at or None,
            "predictions": worker.predictions,
            **facts,
        }
