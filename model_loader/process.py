"""One worker as its parent sees it: started, loaded, asked, killed.

    STARTING ──ready──> READY ⇄ BUSY
        └──────any──────┴───┴──> STOPPING ──> DEAD

A worker that ends by itself is STOPPING from the moment that is known, so that no request is given to it, and DEAD when
its children are gone as well.

Everything here runs on the event loop's thread, but for the start of the process (see `starting`) and the wait for its
end. Until that thread has started it there is no process id.
"""

import asyncio
import enum
import itertools
import logging
import os
import select
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from model_loader import orphans, starting
from model_loader.channel import Channel, Done, Message, Ready, Reply
from model_loader.death import MORE_MEMORY, Cause, KillCount, MemoryKill, manner_of
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
    NoRoom,
    OutputUnwritable,
    PredictFailed,
    RequestUnreadable,
    ServerStopped,
    WorkerDied,
)
from model_loader.memory import offer_first
from model_loader.memory_file import WarmFiles
from model_loader.output_rate import OutputRate
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import heap, wire
from model_loader.worker_output import WorkerOutput
from model_loader.worker_user import WorkerUser

#: How long a worker that was asked to end may take: exit handlers of the package's run then.
STOP_SECONDS = 3.0
#: Bytes of a response: more than any memory.
NO_LIMIT = 1 << 62
#: How long after its end of the channel closed a worker may take to be gone.
_LAST_BREATH = 1.0

GUEST = Path(__file__).parent / "worker"
"""The worker's program, from whose sources any Python starts."""
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
_memory_kills = KillCount()
log = logging.getLogger(__name__)
model_log = logging.getLogger("model")


