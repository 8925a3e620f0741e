"""One worker as its parent sees it: started, loaded, asked, killed.

    STARTING ──ready──> READY ⇄ BUSY
        └──────any──────┴───┴──> STOPPING ──> DEAD

Everything here runs on the event loop's thread, which must be the process's main thread: the kernel ends a worker when
the thread ends that started it.
"""

import asyncio
import enum
import itertools
import logging
import os
import signal
import subprocess
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from model_loader import orphans
from model_loader.channel import Channel, Message
from model_loader.devices import Device
from model_loader.errors import (
    ClassMissing,
    DeadlineExceeded,
    DiedLoading,
    ImportFailed,
    InitFailed,
    LoadFailed,
    LoadTimeout,
    ModelRaised,
    OutputUnwritable,
    PredictFailed,
    RequestUnreadable,
    WorkerDied,
)
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import wire
from model_loader.worker_output import WorkerOutput

#: How long a worker that was asked to end may take: exit handlers of the package's run then.
STOP_SECONDS = 3.0
#: How long after its end of the channel closed a worker may take to be gone.
_LAST_BREATH = 1.0

_GUEST = Path(__file__).parent / "worker"
_LOAD_ERRORS = {
    wire.FAILED_IMPORT: ImportFailed,
    wire.FAILED_CLASS: ClassMissing,
    wire.FAILED_INIT: InitFailed,
}
_PREDICT_ERRORS = {
    wire.ERROR_REQUEST: RequestUnreadable,
    wire.ERROR_MODEL: ModelRaised,
    wire.ERROR_OUTPUT: OutputUnwritable,
}
_numbers = itertools.count(1)
log = logging.getLogger(__name__)
model_log = logging.getLogger("model")


