"""A name for the content of a folder: the same for a zip, a tar.gz and a folder of the same files."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_SKIPPED = {"__pycache__", "__MACOSX", ".git", ".DS_Store"}


def content_digest(root: Path) -> str:
    """SHA-256, in hexadecimal, over every file's relative path, executable bit and content, in sorted order.

    Left out are what Python, git and macOS leave behind, and whatever is no regular file. Links to files
    count as the file, links to folders as their target's text. A file that cannot be read counts as
    unreadable: a digest names a package, it does not judge it. Takes about a second per gigabyte.
    """
    total = hashlib.sha256()
    for name, path in entries(root):
        kind, content = _entry(path)
        if kind:
            total.update(b"%d:%b%b" % (len(name), name, kind))
            total.update(content)
    return total.hexdigest()


def entries(root: Path) -> list[tuple[bytes, Path]]:
    """Whatever counts below `root`: its name relative to that, and its path; sorted."""
    return sorted((os.fsencode(path.relative_to(root)), path) for path in _paths(root))


def _paths(root: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        here = Path(folder)
        yield from (here / name for name in files if not _skipped(name))
        yield from (here / name for name in subfolders if (here / name).is_symlink() and not _skipped(name))
        subfolders[:] = [name for name in subfolders if not _skipped(name)]


def _skipped(name: str) -> bool:
    return name in _SKIPPED or name.startswith("._")


def _entry(path: Path) -> tuple[bytes, bytes]:
    """What a path is (executable, plain, link, unreadable; empty for the rest), 32 bytes for its content."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return b"l", hashlib.sha256(os.fsencode(path.readlink())).digest()
        if not stat.S_ISREG(mode):
            return b"", b""
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b"u", bytes(32)
    return (b"x" if mode & stat.S_IXUSR else b"-"), content
