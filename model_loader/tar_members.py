"""Read the members of a tar archive, as a stream, without believing it.

Written out because `tarfile`, in interpreters that people have, reads headers of any size into memory, runs
quadratic patterns over them and takes a damaged header for the end of the archive. Read are the POSIX formats
(ustar, pax) and GNU's long names; refused are sparse files, devices and archives in several volumes.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from model_loader.archive_members import CHUNK, PACK_AGAIN, Member, Meter
from model_loader.errors import ArchiveError
from model_loader.member_paths import quoted

BLOCK = 512
_MAX_EXTENSION_BYTES = 1 << 20
_CUT_OFF = f"it ends in the middle. {PACK_AGAIN}"
_DAMAGED = f"it is damaged. {PACK_AGAIN}"


class ReadableFile(Protocol):
    """What is read from: a file, or what a decompressor makes of it."""

    def read(self, size: int, /) -> bytes: ...


@dataclass
class _Overrides:
    """What extension headers say about the member that follows them."""

    name: str | None = None
    link: str | None = None
    size: int | None = None


class _Stream:
    """Forward reading with a meter; errors of the decompressor become sentences."""

    def __init__(self, file: ReadableFile, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        try:
            data = self._file.read(size)
        except EOFError:
            raise ArchiveError(_CUT_OFF) from None
        except (OSError, zlib.error) as error:
            raise ArchiveError(f"it cannot be decompressed ({error}). {PACK_AGAIN}") from error
        self._meter.decoded(len(data))
        return data

    def chunks(self, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes."""
        while size:
            data = self.read(min(size, CHUNK))
            if not data:
                raise ArchiveError(_CUT_OFF)
            size -= len(data)
            yield data

    def exactly(self, size: int) -> bytes:
        return b"".join(self.chunks(size))

    def skip(self, size: int) -> None:
        for _ in self.chunks(size):
            pass


class _Content:
    """The bytes of one file, with the padding after it."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream = stream
        self._unread = size
        self._padding = -size % BLOCK

    def chunks(self) -> Iterator[bytes]:
        for data in self._stream.chunks(self._unread):
            self._unread -= len(data)
            yield data

    def finish(self) -> None:
        self._stream.skip(self._unread + self._padding)


def is_tar_header(block: bytes) -> bool:
    """Whether `block` is a tar header with the right checksum, or the end mark of an empty archive."""
    return len(block) == BLOCK and (not any(block) or _checksum_is_right(block))


def tar_members(file: ReadableFile, meter: Meter) -> Iterator[Member]:
    """The members in the order of the stream, which is read to its end. Raises ArchiveError."""
    stream = _Stream(file, meter)
    overrides = _Overrides()
    members = 0
    block = stream.read(BLOCK)
    if not is_tar_header(block):
        raise ArchiveError("what gzip compressed here is no tar archive. Pack the folder with `tar -czf`.")
    while any(block):
        if not _checksum_is_right(block):
            raise ArchiveError(_DAMAGED)
        flag = block[156:157]
        size = _number(block[124:136])
        if flag in b"LKxXgAVEI":
            _extend(overrides, flag, size, stream)
        else:
            member, content = _member(block, flag, size, overrides, stream)
            overrides = _Overrides()
            members += 1
            meter.counted(members)
            yield member
            content.finish()
        block = stream.exactly(BLOCK)
    while stream.read(CHUNK):
        pass


def _member(block: bytes, flag: bytes, size: int, overrides: _Overrides, stream: _Stream) -> tuple[Member, _Content]:
    name = overrides.name if overrides.name is not None else _name(block)
    size = overrides.size if overrides.size is not None else size
    mode = _number(block[100:108]) & 0o777
    if flag == b"5" or (flag in b"0\0" and name.endswith("/")):
        return Member(name, "folder", mode), _Content(stream, 0)
    if flag in b"12":
        link = overrides.link if overrides.link is not None else _text(block[157:257])
        return Member(name, "hardlink" if flag == b"1" else "link", mode, link), _Content(stream, 0)
    if flag in b"0\x007":
        content = _Content(stream, size)
        return Member(name, "file", mode, chunks=content.chunks), content
    if flag in b"346":
        raise ArchiveError(f"{quoted(name)} is a device or a pipe. Pack files, folders and links only.")
    if flag == b"S":
        raise ArchiveError(f"{quoted(name)} is a sparse file. Pack again without `--sparse`.")
    raise ArchiveError(f"{quoted(name)} is of the unknown type {flag!r}. Pack the folder again with `tar -czf`.")


def _extend(overrides: _Overrides, flag: bytes, size: int, stream: _Stream) -> None:
    """Read an extension header into `overrides`."""
    if size > _MAX_EXTENSION_BYTES:
        raise ArchiveError(f"it holds a header of {size:,} bytes. Pack the folder again with `tar -czf`.")
    data = stream.exactly(size)
    stream.skip(-size % BLOCK)
    if flag == b"L":
        overrides.name = _text(data)
    elif flag == b"K":
        overrides.link = _text(data)
    elif flag in b"xX":
        _extend_from_pax(overrides, data)


def _extend_from_pax(overrides: _Overrides, data: bytes) -> None:
    """Read records of the form `LENGTH KEY=VALUE\\n`, where LENGTH counts the whole record."""
    at = 0
    while at < len(data) and data[at]:
        digits, space, _ = data[at : at + 12].partition(b" ")
        if not space or not digits.isdigit():
            raise ArchiveError(_DAMAGED)
        record, at = data[at + len(digits) + 1 : at + int(digits)], at + int(digits)
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or at > len(data):
            raise ArchiveError(_DAMAGED)
        if key == b"path":
            overrides.name = _decoded(value)
        elif key == b"linkpath":
            overrides.link = _decoded(value)
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise ArchiveError(_DAMAGED)
            overrides.size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise ArchiveError("it holds a sparse file. Pack again without `--sparse`.")


def _name(block: bytes) -> str:
    name, prefix = _text(block[:100]), _text(block[345:500])
    return f"{prefix}/{name}" if prefix and block[257:263] == b"ustar\0" else name


def _checksum_is_right(block: bytes) -> bool:
    try:
        expected = _number(block[148:156])
    except ArchiveError:
        return False
    others = block[:148] + block[156:]
    unsigned = sum(others) + 8 * ord(" ")
    return expected == unsigned or expected == unsigned - 256 * sum(byte > 127 for byte in others)


def _number(field: bytes) -> int:
    """A field of a header: octal digits, or 256 to the power where the first bit is set."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise ArchiveError(_DAMAGED)
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    if digits.strip(b"01234567"):
        raise ArchiveError(_DAMAGED)
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    return _decoded(field.split(b"\0", 1)[0])


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
