"""The pool: one request a worker, a line before them, workers that come back, an end that leaves nothing."""

import asyncio
import dataclasses
import itertools
import logging
import os
import resource
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from model_loader.errors import (
    DeadlineExceeded,
    EnvironmentBuildError,
    InitFailed,
    NotReady,
    QueueFull,
    ServerStopped,
    WorkerDied,
)
from model_loader.line import PoolLimits
from model_loader.pool import Launch, PoolState, start_delays
from model_loader.prediction import PredictRequest
from model_loader.process import WorkerPlan
from model_loader.shared_buffer import SharedBuffer
from tests.hosting import PATIENCE, Hosted, await_true, is_alive, predict, until, within
from tests.scripted_workers import ANSWERS, Meeting, ask, begun

Host = Callable[..., Hosted]
Meet = Callable[..., Meeting]


def limits(max_queue: int = 16, predict: float = PATIENCE, startup: float = PATIENCE) -> PoolLimits:
    return PoolLimits(startup, predict, max_queue)


async def settle() -> None:
    """Let everything run that can without anything happening outside."""
    for _ in range(10):
        await asyncio.sleep(0)


async def waiting(meeting: Meeting, count: int) -> None:
    await until(lambda: meeting.pool.describe()["waiting"] == count, f"{count} wait in line")


async def error_of(coroutine: Awaitable[Any]) -> BaseException:
    with pytest.raises(BaseException) as raised:
        await coroutine
    return raised.value


# The start, for one who waits for it.


def test_who_waits_for_the_start_hears_of_its_success_its_failure_and_its_end(host: Host) -> None:
    async def settled(hosted: Hosted) -> tuple[PoolState, Any]:
        await hosted.pool.start()
        await hosted.pool.until_settled()
        return hosted.pool.state, type(hosted.pool.failure)

    good, bad, stopped = host("echoes"), host("init_raises"), host("init_hangs")
    assert good.run(settled(good)) == (PoolState.READY, type(None))
    assert bad.run(settled(bad)) == (PoolState.FAILED, InitFailed)

    async def stopped_meanwhile() -> PoolState:
        waiting = asyncio.create_task(settled(stopped))
        await until(lambda: stopped.pool.state is PoolState.STARTING, "the worker starts")
        await stopped.pool.stop(grace=0)
        return (await waiting)[0]

    assert stopped.run(stopped_meanwhile()) is PoolState.STOPPING
    for hosted in (good, bad):
        hosted.run(hosted.pool.stop(grace=0))


# One request a worker, and a line.


def test_n_workers_predict_n_requests_at_once_and_one_more_waits(host: Host, tmp_path: Path) -> None:
    """Seen from inside the model: the third request begins when one of the first two is done."""
    hosted = host("waits", workers=2, environ={"MEETING": str(tmp_path)}).start()
    hosted.until_ready()
    pool = hosted.pool

    def has_begun() -> set[str]:
        return {path.stem for path in tmp_path.glob("*.begun")}

    async def scenario() -> None:
        tasks = {}
        for name in "abc":
            os.mkfifo(tmp_path / name)
            tasks[name] = asyncio.create_task(predict(pool, {"files": [], "args": {"name": name}}))
        await until(lambda: len(has_begun()) == 2, "two have begun")
        await settle()
        assert pool.describe()["waiting"] == 1
        assert [worker["state"] for worker in pool.describe()["workers"]] == ["busy", "busy"]
        assert has_begun() == {"a", "b"}
        (tmp_path / "b").write_text("")
        await until(lambda: "c" in has_begun(), "the third has begun")
        assert not tasks["a"].done()
        for name in "ca":
            (tmp_path / name).write_text("")
        notes = {name: (await task).note for name, task in tasks.items()}
        assert notes["a"] != notes["b"] == notes["c"]
        assert [worker["state"] for worker in pool.describe()["workers"]] == ["ready", "ready"]

    hosted.run(scenario())


def test_requests_run_in_the_order_in_which_they_came(meet: Meet) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        names = ["a", "b", "c", "d"]
        tasks = [ask(meeting, name) for name in names]
        for number, name in enumerate(names):
            await begun(meeting, name)
            assert not any(meeting.has_begun(later) for later in names[number + 1 :])
            meeting.end(name)
        timings = [await task for task in tasks]
        assert sorted(timings, key=lambda phases: phases["queue"]) == timings
        assert {phases["predict"] for phases in timings} == {0.25}

    meeting.hosted.run(scenario())


