"""What a process holds, and what a run has left on the machine, read from /proc."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from model_loader.memory_file import KEPT_SECONDS

_PROC = Path("/proc")
_IN_MEMORY = "shared memory"


@dataclass(frozen=True)
class Held:
    """What the service holds at one moment; bytes of memory of its own (RssAnon).

    Empty files in memory, of which a worker may keep one for its next long answer, are none of the `descriptors`.
    """

    descriptors: dict[str, int]
    empty_files: int
    threads: int
    memory: int
    temp_files: frozenset[str]


def held_by(pid: int, temp: Path) -> Held:
    """Descriptors by kind, threads, memory, and the files below `temp` less what differs from worker to worker."""
    kinds: Counter[str] = Counter()
    empty_files = 0
    for entry in (_PROC / str(pid) / "fd").iterdir():
        try:
            kind = _kind(str(entry.readlink()))
            if kind == _IN_MEMORY and not entry.stat().st_blocks:
                empty_files += 1
            else:
                kinds[kind] += 1
        except OSError:
            continue
    threads = len(list((_PROC / str(pid) / "task").iterdir()))
    return Held(dict(kinds), empty_files, threads, memory_of(pid), frozenset(str(path) for path in temp.glob("*/*")))


def held_at_rest(pid: int, temp: Path) -> Held:
    """The same when it has not changed for so long that files of requests which wait for the next are given back."""
    held, since = held_by(pid, temp), time.monotonic()
    while time.monotonic() < since + 2 * KEPT_SECONDS:
        time.sleep(0.2)
        found = held_by(pid, temp)
        if (found.descriptors, found.temp_files) != (held.descriptors, held.temp_files):
            since = time.monotonic()
        held = found
    return held


def memory_of(pid: int) -> int:
    """Bytes of anonymous resident memory."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def waited_for_a_core(pid: int) -> tuple[float, float]:
    """Seconds that the main thread has run, and that it could have run and had no core."""
    ran, waited, _ = (_PROC / str(pid) / "schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def traced(trace: str) -> dict[int, str]:
    """Every live process whose environment or command carries `trace`: id and command."""
    number = f"0.{int(trace, 16)}".encode()
    found = {}
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (_PROC / entry.name / "cmdline").read_bytes()
            environ = (_PROC / entry.name / "environ").read_bytes()
        except OSError:
            continue
        if f"CHAOS_TRACE={trace}".encode() in environ or number in command:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def _kind(target: str) -> str:
    if target.startswith("/memfd:"):
        return _IN_MEMORY
    return target.partition(":")[0] if ":" in target else "file"
