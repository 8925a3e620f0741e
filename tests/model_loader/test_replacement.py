"""Workers that are replaced: by spares, after so many predictions, for their memory, because their package changed."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from model_loader.errors import InitFailed, NotReady, WorkerDied
from model_loader.pool import PoolState
from model_loader.recycling import Upkeep
from tests.hosting import PATIENCE, Hosted, is_alive, predict, until
from tests.scripted_workers import ANSWERS, Meeting, ask, begun

Host = Callable[..., Hosted]
Meet = Callable[..., Meeting]

#: Answers at once, and holds eight megabytes more after each request.
GROWS = """
hear()
say(READY)
held = []
while hear():
    held.append(b"x" * (8 << 20))
    say(DONE)
"""


def pids(meeting: Meeting) -> list[int]:
    return [worker.get("pid", 0) for worker in meeting.pool.describe()["workers"]]


def spares(meeting: Meeting) -> list[int]:
    return [spare["pid"] for spare in meeting.pool.describe()["spares"]["loaded"]]


async def spares_there(meeting: Meeting, count: int) -> list[int]:
    await until(lambda: len(spares(meeting)) == count, f"{count} spares are loaded")
    return spares(meeting)


def counted(meeting: Meeting, **causes: int) -> None:
    meeting.hosted.until(lambda: meeting.pool.restarts_by_cause == causes, f"{causes} are counted, and nothing else")


# Stopped ones.


def test_an_idle_worker_that_is_stopped_is_replaced_and_costs_nobody_anything(
    meet: Meet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_loader.recycling._PATROL_EVERY", 0.01)
    meeting = meet(script=ANSWERS).start()
    (stopped,) = pids(meeting)
    os.kill(stopped, signal.SIGSTOP)
    meeting.hosted.until(lambda: not is_alive(stopped), "it is ended")
    meeting.hosted.until_ready()
    assert meeting.hosted.run(meeting.ask("a"))
    counted(meeting, crash=1)


# Spares.


def test_a_spare_takes_the_place_of_a_worker_that_dies_though_no_other_would_load(meet: Meet) -> None:
    """Who waits in line is served, and the service is never unready."""
    meeting = meet(upkeep=Upkeep(spare_workers=1)).start()

    async def scenario() -> None:
        (spare,) = await spares_there(meeting, 1)
        os.mkfifo(meeting.folder / "hold")
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        meeting.end("a", "die")
        with pytest.raises(WorkerDied):
            await first
        await begun(meeting, "b")
        assert meeting.worker_of("b") == spare
        meeting.end("b")
        await second
        meeting.pool.check_ready()
        assert spares(meeting) == []
        (meeting.folder / "hold").write_text("go on")
        (another,) = await spares_there(meeting, 1)
        assert another not in (spare, *pids(meeting))
        assert meeting.pool.restarts_by_cause == {"crash": 1}

    meeting.hosted.run(scenario())


def test_a_spare_that_dies_is_replaced_and_costs_nobody_anything(meet: Meet) -> None:
    meeting = meet(script=ANSWERS, upkeep=Upkeep(spare_workers=2)).start()

    async def scenario() -> None:
        first, second = await spares_there(meeting, 2)
        os.kill(first, signal.SIGKILL)
        await until(lambda: first not in spares(meeting) and len(spares(meeting)) == 2, "another is there")
        assert second in spares(meeting)
        assert await meeting.ask("a")
        assert meeting.pool.describe()["workers"][0]["restarts"] == 0

    meeting.hosted.run(scenario())
    counted(meeting, crash=1)


def test_a_package_that_does_not_load_is_not_loaded_for_spares_too(meet: Meet) -> None:
    meeting = meet(upkeep=Upkeep(spare_workers=3), delays=lambda: iter([10 * PATIENCE] * 9))
    (meeting.folder / "flaw").touch()
    with pytest.raises(NotReady):
        meeting.hosted.start()
    assert meeting.starts() == 1
    assert meeting.pool.restarts_by_cause == {"failed_start": 1}


# Recycling.


@pytest.mark.parametrize("spare", [0, 1])
def test_after_so_many_predictions_another_serves_and_no_request_fails(meet: Meet, spare: int) -> None:
    meeting = meet(script=ANSWERS, workers=2, upkeep=Upkeep(spare, max_requests_per_worker=5)).start()

    async def scenario() -> None:
        before = set(pids(meeting))
        while not before.isdisjoint(pids(meeting)):
            await asyncio.gather(*(meeting.ask(f"{number}") for number in range(8)))
            meeting.pool.check_ready()
        await until(lambda: not any(map(is_alive, before)), "the old ones have ended")

    meeting.hosted.run(scenario())
    meeting.hosted.until(lambda: set(meeting.pool.restarts_by_cause) == {"recycled_requests"}, "they are counted")
    assert all(worker["restarts"] >= 1 for worker in meeting.pool.describe()["workers"])


def test_until_its_replacement_is_loaded_the_old_worker_serves(meet: Meet) -> None:
    meeting = meet(upkeep=Upkeep(max_requests_per_worker=1)).start()

    async def one(name: str) -> int:
        task = ask(meeting, name)
        await begun(meeting, name)
        meeting.end(name)
        await task
        return meeting.worker_of(name)

    async def scenario() -> None:
        os.mkfifo(meeting.folder / "hold")
        old = await one("a")
        await until(lambda: meeting.starts() == 2, "another loads")
        assert await one("b") == old
        running = ask(meeting, "c")
        await begun(meeting, "c")
        (meeting.folder / "hold").write_text("go on")
        (meeting.folder / "hold").unlink()
        await until(lambda: pids(meeting) != [old], "the other is there")
        assert await one("d") == pids(meeting)[0] != old
        assert is_alive(old)
        meeting.end("c")
        await running
        await until(lambda: not is_alive(old), "the old one has ended after its request")

    meeting.hosted.run(scenario())


def test_a_worker_that_cannot_be_replaced_serves_on_and_is_replaced_later(
    meet: Meet, caplog: pytest.LogCaptureFixture
) -> None:
    meeting = meet(upkeep=Upkeep(max_requests_per_worker=1)).start()
    (old,) = pids(meeting)

    async def scenario() -> None:
        (meeting.folder / "flaw").touch()
        first = ask(meeting, "a")
        await begun(meeting, "a")
        meeting.end("a")
        await first
        await until(lambda: meeting.starts() > 3, "others have failed to load")
        meeting.pool.check_ready()
        assert pids(meeting) == [old]
        (meeting.folder / "flaw").unlink()
        await until(lambda: pids(meeting) != [old], "it is replaced")

    meeting.hosted.run(scenario())
    assert "serves on, because one in its place did not start" in caplog.text


def test_what_holds_more_than_it_may_between_requests_is_replaced_and_no_request_fails(meet: Meet) -> None:
    meeting = meet(script=GROWS, upkeep=Upkeep(worker_memory=100 << 20)).start()
    (old,) = pids(meeting)

    async def scenario() -> None:
        count = 0
        while pids(meeting) == [old]:
            await meeting.ask("a")
            count += 1
        assert count >= 8, "it was below the ceiling before"
        await until(lambda: not is_alive(old), "it has ended")

    meeting.hosted.run(scenario())
    counted(meeting, recycled_memory=1)


def test_what_a_child_holds_counts(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_loader.recycling._PATROL_EVERY", 0.01)
    child = """