def test_one_request_more_than_may_wait_is_refused_and_those_in_line_are_served(meet: Meet) -> None:
    meeting = meet(limits=limits(max_queue=2)).start()

    async def scenario() -> None:
        tasks = [ask(meeting, name) for name in "abc"]
        await waiting(meeting, 2)
        with pytest.raises(QueueFull, match="2 requests wait already, which is as many as --max-queue allows"):
            await meeting.ask("d")
        with pytest.raises(QueueFull):
            meeting.pool.check_admission()
        assert meeting.pool.state is PoolState.READY
        for name, task in zip("abc", tasks, strict=True):
            await begun(meeting, name)
            meeting.end(name)
            await task
        assert not meeting.has_begun("d")

    meeting.hosted.run(scenario())


def test_without_a_queue_a_request_runs_at_once_or_is_refused(meet: Meet) -> None:
    meeting = meet(limits=limits(max_queue=0)).start()

    async def scenario() -> None:
        for first, second in (("a", "b"), ("c", "d")):
            task = ask(meeting, first)
            await begun(meeting, first)
            with pytest.raises(QueueFull):
                await meeting.ask(second)
            meeting.end(first)
            await task
            meeting.pool.check_admission()

    meeting.hosted.run(scenario())


# Requests that are cancelled.


def test_a_request_that_is_cancelled_in_line_never_runs(meet: Meet) -> None:
    meeting = meet(limits=limits(max_queue=2)).start()

    async def scenario() -> None:
        first, dropped, last = (ask(meeting, name) for name in "abc")
        await begun(meeting, "a")
        dropped.cancel()
        assert isinstance(await error_of(dropped), asyncio.CancelledError)
        assert meeting.pool.describe()["waiting"] == 1
        meeting.end("a")
        await first
        await begun(meeting, "c")
        meeting.end("c")
        await last
        assert not meeting.has_begun("b")

    meeting.hosted.run(scenario())


def test_a_request_that_is_cancelled_while_it_runs_runs_on_for_nobody(meet: Meet) -> None:
    """The worker is busy until the model is done, and then serves the next."""
    meeting = meet().start()

    async def scenario() -> None:
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        first.cancel()
        await asyncio.wait((first,))
        await settle()
        assert (meeting.states, meeting.has_begun("b")) == (["busy"], False)
        meeting.end("a")
        await begun(meeting, "b")
        assert meeting.worker_of("a") == meeting.worker_of("b")
        meeting.end("b")
        await second

    meeting.hosted.run(scenario())


def test_an_error_of_a_request_that_was_cancelled_is_nobodys(meet: Meet, caplog: pytest.LogCaptureFixture) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        first = ask(meeting, "a")
        await begun(meeting, "a")
        first.cancel()
        await asyncio.wait((first,))
        meeting.end("a", "die")
        await until(lambda: meeting.starts() == 2 and meeting.states == ["ready"], "the worker is back")

    meeting.hosted.run(scenario())
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_worker_handed_over_in_the_moment_of_a_cancellation_is_not_lost(meet: Meet) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        meeting.end("a")
        while meeting.pool.describe()["waiting"]:  # noqa: ASYNC110 (the very next turn of the loop counts)
            await asyncio.sleep(0)
        assert second.cancel(), "it has been given to the worker and has not heard of it since"
        await asyncio.wait((first, second))
        assert (second.cancelled(), meeting.states) == (True, ["busy"])
        third = ask(meeting, "c")
        await begun(meeting, "b")
        meeting.end("b")
        await begun(meeting, "c")
        meeting.end("c")
        await third

    meeting.hosted.run(scenario())


def test_who_leaves_in_the_moment_of_the_answer_does_not_end_the_request_that_the_worker_has_got_meanwhile(
    meet: Meet,
) -> None:
    meeting = meet(limits=PoolLimits(PATIENCE, predict_timeout=2.0, kills_abandoned=True)).start()

    async def scenario() -> None:
        os.mkfifo(meeting.folder / "a")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with SharedBuffer() as body:
            body.write(b"\x80")
            asking = meeting.pool.ask(PredictRequest(body, "msgpack", "name-a"), reply)
            await begun(meeting, "a")
            second = ask(meeting, "b")
            await waiting(meeting, 1)
            reply.cancel()
            meeting.end("a")
            await begun(meeting, "b")
            meeting.pool.leave(asking)
        with pytest.raises(DeadlineExceeded, match="took longer than 2 s"):
            await second

    meeting.hosted.run(scenario())


