"""Processes that a package leaves behind: found by a mark in their environment, killed and reaped.

A worker leads a session of its own, so killing its process group ends most of what the package started. What left the
group (`setsid`, daemons) still carries the worker's mark in its environment, and on Linux its parent becomes the
server, a child subreaper, when its own parent is gone. Elsewhere only the process group is killed.

This file is also a program, ``python -I -S orphans.py FAMILY``: see `Keeper`.
"""

import ctypes
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

#: The environment variable that marks a worker and all that descends from it.
MARK = "MDAI_WORKER_MARK"

_PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36
_ZOMBIE, _STOPPED = "Z", "T"


def become_subreaper() -> None:
    """Have orphans of the workers become children of this process instead of init's (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_group(leader: int) -> None:
    """SIGKILL to the process group that the worker leads; its being gone is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


class Keeper:
    """A process that outlives this one by a moment and ends what its workers leave behind, however this one ends.

    The kernel ends the workers of a server that is killed; their children it leaves. The marks of all workers that are
    to be kept begin with `family` and a hyphen. The keeper waits until its standard input ends.
    """

    def __init__(self) -> None:
        self.family = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Raises OSError where resources are exhausted."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, self.family],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> None:
        """Have it end what is left, and itself, and wait for that."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


def kill_marked(mark: str) -> int:
    """SIGKILL to every process that carries `mark`, or one of that family, until none is left, and reap.

    Returns how many there were.
    """
    killed: set[int] = set()
    while found := {pid for pid in _processes() if _is_marked(pid, mark)} - killed:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
    for pid in killed:
        with suppress(ChildProcessError):  # not ours, or not yet: `reap_strays` meets it later
            os.waitpid(pid, 0)
    return len(killed)


def reap_strays(workers: Collection[int]) -> int:
    """Take leave of dead children that nobody waits for, orphans of `workers`; returns how many.

    They are told by their session, which is not ours; the workers themselves are waited for elsewhere. It is called on
    the thread that starts workers, so that none is taken for a stray before its process id is known.
    """
    reaped = 0
    for pid in _children():
        state, parent, session = _status(pid)
        if state == _ZOMBIE and parent == os.getpid() and session != os.getsid(0) and pid not in workers:
            reaped += _reap(pid)
    return reaped


def end_strays() -> int:
    """SIGKILL to the children of this process that a package left behind without their mark; returns how many.

    They have cleared their environment and left their session, and became our children when their worker ended. Call
    it when all workers have ended.
    """
    strays = []
    for pid in _children():
        _, parent, session = _status(pid)
        if parent == os.getpid() and session != os.getsid(0) and not _is_marked(pid):
            strays.append(pid)
    for pid in strays:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    return len(strays)


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped it; one whose debugger holds it is none."""
    return _status(pid)[0] == _STOPPED


def _is_marked(pid: int, mark: str = "") -> bool:
    environment = _environment(pid)
    name, wanted, family = (f"{MARK}={text}".encode() for text in ("", mark, f"{mark}-"))
    if name not in environment:  # most processes: no need to take their settings apart
        return False
    marks = (setting for setting in environment.split(b"\0") if setting.startswith(name))
    return any(not mark or found == wanted or found.startswith(family) for found in marks)


def _reap(pid: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False


def _children() -> Iterable[int]:
    """This process's children; where the kernel does not list them, all processes.

    Its lists go by thread, and the children of a thread that ends pass to another: then all of them are read again.
    """
    while lists := list((_PROC / "self" / "task").glob("*/children")):
        with suppress(FileNotFoundError, ProcessLookupError):
            return [int(pid) for children in lists for pid in children.read_text().split()]
    return _processes()


def _processes() -> Iterator[int]:
    if not _PROC.is_dir():
        return
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            yield int(entry.name)


def _environment(pid: int) -> bytes:
    # Not by way of Path: this is done for every process of the machine.
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123
        return file.readall()
    return b""


def _status(pid: int) -> tuple[str, int, int]:
    """State, parent and session of a process; ("", 0, 0) when it is gone."""
    with suppress(OSError):
        # The command name stands in parentheses and may hold anything, parentheses too.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[1]), int(fields[3])
    return "", 0, 0


if __name__ == "__main__":
    sys.stdin.buffer.read()
    kill_marked(sys.argv[1])
