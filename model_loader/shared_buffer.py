"""How request and response bytes cross to a worker without being copied: an anonymous file in memory, or, where they
are few, a frame of the channel.

A buffer begins in ordinary memory; past `SMALL` bytes, or when its descriptor is asked for, it lies in a file
(`memory_file`), whose descriptor is passed. The parent writes the body to one as it arrives and reads the answer from
another with `pread`, so that a worker that shrinks the file can make a read short but never make the server fault.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from model_loader.memory_file import MemoryFile, WarmFiles

#: Bytes that are copied through the channel in less time than a file takes to be made, passed and mapped.
SMALL = 1 << 15


class SharedBuffer:
    """Bytes owned by this process until `close`, in a file of `warm`'s where they need one.

    `size` counts what was written here; bytes that a worker wrote are not counted, it reports their number itself.
    `is_held_elsewhere` is true while somebody else, as a worker, may use it: closed meanwhile, its file is not kept.
    `likely` bytes are going to be written, as far as is known.
    """

    def __init__(self, warm: WarmFiles | None = None, likely: int = 0) -> None:
        self.size = 0
        self.is_held_elsewhere = False
        self._warm = warm
        self._likely = likely
        self._small: bytearray | None = bytearray()
        self._file: MemoryFile | None = None

    @property
    def small(self) -> bytearray | None:
        """All that was written, where it lies in ordinary memory. Raises ValueError once the buffer is closed."""
        if self._small is None and self._file is None:
            raise ValueError("this buffer is closed")
        return self._small

    @property
    def fd(self) -> int:
        """The file's descriptor, for passing it to a worker.

        Raises ValueError once the buffer is closed, and OSError when memory or descriptors are exhausted.
        """
        return self._in_file().fd

    @property
    def number(self) -> int:
        """What tells its file from others, whichever buffer it serves. Raises as `fd` does."""
        return self._in_file().number

    @property
    def takes_memory(self) -> bool:
        """Whether its file has bytes, those of earlier requests included."""
        return self._file is not None and self._file.length > 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`. Raises OSError when memory or descriptors are exhausted."""
        small = self.small
        if small is not None and self.size + len(chunk) <= SMALL:
            small += chunk
            self.size += len(chunk)
            return
        descriptor = self._in_file(self.size + len(chunk)).fd
        view = memoryview(chunk)
        while view:
            written = os.pwrite(descriptor, view, self.size)
            self.size += written
            view = view[written:]

    def expect(self, size: int) -> None:
        """It is going to have so many bytes: they get a file that has room for them. Raises as `write` does."""
        self._in_file(size).expect(size)

    def room(self, size: int) -> memoryview:
        """The next `size` of the bytes that are expected, or fewer, to be written where they lie; `wrote` counts them.

        Raises OSError when memory is exhausted.
        """
        return self._in_file().window(self.size, size)

    def wrote(self, count: int) -> None:
        """So many bytes of `room` have been written."""
        self.size += count

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite `len(data)` bytes at `offset`, all of which must have been written before."""
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"cannot patch {len(data)} bytes at {offset}: the buffer holds {self.size}")
        if self._small is not None:
            self._small[offset : offset + len(data)] = data
        else:
            os.pwrite(self.fd, data, offset)

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only where the file ends, however many a worker promised."""
        small = self.small
        if small is not None:
            return bytes(small[offset : offset + length])
        file = self._in_file()
        return os.pread(file.fd, min(length, max(0, file.length - offset)), offset)

    @contextmanager
    def mapped(self) -> Iterator[memoryview]:
        """The bytes written so far as a read-only view, valid inside the `with` block only."""
        small = self.small
        lies_in = small if small is not None or not self.size else self._in_file().whole(self.size)
        with memoryview(lies_in or b"") as whole, whole[: self.size] as part, part.toreadonly() as view:
            yield view

    def close(self) -> None:
        """Give the memory back (once no worker holds the descriptor either). Closing twice is harmless."""
        file, self._file, self._small = self._file, None, None
        if file is None:
            return
        if self._warm is None or self.is_held_elsewhere:
            file.close()
        else:
            self._warm.give(file)

    def _in_file(self, size: int | None = None) -> MemoryFile:
        """The file, with what there was written into it; `size` bytes come to lie there, or more."""
        small = self.small
        if self._file is None:
            if size is not None:
                size = max(size, self._likely)
            self._file = self._warm.take(size) if self._warm is not None else MemoryFile(sealed=True)
            if small:
                os.pwrite(self._file.fd, small, 0)
            self._small = None
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
