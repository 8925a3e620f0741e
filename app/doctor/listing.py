"""What lies in a package as it was given: every file of the folder, or every member of the archive."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.doctor.finding import Place
from app.doctor.subject import Subject
from model_loader.archive import read_members
from model_loader.archive_members import Member
from model_loader.errors import ArchiveError
from model_loader.layout import DEPLOY, MDAI
from model_loader.member_paths import is_junk, printable

#: Of a folder that somebody works in, not more than this is looked at.
_MOST_ENTRIES = 200_000


@dataclass(frozen=True)
class Entry:
    """One file. `parts` lead to it from the top; `size` is in bytes.

    `link` is where a symbolic link points, of those that may not arrive: all in an archive, in a folder those that
    lead nowhere.
    """

    parts: tuple[str, ...]
    size: int = 0
    link: str | None = None

    @property
    def name(self) -> str:
        return self.parts[-1]


@dataclass(frozen=True)
class Listing:
    """The files below `top`, a folder; `root_parts` lead from there to the model root."""

    top: Path
    root_parts: tuple[str, ...]
    entries: tuple[Entry, ...]
    is_archive: bool = False

    def place(self, entry: Entry) -> Place:
        """Where it is, relative to the model root."""
        return self.place_of(entry.parts)

    def place_of(self, parts: tuple[str, ...]) -> Place:
        """Where a file or folder is, relative to the model root; in an archive beside the root, from its top."""
        depth = len(self.root_parts)
        if parts[:depth] == self.root_parts:
            return Place(printable("/".join(parts[depth:])))
        if self.is_archive:
            return Place(printable("/".join(parts)))
        return Place(printable(os.path.relpath("/".join(parts), "/".join(self.root_parts))))


def list_source(subject: Subject) -> Listing:
    """The files of the package. An export's version is listed as it was unpacked."""
    root = subject.package.root
    if subject.is_archive:
        entries = tuple(_members(subject.source))
        roots = [entry.parts[:-2] for entry in entries if entry.parts[-2:] == (MDAI, DEPLOY)]
        inside = [parts for parts in roots if root.parts[len(root.parts) - len(parts) :] == parts]
        if inside:
            parts = max(inside, key=len)
            return Listing(root.parents[len(parts) - 1] if parts else root, parts, entries, is_archive=True)
    top = subject.source.resolve()
    if subject.is_archive or not root.is_relative_to(top):
        top = root
    return Listing(top, root.relative_to(top).parts, tuple(islice(_files(top), _MOST_ENTRIES)))


def _files(top: Path) -> Iterator[Entry]:
    for folder, inner, names in os.walk(top):
        inner.sort()
        above = Path(folder).relative_to(top).parts
        for name in sorted(names):
            path = Path(folder, name)
            link = None
            try:
                size = path.lstat().st_size
                if path.is_symlink() and not path.exists():
                    link = printable(str(path.readlink()))
            except OSError:  # gone meanwhile
                continue
            yield Entry((*above, name), size, link)


def _members(archive: Path) -> Iterator[Entry]:
    try:
        with contextlib.closing(read_members(archive)) as members:
            for member in members:
                parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
                if parts and member.kind != "folder":
                    yield Entry(parts, _size(member, parts), printable(member.link) if member.kind == "link" else None)
    except (ArchiveError, OSError):  # it was unpacked a moment ago
        return


def _size(member: Member, parts: tuple[str, ...]) -> int:
    """Of what unpacking leaves out only: of the rest the size lies on the disk."""
    return sum(map(len, member.chunks())) if is_junk(parts) and member.kind == "file" else 0
