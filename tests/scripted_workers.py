"""Workers that are scripts in place of the guest, for tests of what the server makes of a worker that misbehaves.

A script is an interpreter as far as the server can see: it is started in its place, with its arguments. It starts in a
tenth of a real worker's time, and says on the channel whatever a test wants to hear there.
"""

import asyncio
import dataclasses
import itertools
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from model_loader.line import PoolLimits
from model_loader.pool import Launch, WorkerPool
from model_loader.prediction import PredictRequest
from model_loader.process import WorkerPlan
from model_loader.recycling import Upkeep
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import wire
from tests.hosting import PATIENCE, Hosted, until

_PRELUDE = """#!{python} -IS
import os, re, signal, socket, subprocess, sys
sock = socket.socket(fileno=int(sys.argv[-2]))
READY, DONE = {ready!r}, {done!r}
FAILED = {failed!r}

def hear():
    header, descriptors, _, _ = socket.recv_fds(sock, 4, 2)
    if len(header) < 4:
        sys.exit(0)
    payload = sock.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
    for descriptor in descriptors:
        os.close(descriptor)
    return payload

def say(*frames):
    sock.sendall(b"".join(frames))

def pause():
    while True:
        signal.pause()
"""

#: Loads, and answers every request at once.
ANSWERS = """
hear()
say(READY)
while hear():
    say(DONE)
"""

#: Obeys files in the folder MEETING. It fails to load where `flaw` exists, and does not go on loading before the fifo
#: `hold` is written to where that exists; the variables FLAW and HOLD name others. A request named NAME (by its id,
#: "name-NAME") makes NAME.begun, and ends when the fifo NAME is written to: with death for "die".
MEETS = """
os.chdir(os.environ["MEETING"])
with open("journal", "a") as journal:
    journal.write("start\\n")
hear()
if os.path.exists(os.environ.get("HOLD", "hold")):
    open(os.environ.get("HOLD", "hold")).read()
say(FAILED if os.path.exists(os.environ.get("FLAW", "flaw")) else READY)
while True:
    name = re.search(rb"name-(\\w+)", hear()).group(1).decode()
    with open(name + ".begun", "w") as begun:
        begun.write(str(os.getpid()))
    with open(name) as fifo:
        if fifo.read() == "die":
            os._exit(3)
    say(DONE)
"""


def reply(**said: Any) -> bytes:
    """A worker's frame."""
    return wire.frame(msgpack.packb(said))


def interpreter(folder: Path, script: str) -> Path:
    """An executable that a server can start in an interpreter's place; `hear`, `say`, `pause` and frames are there."""
    program = folder / "scripted-python"
    program.write_text(
        _PRELUDE.format(
            python=sys.executable,
            ready=reply(ready={"python": "3.7.16", "pid": 1, "seconds": 0.5}),
            done=reply(done={"size": 0, "skeleton": 0, "timings": {"predict": 0.25}}),
            failed=reply(failed={"kind": wire.FAILED_INIT, "text": "MDAIModel() raised a flaw.", "traceback": "T"}),
        )
        + script
    )
    program.chmod(0o700)
    return program


def scripted_plan(hosted: Hosted, python: Path, **variables: str) -> WorkerPlan:
    """The plan of a real worker, but for its interpreter."""
    plan = hosted.launch().plans[0]()
    return dataclasses.replace(plan, python=python, environment=plan.environment | variables, leave=lambda: None)


def no_delays() -> Iterator[float]:
    """Failed starts are repeated at once."""
    return itertools.repeat(0.0)


class Meeting:
    """A pool of scripted workers that obey files (`MEETS`), and the folder with these files."""

    def __init__(
        self,
        hosted: Hosted,
        folder: Path,
        *,
        workers: int = 1,
        limits: PoolLimits | None = None,
        delays: Callable[[], Iterator[float]] = no_delays,
        script: str = MEETS,
        upkeep: Upkeep = Upkeep(),  # noqa: B008 (frozen)
    ) -> None:
        self.hosted = hosted
        self.folder = folder
        self.python = interpreter(folder, script)
        self.plans: tuple[Callable[[], WorkerPlan], ...] = (self.plan(),) * workers

        async def prepare(_progress: Callable[[str], None]) -> Launch:
            return Launch(self.plans, {})

        self.prepare: Callable[[Callable[[str], None]], Awaitable[Launch]] = prepare
        limits = limits or PoolLimits(PATIENCE, PATIENCE)
        self.pool = hosted.pool = WorkerPool(lambda progress: self.prepare(progress), limits, delays, upkeep=upkeep)

    def plan(self, **variables: str) -> Callable[[], WorkerPlan]:
        """Makes the plan for a worker that sees these `variables`."""
        plan = scripted_plan(self.hosted, self.python, MEETING=str(self.folder), **variables)
        return lambda: plan

    def start(self) -> "Meeting":
        """Start the pool and wait until every worker is ready."""
        self.hosted.start()
        self.hosted.until_ready()
        return self

    async def ask(self, name: str) -> dict[str, float]:
        """One request, named `name`; its timings."""
        fifo = self.folder / name
        if not fifo.exists():
            os.mkfifo(fifo)
        with SharedBuffer() as body:
            body.write(b"\x80")
            with await self.pool.predict(PredictRequest(body, "msgpack", f"name-{name}")) as prediction:
                return prediction.timings

    def has_begun(self, name: str) -> bool:
        """Whether a worker has begun with the request."""
        return self.worker_of(name) > 0

    def worker_of(self, name: str) -> int:
        """The process id of the worker that has begun with the request; 0 for none."""
        try:
            return int((self.folder / f"{name}.begun").read_text() or 0)
        except FileNotFoundError:
            return 0

    def end(self, name: str, how: str = "answer") -> None:
        """Have the worker that has begun with the request end it."""
        (self.folder / name).write_text(how)

    def starts(self) -> int:
        """How many workers have been started."""
        try:
            return len((self.folder / "journal").read_text().splitlines())
        except FileNotFoundError:
            return 0

    @property
    def states(self) -> list[str]:
        """The state of each worker."""
        return [worker["state"] for worker in self.pool.describe()["workers"]]


def ask(meeting: Meeting, name: str) -> "asyncio.Task[Any]":
    """Begin to ask; the task has the answer."""
    return asyncio.create_task(meeting.ask(name))


async def begun(meeting: Meeting, *names: str) -> None:
    """Wait until these requests have reached a worker."""
    await until(lambda: all(meeting.has_begun(name) for name in names), f"{names} have begun")
