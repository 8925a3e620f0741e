"""Changes to a package while it is served, seen by looking at its files again and again.

Looking works everywhere, on network drives and on folders that are mounted into containers, too, where the kernel tells
nobody of changes. A change is told when it has settled: when two looks in a row see the same.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

LOOK_EVERY = 0.4
_JUNK_FOLDERS = frozenset(
    ("__pycache__", "__MACOSX", "node_modules", ".git", ".hg", ".svn", ".idea", ".vscode", ".venv", "venv")
) | frozenset((".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"))
#: What editors, systems and interpreters write beside the files that somebody edits, and logs.
_JUNK_FILES = re.compile(
    r".*(~|\.sw[a-z]|\.tmp|\.bak|\.orig|\.part|\.py[cod]|\.log|___jb_(tmp|old)___)|\.#.*|#.*#|\._.*|\.~.*"
    r"|4913|\.DS_Store|Thumbs\.db|desktop\.ini|\.goutputstream-.*|\.nfs.*",
    re.DOTALL,
)

#: Of each file: when it was written, its size, and which file it is, since many editors write another and rename it.
Look = dict[str, tuple[int, int, int]]


def look_at(source: Path) -> Look:
    """The files of a package, by their path below its folder, less junk; an archive by itself."""
    if not source.is_dir():
        return dict(_facts(source, source.name))
    found: Look = {}
    for folder, subfolders, files in os.walk(source):
        subfolders[:] = [name for name in subfolders if name not in _JUNK_FOLDERS and not _is_environment(folder, name)]
        for name in files:
            if not _JUNK_FILES.fullmatch(name):
                path = Path(folder, name)
                found.update(_facts(path, str(path.relative_to(source))))
    return found


async def changes(source: Path, known: Look, look_every: float = LOOK_EVERY) -> AsyncIterator[tuple[str, ...]]:
    """The paths of the files that have changed, sorted, each time that some have; `known` is how they were."""
    latest = known
    while True:
        await asyncio.sleep(look_every)
        before, latest = latest, await asyncio.to_thread(look_at, source)
        # An archive that is being replaced is missing for a moment; what is served meanwhile is not to be stopped.
        if latest == before and latest != known and latest:
            changed = {name for name in known.keys() | latest.keys() if known.get(name) != latest.get(name)}
            known = latest
            yield tuple(sorted(changed))


def _is_environment(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))  # noqa: PTH110, PTH118 (of every folder)


def _facts(path: Path, shown: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    with suppress(OSError):  # gone since it was listed
        status = path.stat()
        yield shown, (status.st_mtime_ns, status.st_size, status.st_ino)
