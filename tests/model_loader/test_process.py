"""One worker's process: its states, and its end, however that comes about."""

import asyncio
import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from model_loader import orphans
from model_loader.channel import Done
from model_loader.errors import DeadlineExceeded, DiedLoading, InitFailed, LoadTimeout, ServerStopped, WorkerDied
from model_loader.process import WorkerProcess, WorkerState
from model_loader.shared_buffer import SharedBuffer
from tests.hosting import PACKAGES, PATIENCE, Hosted, await_true, is_alive, submitted, until
from tests.scripted_workers import ANSWERS, interpreter, reply, scripted_plan

Host = Callable[..., Hosted]
Start = Callable[..., WorkerProcess]


@pytest.fixture
def hosted(host: Host) -> Iterator[Hosted]:
    """A package that no worker serves yet; afterwards no process and no descriptor may be left."""
    hosted = host("echoes")
    hosted.launch()  # the event loop has its own from then on
    before = open_descriptors()
    yield hosted
    await_true(lambda: open_descriptors() <= before, "every descriptor is closed")


def open_descriptors() -> set[int]:
    return {descriptor for descriptor in map(int, os.listdir("/proc/self/fd")) if _is_open(descriptor)}  # noqa: PTH208


def _is_open(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").is_symlink()


@pytest.fixture
def scripted(hosted: Hosted, tmp_path: Path) -> Start:
    """Starts a worker that is a script. Call it inside the event loop."""

    plan = scripted_plan(hosted, Path(sys.executable))

    def start(script: str) -> WorkerProcess:
        return WorkerProcess(dataclasses.replace(plan, python=interpreter(tmp_path, script)))

    return start


async def loaded(worker: WorkerProcess) -> WorkerProcess:
    await worker.load(PATIENCE)
    return worker


async def asked(worker: WorkerProcess, timeout: float = PATIENCE) -> Done:
    with SharedBuffer() as body:
        answer = await submitted(worker, body, timeout)
        answer.body.close()
        return answer.done


async def ended(worker: WorkerProcess) -> None:
    await worker.ended.wait()
    assert worker.state is WorkerState.DEAD
    assert not psutil.pid_exists(worker.pid), "it is gone and reaped"


async def error_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with pytest.raises(Exception) as raised:
        await coroutine
    return raised.value


# States.


def test_a_worker_is_starting_ready_busy_ready_and_dead_and_refuses_what_its_state_does_not_allow(
    hosted: Hosted, scripted: Start
) -> None:
    async def scenario() -> None:
        worker = scripted(ANSWERS)
        assert worker.state is WorkerState.STARTING
        with pytest.raises(AssertionError):
            await asked(worker)
        await loaded(worker)
        assert (worker.state, worker.python) == (WorkerState.READY, "3.7.16")
        with pytest.raises(AssertionError):
            await worker.load(PATIENCE)
        request = asyncio.create_task(asked(worker))
        await asyncio.sleep(0)
        assert worker.state is WorkerState.BUSY
        with pytest.raises(AssertionError):
            await asked(worker)
        assert await request == Done(0, 0, {"predict": 0.25})
        assert (worker.state, worker.predictions) == (WorkerState.READY, 1)
        await worker.stop()
        await ended(worker)
        with pytest.raises(AssertionError):
            await asked(worker)
        await worker.stop()
        worker.kill()
        assert worker.state is WorkerState.DEAD

    hosted.run(scenario())


def test_a_worker_that_is_killed_while_it_starts_fails_to_load(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        worker = scripted("hear()\nprint('about to load', file=sys.stderr, flush=True)\npause()")
        loading = asyncio.create_task(worker.load(PATIENCE))
        await until(lambda: bool(worker._outputs[1].last_lines), "it has begun to load")
        worker.kill()
        error = await error_of(asyncio.wait_for(loading, PATIENCE))
        assert isinstance(error, DiedLoading)
        for piece in ("signal 9 (SIGKILL)", "while it loaded the model", "about to load"):
            assert piece in error.text
        await ended(worker)

    hosted.run(scenario())


def test_loading_that_is_cancelled_leaves_no_process(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        worker = scripted("pause()")
        loading = asyncio.create_task(worker.load(PATIENCE))
        await asyncio.sleep(0)
        loading.cancel()
        await asyncio.wait((loading,))
        assert loading.cancelled()
        await ended(worker)

    hosted.run(scenario())


def test_a_failure_that_the_worker_tells_is_raised_and_ends_it(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        worker = scripted("hear()\nsay(FAILED)\npause()")
        error = await error_of(loaded(worker))
        assert isinstance(error, InitFailed)
        assert (error.text, error.traceback) == ("MDAIModel() raised a flaw.", "T")
        await ended(worker)

    hosted.run(scenario())


def test_an_idle_worker_that_is_stopped_runs_its_exit_handlers_and_a_stuck_one_is_killed(
    hosted: Hosted, scripted: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_loader.process.STOP_SECONDS", 0.2)
    farewell = tmp_path / "farewell"

    async def scenario() -> None:
        polite = await loaded(scripted(ANSWERS.replace("hear()", f"hear() or open({str(farewell)!r}, 'w')", 1)))
        await polite.stop()
        stuck = await loaded(scripted("import atexit\natexit.register(pause)\n" + ANSWERS))
        await stuck.stop()
        await ended(stuck)
        stopped = await loaded(scripted(ANSWERS))
        os.kill(stopped.pid, signal.SIGSTOP)
        await stopped.stop()
        await ended(stopped)

    hosted.run(scenario())


# Interpreters that are none.


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "missing", "missing cannot be started: [Errno 2] No such file"),
        (lambda folder: folder, "cannot be started: [Errno 13] Permission denied"),
        (lambda folder: _file(folder / "text", "I am a letter", 0o600), "cannot be started: [Errno 13]"),
        (lambda folder: _file(folder / "text", "I am a letter", 0o700), "cannot be started: [Errno 8] Exec format"),
        (lambda folder: shutil.which("true"), "ended itself with exit code 0"),
        (lambda folder: shutil.which("ls"), "ended itself with exit code 2"),
    ],
    ids=["missing", "folder", "not executable", "no program", "true", "ls"],
)
def test_what_is_no_python_fails_to_load_with_a_sentence(
    hosted: Hosted, tmp_path: Path, make: Callable[[Path], Any], says: str
) -> None:
    plan = scripted_plan(hosted, Path(make(tmp_path)))

    async def scenario() -> None:
        worker = WorkerProcess(plan)
        await worker.load(PATIENCE)

    error = hosted.run(error_of(scenario()))
    assert isinstance(error, DiedLoading)
    assert says in error.text


def _file(path: Path, content: str, mode: int) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_variable_that_cannot_be_passed_on_fails_to_load_with_a_sentence(hosted: Hosted) -> None:
    plan = scripted_plan(hosted, Path(sys.executable), BAD="nul \0 inside")

    async def scenario() -> None:
        await WorkerProcess(plan).load(PATIENCE)

    error = hosted.run(error_of(scenario()))
    assert isinstance(error, DiedLoading)
    assert "cannot be started: embedded null byte" in error.text


def test_without_descriptors_no_worker_starts_and_none_is_lost(hosted: Hosted) -> None:
    """At whichever descriptor the lack shows."""
    plan = scripted_plan(hosted, Path(sys.executable))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = open_descriptors()
    lowest_free = next(number for number in range(before[0]) if number not in used)

    async def scenario() -> list[BaseException]:
        errors: list[BaseException] = []
        fillers = [os.dup(0) for _ in range(max(used) - lowest_free)]
        now = open_descriptors()
        try:
            for more in range(8):
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(now) + 1 + more, before[1]))
                errors.append(await error_of(_loaded(plan)))
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                await until(lambda: open_descriptors() <= now, "every descriptor is closed")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for descriptor in fillers:
                os.close(descriptor)
        return errors

    errors = hosted.run(scenario())
    assert all(isinstance(error, OSError | DiedLoading) for error in errors)
    assert any(isinstance(error, DiedLoading) for error in errors)
    assert any(isinstance(error, OSError) for error in errors)