# Workers that die.


def zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_request_is_not_given_to_a_worker_that_died_while_it_was_idle(meet: Meet) -> None:
    """Though nobody has noticed its death when the request comes; and there is always room in line for that request."""
    meeting = meet(script=ANSWERS, limits=limits(max_queue=0)).start()
    (pid,) = (worker["pid"] for worker in meeting.pool.describe()["workers"])

    async def scenario() -> None:
        os.kill(pid, signal.SIGKILL)
        await_true(lambda: zombie(pid), "the worker is dead")
        assert meeting.states == ["ready"]
        assert await meeting.ask("a")

    meeting.hosted.run(scenario())
    assert meeting.pool.describe()["workers"][0]["pid"] != pid


def test_workers_that_die_while_they_are_idle_are_replaced_and_not_kept(meet: Meet) -> None:
    meeting = meet(workers=2, script=ANSWERS).start()
    for _ in range(2):
        pids = {worker["pid"] for worker in meeting.pool.describe()["workers"]}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        meeting.hosted.until(lambda pids=pids: not any(map(psutil.pid_exists, pids)), "they are gone")
        meeting.hosted.until_ready()
    assert [worker["restarts"] for worker in meeting.pool.describe()["workers"]] == [2, 2]
    assert len(meeting.pool._line._idle) == 2


def test_a_death_costs_the_request_that_ran_and_who_waits_is_served_by_the_next_worker(meet: Meet) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        meeting.end("a", "die")
        error = await error_of(first)
        assert isinstance(error, WorkerDied)
        assert "ended itself with exit code 3" in error.text
        await begun(meeting, "b")
        meeting.end("b")
        await second
        assert meeting.worker_of("a") != meeting.worker_of("b")
        assert meeting.pool.describe()["workers"][0]["restarts"] == 1

    meeting.hosted.run(scenario())


def test_who_waits_while_one_of_two_workers_cannot_start_again_is_served_by_the_other(meet: Meet) -> None:
    meeting = meet(workers=2, delays=lambda: itertools.repeat(PATIENCE)).start()

    async def scenario() -> None:
        first, second, third = (ask(meeting, name) for name in "abc")
        await begun(meeting, "a", "b")
        (meeting.folder / "flaw").touch()
        meeting.end("a", "die")
        assert isinstance(await error_of(first), WorkerDied)
        await until(lambda: sorted(meeting.states) == ["busy", "dead"], "the start has failed")
        meeting.pool.check_ready()
        meeting.end("b")
        await second
        await begun(meeting, "c")
        meeting.end("c")
        await third

    meeting.hosted.run(scenario())


def test_who_waits_is_not_refused_while_a_worker_that_had_been_ready_starts_again(meet: Meet) -> None:
    """Another worker's failures do not speak for it."""
    meeting = meet(delays=lambda: itertools.repeat(0.01))
    meeting.plans = tuple(meeting.plan(FLAW=f"flaw{number}", HOLD=f"hold{number}") for number in range(2))
    meeting.start()

    async def scenario() -> None:
        first, second, third = (ask(meeting, name) for name in "abc")
        await begun(meeting, "a", "b")
        (meeting.folder / "flaw0").touch()
        os.mkfifo(meeting.folder / "hold1")
        for name, task in (("b", second), ("a", first)):
            meeting.end(name, "die")
            assert isinstance(await error_of(task), WorkerDied)
        already = meeting.starts()
        await until(lambda: meeting.starts() > already + 3, "one has failed to start while the other starts")
        assert meeting.pool.state is PoolState.FAILED
        assert not third.done()
        (meeting.folder / "hold1").write_text("go on")
        await begun(meeting, "c")
        meeting.end("c")
        await third

    meeting.hosted.run(scenario())


