"""Packages on real worker processes, for tests: opened, served by a pool, asked, and shown to leave nothing behind.

A test runs on the process's main thread, as the server does. The event loop runs while a method of `Hosted` does.
"""

import asyncio
import contextlib
import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgpack

from model_loader import process
from model_loader.devices import plan_devices
from model_loader.environment import EnvironmentRequest
from model_loader.launch import preparation
from model_loader.line import PoolLimits
from model_loader.package import ModelPackage, open_package
from model_loader.pool import Launch, PoolState, WorkerPool
from model_loader.prediction import PredictRequest
from model_loader.process import WorkerProcess
from model_loader.recycling import Upkeep
from model_loader.shared_buffer import SharedBuffer
from model_loader.workdir import RunFolder
from model_loader.worker_user import WorkerUser

#: One folder for each misbehaviour.
PACKAGES = Path(__file__).parent / "packages"
#: How long anything that a test waits for may take before the test fails.
PATIENCE = 30.0
_TRACE = "MDAI_TEST_TRACE"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """One prediction: the response's bytes, the skeleton's bytes, seconds by phase."""

    body: bytes
    skeleton: bytes
    timings: dict[str, float]

    @property
    def outputs(self) -> Any:
        """The response, decoded."""
        return msgpack.unpackb(self.body, raw=False, strict_map_key=False)

    @property
    def note(self) -> Any:
        """What the package wrote, as JSON, into the note of its first output."""
        return json.loads(self.outputs[0]["note"])


class Hosted:
    """One package and a pool (or single workers) over it; leaving its `with` block ends it all.

    Then no process that descends from its workers and no shared buffer may be left: the block raises where one is.
    """

    def __init__(
        self,
        source: Path,
        folder: Path,
        *,
        cache: Path,
        environment: Literal["auto", "current"] | Path = "current",
        preinstalled: tuple[str, ...] = (),
        workers: int = 1,
        limits: PoolLimits | None = None,
        environ: dict[str, str] | None = None,
        upkeep: Upkeep = Upkeep(),  # noqa: B008 (frozen)
        user: WorkerUser | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        self._trace = uuid.uuid4().hex
        self._runner = asyncio.Runner(loop_factory=loop_factory)
        self._buffers_before = shared_buffers()
        self._singles: list[WorkerProcess] = []
        self.run_folder = RunFolder(folder)
        self.package: ModelPackage = open_package(source, scratch=self.run_folder.scratch)
        self.prepare = preparation(
            self.package,
            EnvironmentRequest(mode=environment, preinstalled=preinstalled),
            partial(plan_devices, self.package.config.device_type, "auto", workers, os.environ),
            self.run_folder,
            cache,
            dict(os.environ) | (environ or {}) | {_TRACE: self._trace},
            user=user,
        )
        limits = limits or PoolLimits(startup_timeout=PATIENCE, predict_timeout=PATIENCE)
        self.pool = WorkerPool(self.prepare, limits, upkeep=upkeep)
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
            for worker in self._singles:
                self.run(worker.stop())
        finally:
            self._runner.close()
            self.run_folder.__exit__(None, None, None)
        if error is None:
            await_true(lambda: not self.processes(), "no process of the package's is left")
            # Fewer where another host's workers, each of which has one, were there before and have ended.
            await_true(lambda: shared_buffers() <= self._buffers_before, "every shared buffer is given back")

    def run(self, awaitable: Coroutine[Any, Any, _T]) -> _T:
        """Run the event loop until `awaitable` is done, at most as long as tests have patience."""
        return self._runner.run(within(awaitable))

    def start(self) -> Self:
        """Start the pool and wait until it is ready. Raises NotReady when the first start fails."""
        self._started = True
        self.run(self.pool.start())
        self.until(lambda: self.pool.state in (PoolState.READY, PoolState.FAILED), "the pool has started")
        self.pool.check_ready()
        return self

    def stop(self, grace: float = 0.0) -> None:
        """Stop the pool, where it was started."""
        if self._started:
            self._started = False
            self.run(self.pool.stop(grace))

    def until(self, is_true: Callable[[], bool], what: str) -> None:
        """Run the event loop until `is_true()`."""
        self.run(until(is_true, what))

    def until_ready(self) -> None:
        """Run the event loop until every worker is ready."""
        self.until(lambda: all(w["state"] == "ready" for w in self.pool.describe()["workers"]), "all workers are ready")

    def launch(self) -> Launch:
        """The environment and the plans for workers."""
        return self.run(_coroutine(self.prepare(lambda _sentence: None)))

    def worker(self, timeout: float = PATIENCE) -> WorkerProcess:
        """A single loaded worker without a pool. Raises LoadFailed."""
        plan = self.launch().plans[0]

        async def load() -> WorkerProcess:
            worker = WorkerProcess(plan())
            self._singles.append(worker)
            await worker.load(timeout)
            return worker

        return self.run(load())

    def predict(self, request: dict[str, Any] | None = None, accept: Literal["msgpack", "json"] = "msgpack") -> Answer:
        """One prediction for `request`, by default one without files."""
        return self.run(predict(self.pool, request, accept))

    def note(self, **args: str) -> Any:
        """The note of the first output for a request with these `args`."""
        return self.predict({"files": [], "args": args}).note

    def processes(self) -> set[int]:
        """The ids of all processes that descend from this host's workers."""
        return processes_with(f"{_TRACE}={self._trace}")


def submitted(worker: WorkerProcess, body: SharedBuffer, timeout: float = PATIENCE) -> "asyncio.Future[process.Answer]":
    """What the worker answers to a request that lies in `body`."""
    answer: asyncio.Future[process.Answer] = asyncio.get_running_loop().create_future()
    worker.submit(body, "msgpack", "test", timeout, recipient=answer)
    return answer


async def predict(pool: WorkerPool, request: Any = None, accept: Literal["msgpack", "json"] = "msgpack") -> Answer:
    """One prediction; a `request` of bytes is sent as it is."""
    body = request if isinstance(request, bytes) else msgpack.packb({"files": []} if request is None else request)
    with SharedBuffer() as buffer:
        buffer.write(body)
        with await pool.predict(PredictRequest(buffer, accept, "test")) as prediction:
            return Answer(prediction.body.read(0, prediction.size), prediction.skeleton, prediction.timings)


async def within(awaitable: Coroutine[Any, Any, _T]) -> _T:
    """`awaitable`, with a TimeoutError where it outlasts the tests' patience."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def until(is_true: Callable[[], bool], what: str) -> None:
    """Wait, letting the event loop run, until `is_true()`."""
    latest = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < latest, f"waited in vain until {what}"
        await asyncio.sleep(0.002)


def await_true(is_true: Callable[[], bool], what: str) -> None:
    """Wait, with no event loop, until `is_true()`."""
    latest = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < latest, f"waited in vain until {what}"
        time.sleep(0.002)


def processes_with(setting: str) -> set[int]:
    """The ids of the living processes that have `NAME=value` in their environment, without this one."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and setting.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    return found - {os.getpid()}


def is_alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def shared_buffers() -> int:
    """How many descriptors of this process are shared buffers."""
    return sum(1 for target in _open_files() if target.startswith("/memfd:mdai-model"))


def _open_files() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile: the one that reads this folder
            yield str(descriptor.readlink())


async def _coroutine(awaitable: Awaitable[_T]) -> _T:
    return await awaitable
