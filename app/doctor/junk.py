"""Files that no package needs: what systems, interpreters, editors and version control leave behind.

`--fix` deletes caches and what systems leave, and only what is surely that. What somebody may want back (a repository,
an environment, the checkpoint of a notebook) is never deleted.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.doctor.finding import Code, Finding, Repair
from app.doctor.listing import Entry, Listing
from app.doctor.subject import Subject
from app.interface.wording import count_of

_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_COMPILED = (".pyc", ".pyo", ".nbi", ".nbc")
_CACHES = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


@dataclass(frozen=True)
class Kind:
    """One kind of junk: what it is, in the plural, and names of files and folders that are it."""

    what: str
    names: frozenset[str]
    harm: str
    removable: bool = False


MACOS = Kind(
    "files that macOS leaves behind",
    frozenset({"__MACOSX", ".DS_Store"}),
    "Nothing reads them.",
    removable=True,
)
WINDOWS = Kind(
    "files that Windows leaves behind", frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini"}), MACOS.harm, True
)
CACHES = Kind(
    "files of Python's caches", frozenset(_CACHES), "They are for one Python and made anew by every other.", True
)
CHECKPOINTS = Kind("checkpoints of notebooks", frozenset({".ipynb_checkpoints"}), "No model reads them.")
REPOSITORY = Kind(
    "files of version control",
    frozenset({".git", ".svn", ".hg"}),
    "They make the package larger and give its whole history to whoever gets it.",
)
ENVIRONMENT = Kind(
    "files of an installed Python environment",
    frozenset({"site-packages", "dist-packages"}),
    "The model does not use it: its environment is built from requirements.txt.",
)
NODE = Kind("files of JavaScript packages", frozenset({"node_modules"}), "No model reads them.")
EDITOR = Kind(
    "settings of an editor", frozenset({".idea", ".vscode"}), "They are one person's, and no model reads them."
)
KINDS = (MACOS, WINDOWS, CACHES, CHECKPOINTS, REPOSITORY, ENVIRONMENT, NODE, EDITOR)

_BY_NAME = {name: kind for kind in KINDS for name in kind.names}


@dataclass
class _Heap:
    """What was found of one kind. `tops` are the outermost files and folders that are it; of each, whether a folder."""

    tops: dict[tuple[str, ...], bool] = field(default_factory=dict)
    count: int = 0
    size: int = 0


def junk_in(listing: Listing) -> dict[Entry, tuple[Kind, tuple[str, ...]]]:
    """Of each file that is junk: which kind, and the outermost folder above it that is, or itself."""
    environments = {entry.parts[:-1] for entry in listing.entries if entry.name == "pyvenv.cfg"} - {()}
    sources = {entry.parts for entry in listing.entries if entry.name.endswith(".py")}
    found = ((entry, _outermost(entry, environments) or _single(entry, listing, sources)) for entry in listing.entries)
    return {entry: junk for entry, junk in found if junk}


def junk_findings(
    code: Code, subject: Subject, listing: Listing, junk: Mapping[Entry, tuple[Kind, tuple[str, ...]]]
) -> Iterator[Finding]:
    """One finding for each kind of junk, at the first place."""
    heaps: dict[Kind, _Heap] = {}
    for entry, (kind, top) in junk.items():
        heap = heaps.setdefault(kind, _Heap())
        heap.tops[top] = top != entry.parts
        heap.count += 1
        heap.size += entry.size or _size_on_disk(listing, entry)
    for kind, heap in heaps.items():
        yield _finding(code, kind, heap, subject, listing)


def _finding(code: Code, kind: Kind, heap: _Heap, subject: Subject, listing: Listing) -> Finding:
    tops = list(heap.tops)
    place = listing.place_of(tops[0])
    more = f" and in {count_of(len(tops) - 1, 'other place')}" if len(tops) > 1 else ""
    reason = f"Here{more}: {kind.what}, {heap.count:,} in all, {_shown_size(heap.size)}. {kind.harm}"
    if subject.is_archive:
        fix = "Pack again without them."
    elif kind.removable:
        fix = "Delete them, or leave them out when you zip."
    else:
        fix = "Leave them out when you zip."
    name = "._*" if tops[0][-1].startswith("._") else tops[0][-1] + ("/*" if heap.tops[tops[0]] else "")
    fix += f" For the first: `zip -r ../model.zip . -x '{name}' '*/{name}'`."
    repair = None
    if kind.removable and subject.is_changeable:
        paths = [listing.top.joinpath(*parts) for parts in tops]
        repair = Repair(f"deleted {heap.count:,} {kind.what}", _deleting(paths))
    return Finding(code, place, reason, fix, repair)


def _outermost(entry: Entry, environments: set[tuple[str, ...]]) -> tuple[Kind, tuple[str, ...]] | None:
    for depth, part in enumerate(entry.parts, 1):
        if part in _BY_NAME:
            return _BY_NAME[part], entry.parts[:depth]
        if entry.parts[:depth] in environments and depth < len(entry.parts):
            return ENVIRONMENT, entry.parts[:depth]
    return None


def _single(entry: Entry, listing: Listing, sources: set[tuple[str, ...]]) -> tuple[Kind, tuple[str, ...]] | None:
    """A file that is junk by more than the name of a folder above it."""
    if entry.name.startswith("._"):
        path = listing.top.joinpath(*entry.parts)
        return (MACOS, entry.parts) if listing.is_archive or _is_apple_double(path) else None
    # Without its source beside it, a compiled module may be all there is: Python imports it.
    if entry.name.endswith((".pyc", ".pyo")) and (*entry.parts[:-1], entry.name[:-1]) in sources:
        return CACHES, entry.parts
    return None


def _deleting(paths: Iterable[Path]) -> Callable[[], None]:
    def apply() -> None:
        for path in paths:
            _delete(path)

    return apply


def _delete(path: Path) -> None:
    """Delete one outermost piece of junk: links as links, of folders only what belongs there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.name in _CACHES - {"__pycache__"}:
        shutil.rmtree(path)
    elif path.name in ("__pycache__", "__MACOSX"):
        for inner in sorted(path.rglob("*"), reverse=True):
            if inner.is_dir() and not inner.is_symlink():
                _remove_if_empty(inner)
            elif inner.suffix in _COMPILED or inner.name == ".DS_Store" or _is_apple_double(inner):
                inner.unlink()
        _remove_if_empty(path)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _is_apple_double(path: Path) -> bool:
    if not path.name.startswith("._"):
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_APPLE_DOUBLE)) == _APPLE_DOUBLE
    except OSError:
        return False


def _size_on_disk(listing: Listing, entry: Entry) -> int:
    try:
        return listing.top.joinpath(*entry.parts).lstat().st_size
    except OSError:
        return 0


def _shown_size(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 1000)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