def test_who_waits_is_refused_with_the_reason_as_soon_as_no_worker_is_left_to_hope_for(meet: Meet) -> None:
    meeting = meet(workers=2, delays=lambda: itertools.repeat(10 * PATIENCE)).start()

    async def scenario() -> None:
        first, second, third = (ask(meeting, name) for name in "abc")
        await begun(meeting, "a", "b")
        (meeting.folder / "flaw").touch()
        meeting.end("a", "die")
        await until(lambda: sorted(meeting.states) == ["busy", "dead"], "one cannot start again")
        assert not third.done()
        meeting.end("b", "die")
        error = await error_of(third)
        assert isinstance(error, NotReady)
        assert (error.text, error.traceback) == ("MDAIModel() raised a flaw.", "T")
        await asyncio.wait((first, second))

    meeting.hosted.run(scenario())


def test_a_predict_past_its_deadline_is_ended_and_the_next_is_served(meet: Meet) -> None:
    meeting = meet(limits=limits(predict=0.2)).start()

    async def scenario() -> None:
        first = ask(meeting, "a")
        await begun(meeting, "a")
        assert isinstance(await error_of(first), DeadlineExceeded)
        await until(lambda: not is_alive(meeting.worker_of("a")), "it is gone")
        await until(lambda: meeting.starts() == 2 and meeting.states == ["ready"], "the worker is back")

    meeting.hosted.run(scenario())


# Starts that fail.


def test_delays_double_from_one_second_to_sixty_with_jitter() -> None:
    for _ in range(20):
        delays = list(itertools.islice(start_delays(), 9))
        for delay, middle in zip(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
            assert 0.8 * middle <= delay <= 1.2 * middle
    assert len({next(start_delays()) for _ in range(20)}) > 1


class Recorded:
    """Delays that a test counts."""

    def __init__(self, *delays: float) -> None:
        self.delays = delays
        self.taken: list[list[float]] = []

    def __call__(self) -> Iterator[float]:
        taken: list[float] = []
        self.taken.append(taken)
        return self._take(taken)

    def _take(self, taken: list[float]) -> Iterator[float]:
        for delay in itertools.chain(self.delays, itertools.repeat(0.0)):
            taken.append(delay)
            yield delay


def test_starts_that_fail_back_off_and_their_error_is_told_until_one_succeeds(meet: Meet) -> None:
    delays = Recorded(0.0, 0.001, 0.002)
    meeting = meet(delays=delays)
    flaw = meeting.folder / "flaw"
    flaw.touch()
    with pytest.raises(NotReady, match=r"^MDAIModel\(\) raised a flaw\.$"):
        meeting.hosted.start()

    async def scenario() -> None:
        for count in (2, 3, 4):
            await until(lambda count=count: meeting.starts() >= count, "it has started again")
            assert meeting.pool.state is PoolState.FAILED
            error = await error_of(meeting.ask("a"))
            assert isinstance(error, NotReady)
            assert (error.text, error.traceback, error.retry_after) == ("MDAIModel() raised a flaw.", "T", 5.0)
            assert meeting.pool.describe()["reason"] == error.text
        flaw.unlink()
        await until(lambda: meeting.pool.state is PoolState.READY, "it is ready")
        meeting.pool.check_ready()
        assert meeting.pool.describe()["reason"] is None
        first = ask(meeting, "a")
        await begun(meeting, "a")
        meeting.end("a")
        await first

    meeting.hosted.run(scenario())
    prepared, started = delays.taken[0], delays.taken[1]
    assert prepared == []
    assert started[:3] == [0.0, 0.001, 0.002]


def test_a_worker_that_had_been_ready_starts_again_without_delay_and_counts_failures_anew(meet: Meet) -> None:
    delays = Recorded(0.0, 0.001)
    meeting = meet(delays=delays).start()
    (meeting.folder / "flaw").touch()
    os.kill(meeting.pool.describe()["workers"][0]["pid"], signal.SIGKILL)
    meeting.hosted.until(lambda: meeting.starts() >= 4, "it has started again and again")
    assert all(taken == [] for taken in delays.taken[:-1])
    assert delays.taken[-1][:2] == [0.0, 0.001]


def test_an_error_is_logged_once_however_often_it_comes(meet: Meet, caplog: pytest.LogCaptureFixture) -> None:
    meeting = meet()
    (meeting.folder / "flaw").touch()
    with pytest.raises(NotReady):
        meeting.hosted.start()
    meeting.hosted.until(lambda: meeting.starts() > 3, "it has failed several times")
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    (error,) = errors
    assert error.startswith("MDAIModel() raised a flaw.")
    assert "This is tried again in" in error


def test_a_start_past_its_timeout_fails_and_is_repeated(meet: Meet) -> None:
    meeting = meet(limits=limits(startup=0.2))
    os.mkfifo(meeting.folder / "hold")
    with pytest.raises(NotReady, match=r"not ready within 0\.2 s and was stopped.*--startup-timeout"):
        meeting.hosted.start()
    (meeting.folder / "hold").unlink()
    meeting.pool._crew._startup_timeout = PATIENCE
    meeting.hosted.until(lambda: meeting.pool.state is PoolState.READY, "it is ready")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (EnvironmentBuildError("scikit does not exist."), "scikit does not exist."),
        (PermissionError(13, "Permission denied", "cache"), "Permission denied: 'cache'"),
        (KeyError("surprise"), "KeyError: 'surprise'"),
    ],
    ids=["foreseen", "system", "unforeseen"],
)
def test_preparing_that_fails_is_told_and_repeated_until_it_succeeds(meet: Meet, error: Exception, says: str) -> None:
    delays = Recorded(0.0, 0.001)
    meeting = meet(delays=delays, script=ANSWERS)
    succeeds = meeting.prepare
    calls: list[int] = []

    async def prepare(progress: Callable[[str], None]) -> Launch:
        calls.append(1)
        progress(f"attempt {len(calls)}")
        if len(calls) < 3:
            raise error
        return await succeeds(progress)

    meeting.prepare = prepare
    with pytest.raises(NotReady) as raised:
        meeting.hosted.start()
    assert says in raised.value.text
    meeting.hosted.until(lambda: meeting.pool.state is PoolState.READY, "it is ready")
    assert delays.taken[0] == [0.0, 0.001]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("surprise")])
