"""What a reader of archives hands to the extractor, and the limits that both keep."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from model_loader.errors import ArchiveError

CHUNK = 1 << 20
"""Bytes read at a time."""

PACK_AGAIN = "Download or copy it again, or pack the folder again."


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may unpack to. Bytes are counted as they are written, whatever headers say.

    The defaults let packages with tens of gigabytes of weights pass.
    """

    members: int = 100_000
    """Files and folders together, those included that only occur in the path of a file."""
    member_bytes: int = 64 << 30
    total_bytes: int = 128 << 30
    ratio: int = 200
    """Bytes that come out for one byte of archive, once more than `ratio_floor` came out."""
    ratio_floor: int = 16 << 20
    path_length: int = 1024
    """Bytes of a member's path."""
    depth: int = 64


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(frozen=True)
class Member:
    """One entry of an archive, not yet believed.

    `chunks` gives the content of a file and may be called once, before the next member is asked for. `link`
    is where a link points: from its own folder for "link" (symbolic), from the root for "hardlink".
    """

    name: str
    kind: Literal["file", "folder", "link", "hardlink"]
    mode: int | None = None
    link: str = ""
    chunks: Callable[[], Iterator[bytes]] = lambda: iter(())


class Meter:
    """Counts what comes out of one archive of `archive_bytes` and stops it at a limit.

    What comes out of an archive that lay in another counts for that one as well: see `nested`.
    """

    def __init__(self, limits: ArchiveLimits, archive_bytes: int, around: "Meter | None" = None) -> None:
        self.limits = limits
        self._ratio_bytes = max(limits.ratio_floor, limits.ratio * archive_bytes)
        self._decoded = 0
        self._written = 0
        self._members = 0
        self._around = around
        self._called = "it"

    def nested(self, archive_bytes: int) -> "Meter":
        """For an archive that came out of this one, which has all been unpacked.

        An archive packed twice cannot unpack to more than one packed once: the limits hold for both together.
        """
        self._called = "what it lies in"
        return Meter(self.limits, archive_bytes, self)

    def decoded(self, count: int) -> None:
        """`count` more bytes came out of the decompressor, to be written or not."""
        self._decoded += count
        self._check_ratio(self._decoded)
        if self._around:
            self._around.decoded(count)

    def announced(self, total: int) -> None:
        """The archive says that it holds `total` bytes: too much is refused before anything is written."""
        self._check_total(self._written + total)
        self._check_ratio(self._decoded + total)
        if self._around:
            self._around.announced(total)

    def written(self, name: str, member_total: int, count: int) -> None:
        """`count` more bytes of the member `name` are about to be written, `member_total` with them."""
        if member_total > self.limits.member_bytes:
            raise ArchiveError(
                f"{name} is larger than {_size(self.limits.member_bytes)}, the limit for one file. {_TRUSTED}"
            )
        self._written += count
        self._check_total(self._written)
        if self._around:
            self._around.written(name, member_total, count)

    def counted(self, members: int) -> None:
        """The archive holds at least `members` files and folders."""
        self._members = max(self._members, members)
        total = members + (self._around._members if self._around else 0)
        if total > self.limits.members:
            called = self._around._called if self._around and members <= self.limits.members else self._called
            raise ArchiveError(f"{called} holds more than {self.limits.members:,} files and folders. {_TRUSTED}")

    def _check_total(self, total: int) -> None:
        if total > self.limits.total_bytes:
            raise ArchiveError(f"{self._called} unpacks to more than {_size(self.limits.total_bytes)}. {_TRUSTED}")

    def _check_ratio(self, total: int) -> None:
        if total > self._ratio_bytes:
            raise ArchiveError(
                f"{self._called} unpacks to more than {self.limits.ratio} times its own size, as archives do that are "
                f"made to fill a disk. {_TRUSTED}"
            )


_TRUSTED = "If you trust it, unpack it yourself and serve the folder: a folder has no limits."


def _size(count: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count} bytes"
