"""A place for a worker: one device and whichever process holds it at the time."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from model_loader.process import WorkerPlan, WorkerProcess, WorkerState


class Slot:
    """One device and the worker that holds it, whichever it is at the time."""

    def __init__(self, index: int, plan: Callable[[], WorkerPlan], family: str) -> None:
        self._index = index
        self._plan = plan
        self._family = family
        self.worker: WorkerProcess | None = None
        self.restarts = 0
        self._has_failed = False

    @property
    def serving(self) -> bool:
        return self.worker is not None and self.worker.state in (WorkerState.READY, WorkerState.BUSY)

    @property
    def is_promising(self) -> bool:
        """Whether a worker is here or starts that has not failed to since the last one was ready."""
        return not self._has_failed

    async def start(self, timeout: float) -> WorkerProcess:
        """Start a worker and wait until it is ready. Raises LoadFailed, or OSError where resources are exhausted."""
        try:
            self.worker = WorkerProcess(await asyncio.to_thread(self._plan), self._family)
            await self.worker.load(timeout)
        except Exception:
            self._has_failed = True
            raise
        self._has_failed = False
        return self.worker

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
            "worker": worker.number,
            "state": str(worker.state),
            "pid": worker.pid,
            "device": worker.plan.device.name,
            "ready_at": ready_at or None,
            "predictions": worker.predictions,
            "restarts": self.restarts,
        }
