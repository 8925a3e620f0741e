"""Unpack a .zip, .tar.gz or .tar that a stranger made: all of it, below one folder, or nothing.

What it is decides, not what it is called. Written are regular files and folders only. A link to a file
inside the archive becomes that file under a second name; every other link is refused. Permission bits are
kept, and the owner may always read and write; setuid, setgid and sticky bits are dropped.
"""

import contextlib
import errno
import gzip
import shutil
import tempfile
import zipfile
from collections.abc import Generator
from pathlib import Path

from model_loader.archive_members import DEFAULT_LIMITS, PACK_AGAIN, ArchiveLimits, Member, Meter
from model_loader.errors import ArchiveError
from model_loader.member_paths import printable
from model_loader.tar_members import BLOCK, is_tar_header, tar_members
from model_loader.unpacking import Unpacking
from model_loader.zip_members import zip_members

__all__ = ["DEFAULT_LIMITS", "ArchiveLimits", "Meter", "extract", "read_members"]

_FOREIGN = {
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
}
_EXPECTED = "A model package is a .zip, a .tar.gz or a folder: pack the model as one of these, or serve its folder"


def extract(
    archive: Path,
    target: Path,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    *,
    shown: str | None = None,
    around: Meter | None = None,
) -> Meter:
    """Unpack `archive`, which messages call `shown`, into the new folder `target`, whose parent exists.

    The members are written beside `target`, which appears by a rename once everything is there. On every
    error the disk is as it was. Returns what counted the bytes; given as `around` for an archive that came out of this
    one, the limits hold for both together. Raises ArchiveError: no archive, damaged, unsafe, over a limit, or no room.
    """
    shown = shown or printable(archive.name)
    try:
        size = archive.stat().st_size
        meter = around.nested(size) if around else Meter(limits, size)
        beside = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
        try:
            with contextlib.closing(_members(archive, meter)) as members:
                Unpacking(beside, meter).unpack(members)
            beside.rename(target)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return meter
    except ArchiveError as error:
        raise ArchiveError(_sentence(shown, error.text)) from error
    except OSError as error:
        raise ArchiveError(_sentence(shown, _explain(error, target.parent))) from error


def read_members(archive: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Generator[Member, None, None]:
    """The members of `archive`, one after the other, those included that `extract` leaves out. To be closed.

    Of a tar everything is decompressed on the way. Raises ArchiveError as `extract` does, or OSError.
    """
    yield from _members(archive, Meter(limits, archive.stat().st_size))


def _sentence(shown: str, reason: str) -> str:
    return f"{shown} cannot be unpacked: {reason} Nothing was kept."


def _explain(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no room left in {folder}. Free some, or set TMPDIR to a folder that has room."
    return f"{error.strerror or error} ({error.filename or folder}). Check the permissions there."


def _members(archive: Path, meter: Meter) -> Generator[Member, None, None]:
    """The members of `archive` in whatever format it has."""
    with archive.open("rb") as file:
        head = file.read(BLOCK)
        if head.startswith(b"\x1f\x8b"):
            file.seek(0)
            with gzip.GzipFile(fileobj=file, mode="rb") as content:
                yield from tar_members(content, meter)
        elif head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
            yield from zip_members(archive, meter)
        elif is_tar_header(head):
            file.seek(0)
            yield from tar_members(file, meter)
        elif zipfile.is_zipfile(file):
            yield from zip_members(archive, meter)
        else:
            raise ArchiveError(f"it is {_kind(head)}. {_EXPECTED}.")


def _kind(head: bytes) -> str:
    """What a file is that is no archive of ours, judged by its first bytes."""
    if not head:
        return f"empty (0 bytes): {PACK_AGAIN[:-1].lower()}"
    for magic, kind in _FOREIGN.items():
        if head.startswith(magic):
            return kind
    if head.startswith(b"version https://git-lfs"):
        return "a pointer that stands for a file in Git LFS: run `git lfs pull` first"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page: the download did not give the archive itself"
    return "neither a zip nor a tar archive"
