"""The thread that starts workers, one for as long as this process lives.

To start a process takes as long as the machine takes to find a core for it, which the event loop must not wait for. The
kernel ends a worker when the *thread* ends that started it (see the guest's `parent_death`), so that a thread which
comes and goes will not do. What must see all children or none, as reaping strays, happens here as well.
"""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from model_loader import orphans

#: Of nice: a third of the weight.
_AFTER_US = 5

#: The process ids of workers that nobody has waited for.
_workers: set[int] = set()


def on_starting_thread(what: Callable[[], None]) -> "Future[None]":
    """Have `what` called there, one after the other. Raises RuntimeError where no thread is to be had."""
    return _thread().submit(what)


@cache
def _thread() -> ThreadPoolExecutor:
    """An executor whose thread runs: one that cannot start its first keeps what it was told, and raises.

    It would do that when the next is asked of it: start a worker that nobody knows.
    """
    executor = ThreadPoolExecutor(1, "starts-workers")
    executor.submit(_nothing)
    return executor


def _nothing() -> None:
    """The first that a thread does."""


def start(command: list[Any], **options: Any) -> "subprocess.Popen[bytes]":
    """A new worker's process; call it on the thread. Raises what Popen does."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    _workers.add(process.pid)
    come_before(process.pid)
    return process


def come_before(worker: int) -> None:
    """Where cores are short, have this process, which answers everybody, come before its workers.

    Linux may deal out cores by session first (autogroup, not in containers); a worker leads one.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, worker, min(os.getpriority(os.PRIO_PROCESS, 0) + _AFTER_US, 19))
    with suppress(OSError):
        Path(f"/proc/{worker}/autogroup").write_text(str(_AFTER_US))


def wait_for(process: "subprocess.Popen[bytes]") -> int:
    """Reap a worker; what it returned. From then on its number may be somebody else's."""
    returncode = process.wait()
    _workers.discard(process.pid)
    return returncode


def reap_strays() -> "Future[int]":
    """Take leave of dead children that are no workers: see `orphans`. Raises RuntimeError, too."""
    return _thread().submit(lambda: orphans.reap_strays(_workers))
