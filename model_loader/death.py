"""How a process ended, in words and in one word, and whether the kernel ended it because memory ran out."""

import enum
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: What to do about it; follows the sentence that says so.
MORE_MEMORY = (
    "Give this machine or its container more memory, run fewer --workers or --spare-workers, or have predict keep less"
    " at a time. "
)
_READ_EVERY = 1.0


class Cause(enum.StrEnum):
    """Why a worker that had been ready is there no more, or why there was none."""

    CRASH = "crash"
    TIMEOUT = "timeout"
    OOM = "oom"
    OVER_MEMORY = "over_memory"
    RECYCLED_REQUESTS = "recycled_requests"
    RECYCLED_MEMORY = "recycled_memory"
    RELOAD = "reload"
    FAILED_START = "failed_start"
    ENDED = "ended"
    """It was told to, for none of these reasons."""


@dataclass(frozen=True)
class MemoryKill:
    """What the kernel's counts say of a SIGKILL that was not ours.

    `is_exact`: they count the processes of our own cgroup, and not the machine's.
    """

    has_happened: bool
    is_exact: bool


class KillCount:
    """The kernel's count of processes that it ended because memory ran out; each explains one death.

    It counts for the cgroup (version 2 or 1) that this process is in, else for the machine. `cgroup` and `mounts` say
    where to look for the former, `vmstat` for the latter.
    """

    def __init__(
        self,
        cgroup: Path = Path("/proc/self/cgroup"),
        mounts: Path = Path("/sys/fs/cgroup"),
        vmstat: Path = Path("/proc/vmstat"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        own = [path for path in _own_counts(cgroup, mounts) if _count_in(path) is not None]
        self._path = own[0] if own else vmstat
        self._is_exact = bool(own)
        self._explained = 0
        self._clock = clock
        self._latest: int | None = None
        self._read_at = float("-inf")

    def now(self) -> int | None:
        """How many there have been; None where nothing counts them."""
        return _count_in(self._path)

    def lately(self) -> int | None:
        """`now`, or what that was within the last second: to read it takes a tenth of the time of a small request."""
        moment = self._clock()
        if moment - self._read_at >= _READ_EVERY:
            self._latest, self._read_at = self.now(), moment
        return self._latest

    def claim(self, since: int | None) -> MemoryKill | None:
        """Whether one of them, after the count was `since`, was the death asked about; None where nobody knows."""
        count = self.now()
        if count is None or since is None:
            return None
        before = max(since, self._explained)
        if count <= before:
            return MemoryKill(False, self._is_exact)
        self._explained = before + 1
        return MemoryKill(True, self._is_exact)


def _own_counts(cgroup: Path, mounts: Path) -> Iterator[Path]:
    """Where the counts of the cgroup may stand: as its path is seen here, or at the top, as inside a container."""
    try:
        lines = cgroup.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            places, name = (mounts, mounts / "unified"), "memory.events"
        elif "memory" in controllers.split(","):
            places, name = (mounts / "memory", mounts / controllers), "memory.oom_control"
        else:
            continue
        for place in places:
            yield place / path.lstrip("/") / name
            yield place / name


def _count_in(path: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def manner_of(returncode: int | None, memory_kill: MemoryKill | None = None) -> str:
    """The rest of a sentence that begins with the process, from what `subprocess` knows of its end.

    `memory_kill` is what is known of a SIGKILL; it says nothing of other ends.
    """
    if returncode is None:
        return "ended"
    if returncode >= 0:
        return f"ended itself with exit code {returncode} (sys.exit, os._exit or a native library)"
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else "an unknown signal"
    hint = ""
    if -returncode == signal.SIGKILL:
        hint = _hint_of_sigkill(memory_kill)
    elif -returncode in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE):
        hint = ", a crash in native code,"
    return f"was ended by signal {-returncode} ({name}){hint}"


def _hint_of_sigkill(kill: MemoryKill | None) -> str:
    if kill is None:
        return ", which is how the kernel ends a process when memory runs out,"
    if not kill.has_happened:
        return ", which somebody sent (the kernel has ended nothing here because memory ran out),"
    if kill.is_exact:
        return " from the kernel because memory ran out"
    return ", most likely for its memory (the kernel has just ended a process on this machine because that ran out),"