async def _loaded(plan: Any) -> None:
    await WorkerProcess(plan).load(PATIENCE)


# What comes through the channel.

NONSENSE = {
    "text": b"hello, I am no frame",
    "endless frame": b"\xff\xff\xff\xff",
    "no map": reply()[:3] + b"\x01\x01",
    "broken msgpack": b"\0\0\0\x02\x81\xa5",
    "deep": b"\0\1\0\0" + b"\x91" * (1 << 16),
    "deep inside": b"\0\0\x40\x07\x81\xa5other" + b"\x91" * (1 << 14),
    "nothing said": reply(),
    "size as text": reply(done={"size": "1", "skeleton": 0, "timings": {}}),
    "negative size": reply(done={"size": -1, "skeleton": 0, "timings": {}}),
    "no timings": reply(done={"size": 1, "skeleton": 0}),
    "unknown failure": reply(failed={"kind": "surprise", "text": "", "traceback": ""}),
    "unknown error": reply(error={"kind": "surprise", "text": "", "traceback": ""}),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_on_the_channel_ends_the_worker_and_what_it_was_asked(
    hosted: Hosted, scripted: Start, nonsense: bytes
) -> None:
    written = f"os.write(sock.fileno(), {nonsense!r}) if len({nonsense!r}) < 9000 else say({nonsense!r})\npause()"

    async def scenario() -> None:
        error = await error_of(loaded(scripted(f"hear()\n{written}")))
        assert isinstance(error, DiedLoading)
        assert "wrote into its channel to the server" in error.text
        worker = await loaded(scripted(f"hear()\nsay(READY)\nhear()\n{written}"))
        error = await error_of(asked(worker))
        assert isinstance(error, WorkerDied)
        assert "wrote into its channel to the server" in error.text
        await ended(worker)

    hosted.run(scenario())


@pytest.mark.parametrize("said", ["READY", "DONE", "FAILED"])
def test_a_reply_that_nobody_asked_for_ends_the_worker(hosted: Hosted, scripted: Start, said: str) -> None:
    """It could be taken for the answer to the next request."""

    async def scenario() -> None:
        worker = await loaded(scripted(f"hear()\nsay(READY)\nsay({said})\npause()"))
        await ended(worker)

    hosted.run(scenario())


def test_a_reply_that_answers_something_else_ends_the_worker(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        error = await error_of(loaded(scripted("hear()\nsay(DONE)\npause()")))
        assert isinstance(error, DiedLoading)
        error = await error_of(asked(await loaded(scripted("hear()\nsay(READY)\nhear()\nsay(READY)\npause()"))))
        assert isinstance(error, WorkerDied)

    hosted.run(scenario())


def test_garbage_before_anything_is_asked_fails_the_load(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        worker = scripted("os.write(sock.fileno(), b'garbage!')\npause()")
        await until(lambda: worker.state is WorkerState.DEAD, "it has been cut off")
        error = await error_of(loaded_late(worker))
        assert "wrote into its channel to the server" in str(error)

    async def loaded_late(worker: WorkerProcess) -> None:
        loaded: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        worker._expect(loaded, PATIENCE, lambda _: LoadTimeout("late"))
        await loaded

    hosted.run(scenario())


@pytest.mark.parametrize("busy", [False, True], ids=["loading", "predicting"])
def test_a_worker_that_closes_its_channel_and_lives_is_ended(hosted: Hosted, scripted: Start, busy: bool) -> None:
    async def scenario() -> None:
        before = "hear()\nsay(READY)\n" if busy else ""
        worker = scripted(before + "hear()\nsock.close()\npause()")
        error = await error_of(_loaded_and_asked(worker))
        assert isinstance(error, WorkerDied if busy else DiedLoading)
        assert "closed its channel to the server (it closed descriptors that it did not open)" in error.text
        await ended(worker)

    hosted.run(scenario())


async def _loaded_and_asked(worker: WorkerProcess) -> None:
    await asked(await loaded(worker))


def test_an_idle_worker_that_closes_its_channel_takes_no_request_and_is_ended(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        worker = await loaded(scripted("hear()\nsay(READY)\nsock.close()\npause()"))
        await until(lambda: worker.state is not WorkerState.READY, "it is known")
        assert is_alive(worker.pid)
        await ended(worker)

    hosted.run(scenario())


def test_the_death_of_a_worker_is_noticed_though_a_child_keeps_its_channel_open(
    hosted: Hosted, scripted: Start
) -> None:
    child = "if os.fork() == 0:\n    os.setsid()\n    pause()\n"

    async def scenario() -> None:
        worker = await loaded(scripted(f"{child}hear()\nsay(READY)\nhear()\nos._exit(5)"))
        error = await error_of(asked(worker))
        assert "ended itself with exit code 5" in error.text
        await ended(worker)
        idle = await loaded(scripted(f"{child}hear()\nsay(READY)\nos._exit(6)"))
        await ended(idle)
        await until(lambda: not hosted.processes(), "the children, which have been killed, are gone too")

    hosted.run(scenario())


def test_an_answer_counts_though_the_worker_dies_a_moment_later(hosted: Hosted, scripted: Start) -> None:
    """Whichever of the two the server learns first."""

    async def scenario() -> None:
        for _ in range(3):
            worker = await loaded(scripted("hear()\nsay(READY)\nhear()\nsay(DONE)\nos._exit(1)"))
            with SharedBuffer() as body:
                answer = submitted(worker, body)
                await_true(lambda worker=worker: not is_alive(worker.pid), "it has answered and died")
                with (await answer).body as response:
                    assert response.read(0, 1) == b""
            await ended(worker)

    hosted.run(scenario())


def test_a_request_for_a_worker_that_has_just_died_is_not_taken(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        worker = await loaded(scripted(ANSWERS))
        os.kill(worker.pid, signal.SIGKILL)
        await_true(lambda: not is_alive(worker.pid), "it is dead")
        assert worker.state is WorkerState.READY, "nobody has had the time to notice"
        with pytest.raises(OSError):
            await asked(worker)
        assert worker.state is WorkerState.STOPPING
        assert worker.predictions == 0
        await ended(worker)

    hosted.run(scenario())


def test_a_package_with_thousands_of_folders_is_loaded(hosted: Hosted) -> None:
    """What the worker is told does not fit into the socket's buffer then."""
    plan = hosted.launch().plans[0]()
    folders = tuple(hosted.package.root / f"{number:080}" for number in range(3000))

    async def scenario() -> None:
        worker = WorkerProcess(dataclasses.replace(plan, import_folders=folders))
        await worker.load(PATIENCE)
        await worker.stop()

    hosted.run(scenario())


# Deadlines.


def test_a_worker_that_never_speaks_is_stopped_at_the_startup_timeout(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        worker = scripted("pause()")
        error = await error_of(worker.load(0.2))
        assert isinstance(error, LoadTimeout)
        await ended(worker)

    hosted.run(scenario())


@pytest.mark.parametrize(
    "hangs",
    ["pause()", "os.kill(os.getpid(), signal.SIGSTOP)", "signal.signal(15, signal.SIG_IGN)\npause()"],
)
def test_the_deadline_ends_a_worker_and_all_its_children_whatever_they_do(
    hosted: Hosted, scripted: Start, hangs: str
) -> None:
    """Children in its process group, in one of their own, in a session of their own, and daemons."""
    children = """
hear()
for depth in range(4):
    if os.fork() == 0:
        if depth == 1:
            os.setpgid(0, 0)
        if depth == 2:
            os.setsid()
        if depth == 3:
            os.setsid()
            if os.fork():
                os._exit(0)
        pause()
say(READY)
hear()
"""

    async def scenario() -> None:
        orphans.become_subreaper()
        worker = await loaded(scripted(children + hangs))
        await until(lambda: len(hosted.processes()) >= 5, "worker and children are there")
        error = await error_of(asked(worker, 0.2))
        assert isinstance(error, DeadlineExceeded)
        assert "longer than 0.2 s" in error.text
        await ended(worker)
        assert not hosted.processes()
        orphans.reap_strays(())

    hosted.run(scenario())


def test_a_worker_that_is_stopped_while_it_predicts_says_that_and_not_that_memory_ran_out(
    hosted: Hosted, scripted: Start
) -> None:
    async def scenario() -> None:
        worker = await loaded(scripted("hear()\nsay(READY)\nhear()\npause()"))
        request = asyncio.create_task(asked(worker))
        await asyncio.sleep(0)
        await worker.stop()
        error = await error_of(asyncio.wait_for(request, PATIENCE))
        assert isinstance(error, ServerStopped)
        assert error.text == "the server was told to stop before predict(data) had ended."

    hosted.run(scenario())


# What it prints.


def test_the_last_that_a_worker_printed_is_part_of_the_error(hosted: Hosted, scripted: Start) -> None:
    async def scenario() -> None:
        worker = scripted(
            "print('out')\nsys.stdout.flush()\nos.write(2, b'x' * 90_000 + b'\\nno licence')\nos._exit(4)"
        )
        error = await error_of(loaded(worker))
        assert error.text.endswith("no licence")
        assert "ended itself with exit code 4" in error.text
        assert len(error.text) < 25_000

    hosted.run(scenario())


def test_what_was_printed_for_one_request_is_not_told_to_the_next(hosted: Hosted, scripted: Start) -> None:
    """It may be about another patient."""

    async def scenario() -> None:
        worker = await loaded(
            scripted("hear()\nsay(READY)\nhear()\nos.write(2, b'about A')\nsay(DONE)\nhear()\nos._exit(3)")
        )
        await asked(worker)
        error = await error_of(asked(worker))
        assert "exit code 3" in error.text
        assert "It printed nothing." in error.text

    hosted.run(scenario())


def test_a_worker_that_prints_a_flood_answers_and_the_server_answers_others_meanwhile(
    hosted: Hosted, scripted: Start
) -> None:
    """Lines and lines, and then 30 MB without one."""
    flood = "os.write(1, b'.\\n' * 100_000)\nfor _ in range(30): os.write(2, b'#' * 1_000_000)\n"

    async def scenario() -> None:
        worker = await loaded(scripted(f"hear()\nsay(READY)\nhear()\n{flood}say(DONE)\nhear()"))
        assert await asked(worker)
        await worker.stop()

    hosted.run(scenario())


# The server's own end.


SERVER = """
import asyncio, json, os, sys
from pathlib import Path
from tests.hosting import Hosted
with Hosted(Path(sys.argv[1]), Path(sys.argv[2]), cache=Path(sys.argv[2])) as hosted:
    hosted.start()
    print(*hosted.processes(), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_no_worker_outlives_a_server_that_is_killed(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", SERVER, PACKAGES / "echoes", tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in server.stdout.readline().split()]
        assert len(workers) == 1
        server.send_signal(number)
    assert not psutil.wait_procs(workers, PATIENCE)[1]