class WorkerState(enum.StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    STOPPING = "stopping"
    DEAD = "dead"


def _nothing() -> None:
    """Nobody wants to know."""


class Answer(NamedTuple):
    """What the worker says of a prediction, and the buffer where it lies: whoever gets it closes that."""

    done: Done
    body: SharedBuffer


class Recipient(Protocol):
    """Who gets an answer, called on the event loop; a future of asyncio's is one."""

    def done(self) -> bool:
        """Whether it is there already, or nobody wants it any more."""

    def set_result(self, answer: Any, /) -> None:
        """It is an `Answer`, which is the recipient's from now on."""

    def set_exception(self, error: Exception, /) -> None:
        """There is none, for this reason."""

    def exception(self) -> object:
        """The reason; asked for because asyncio complains of one that nobody has looked at."""


@dataclass(frozen=True)
class WorkerPlan:
    """All that is needed to start a worker for one device."""

    python: Path
    runtime: Path | None
    hidden: tuple[Path, ...]
    root: Path
    import_folders: tuple[Path, ...]
    label_classes: tuple[dict[str, Any], ...]
    working_directory: Path
    environment: dict[str, str]
    device: Device
    leave: Callable[[], None] = lambda: None
    """Deletes the worker's folders, which are nobody else's, when it has ended."""
    user: WorkerUser | None = None
    guest: Path = GUEST
    """The folder of the worker's program, or of a copy of it."""


class WorkerProcess:
    """A worker's process and the conversation with it. `ended` is set once it and its children are gone.

    `leaving` is set as soon as no request will be given to it any more. `dismissed_for` is set by who has no use for it
    any longer: it then ends instead of taking another request. Where it `frees_first`, nothing of an answer is held any
    more when this comes, as it must be where memory is measured then; else the answer does not wait for that.

    Its long answers lie in files of `answers`.

    These are told by a mark in their environment; that of a pool's worker begins with its `family`: see `orphans`.
    """

    def __init__(self, plan: WorkerPlan, family: str = "", answers: WarmFiles | None = None) -> None:
        self.plan = plan
        self.number = next(_numbers)
        self.state = WorkerState.STARTING
        self.ended = asyncio.Event()
        self.leaving = asyncio.Event()
        self.dismissed_for: Cause | None = None
        self.predictions = 0
        self.frees_first = False
        self.ready_at = 0.0
        self.python = ""
        self._loop = asyncio.get_running_loop()
        self._mark = "-".join(filter(None, (family, uuid.uuid4().hex)))
        self._recipient: Recipient = self._loop.create_future()
        self._deadline: asyncio.TimerHandle | None = None
        self._killed_because: LoadFailed | PredictFailed | None = None
        self._is_told_to_end = False
        self._is_overgrown = False
        self._manner = ""
        self._memory_kill: MemoryKill | None = None
        self._memory_kills_before = _memory_kills.now()
        self._answers = answers
        self._response: SharedBuffer | None = None
        self._response_known = 0
        self._has_lent_memory = False
        self._request: SharedBuffer | None = None
        self._freed: Callable[[], None] = _nothing
        self._process: subprocess.Popen[bytes] | None = None
        self._channel = Channel(self._answered, self._channel_ended)
        self._spawn()

    @property
    def pid(self) -> int:
        """The process id, which is also its process group's and session's; 0 where there is no process yet."""
        return 0 if self._process is None else self._process.pid

    @property
    def cause(self) -> Cause:
        """Why it is there no more; only of one that has ended."""
        if isinstance(self._killed_because, (DeadlineExceeded, LoadTimeout)):
            return Cause.TIMEOUT
        if self._is_overgrown:
            return Cause.OVER_MEMORY
        if self._memory_kill is not None and self._memory_kill.has_happened:
            return Cause.OOM
        if not self._is_told_to_end or isinstance(self._killed_because, (WorkerDied, DiedLoading)):
            return Cause.CRASH
        return self.dismissed_for or Cause.ENDED

    async def load(self, timeout: float) -> None:
        """Wait until the model is loaded. Raises LoadFailed; the process is then gone."""
        assert self.state is WorkerState.STARTING
        plan = self.plan
        message: Message = {
            "do": "load",
            "root": str(plan.root),
            "import_folders": [str(folder) for folder in plan.import_folders],
            "hidden": [str(folder) for folder in plan.hidden],
            "label_classes": msgspec.msgpack.encode(plan.label_classes),
        }
        loaded: asyncio.Future[Ready] = self._loop.create_future()
        self._expect(loaded, timeout, _load_took_too_long)
        try:
            try:
                self._channel.send(message, (self._notice.fd,))
            except OSError:
                self._channel_ended(is_spoiled=False)
            ready = await loaded
        except (LoadFailed, asyncio.CancelledError):
            self.kill()
            await self.ended.wait()
            raise
        self.python = ready.python
        self.ready_at = time.time()
        self.state = WorkerState.READY

    def submit(
        self,
        body: SharedBuffer,
        accept: str,
        request_id: str,
        timeout: float,
        max_response: int = NO_LIMIT,
        folder: str = "",
        freed: Callable[[], None] = _nothing,
        *,
        recipient: Recipient,
    ) -> None:
        """Have the model predict; `recipient` gets its answer or PredictFailed.

        In `folder` lie the files that the request names by `content_path`.

        Past `timeout` seconds the process group is killed, and the recipient gets something whatever happens; where it
        does not want that any more, the worker is BUSY all the same, and may be told by `abandon`. `freed` is called
        when the worker has done with the request, one way or the other, a moment before the recipient is. Raises
        OSError where the worker has ended meanwhile and has not seen the request, and NoRoom where memory or
        descriptors are exhausted.
        """
        assert self.state is WorkerState.READY
        message: Message = {
            "do": "predict",
            "id": request_id,
            "accept": accept,
            "most": max_response,
            "folder": folder,
            "free_first": self.frees_first,
        }
        descriptors = self._with_buffers(message, body)
        self._attribute_output(request_id)
        if folder and self.plan.user is not None:
            self.plan.user.let_through(Path(folder).parent)
            self.plan.user.own(Path(folder))
        message["number"] = number = self.predictions + 1
        try:
            self._channel.send(message, descriptors)
        except OSError:
            self._channel_ended(is_spoiled=False)
            raise
        self._response_known = message["response"]
        self._request = body
        body.is_held_elsewhere = body.small is None
        self._freed = freed
        self.state = WorkerState.BUSY
        self._memory_kills_before = _memory_kills.lately()
        self.predictions = number
        self._expect(recipient, timeout, _predict_took_too_long)

    def _with_buffers(self, message: Message, body: SharedBuffer) -> list[int]:
        """Put the request into the message, or the descriptors of what it lies in and of what the answer may fill."""
        descriptors = []
        if body.small is not None:
            message["body"] = body.small
        else:
            message["size"] = body.size
            descriptors.append(body.fd)
        is_another = self._response is None
        if self._response is None:
            self._response = SharedBuffer(self._answers)
            self._response.is_held_elsewhere = True
        try:
            message["response"] = number = self._response.number
        except OSError as error:
            text = f"this machine cannot hold another answer ({error.strerror}): try again later."
            raise NoRoom(text) from error
        if is_another:
            self._has_lent_memory = self._response.takes_memory
        if number != self._response_known:
            descriptors.append(self._response.fd)
        return descriptors

    def abandon(self, patience: float | None = None) -> None:
        """Tell the model, by `mdai_cancelled`, that nobody waits for its answer.

        Where it has not returned `patience` seconds later, its process group is killed; None leaves it its time.
        """
        if self.state is not WorkerState.BUSY or self._deadline is None:
            return
        self._notice.patch(0, wire.NUMBER.pack(self.predictions))
        if patience is not None and self._loop.time() + patience < self._deadline.when():
            self._deadline.cancel()
            text = f"predict(data) went on for {patience:g} s after nobody waited for it, and was stopped."
            self._deadline = self._loop.call_later(patience, self._expire, DeadlineExceeded(text))

    def kill(self) -> None:
        """End the process group at once; `ended` tells when it is gone."""
        if self.state is not WorkerState.DEAD:
            self._is_told_to_end = True
            self._leave()
            self._end_group()

    def kill_overgrown(self, text: str) -> None:
        """End it at once because of its memory; a request that runs fails with this text."""
        self._is_overgrown = True
        self._killed_because = WorkerDied(text)
        self.kill()

    def kill_stopped(self) -> None:
        """End an idle worker that stands still: a request would wait for it until its deadline."""
        log.warning("worker %d: its process was stopped by a signal while it was idle, and is ended", self.number)
        self._killed_because = WorkerDied("the worker's process was stopped by a signal (SIGSTOP) while it was idle.")
        self.kill()

    def take_leave(self) -> None:
        """An idle worker takes no request from now on, and ends by itself, exit handlers included."""
        assert self.state is WorkerState.READY
        self._is_told_to_end = True
        self._leave()
        self._channel.close()

    async def see_off(self) -> None:
        """Wait until a worker that took leave is gone; where that takes too long, it is killed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), STOP_SECONDS)
        self.kill()
        await self.ended.wait()

    async def stop(self) -> None:
        """Let an idle worker end by itself, and kill any other; waits until it is gone."""
        if self.state is WorkerState.READY:
            self.take_leave()
            await self.see_off()
        elif self.state is WorkerState.BUSY:
            self._killed_because = ServerStopped("the server was told to stop before predict(data) had ended.")
        self.kill()
        await self.ended.wait()

    def _spawn(self) -> None:
        """Have it started. Raises OSError without descriptors for that, RuntimeError without a thread."""
        with ExitStack() as unless_begun:
            unless_begun.callback(self._channel.close)
            self._notice = SharedBuffer()
            unless_begun.callback(self._notice.close)
            self._notice.write(wire.NUMBER.pack(0))
            (out_read, out_write), (err_read, err_write) = (_pipe(unless_begun) for _ in range(2))
            starting.on_starting_thread(partial(self._start, (out_write, err_write)))
            unless_begun.pop_all()
        self._pipes = select.poll()
        for pipe in (out_read, err_read):
            self._pipes.register(pipe, select.POLLIN)
        self._outputs = [
            WorkerOutput(out_read, partial(self._printed, "stdout"), OutputRate()),
            WorkerOutput(err_read, partial(self._printed, "stderr"), OutputRate()),
        ]

    def _start(self, outputs: tuple[int, int]) -> None:
        """On the thread for that: start the process, and a thread that waits for its end."""
        plan = self.plan
        runtime = "" if plan.runtime is None else str(plan.runtime)
        command = [
            plan.python,
            "-I",
            "-B",
            plan.guest / "__main__.py",
            runtime,
            str(self._channel.worker_end),
            str(os.getpid()),
        ]
        process = None
        try:
            process = starting.start(
                command,
                cwd=plan.working_directory,
                env=heap.warmed(plan.environment | {orphans.MARK: self._mark}),
                stdin=subprocess.DEVNULL,
                stdout=outputs[0],
                stderr=outputs[1],
                pass_fds=[self._channel.worker_end],
                **_becoming(plan.user, outputs),
            )
            offer_first(process.pid)
            waiting = threading.Thread(target=self._wait, args=(process,), name=f"wait-{process.pid}", daemon=True)
            self._process = process
            waiting.start()
        except Exception as error:  # noqa: BLE001 (told to who loads it; RuntimeError: no thread is to be had)
            if process is not None:
                self._process = None
                process.kill()
                starting.wait_for(process)
            self._tell_loop(partial(self._not_started, error))
            return
        finally:
            for descriptor in outputs:
                os.close(descriptor)
        if not self._tell_loop(self._started):
            orphans.kill_group(process.pid)

    def _started(self) -> None:
        self._channel.started()
        if self.state is WorkerState.STOPPING:  # told to end meanwhile
            self._end_group()

    def _not_started(self, error: Exception) -> None:
        text = f"the model's interpreter {self.plan.python} cannot be started: {error}."
        self._killed_because = DiedLoading(text)
        self._let_go()
        self._is_dead()

    def _end_group(self) -> None:
        if self._process is not None:
            orphans.kill_group(self._process.pid)

    def _attribute_output(self, request_id: str) -> None:
        """What was printed until now was somebody else's."""
        has_news = bool(self._pipes.poll(0))
        for output in self._outputs:
            output.belongs_to(request_id, has_news=has_news)

    def _printed(self, stream: str, line: str, request_id: str) -> None:
        """`request_id` is of the request that ran then, whichever is being served now."""
        tags = {"worker": self.number, "stream": stream}
        model_log.info("%s", line, extra={**tags, "request_id": request_id, "fields": tags})

    def _expect(
        self, recipient: Recipient, timeout: float, late: Callable[[float], LoadFailed | PredictFailed]
    ) -> None:
        self._recipient = recipient
        if self.ended.is_set():
            self._fail(self._cause_of_death())
        else:
            self._deadline = self._loop.call_later(timeout, lambda: self._expire(late(timeout)))

    def _answered(self, reply: Reply) -> None:
        if self.state in (WorkerState.STOPPING, WorkerState.DEAD):
            return
        is_loading = self.state is WorkerState.STARTING
        answer, failure = (reply.ready, reply.failed) if is_loading else (reply.done, reply.error)
        kinds: Mapping[str, type[LoadFailed] | type[PredictFailed]] = _LOAD_ERRORS if is_loading else _PREDICT_ERRORS
        is_expected = self._deadline is not None and (answer is not None or (failure and failure.kind in kinds))
        if not is_expected:  # nobody asked, or not that: only the package can have written it
            self._channel_ended(is_spoiled=True)
            return
        self._attribute_output("")
        if not is_loading:
            self.state = WorkerState.READY
        if failure is not None:
            self._recover_response(is_sound=failure.kind != wire.ERROR_OUTPUT)
            self._fail(kinds[failure.kind](failure.text, traceback=failure.traceback))
        elif reply.done is not None:
            self._answer_with(reply.done)
        else:
            self._settle()
            self._recipient.set_result(answer)

    def _answer_with(self, done: Done) -> None:
        answer, recipient = Answer(done, self._answer_in(done)), self._recipient
        self._settle()
        try:
            self._free()  # it may have another request from now on, and predict while its answer is looked at
        finally:
            if recipient.done():  # nobody waits for it any more
                answer.body.close()
            else:
                recipient.set_result(answer)

    def _answer_in(self, done: Done) -> SharedBuffer:
        """The buffer that holds the answer: its caller's from now on."""
        if done.small or self._response is None:
            buffer = SharedBuffer()
            buffer.write(done.small)
            if self._has_lent_memory:
                self._recover_response(is_sound=True)
            return buffer
        buffer, self._response = self._response, None
        buffer.is_held_elsewhere = False
        return buffer

    def _recover_response(self, *, is_sound: bool) -> None:
        """No answer came to lie in the buffer that was lent: while it is idle, the worker keeps an empty one at most.

        One that is not `is_sound` could not be written to. The package may have closed it: the worker gets another.
        """
        response = self._response
        if response is not None and (response.takes_memory or not is_sound):
            response.is_held_elsewhere = not is_sound
            response.close()
            self._response = None

    def _free(self) -> None:
        """The worker uses nothing of the request's any more, or is about to end."""
        if self._request is not None:
            self._request.is_held_elsewhere = self.state is not WorkerState.READY
            self._request = None
        freed, self._freed = self._freed, _nothing
        freed()

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _fail(self, error: LoadFailed | PredictFailed) -> None:
        recipient = self._recipient
        self._settle()
        try:
            self._free()
        finally:
            if not recipient.done():
                recipient.set_exception(error)
                recipient.exception()  # whoever asked may have left; who has not raises it

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
            self._lost()
            manner = "closed its channel to the server (it closed descriptors that it did not open)"
            self._loop.call_later(_LAST_BREATH, self._cut_off, manner)

    def _lost(self) -> None:
        """The process has ended or will: an idle worker takes no request any more."""
        if self.state is WorkerState.READY:
            self._leave()

    def _leave(self) -> None:
        self.state = WorkerState.STOPPING
        self.leaving.set()

    def _cut_off(self, manner: str) -> None:
        if self.state is not WorkerState.DEAD and not self._is_told_to_end:
            log.warning("worker %d: its process %s", self.number, manner)
            self._killed_because = self._death(manner)
            self.kill()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """On a thread of its own: wait for the end, then take the children along."""
        # Reaped last, in `_gone`: until then its number, which is its group's, cannot pass to somebody else.
        with suppress(ChildProcessError):  # children are not to be waited for where SIGCHLD is ignored
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self._tell_loop(self._lost)
        orphans.kill_group(process.pid)
        try:
            orphans.kill_marked(self._mark)
        except OSError as error:  # no descriptors left
            log.warning("worker %d: processes that it left behind could not be looked for: %s", self.number, error)
        if not self._tell_loop(partial(self._gone, process)):
            starting.wait_for(process)

    def _tell_loop(self, what: Callable[[], None]) -> bool:
        """Have `what` called on the event loop; False where that has ended before the worker."""
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            return False
        return True

    def _gone(self, process: subprocess.Popen[bytes]) -> None:
        try:
            self._channel.read()  # the answer may have come a moment before the end
        finally:  # whatever comes of what others make of it
            self._bury(process)

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        self._let_go()
        returncode = starting.wait_for(process)
        if returncode == -signal.SIGKILL and not self._is_told_to_end:
            self._memory_kill = _memory_kills.claim(self._memory_kills_before)
        self._manner = manner_of(returncode, self._memory_kill)
        if not self._is_told_to_end:
            log.warning("worker %d: its process %s", self.number, self._manner)
        self._is_dead()

    def _let_go(self) -> None:
        self._channel.close()
        self._notice.close()
        if self._response is not None:
            self._response.close()
        for output in self._outputs:
            output.close()

    def _is_dead(self) -> None:
        self.state = WorkerState.DEAD
        self.leaving.set()
        try:
            self._fail(self._cause_of_death())
        finally:
            self.ended.set()

    def _cause_of_death(self) -> LoadFailed | PredictFailed:
        if self._killed_because is not None:
            return self._killed_because
        return self._death(self._manner)

    def _death(self, manner: str) -> LoadFailed | PredictFailed:
        doing = "while it predicted" if self.ready_at else "while it loaded the model"
        advice = MORE_MEMORY if self._memory_kill is not None and self._memory_kill.has_happened else ""
        text = f"the worker's process {manner} {doing}. {advice}{self._last_words()}"
        return WorkerDied(text) if self.ready_at else DiedLoading(text)

    def _last_words(self) -> str:
        lines = list(self._outputs[1].last_lines) or list(self._outputs[0].last_lines)
        return "The last it printed:\n" + wire.shorten("\n".join(lines)) if lines else "It printed nothing."


def _load_took_too_long(seconds: float) -> LoadTimeout:
    return LoadTimeout(
        f"the model was not ready within {seconds:g} s and was stopped: importing mdai_deploy.py and MDAIModel()"
        " took too long. --startup-timeout allows more; a download of weights belongs into the package."
    )


def _predict_took_too_long(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"predict(data) took longer than {seconds:g} s: the worker was stopped and starts anew."
        " --predict-timeout allows more."
    )


def _pipe(unless_begun: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    unless_begun.callback(os.close, reading)
    unless_begun.callback(os.close, writing)
    return reading, writing


def _becoming(user: WorkerUser | None, outputs: tuple[int, ...]) -> dict[str, Any]:
    """Options of Popen; `outputs` are given away, so that programs may open /dev/stderr anew."""
    if user is None:
        return {}
    for descriptor in outputs:
        os.fchown(descriptor, user.uid, user.gid)
    return {"user": user.uid, "group": user.gid, "extra_groups": user.groups}
