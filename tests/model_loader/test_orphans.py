"""Processes that a package leaves behind are found, killed and reaped; others are let alone."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import psutil
import pytest

from model_loader import orphans
from tests.hosting import await_true, is_alive, processes_with

#: A daemon: its parent is gone and it leads a session of its own.
DAEMON = ["sh", "-c", "setsid sleep 1000 & exit"]


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark of this test's own; whatever carries it is gone afterwards."""
    mark = uuid.uuid4().hex
    orphans.become_subreaper()
    yield mark
    for pid in carriers(mark):
        os.kill(pid, signal.SIGKILL)
    await_true(lambda: orphans.reap_strays(()) == 0 and not carriers(mark), "nothing is left")


def carriers(mark: str) -> set[int]:
    return processes_with(f"{orphans.MARK}={mark}")


def environ(mark: str) -> dict[str, str]:
    return dict(os.environ) | {orphans.MARK: mark}


def test_daemons_that_carry_the_mark_are_killed_and_reaped_and_no_others(mark: str) -> None:
    longer = mark + "0"
    with subprocess.Popen(["sleep", "1000"], env=environ(longer)) as other:
        for _ in range(3):
            subprocess.run(DAEMON, env=environ(mark), check=True)
        await_true(lambda: len(carriers(mark)) == 3, "the daemons are there")
        daemons = carriers(mark)
        assert orphans.kill_marked(mark) == 3
        await_true(lambda: not any(map(psutil.pid_exists, daemons)), "they are gone and reaped")
        assert is_alive(other.pid)
        assert orphans.kill_marked(mark) == 0
        other.kill()


def test_orphans_become_this_process_children_and_are_reaped_when_they_end(mark: str) -> None:
    subprocess.run(DAEMON, env=environ(mark), check=True)
    await_true(lambda: len(carriers(mark)) == 1, "the daemon is there")
    (daemon,) = carriers(mark)
    await_true(lambda: psutil.Process(daemon).ppid() == os.getpid(), "it is ours")
    assert orphans.reap_strays(()) == 0
    assert is_alive(daemon)
    os.kill(daemon, signal.SIGKILL)
    await_true(lambda: not is_alive(daemon), "it is dead")
    assert psutil.pid_exists(daemon)
    assert orphans.reap_strays({daemon}) == 0
    assert orphans.reap_strays(()) == 1
    assert not psutil.pid_exists(daemon)


def test_children_of_our_own_session_and_workers_are_left_to_who_waits_for_them() -> None:
    own = subprocess.Popen(["sh", "-c", "exit 3"])
    worker = subprocess.Popen(["sh", "-c", "exit 4"], start_new_session=True)
    await_true(lambda: not is_alive(own.pid) and not is_alive(worker.pid), "both have ended")
    assert orphans.reap_strays({worker.pid}) == 0
    assert (own.wait(), worker.wait()) == (3, 4)


def test_killing_a_group_that_is_gone_is_harmless() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True) as leader:
        orphans.kill_group(leader.pid)
    assert leader.returncode == -signal.SIGKILL
    orphans.kill_group(leader.pid)


def test_a_child_that_a_package_left_without_its_mark_is_ended_with_the_last_worker(mark: str) -> None:
    known = set(psutil.Process().children())
    own = subprocess.Popen(["sleep", "1000"])
    another_pool_s = subprocess.Popen(["sleep", "1000"], env=environ(mark), start_new_session=True)
    try:
        await_true(lambda: carriers(mark) == {another_pool_s.pid}, "it shows its mark")
        subprocess.run(DAEMON, env={"PATH": os.environ["PATH"]}, check=True)
        await_true(lambda: len(strays(known, own, another_pool_s)) == 1, "the daemon is ours")
        (daemon,) = strays(known, own, another_pool_s)
        assert orphans.end_strays() >= 1
        assert not psutil.pid_exists(daemon)
        assert is_alive(own.pid) and is_alive(another_pool_s.pid)
    finally:
        for process in (own, another_pool_s):
            process.kill()
            process.wait()


def strays(known: set[psutil.Process], *others: "subprocess.Popen[bytes]") -> set[int]:
    """The children of this process that are neither known nor among the others."""
    found = {process.pid for process in set(psutil.Process().children()) - known}
    return found - {other.pid for other in others}


def test_children_are_found_while_threads_come_and_go(mark: str) -> None:
    subprocess.run(DAEMON, env=environ(mark), check=True)
    await_true(lambda: len(carriers(mark)) == 1, "the daemon is there")
    (daemon,) = carriers(mark)
    await_true(lambda: psutil.Process(daemon).ppid() == os.getpid(), "it is ours")
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()

    busy = threading.Thread(target=come_and_go)
    busy.start()
    try:
        assert all(daemon in orphans._children() for _ in range(500))
    finally:
        done.set()
        busy.join()


KILLED = """
import os, subprocess, sys
from model_loader import orphans
keeper = orphans.Keeper()
keeper.start()
mark = {orphans.MARK: keeper.family + "-worker"}
for _ in range(3):
    subprocess.Popen(["sleep", "1000"], env=os.environ | mark, start_new_session=True)
print(keeper.family, flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_workers_leave_behind_ends_with_a_server_that_is_killed() -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL
    family = ended.stdout.strip()
    await_true(lambda: not processes_with(f"{orphans.MARK}={family}-worker"), "they are gone")


def test_a_keeper_that_has_nothing_to_keep_ends_at_once() -> None:
    keeper = orphans.Keeper()
    known = set(psutil.Process().children())
    keeper.start()
    (process,) = set(psutil.Process().children()) - known
    keeper.stop()
    keeper.stop()
    assert not psutil.pid_exists(process.pid)