class WorkerState(enum.StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    STOPPING = "stopping"
    DEAD = "dead"


@dataclass(frozen=True)
class WorkerPlan:
    """All that is needed to start a worker for one device."""

    python: Path
    runtime: Path | None
    hidden: tuple[Path, ...]
    root: Path
    import_folders: tuple[Path, ...]
    working_directory: Path
    environment: dict[str, str]
    device: Device


@dataclass(frozen=True)
class Done:
    """What a worker says of a prediction: the response's and the skeleton's length, and seconds by phase."""

    size: int
    skeleton: int
    timings: dict[str, float] = field(default_factory=dict)


class WorkerProcess:
    """A worker's process and the conversation with it. `ended` is set once it and its children are gone."""

    def __init__(self, plan: WorkerPlan) -> None:
        self.plan = plan
        self.number = next(_numbers)
        self.state = WorkerState.STARTING
        self.ended = asyncio.Event()
        self.predictions = 0
        self.ready_at = 0.0
        self.python = ""
        self._loop = asyncio.get_running_loop()
        self._mark = uuid.uuid4().hex
        self._reply: asyncio.Future[Message] = self._loop.create_future()
        self._deadline: asyncio.TimerHandle | None = None
        self._killed_because: LoadFailed | PredictFailed | None = None
        self._channel = Channel(self._answered, self._channel_ended)
        self._process = self._spawn()
        self._channel.started()

    @property
    def pid(self) -> int:
        """The process id, which is also its process group's and session's."""
        return self._process.pid

    async def load(self, timeout: float) -> None:
        """Wait until the model is loaded. Raises LoadFailed; the process is then gone."""
        assert self.state is WorkerState.STARTING
        plan = self.plan
        message: Message = {
            "do": "load",
            "root": str(plan.root),
            "import_folders": [str(folder) for folder in plan.import_folders],
            "hidden": [str(folder) for folder in plan.hidden],
        }
        late = LoadTimeout(
            f"the model was not ready within {timeout:g} s and was stopped: importing mdai_deploy.py and MDAIModel()"
            " took too long. --startup-timeout allows more; a download of weights belongs into the package."
        )
        try:
            answer = await self._ask(message, (), timeout, late)
        except (LoadFailed, asyncio.CancelledError):
            self.kill()
            await self.ended.wait()
            raise
        if "failed" in answer:
            failed = answer["failed"]
            await self.stop()
            raise _LOAD_ERRORS[failed["kind"]](failed["text"], traceback=failed["traceback"])
        self.python = answer["ready"]["python"]
        self.ready_at = time.time()
        self.state = WorkerState.READY

    def submit(
        self, body: SharedBuffer, response: SharedBuffer, accept: str, request_id: str, timeout: float
    ) -> "asyncio.Future[Message]":
        """Have the model predict; the future gives the worker's answer or raises PredictFailed.

        Past `timeout` seconds the process group is killed. The future settles whatever happens, and the worker is
        BUSY until then; read its result with `result_of`.
        """
        assert self.state is WorkerState.READY
        self.state = WorkerState.BUSY
        self.predictions += 1
        message = {"do": "predict", "id": request_id, "size": body.size, "accept": accept}
        late = DeadlineExceeded(
            f"predict(data) took longer than {timeout:g} s: the worker was stopped and starts anew."
            " --predict-timeout allows more."
        )
        return self._ask(message, (body.fd, response.fd), timeout, late)

    def kill(self) -> None:
        """End the process group at once; `ended` tells when it is gone."""
        if self.state is not WorkerState.DEAD:
            self.state = WorkerState.STOPPING
            orphans.kill_group(self.pid)

    async def stop(self) -> None:
        """Let an idle worker end by itself, exit handlers included, and kill any other; waits until it is gone."""
        if self.state is not WorkerState.DEAD:
            if self.state is WorkerState.READY:
                self.state = WorkerState.STOPPING
                self._channel.close()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.ended.wait(), STOP_SECONDS)
            self.kill()
        await self.ended.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        plan = self.plan
        runtime = "" if plan.runtime is None else str(plan.runtime)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        try:
            process = subprocess.Popen(
                [plan.python, "-I", _GUEST, runtime, str(self._channel.worker_end), str(os.getpid())],
                cwd=plan.working_directory,
                env=plan.environment | {orphans.MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=out_write,
                stderr=err_write,
                pass_fds=[self._channel.worker_end],
                start_new_session=True,
            )
        except OSError as error:
            for descriptor in (out_read, err_read):
                os.close(descriptor)
            self._channel.close()
            raise DiedLoading(f"the model's interpreter {plan.python} cannot be started: {error}.") from error
        finally:
            os.close(out_write)
            os.close(err_write)
        self._outputs = [
            WorkerOutput(out_read, lambda line: self._printed("stdout", line)),
            WorkerOutput(err_read, lambda line: self._printed("stderr", line)),
        ]
        threading.Thread(target=self._wait, args=(process,), name=f"wait-{process.pid}", daemon=True).start()
        return process

    def _printed(self, stream: str, line: str) -> None:
        model_log.info("%s", line, extra={"worker": self.number, "stream": stream})

    def _ask(
        self, message: Message, descriptors: tuple[int, ...], timeout: float, late: LoadFailed | PredictFailed
    ) -> "asyncio.Future[Message]":
        self._reply = self._loop.create_future()
        if self.ended.is_set():
            self._fail(self._cause_of_death())
            return self._reply
        self._deadline = self._loop.call_later(timeout, self._expire, late)
        try:
            self._channel.send(message, descriptors)
        except OSError:
            self._channel_ended(is_spoiled=False)
        return self._reply

    def _answered(self, message: Message) -> None:
        if self._reply.done() or self.state not in (WorkerState.STARTING, WorkerState.BUSY):
            return
        self._settle()
        if self.state is WorkerState.BUSY:
            self.state = WorkerState.READY
        if "error" in message:
            error = message["error"]
            self._reply.set_exception(_PREDICT_ERRORS[error["kind"]](error["text"], traceback=error["traceback"]))
        else:
            self._reply.set_result(message)

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _fail(self, error: LoadFailed | PredictFailed) -> None:
        self._settle()
        if not self._reply.done():
            self._reply.set_exception(error)
            self._reply.exception()  # whoever asked may have left; the pool reads it where not

    def _expire(self, late: LoadFailed | PredictFailed) -> None:
        self._killed_because = late
        self.kill()
        self._fail(late)

    def _channel_ended(self, is_spoiled: bool) -> None:
        if self.state in (WorkerState.STOPPING, WorkerState.DEAD):
            return
        if is_spoiled:
            self._cut_off("wrote into its channel to the server (into a descriptor that it did not open)")
        else:  # most often because the process ends, which says more
            manner = "closed its channel to the server (it closed descriptors that it did not open)"
            self._loop.call_later(_LAST_BREATH, self._cut_off, manner)

    def _cut_off(self, manner: str) -> None:
        if self.state is not WorkerState.DEAD:
            self._killed_because = self._death(manner)
            self.kill()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """On a thread of its own: wait for the end, then take the children along."""
        # Not reaped before its group is killed, so that the group's number cannot have passed to somebody else.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        orphans.kill_group(process.pid)
        process.wait()
        orphans.kill_marked(self._mark)
        with suppress(RuntimeError):  # the event loop has ended before the worker
            self._loop.call_soon_threadsafe(self._gone)

    def _gone(self) -> None:
        expected = self.state is WorkerState.STOPPING
        for output in self._outputs:
            output.close()
        self._channel.close()
        self.state = WorkerState.DEAD
        if not expected:
            log.warning("worker %d: its process %s", self.number, _manner(self._process.returncode))
        self._fail(self._cause_of_death())
        self.ended.set()

    def _cause_of_death(self) -> LoadFailed | PredictFailed:
        if self._killed_because is not None:
            return self._killed_because
        return self._death(_manner(self._process.returncode))

    def _death(self, manner: str) -> LoadFailed | PredictFailed:
        doing = "while it predicted" if self.ready_at else "while it loaded the model"
        text = f"the worker's process {manner} {doing}. {self._last_words()}"
        return WorkerDied(text) if self.ready_at else DiedLoading(text)

    def _last_words(self) -> str:
        lines = list(self._outputs[1].last_lines) or list(self._outputs[0].last_lines)
        return "The last it printed:\n" + "\n".join(lines) if lines else "It printed nothing."


def result_of(answer: Message) -> Done:
    """What a prediction's answer says."""
    done = answer["done"]
    return Done(done["size"], done["skeleton"], done["timings"])


def _manner(returncode: int | None) -> str:
    if returncode is None:
        return "ended"
    if returncode >= 0:
        return f"ended itself with exit code {returncode} (sys.exit, os._exit or a native library)"
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else "an unknown signal"
    hint = ""
    if -returncode == signal.SIGKILL:
        hint = ", which is how the kernel ends a process when memory runs out,"
    elif -returncode in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE):
        hint = ", a crash in native code,"
    return f"was ended by signal {-returncode} ({name}){hint}"