hear()
say(READY)
hear()
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    held = b"x" * (150 << 20)
    os.write(write, b"1")
    pause()
os.read(read, 1)
say(DONE)
hear()
"""
    meeting = meet(script=child, upkeep=Upkeep(worker_memory=100 << 20)).start()
    (old,) = pids(meeting)
    meeting.hosted.run(meeting.ask("a"))
    meeting.hosted.until(lambda: pids(meeting) != [old], "an idle worker is replaced for its child's memory")


def test_a_ceiling_below_what_the_model_takes_at_first_is_told_and_does_not_replace_it_for_ever(
    meet: Meet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("model_loader.recycling._PATROL_EVERY", 0.01)
    meeting = meet(script=ANSWERS, workers=2, upkeep=Upkeep(worker_memory=1 << 20)).start()
    before = pids(meeting)

    async def scenario() -> None:
        for _ in range(20):
            await meeting.ask("a")
            await asyncio.sleep(0.01)

    meeting.hosted.run(scenario())
    assert pids(meeting) == before
    assert caplog.text.count("before its first prediction, which is more than --worker-memory allows (1 MiB)") == 1


def test_workers_that_are_due_at_once_are_replaced_one_after_the_other(meet: Meet) -> None:
    meeting = meet(workers=2, upkeep=Upkeep(max_requests_per_worker=1)).start()

    async def scenario() -> None:
        before = pids(meeting)
        os.mkfifo(meeting.folder / "hold")
        tasks = {name: ask(meeting, name) for name in "ab"}
        await begun(meeting, *tasks)
        for name, task in tasks.items():
            meeting.end(name)
            await task
        await until(lambda: meeting.starts() == 3, "one loads")
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert meeting.starts() == 3
        (meeting.folder / "hold").write_text("go on")
        (meeting.folder / "hold").unlink()
        await until(lambda: set(before).isdisjoint(pids(meeting)), "both are replaced")

    meeting.hosted.run(scenario())


def test_far_too_much_while_a_request_runs_costs_that_request_and_says_so(
    meet: Meet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_loader.recycling._PATROL_EVERY", 0.01)
    hoards = "hear()\nsay(READY)\nhear()\nheld = b'x' * (100 << 20)\npause()\n"
    meeting = meet(script=hoards, upkeep=Upkeep(worker_memory=30 << 20)).start()

    async def scenario() -> None:
        with pytest.raises(WorkerDied, match=r"held \d+ MiB, more than twice what --worker-memory allows"):
            await meeting.ask("a")
        await until(lambda: meeting.states == ["ready"], "it is back")

    meeting.hosted.run(scenario())
    counted(meeting, over_memory=1)


def test_where_two_do_not_fit_in_memory_the_old_one_goes_first(meet: Meet) -> None:
    """A replacement that fails for memory is not tried again beside the old worker, which would only grow."""
    crowded = """
