"""Read the members of a zip archive without believing it.

`zipfile` parses. Kept from it are bzip2 and LZMA, which it decompresses without a bound on memory, and tables
of contents with more entries than are allowed.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from model_loader.archive_members import CHUNK, PACK_AGAIN, Member, Meter
from model_loader.errors import ArchiveError
from model_loader.member_paths import quoted

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_WINDOWS = (0, 10, 11, 14)  # the systems that write FAT and NTFS names
_MAX_ENTRY_BYTES = 2048
_MAX_LINK_BYTES = 4096
_ENTRY = b"PK\x01\x02"

_UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
)


def zip_members(path: Path, meter: Meter) -> Iterator[Member]:
    """The members in the order of the table of contents. Raises ArchiveError."""
    with _TableGuard(path, meter) as file, _opened(file) as archive:
        file.in_table = False
        entries = archive.infolist()
        for entry in entries:
            _check(entry)
        meter.announced(sum(entry.file_size for entry in entries))
        for entry in entries:
            yield _member(archive, entry, meter)


class _TableGuard(io.BufferedReader):
    """A file that counts the entries of the table of contents before `zipfile` makes objects of them.

    Every entry begins with the same signature, and `zipfile` reads the table at once.
    """

    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(io.FileIO(path))
        self._meter = meter
        self.in_table = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.in_table and size is not None and size > self._meter.limits.members * _MAX_ENTRY_BYTES:
            self._meter.counted(self._meter.limits.members + 1)
        data = super().read(size)
        if self.in_table:
            self._meter.counted(data.count(_ENTRY))
        return data


def _opened(file: _TableGuard) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except _UNREADABLE as error:
        raise ArchiveError(
            f"its table of contents, at its end, is missing or damaged ({error}). {PACK_AGAIN}"
        ) from error


def _check(entry: zipfile.ZipInfo) -> None:
    shown = quoted(entry.orig_filename)
    if "\0" in entry.orig_filename:
        raise ArchiveError(f"the name {shown} holds a NUL character. Rename the file and pack again.")
    if entry.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"{shown} is encrypted. Pack the folder again without a password.")
    if entry.compress_type not in _METHODS:
        raise ArchiveError(
            f"{shown} is compressed by method {entry.compress_type}; only stored and deflated members are "
            "read. Pack the folder again with `zip -r`, or as .tar.gz."
        )


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, meter: Meter) -> Member:
    name = _slashed(entry)
    unix = entry.external_attr >> 16
    kind = stat.S_IFMT(unix)
    mode = unix & 0o777 if unix else None
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise ArchiveError(f"{quoted(name)} is a device or another special file. Pack files, folders and links only.")
    if name.endswith("/") or kind == stat.S_IFDIR:
        if entry.file_size:
            raise ArchiveError(f"{quoted(name)} is a folder with a content. {PACK_AGAIN}")
        return Member(name, "folder", mode)
    if kind == stat.S_IFLNK:
        return Member(name, "link", mode, link=_link_target(archive, entry, meter))
    return Member(name, "file", mode, chunks=lambda: _chunks(archive, entry, meter))


def _slashed(entry: zipfile.ZipInfo) -> str:
    """The name with `/`. Older Windows tools write backslashes; elsewhere a backslash is part of a name."""
    name = entry.filename
    return name.replace("\\", "/") if entry.create_system in _WINDOWS and "/" not in name else name


def _link_target(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, meter: Meter) -> str:
    if entry.file_size > _MAX_LINK_BYTES:
        raise ArchiveError(f"{quoted(entry.filename)} is a link whose target is too long. {PACK_AGAIN}")
    return b"".join(_chunks(archive, entry, meter)).decode("utf-8", "surrogateescape")


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, meter: Meter) -> Iterator[bytes]:
    shown = quoted(entry.filename)
    total = 0
    try:
        file = archive.open(entry)
    except _UNREADABLE as error:
        raise ArchiveError(f"{shown} cannot be read ({error}). {PACK_AGAIN}") from error
    with file:
        while chunk := _read(file, shown):
            total += len(chunk)
            meter.decoded(len(chunk))
            yield chunk
    if total != entry.file_size:
        raise ArchiveError(f"{shown} ends after {total} of {entry.file_size} bytes. {PACK_AGAIN}")


def _read(file: IO[bytes], shown: str) -> bytes:
    try:
        return file.read(CHUNK)
    except _UNREADABLE as error:
        raise ArchiveError(f"{shown} is damaged ({error}). {PACK_AGAIN}") from error