def test_a_plan_that_cannot_be_made_is_a_start_that_failed(meet: Meet, error: Exception) -> None:
    meeting = meet(script=ANSWERS)
    (succeeds,) = meeting.plans
    errors = [error]

    def plan() -> WorkerPlan:
        if errors:
            raise errors.pop()
        return succeeds()

    meeting.plans = (plan,)
    meeting.hosted.run(meeting.pool.start())
    meeting.hosted.until(lambda: meeting.pool.state is PoolState.READY, "it is ready")
    assert meeting.pool._failure is None
    assert not errors
    meeting.hosted.run(meeting.pool.stop(0))


def test_what_is_being_prepared_is_the_reason_until_then(meet: Meet) -> None:
    meeting = meet(script=ANSWERS)
    goes_on = asyncio.Event()
    succeeds = meeting.prepare

    async def prepare(progress: Callable[[str], None]) -> Launch:
        await asyncio.to_thread(progress, "Installing numpy\n")
        await goes_on.wait()
        return await succeeds(progress)

    meeting.prepare = prepare

    async def scenario() -> None:
        assert meeting.pool.state is PoolState.PREPARING
        await meeting.pool.start()
        await until(lambda: "numpy" in meeting.pool.describe()["reason"], "the word has come")
        with pytest.raises(NotReady, match=r"environment is being prepared: Installing numpy \(\d+ s so far\)\.$"):
            meeting.pool.check_ready()
        goes_on.set()
        await until(lambda: meeting.pool.state is PoolState.STARTING, "it loads")
        with pytest.raises(NotReady, match=r"^the model is loading \(\d+ s so far\)\.$"):
            await meeting.ask("a")
        await until(lambda: meeting.pool.state is PoolState.READY, "it is ready")
        await meeting.pool.stop(0)

    meeting.hosted.run(scenario())