first = os.environ["MEETING"] + "/first"
hear()
if os.path.exists(first) and os.path.exists("/proc/" + open(first).read()):
    say(FAILED.replace(b"raised a flaw.", b"MemoryError: x"))
open(first, "w").write(str(os.getpid()))
say(READY)
while hear():
    say(DONE)
"""
    meeting = meet(
        script=crowded, upkeep=Upkeep(max_requests_per_worker=2), delays=lambda: iter([10 * PATIENCE])
    ).start()
    (old,) = pids(meeting)

    async def scenario() -> None:
        for _ in range(2):
            await meeting.ask("a")
        await until(lambda: pids(meeting) != [old] and meeting.states == ["ready"], "another is there")

    meeting.hosted.run(scenario())


# The package changes.


def test_what_runs_finishes_on_the_old_worker_while_another_loads(meet: Meet) -> None:
    meeting = meet(workers=2, upkeep=Upkeep(spare_workers=1)).start()

    async def scenario() -> None:
        old = {*pids(meeting), *await spares_there(meeting, 1)}
        running = ask(meeting, "a")
        await begun(meeting, "a")
        meeting.pool.reload("its code has changed")
        await until(lambda: meeting.states == ["ready", "ready"] and old.isdisjoint(pids(meeting)), "others are there")
        await until(lambda: sum(map(is_alive, old)) == 1, "of the old ones, that with the request is left")
        next_one = ask(meeting, "b")
        await begun(meeting, "b")
        assert meeting.worker_of("b") in pids(meeting)
        for name, task in (("a", running), ("b", next_one)):
            meeting.end(name)
            await task
        await until(lambda: not any(map(is_alive, old)), "all of the old ones have ended")
        await until(lambda: meeting.pool.restarts_by_cause["reload"] == 2, "they are counted")

    meeting.hosted.run(scenario())


def test_code_that_fails_is_told_at_once_and_the_next_change_is_tried_at_once(meet: Meet) -> None:
    meeting = meet(delays=lambda: iter([10 * PATIENCE] * 9)).start()

    async def scenario() -> None:
        (meeting.folder / "flaw").touch()
        meeting.pool.reload("its code has changed")
        await until(lambda: meeting.pool.state is PoolState.FAILED, "it is told")
        with pytest.raises(NotReady, match="raised a flaw"):
            meeting.pool.check_ready()
        assert isinstance(meeting.pool.failure, InitFailed)
        (meeting.folder / "flaw").unlink()
        meeting.pool.reload("its code has changed")
        await until(lambda: meeting.states == ["ready"], "it is ready")

    meeting.hosted.run(scenario())


def test_who_waits_in_line_while_the_package_changes_is_served_by_what_comes(meet: Meet) -> None:
    meeting = meet().start()

    async def scenario() -> None:
        first, second = ask(meeting, "a"), ask(meeting, "b")
        await begun(meeting, "a")
        meeting.pool.reload("its code has changed")
        await begun(meeting, "b")
        assert meeting.worker_of("b") != meeting.worker_of("a")
        for name, task in (("a", first), ("b", second)):
            meeting.end(name)
            await task

    meeting.hosted.run(scenario())


# The end.


@pytest.mark.parametrize("moment", ["recycling", "reloading", "spare"])
def test_stopping_while_another_loads_leaves_nothing(meet: Meet, moment: str) -> None:
    meeting = meet(upkeep=Upkeep(int(moment == "spare"), max_requests_per_worker=1)).start()

    async def scenario() -> None:
        if moment == "spare":
            await spares_there(meeting, 1)
        os.mkfifo(meeting.folder / "hold")
        before = meeting.starts()
        running = ask(meeting, "a")
        await begun(meeting, "a")
        if moment == "reloading":
            meeting.pool.reload("its code has changed")
        else:
            meeting.end("a")
            await running
        await until(lambda: meeting.starts() > before, "another loads")
        await meeting.pool.stop(0)
        await asyncio.wait((running,))
        assert not meeting.hosted.processes()

    meeting.hosted.run(scenario())


def test_every_worker_has_a_folder_of_its_own_which_goes_with_it(host: Host) -> None:
    hosted = host("echoes", upkeep=Upkeep(spare_workers=1, max_requests_per_worker=1)).start()

    async def scenario() -> None:
        for _ in range(3):
            await predict(hosted.pool)

    hosted.run(scenario())
    hosted.stop()
    assert not list(hosted.run_folder.path.glob("w*"))
