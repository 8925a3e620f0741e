"""Where a member of an archive may be written: its path, checked, and the paths that others have taken."""

import os
import re
import unicodedata
from typing import Literal

from model_loader.errors import ArchiveError

Parts = tuple[str, ...]
"""The components of a relative path; empty for the root itself."""

_MAX_COMPONENT_BYTES = 255
STORE_TARGETS = "Pack again with `zip -r` or `tar -hczf`, which store what links point to."
_PACK_FROM_INSIDE = "Pack the model's folder again, from inside it, so that every name starts there."


def quoted(name: str) -> str:
    """A member's name, safe to print and of bounded length."""
    return repr(name if len(name) <= 120 else f"{name[:70]}…{name[-45:]}")


def printable(name: str) -> str:
    """A file's name for people: what cannot be printed is replaced."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


def relative_parts(name: str, *, path_length: int, depth: int) -> Parts:
    """Split a member's name into the components of a path below the root.

    `.` and empty components vanish. Raises ArchiveError for every name that is not a plain relative path, or
    is longer than `path_length` bytes, or deeper than `depth` components.
    """
    shown = quoted(name)
    if "\0" in name:
        raise ArchiveError(f"the name {shown} holds a NUL character. Rename the file and pack again.")
    if "\\" in name:
        raise ArchiveError(f"the name {shown} holds a backslash. Rename the file, or pack with `/` in names.")
    if name.startswith("/"):
        raise ArchiveError(f"{shown} is an absolute path. {_PACK_FROM_INSIDE}")
    if re.match(r"(?:\./+)*[A-Za-z]:", name):
        raise ArchiveError(f"{shown} starts with a drive letter. {_PACK_FROM_INSIDE}")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise ArchiveError(f"{shown} leads out of its folder with `..`. {_PACK_FROM_INSIDE}")
    if len(parts) > depth:
        raise ArchiveError(f"{shown} lies more than {depth} folders deep. Flatten the folders.")
    try:
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        raise ArchiveError(f"the name {shown} cannot be written on this system. Rename the file.") from None
    if sum(sizes) + len(sizes) - 1 > path_length or max(sizes, default=0) > _MAX_COMPONENT_BYTES:
        raise ArchiveError(
            f"the name {shown} is too long: {path_length} bytes are allowed, and {_MAX_COMPONENT_BYTES} "
            "between two slashes. Shorten it."
        )
    return parts


def is_junk(parts: Parts) -> bool:
    """Whether macOS left this file beside the real ones."""
    return any(part in ("__MACOSX", ".DS_Store") or part.startswith("._") for part in parts)


class TakenPaths:
    """The files and folders that an archive has put down so far.

    Refuses what would differ between file systems: one name twice, names that differ only in upper and lower
    case or in how an accented letter is composed, a file where a folder stands.
    """

    def __init__(self) -> None:
        self._taken: dict[str, tuple[str, Literal["file", "folder"]]] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def add_folder(self, parts: Parts) -> list[Parts]:
        """Take a folder and those above it; the ones that were not there yet, outermost first."""
        new: list[Parts] = []
        for depth in range(len(parts), 0, -1):
            if not self._is_new(parts[:depth], "folder"):
                break
            new.append(parts[:depth])
        for folder in new:
            self._take(folder, "folder")
        return new[::-1]

    def add_file(self, parts: Parts) -> None:
        """Take a file; its folder has been taken before."""
        self._is_new(parts, "file")
        self._take(parts, "file")

    def _take(self, parts: Parts, kind: Literal["file", "folder"]) -> None:
        path = "/".join(parts)
        self._taken[_folded(path)] = (path, kind)

    def _is_new(self, parts: Parts, kind: Literal["file", "folder"]) -> bool:
        path = "/".join(parts)
        there = self._taken.get(_folded(path))
        if there is None:
            return True
        if there[0] != path:
            raise ArchiveError(
                f"{quoted(there[0])} and {quoted(path)} differ only in upper and lower case or in the "
                "encoding of a letter, and would be one file on many systems. Rename one of them."
            )
        if there[1] != kind:
            raise ArchiveError(f"{quoted(path)} is both a file and a folder. Pack the folder again.")
        if kind == "file":
            raise ArchiveError(f"{quoted(path)} is there twice. Pack the folder again, into a new archive.")
        return False


def link_target(folder: Parts, link: str) -> Parts:
    """Where a symbolic link in `folder` points, as components below the root.

    Raises ArchiveError for a target that is absolute or that leaves the root.
    """
    if link.startswith("/"):
        raise ArchiveError(f"it points to the absolute path {quoted(link)}. {STORE_TARGETS}")
    parts = list(folder)
    for part in link.split("/"):
        if part == ".." and not parts:
            raise ArchiveError(f"it points out of the archive, to {quoted(link)}. {STORE_TARGETS}")
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
