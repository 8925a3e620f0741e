"""Every worker of a pool that lives: those that serve, those that load, spares, and those that are on their way out."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from model_loader.death import Cause
from model_loader.memory_file import WarmFiles, most_kept
from model_loader.process import WorkerPlan, WorkerProcess, WorkerState


class Crew:
    """Starts workers and knows each of them until it is gone and its folders are deleted."""

    def __init__(self, family: str, startup_timeout: float) -> None:
        self._family = family
        self._answers = WarmFiles(most_kept(), sealed=False)
        self._startup_timeout = startup_timeout
        self._living: dict[int, WorkerProcess] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def spawn(self, plan: Callable[[], WorkerPlan]) -> WorkerProcess:
        """A worker that has still to start and load. Raises OSError or RuntimeError where resources are exhausted."""
        worker = WorkerProcess(await asyncio.to_thread(plan), self._family, self._answers)
        self._living[worker.number] = worker
        self.soon(self._see_off(worker))
        return worker

    async def load(self, worker: WorkerProcess) -> None:
        """Wait until it is ready. Raises LoadFailed."""
        await worker.load(self._startup_timeout)

    async def loaded(self, plan: Callable[[], WorkerPlan]) -> WorkerProcess:
        """A worker that is ready. Raises as `spawn` and `load` do."""
        worker = await self.spawn(plan)
        await self.load(worker)
        return worker

    def dismiss(self, worker: WorkerProcess, cause: Cause) -> None:
        """It takes no other request and ends, at once where it is idle, else when its request is done."""
        worker.dismissed_for = worker.dismissed_for or cause
        if worker.state is WorkerState.READY:
            worker.take_leave()
            self.soon(worker.see_off())

    def soon(self, what: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else; `close` waits for it."""
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all of them, and wait until they are gone."""
        await asyncio.gather(*(worker.stop() for worker in self._living.values()))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._answers.close()

    async def _see_off(self, worker: WorkerProcess) -> None:
        await worker.ended.wait()
        del self._living[worker.number]
        await asyncio.to_thread(worker.plan.leave)
