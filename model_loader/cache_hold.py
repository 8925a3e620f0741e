"""Says that a folder of the cache is in use, so that nobody deletes it, and when it was used last.

A file ``used`` in the folder: whoever uses the folder holds a shared lock on it, which the system lets go of however
that process ends; the file's time is when it was last taken into use, or let go of by a process that ended in order.
Whoever wants to delete the folder needs the lock alone, and moves the folder away before it is deleted.
"""

import fcntl
import os
import secrets
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from model_loader.workdir import remove_tree

USED = "used"
REMOVED = ".removed-"


class Hold:
    """A folder is not deleted while this object lives."""

    def __init__(self, descriptor: int, let_go: Callable[[int], None] = os.close) -> None:
        self.release: Callable[[], None] = weakref.finalize(self, let_go, descriptor)


def hold(folder: Path) -> Hold | None:
    """Take a folder into use, after making it where it is missing; waits while somebody is deleting it.

    None where this user cannot write there: such a cache, in an image for instance, is not pruned either.
    """
    while True:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(folder / USED, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # deleted between the two
            continue
        except OSError:
            return None
        held = Hold(descriptor, _end_use)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_still_there(descriptor, folder):
            _note_use(descriptor)
            return held
        held.release()


def _note_use(descriptor: int) -> None:
    with suppress(OSError):
        os.utime(descriptor)


def _end_use(descriptor: int) -> None:
    """A server that ran for months has used the folder until now."""
    _note_use(descriptor)
    os.close(descriptor)


def is_in_use(folder: Path) -> bool:
    """Whether a process uses the folder now."""
    try:
        descriptor = os.open(folder / USED, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # nobody has begun to
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_unless_used(folder: Path, is_wanted: Callable[[], bool]) -> bool:
    """Delete the folder if nobody uses it and ``is_wanted()``, asked when nobody can begin to; return whether it was.

    Raises:
        OSError: this user may not.
    """
    taken = _take(folder)
    if taken is None:
        return False
    try:
        if not is_wanted():
            return False
        away = folder.with_name(f"{REMOVED}{secrets.token_hex(4)}")
        folder.rename(away)
    finally:
        taken.release()
    remove_tree(away)
    return True


def sweep(parent: Path) -> None:
    """Delete what a deletion that was killed has left."""
    for entry in parent.glob(f"{REMOVED}*"):
        remove_tree(entry)


def _take(folder: Path) -> Hold | None:
    """Return the lock alone; None where somebody else has it, or the folder is gone."""
    existed = (folder / USED).exists()
    before = folder.stat()
    descriptor = os.open(folder / USED, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    taken = Hold(descriptor)
    if not existed:  # as old as the folder, not as young as this look at it
        os.utime(descriptor, ns=(before.st_mtime_ns, before.st_mtime_ns))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        taken.release()
        return None
    if _is_still_there(descriptor, folder):
        return taken
    taken.release()
    return None


def _is_still_there(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), (folder / USED).stat())
    except OSError:
        return False