def test_what_preparing_starts_keeps_its_exit_code(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for a stray: uv runs in a session of its own, too."""
    monkeypatch.setattr("model_loader.pool._REAP_EVERY", 0.001)
    meeting = meet(script=ANSWERS)
    succeeds = meeting.prepare
    codes: list[int] = []

    async def prepare(progress: Callable[[str], None]) -> Launch:
        with subprocess.Popen(["false"], start_new_session=True) as process:  # noqa: ASYNC220
            await until(lambda: not is_alive(process.pid), "it has ended")
            for _ in range(5):
                await asyncio.sleep(0.002)
        codes.append(process.returncode)
        return await succeeds(progress)

    meeting.prepare = prepare
    meeting.start()
    assert codes == [1]


def test_orphans_that_end_while_their_worker_lives_are_reaped(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_loader.pool._REAP_EVERY", 0.001)
    orphan = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(os.environ["MEETING"] + "/orphan", "w").write(str(os.getpid()))
    os._exit(0)
os.wait()
"""
    meeting = meet(script=orphan + ANSWERS).start()
    told = meeting.folder / "orphan"
    meeting.hosted.until(lambda: told.exists() and told.read_text() != "", "the orphan has told who it is")
    meeting.hosted.until(lambda: not psutil.pid_exists(int(told.read_text())), "it is gone and reaped")
    assert meeting.states == ["ready"]


# The end.


def test_stopping_refuses_what_is_new_and_lets_finish_what_runs_and_waits(meet: Meet) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        stopped = asyncio.create_task(meeting.pool.stop(PATIENCE))
        await settle()
        with pytest.raises(NotReady, match=r"^the server is shutting down\.$"):
            await meeting.ask("c")
        meeting.pool._progress("a late word")
        assert meeting.pool.describe()["reason"] == "the server is shutting down."
        assert meeting.pool.state is PoolState.STOPPING
        for name, task in (("a", first), ("b", second)):
            await begun(meeting, name)
            meeting.end(name)
            await task
        await stopped
        assert meeting.states == ["dead"]

    meeting.hosted.run(scenario())


def test_a_death_while_stopping_does_not_cost_who_waits(meet: Meet) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        stopped = asyncio.create_task(meeting.pool.stop(PATIENCE))
        meeting.end("a", "die")
        assert isinstance(await error_of(first), WorkerDied)
        await begun(meeting, "b")
        meeting.end("b")
        await second
        await stopped

    meeting.hosted.run(scenario())


def test_after_grace_what_runs_is_killed_and_every_request_gets_an_error(meet: Meet) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        await meeting.pool.stop(0)
        running = await error_of(first)
        in_line = await error_of(second)
        assert isinstance(running, ServerStopped)
        assert running.text == "the server was told to stop before predict(data) had ended."
        assert isinstance(in_line, NotReady)
        assert in_line.text == "the server is shutting down."
        assert not is_alive(meeting.worker_of("a"))

    meeting.hosted.run(scenario())


def test_stopping_again_cuts_the_grace_short(meet: Meet) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        first = ask(meeting, "a")
        await begun(meeting, "a")
        patient = asyncio.create_task(meeting.pool.stop(PATIENCE))
        await settle()
        await meeting.pool.stop(0)
        assert isinstance(await error_of(first), ServerStopped)
        await patient
        await meeting.pool.stop(0)

    meeting.hosted.run(scenario())


def test_stopping_while_the_environment_is_prepared_cancels_that(meet: Meet) -> None:
    meeting = meet()
    ended: list[str] = []

    async def prepare(_progress: Callable[[str], None]) -> Launch:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        raise AssertionError

    meeting.prepare = prepare

    async def scenario() -> None:
        await meeting.pool.start()
        await settle()
        await meeting.pool.stop(PATIENCE)
        assert ended == ["cancelled"]

    meeting.hosted.run(scenario())


def test_stopping_while_a_worker_loads_leaves_no_process(meet: Meet) -> None:
    meeting = meet()
    os.mkfifo(meeting.folder / "hold")

    async def scenario() -> None:
        await meeting.pool.start()
        await until(lambda: meeting.starts() == 1, "it loads")
        await meeting.pool.stop(PATIENCE)
        assert not meeting.hosted.processes()

    meeting.hosted.run(scenario())


def test_stopping_while_a_start_is_delayed_does_not_wait_for_that(meet: Meet) -> None:
    meeting = meet(delays=lambda: itertools.repeat(10 * PATIENCE))
    (meeting.folder / "flaw").touch()
    with pytest.raises(NotReady):
        meeting.hosted.start()
    meeting.hosted.run(meeting.pool.stop(PATIENCE))


def test_stopping_what_was_never_started_is_harmless(meet: Meet) -> None:
    meeting = meet()
    meeting.hosted.run(meeting.pool.stop(PATIENCE))


def test_an_event_loop_that_ends_early_takes_the_workers_along(meet: Meet) -> None:
    """As `asyncio.run` ends it: by cancelling what still runs."""
    meeting = meet(workers=2)

    async def scenario() -> list[int]:
        await meeting.pool.start()
        await until(lambda: meeting.states == ["ready", "ready"], "both are ready")
        request = ask(meeting, "a")
        await begun(meeting, "a")
        assert not request.done()
        return [worker["pid"] for worker in meeting.pool.describe()["workers"]]

    pids = asyncio.run(within(scenario()))
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


# Resources that are exhausted.


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[], None]]:
    """Allows no descriptor more than are open when it is called."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def exhaust() -> None:
        used = {int(entry) for entry in os.listdir("/proc/self/fd")}  # noqa: PTH208
        free = next(number for number in itertools.count() if number not in used)
        fillers.extend(os.dup(0) for _ in range(max(used) - free + 8))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(fillers[-1] + 1, before[1]), before[1]))

    fillers: list[int] = []
    yield exhaust
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for descriptor in fillers:
        os.close(descriptor)


def test_without_descriptors_a_request_is_refused_and_no_worker_is_lost(
    meet: Meet, few_descriptors: Callable[[], None]
) -> None:
    meeting = meet(script=ANSWERS).start()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario() -> None:
        with SharedBuffer() as body:
            body.write(b"\x80")
            few_descriptors()
            with pytest.raises(NotReady, match="cannot hold another answer"):
                await meeting.pool.predict(PredictRequest(body, "msgpack", "name-a"))
            resource.setrlimit(resource.RLIMIT_NOFILE, hard)
            assert meeting.states == ["ready"]
            with await meeting.pool.predict(PredictRequest(body, "msgpack", "name-a")) as prediction:
                assert prediction.size == 0

    meeting.hosted.run(scenario())


def test_a_request_whose_body_is_closed_costs_no_worker(meet: Meet) -> None:
    meeting = meet(script=ANSWERS).start()

    async def scenario() -> None:
        body = SharedBuffer()
        body.close()
        with pytest.raises(ValueError, match="closed"):
            await meeting.pool.predict(PredictRequest(body, "msgpack", "name-a"))
        assert meeting.states == ["ready"]
        assert await meeting.ask("b")

    meeting.hosted.run(scenario())


def test_a_request_whose_files_cannot_be_given_to_the_worker_s_user_costs_no_worker(meet: Meet, tmp_path: Path) -> None:
    meeting = meet(script=ANSWERS).start()

    def refuse(_folder: Path) -> None:
        raise PermissionError("not permitted")

    worker = meeting.pool._slots[0].worker
    assert worker is not None
    user: Any = SimpleNamespace(let_through=refuse, own=refuse)
    worker.plan = dataclasses.replace(worker.plan, user=user)

    async def scenario() -> None:
        inputs: Any = SimpleNamespace(folder=tmp_path, hold=lambda: None, let_go=lambda: None)
        with SharedBuffer() as body:
            body.write(b"\x80")
            with pytest.raises(PermissionError):
                await meeting.pool.predict(PredictRequest(body, "msgpack", "name-a", inputs=inputs))
        assert await within(meeting.ask("b"))

    meeting.hosted.run(scenario())


class Unruly:
    """A recipient that raises whatever it is told."""

    was_told = False

    def done(self) -> bool:
        return False

    def set_result(self, answer: Any) -> None:
        self.was_told = True
        answer.body.close()
        raise MemoryError

    def set_exception(self, error: Exception) -> None:
        self.was_told = True
        raise MemoryError from error

    def exception(self) -> None:
        raise MemoryError


@pytest.mark.parametrize("how", ["answer", "die"])
def test_a_recipient_that_raises_costs_no_worker(meet: Meet, how: str) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        recipient = Unruly()
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        os.mkfifo(meeting.folder / "a")
        with SharedBuffer() as body:
            body.write(b"\x80")
            meeting.pool.ask(PredictRequest(body, "msgpack", "name-a"), recipient)
            await begun(meeting, "a")
            second = ask(meeting, "b")
            await waiting(meeting, 1)
            meeting.end("a", how)
            await begun(meeting, "b")
            assert recipient.was_told
            meeting.end("b")
            await second

    meeting.hosted.run(scenario())


def test_the_same_pool_promises_hold_on_uvloop(host: Host, tmp_path: Path) -> None:
    import uvloop

    meeting = Meeting(host("echoes", loop_factory=uvloop.new_event_loop), tmp_path).start()

    async def scenario() -> None:
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        meeting.end("a", "die")
        assert isinstance(await error_of(first), WorkerDied)
        await begun(meeting, "b")
        await meeting.pool.stop(0)
        assert isinstance(await error_of(second), ServerStopped)

    meeting.hosted.run(scenario())
