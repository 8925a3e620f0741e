"""Ends of processes, told apart: above all those for which the kernel found too little memory."""

import os
import signal
from pathlib import Path

import pytest

from model_loader.death import KillCount, MemoryKill, manner_of
from model_loader.memory import families, footprint


class Kernel:
    """Files as the kernel keeps them."""

    def __init__(self, folder: Path, version: int | None) -> None:
        self.cgroup, self.mounts, self.vmstat = folder / "cgroup", folder / "fs", folder / "vmstat"
        self.cgroup.write_text("9:name=systemd:/\n4:memory:/pod/one\n" if version == 1 else "0::/pod/one\n")
        name = {1: "memory/pod/one/memory.oom_control", 2: "pod/one/memory.events"}.get(version or 0)
        self.counts = self.vmstat if name is None else self.mounts / name
        self.counts.parent.mkdir(parents=True, exist_ok=True)
        self.vmstat.write_text("oom_kill 70\n")
        self.killed(5)

    def killed(self, count: int) -> None:
        self.counts.write_text(f"oom_kill_disable 0\noom 9\noom_kill {count}\noom_group_kill 0\n")

    def count(self) -> KillCount:
        return KillCount(self.cgroup, self.mounts, self.vmstat)


@pytest.mark.parametrize("version", [1, 2, None])
def test_each_kill_for_memory_explains_one_death_and_earlier_ones_none(tmp_path: Path, version: int | None) -> None:
    kernel = Kernel(tmp_path, version)
    count = kernel.count()
    exact = version is not None
    first = second = count.now()
    assert first == 5
    assert count.claim(first) == MemoryKill(False, exact)
    kernel.killed(6)
    assert count.claim(first) == MemoryKill(True, exact)
    assert count.claim(second) == MemoryKill(False, exact)
    kernel.killed(8)
    assert [count.claim(first), count.claim(second), count.claim(second)] == [
        MemoryKill(True, exact),
        MemoryKill(True, exact),
        MemoryKill(False, exact),
    ]


def test_a_count_for_every_request_is_read_once_a_second(tmp_path: Path) -> None:
    kernel, moment = Kernel(tmp_path, 2), 100.0
    count = KillCount(kernel.cgroup, kernel.mounts, kernel.vmstat, clock=lambda: moment)
    assert count.lately() == 5
    kernel.killed(6)
    moment = 100.9
    assert (count.lately(), count.now()) == (5, 6)
    moment = 101.0
    assert count.lately() == 6


def test_where_nothing_is_counted_nothing_is_claimed(tmp_path: Path) -> None:
    count = KillCount(tmp_path / "none", tmp_path, tmp_path / "none")
    assert count.now() is None
    assert count.claim(count.now()) is None


def test_inside_a_container_the_count_stands_at_the_top(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, 2)
    kernel.counts.rename(kernel.mounts / "memory.events")
    assert kernel.count().claim(0) == MemoryKill(True, True)


@pytest.mark.parametrize(
    ("kill", "says"),
    [
        (None, "which is how the kernel ends a process when memory runs out,"),
        (MemoryKill(True, True), "from the kernel because memory ran out"),
        (MemoryKill(True, False), "most likely for its memory"),
        (MemoryKill(False, True), "which somebody sent (the kernel has ended nothing here because memory ran out)"),
    ],
)
def test_a_sigkill_is_told_by_what_is_known_of_it(kill: MemoryKill | None, says: str) -> None:
    assert says in manner_of(-signal.SIGKILL, kill)
    assert says not in manner_of(-signal.SIGTERM, kill)


def test_memory_of_children_that_were_forked_is_counted_once() -> None:
    held = b"x" * (64 << 20)
    ready, tell = os.pipe()
    alone = footprint({os.getpid()})
    child = os.fork()
    if child == 0:
        os.write(tell, b"1")
        signal.pause()
    try:
        os.read(ready, 1)
        family = families({os.getpid()})[os.getpid()]
        assert child in family
        assert alone > len(held)
        assert footprint({os.getpid(), child}) < alone + (48 << 20) < footprint({os.getpid(), child}, 1 << 60)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)
