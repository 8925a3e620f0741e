"""What the cache holds, how much room it takes, and getting rid of what nobody uses.

Three kinds of folders: `environments`; `homes`, with what models have downloaded; and `runtime`, the workers' msgpack
and their own program, compiled, a megabyte for each Python.
"""

import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model_loader.cache_hold import REMOVED, USED, is_in_use, remove_unless_used, sweep
from model_loader.environment_cache import RECORD, read_record
from model_loader.errors import EnvironmentBuildError
from model_loader.home import HOMES, home_package
from model_loader.worker_runtime import RUNTIMES

ENVIRONMENTS = "environments"
KINDS = (ENVIRONMENTS, HOMES, RUNTIMES)
BLOCK = 512
"""Bytes; what st_blocks counts, whatever the file system's own blocks are."""


@dataclass(frozen=True)
class CachedFolder:
    """An environment, a home or a worker's runtime in the cache; or what a build that was killed has left of one.

    Attributes:
        kind: which of KINDS
        key: names it among its kind
        python: the interpreter's version; empty for homes, and where the build did not finish
        package: that an environment was built for first, others with the same requirements share it; that a home
            belongs to; empty where that is not known, and for runtimes
        packages: how many an environment holds
        is_finished: it can be used; a build that was killed cannot
        size: bytes on the disk, each hard link counted once
        used: when it was last in use, in seconds since the epoch
        in_use: a process uses or builds it now
    """

    kind: str
    key: str
    folder: Path
    python: str
    package: str
    packages: int
    is_finished: bool
    size: int
    used: float
    in_use: bool


def cached_folders(cache: Path) -> list[CachedFolder]:
    """Return what is in the cache, by kind as in KINDS, last used first.

    Raises:
        EnvironmentBuildError: the cache cannot be read.
    """
    try:
        found = [_described(kind, folder) for kind in KINDS for folder in _folders(cache / kind)]
    except OSError as error:
        raise _unusable(cache, error) from error
    return sorted(found, key=lambda one: (KINDS.index(one.kind), -one.used))


def prune(cache: Path, unused_seconds: float) -> tuple[list[CachedFolder], int]:
    """Delete what nobody uses and nobody has used for so long.

    Return it, and the bytes that this freed: what uv's cache or another environment has a hard link to, is not.

    Raises:
        EnvironmentBuildError: the cache cannot be written.
    """
    removed = []
    freed = 0
    try:
        for one in cached_folders(cache):
            folder = one.folder

            def is_old(folder: Path = folder) -> bool:
                return time.time() - _last_used(folder) >= unused_seconds

            alone = sum(file.size for file in _files([folder]) if file.links_elsewhere == 0) if is_old() else 0
            if is_old() and remove_unless_used(folder, is_old):
                removed.append(one)
                freed += alone
        for kind in KINDS:
            sweep(cache / kind)
    except OSError as error:
        raise _unusable(cache, error) from error
    return removed, freed


def _folders(parent: Path) -> Iterator[Path]:
    for folder in parent.glob("*"):
        if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith(REMOVED):
            yield folder


def size_on_disk(folders: Iterable[Path]) -> int:
    """Return the bytes that the files below the folders take together, each hard link counted once."""
    return sum(file.size for file in _files(folders))


@dataclass
class _File:
    size: int
    links_elsewhere: int


def _files(folders: Iterable[Path]) -> Iterable[_File]:
    """Return what lies below the folders, each file once however many names it has there."""
    found: dict[tuple[int, int], _File] = {}
    for top in folders:
        for folder, subfolders, names in os.walk(top):
            for name in (*names, *subfolders):
                try:
                    status = os.lstat(f"{folder}/{name}")
                except OSError:  # gone meanwhile
                    continue
                links = 1 if stat.S_ISDIR(status.st_mode) else status.st_nlink
                file = found.setdefault((status.st_dev, status.st_ino), _File(status.st_blocks * BLOCK, links))
                file.links_elsewhere -= 1
    return found.values()


def _described(kind: str, folder: Path) -> CachedFolder:
    used = _last_used(folder)
    record = read_record(folder)
    notes = record["notes"] if record else {}
    return CachedFolder(
        kind=kind,
        key=folder.name,
        folder=folder,
        python=str(notes.get("python" if kind == ENVIRONMENTS else "version", "")),
        package=home_package(folder) if kind == HOMES else str(notes.get("package", "")),
        packages=len(notes.get("packages", ())),
        is_finished=kind == HOMES or record is not None,
        size=size_on_disk([folder]),
        used=used,
        in_use=is_in_use(folder),
    )


def _last_used(folder: Path) -> float:
    for name in (USED, RECORD, ""):
        try:
            return (folder / name).stat().st_mtime
        except FileNotFoundError:
            continue
    return time.time()


def _unusable(cache: Path, error: OSError) -> EnvironmentBuildError:
    return EnvironmentBuildError(f"The cache folder {cache} cannot be used: {error}.")
