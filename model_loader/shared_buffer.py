"""An anonymous file in memory: how request and response bytes cross to a worker without being copied.

A buffer is a memfd where the kernel has them and an unlinked temporary file elsewhere; never a name in
`/dev/shm`, which is 64 MB in a default container. The parent creates both buffers of a request and passes their
descriptors; it appends the body to one as it arrives and reads the answer from the other with `pread`, so that a
worker that shrinks the file can make a read short but never make the server fault. Map a buffer only before its
descriptor has been given away.
"""

import mmap
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

#: Freeing so many bytes takes the kernel about a millisecond.
_SLOW_TO_FREE = 8 << 20


class SharedBuffer:
    """Bytes in anonymous shared memory, owned by this process until `close`.

    `size` counts what was written here; bytes that a worker wrote are not counted, it reports their number itself.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = 0

    @classmethod
    def create(cls) -> "SharedBuffer":
        """A new, empty buffer. Raises OSError when memory or descriptors are exhausted."""
        return cls(_anonymous_file())

    @property
    def fd(self) -> int:
        """The descriptor, for passing it to a worker. Raises ValueError once the buffer is closed."""
        if self._fd < 0:
            raise ValueError("this buffer is closed")
        return self._fd

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`."""
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self.fd, view, self.size)
            self.size += written
            view = view[written:]

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite `len(data)` bytes at `offset`, all of which must have been written before."""
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"cannot patch {len(data)} bytes at {offset}: the buffer holds {self.size}")
        os.pwrite(self.fd, data, offset)

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only where the file ends, however many a worker promised."""
        there = max(0, os.fstat(self.fd).st_size - offset)
        return os.pread(self.fd, min(length, there), offset)

    @contextmanager
    def mapped(self) -> Iterator[memoryview]:
        """The bytes written so far as a read-only view, valid inside the `with` block only."""
        if self.size == 0:
            yield memoryview(b"")
            return
        mapping = mmap.mmap(self.fd, self.size, access=mmap.ACCESS_READ)
        view = memoryview(mapping)
        try:
            yield view
        finally:
            # Where an error's traceback still holds a part of the view, the mapping ends with that traceback.
            with suppress(BufferError):
                view.release()
                mapping.close()

    def close(self) -> None:
        """Give the memory back (once no worker holds the descriptor either). Closing twice is harmless.

        Memory that takes long to free is freed on a thread of its own: the event loop does not wait for it.
        """
        if self._fd < 0:
            return
        descriptor, self._fd = self._fd, -1
        if os.fstat(descriptor).st_size < _SLOW_TO_FREE:
            os.close(descriptor)
            return
        try:
            threading.Thread(target=os.close, args=(descriptor,), name="free-buffer").start()
        except RuntimeError:  # no more threads to be had, or the interpreter is about to end
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # No thread from here: this may run wherever memory is collected, inside the starting of a thread too.
        if self._fd >= 0:
            os.close(self._fd)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mdai-model", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(prefix="mdai-model-") as file:
        return os.dup(file.fileno())
