"""Write the members of an archive below one folder."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from model_loader.archive_members import CHUNK, Member, Meter
from model_loader.errors import ArchiveError
from model_loader.member_paths import (
    STORE_TARGETS,
    Parts,
    TakenPaths,
    is_junk,
    link_target,
    quoted,
    relative_parts,
)

_MAX_LINK_LENGTH = 4096
_PERMISSIONS = 0o777


class Unpacking:
    """One archive on its way into `root`, an empty folder that nobody else writes to.

    No symbolic link is ever made below `root`, so a path that was checked as text leads where the text says.
    """

    def __init__(self, root: Path, meter: Meter) -> None:
        self._root = root
        self._meter = meter
        self._taken = TakenPaths()
        self._files: dict[Parts, int] = {}
        self._links: dict[Parts, Parts] = {}

    def unpack(self, members: Iterable[Member]) -> None:
        """Write all `members`. Raises ArchiveError, or OSError where the disk refuses."""
        for member in members:
            self._place(member)
        for link in self._links:
            self._make_link(link)
        if not self._files:
            raise ArchiveError("it holds no files. Pack the model's folder, with `.mdai` in it.")

    def _place(self, member: Member) -> None:
        limits = self._meter.limits
        parts = relative_parts(member.name, path_length=limits.path_length, depth=limits.depth)
        if is_junk(parts):
            return
        if member.kind == "folder":
            self._make_folder(parts)
            if member.mode is not None and parts:
                self._path(parts).chmod(member.mode & _PERMISSIONS | 0o700)
            return
        if not parts:
            raise ArchiveError(f"a file has the name {quoted(member.name)}, which names a folder. Rename it.")
        self._make_folder(parts[:-1])
        self._taken.add_file(parts)
        self._meter.counted(len(self._taken))
        if member.kind == "file":
            self._write(parts, 0o644 if member.mode is None else member.mode, member.chunks())
        else:
            self._links[parts] = self._checked_target(parts, member)

    def _path(self, parts: Parts) -> Path:
        return self._root.joinpath(*parts)

    def _make_folder(self, parts: Parts) -> None:
        new = self._taken.add_folder(parts)
        self._meter.counted(len(self._taken))
        for folder in new:
            path = self._path(folder)
            path.mkdir(0o700)
            path.chmod(0o755)

    def _write(self, parts: Parts, mode: int, chunks: Iterator[bytes]) -> None:
        total = 0
        shown = quoted("/".join(parts))
        with self._path(parts).open("xb") as file:
            for chunk in chunks:
                total += len(chunk)
                self._meter.written(shown, total, len(chunk))
                file.write(chunk)
            os.fchmod(file.fileno(), mode & _PERMISSIONS | 0o600)
        self._files[parts] = mode

    def _checked_target(self, parts: Parts, member: Member) -> Parts:
        limits = self._meter.limits
        try:
            if len(member.link) > _MAX_LINK_LENGTH:
                raise ArchiveError(f"its target has more than {_MAX_LINK_LENGTH} characters. {STORE_TARGETS}")
            if member.kind == "link":
                return link_target(parts[:-1], member.link)
            return relative_parts(member.link, path_length=limits.path_length, depth=limits.depth)
        except ArchiveError as error:
            raise ArchiveError(f"the link {quoted(member.name)} is unsafe: {error.text}") from error

    def _make_link(self, link: Parts) -> None:
        """Give the file that `link` leads to a second name, or copy it where there are no hard links."""
        target = self._end_of_chain(link)
        try:
            os.link(self._path(target), self._path(link))
        except OSError:
            self._write(link, self._files[target], _file_chunks(self._path(target)))

    def _end_of_chain(self, link: Parts) -> Parts:
        """The file at the end of a chain of links; every link passed then points straight to it."""
        passed: dict[Parts, None] = {}
        at = link
        while at in self._links:
            if at in passed:
                raise ArchiveError(f"the link {quoted('/'.join(link))} leads back to itself. Delete it.")
            passed[at] = None
            at = self._links[at]
        if at not in self._files:
            what = "a folder" if self._path(at).is_dir() else "nothing in the archive"
            raise ArchiveError(
                f"the link {quoted('/'.join(link))} points to {what}, {quoted('/'.join(at) or '.')}; only "
                f"links to files of the archive are kept. {STORE_TARGETS}"
            )
        for each in passed:
            self._links[each] = at
        return at


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
