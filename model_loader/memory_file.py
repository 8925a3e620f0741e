"""Anonymous files in memory, and a few that are kept for the next request.

A file is a memfd where the kernel has them and an unlinked temporary file elsewhere; never a name in `/dev/shm`, which
is 64 MB in a default container.

A page of memory that is new costs several times what it costs to copy into one that is there: the kernel finds it,
zeroes it and maps it. So files whose request is over are kept for the next one, up to a bound, and given back when
nobody has used them for some seconds.

What the server maps it must be able to rely on, whoever has the descriptor: such files are sealed against shrinking,
where the kernel can, and only then kept. What a worker writes to is not mapped here but read, and not sealed: it is
emptied when it is given back, since the worker still has its descriptor.
"""

import asyncio
import fcntl
import itertools
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from model_loader.available_memory import available_memory

#: Freeing so many bytes takes the kernel about a millisecond.
_SLOW_TO_FREE = 8 << 20
_MAPPED_WHOLE, _WINDOW = 256 << 20, 32 << 20
#: A file is kept for so many seconds after its last use.
KEPT_SECONDS = 5.0
_MOST_KEPT, _SHARE_KEPT = 512 << 20, 16
#: A file is used for what needs half of it, or so many bytes less than it has.
_SPARE = 1 << 20
_CAN_SEAL = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")
_numbers = itertools.count(1)


class MemoryFile:
    """One file. `number` tells it from every other of this process; `is_sealed` whether it can be mapped safely.

    One that was not meant to be sealed is empty once it is closed, whoever has its descriptor.
    """

    def __init__(self, *, sealed: bool) -> None:
        self.fd = -1
        self.is_sealed = sealed and _CAN_SEAL
        self.number = next(_numbers)
        self._is_emptied = not sealed
        self._mapping: mmap.mmap | None = None
        self._window: mmap.mmap | None = None
        self._window_at = 0
        self.fd = _anonymous_file(sealed=sealed)

    @property
    def length(self) -> int:
        """Bytes from its beginning to its end; memory is taken by those that have ever been written."""
        return os.fstat(self.fd).st_size

    def expect(self, size: int) -> None:
        """Make it `size` bytes long at least. Raises OSError when memory is exhausted."""
        if self.length < size:
            os.ftruncate(self.fd, size)

    def whole(self, size: int) -> mmap.mmap:
        """The file in memory, `size` bytes at least, which it must have.

        Raises OSError when memory is exhausted.
        """
        if self._mapping is None or len(self._mapping) < size:
            former, self._mapping = self._mapping, None  # and None it stays where memory is exhausted
            _unmap(former)
            self._mapping = mmap.mmap(self.fd, 0)
        return self._mapping

    def window(self, offset: int, size: int) -> memoryview:
        """Up to `size` bytes of the file from `offset`, at least one, to be written to. Raises OSError.

        What is long is mapped a part at a time: to unmap all at once would stop everybody for as long as that takes.
        """
        if self.length <= _MAPPED_WHOLE:
            return memoryview(self.whole(offset + size))[offset : offset + size]
        start = offset - offset % _WINDOW
        if self._window is None or self._window_at != start or len(self._window) <= offset - start:
            former, self._window = self._window, None
            _unmap(former)
            self._window = mmap.mmap(self.fd, min(_WINDOW, self.length - start), offset=start)
            self._window_at = start
        return memoryview(self._window)[offset - start : offset - start + size]

    def close(self) -> None:
        """Give the memory back, once no worker holds the descriptor either.

        Memory that takes long to free is freed on a thread of its own: the event loop does not wait for it.
        """
        if self.fd < 0:
            return
        if self.length < _SLOW_TO_FREE:
            self.release()
            return
        try:
            threading.Thread(target=self.release, name="free-buffer").start()
        except RuntimeError:  # no more threads to be had, or the interpreter is about to end
            self.release()

    def release(self) -> None:
        """`close`, here and now."""
        descriptor, self.fd = self.fd, -1
        if descriptor < 0:
            return
        _unmap(self._mapping)
        _unmap(self._window)
        if self._is_emptied:
            os.ftruncate(descriptor, 0)
        os.close(descriptor)

    def __del__(self) -> None:
        # No thread from here: this may run wherever memory is collected, inside the starting of a thread too.
        self.release()


class WarmFiles:
    """Files that wait for their next use, `most` bytes of them together; for one thread only.

    Without a running event loop nothing is kept, since nobody would give it back.
    """

    def __init__(self, most: int, *, sealed: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._sealed = sealed
        self._clock = clock
        self._waiting: list[tuple[float, int, MemoryFile]] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, size: int | None = None) -> MemoryFile:
        """The shortest that has `size` bytes, else the longest that has fewer, else a new one; None: the shortest.

        None is taken that is much longer, or those who need little would hold what others have left, and that is as
        much as ever was here, again and again. Raises OSError when there is no new one.
        """
        usable = self._waiting
        if size is not None:
            usable = [entry for entry in usable if entry[1] <= size + max(size, _SPARE)]
        if not usable:
            return MemoryFile(sealed=self._sealed)
        fitting = [entry for entry in usable if entry[1] >= (size or 0)]
        entry = min(fitting, key=_length) if fitting else max(usable, key=_length)
        self._waiting.remove(entry)
        self._bytes -= entry[1]
        return entry[2]

    def give(self, file: MemoryFile) -> None:
        """Its request is over and nobody else uses it: it is kept or closed."""
        length = file.length
        if file.is_sealed is not self._sealed or length > self._most or not self._will_look():
            file.close()
            return
        while self._bytes + length > self._most:
            self._close_oldest()
        self._waiting.append((self._clock(), length, file))
        self._bytes += length

    def close(self) -> None:
        """Close all that wait; what is given later is closed at once."""
        self._most = -1
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            self._close_oldest()

    def close_unused(self) -> None:
        """Close those that nobody has used for `KEPT_SECONDS`."""
        latest = self._clock() - KEPT_SECONDS
        while self._waiting and self._waiting[0][0] <= latest:
            self._close_oldest()

    def _close_oldest(self) -> None:
        _, length, file = self._waiting.pop(0)
        self._bytes -= length
        file.close()

    def _will_look(self) -> bool:
        """See to it that what is kept is closed in time; False where there is no event loop for that."""
        if self._timer is not None:
            return True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        self._timer = loop.call_later(KEPT_SECONDS / 2, self._look)
        return True

    def _look(self) -> None:
        self._timer = None
        self.close_unused()
        if self._waiting:
            self._will_look()


def most_kept() -> int:
    """Bytes of `WarmFiles` for a service: a sixteenth of the memory that this process may use, 512 MiB at most."""
    return min(_MOST_KEPT, available_memory() // _SHARE_KEPT)


def _unmap(mapping: mmap.mmap | None) -> None:
    if mapping is not None:
        with suppress(BufferError):  # an error's traceback holds a part of it: it ends with that
            mapping.close()


def _length(entry: tuple[float, int, MemoryFile]) -> int:
    return entry[1]


def _anonymous_file(*, sealed: bool) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("mdai-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        if sealed and _CAN_SEAL:
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        return descriptor
    with tempfile.TemporaryFile(prefix="mdai-model-") as file:
        return os.dup(file.fileno())
