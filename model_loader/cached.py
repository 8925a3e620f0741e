"""What the cache of environments holds, how much room it takes, and getting rid of what nobody uses.

The worker's msgpack (`runtime`, a megabyte for each Python) and the homes of models (`homes`, with what they have
downloaded) are not looked at here: neither is made anew by building.
"""

import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model_loader.cache_hold import USED, is_in_use, remove_unless_used, sweep
from model_loader.environment_cache import RECORD, read_record
from model_loader.errors import EnvironmentBuildError

ENVIRONMENTS = "environments"
BLOCK = 512
"""Bytes; what st_blocks counts, whatever the file system's own blocks are."""


@dataclass(frozen=True)
class CachedEnvironment:
    """An environment in the cache, or what a build that was killed has left of one.

    Attributes:
        key: names it
        python: the interpreter's version; empty where the build did not finish
        package: that it was built for first; others with the same requirements share it
        packages: how many it holds
        size: bytes on the disk, each hard link counted once
        used: when it was last taken into use, in seconds since the epoch
        in_use: a process uses or builds it now
    """

    key: str
    folder: Path
    python: str
    package: str
    packages: int
    size: int
    used: float
    in_use: bool


def cached_environments(cache: Path) -> list[CachedEnvironment]:
    """Return what is in the cache, last used first.

    Raises:
        EnvironmentBuildError: the cache cannot be read.
    """
    try:
        folders = [folder for folder in (cache / ENVIRONMENTS).glob("py*") if folder.is_dir()]
        found = [_described(folder) for folder in folders]
    except OSError as error:
        raise _unusable(cache, error) from error
    return sorted(found, key=lambda environment: environment.used, reverse=True)


def prune(cache: Path, unused_seconds: float) -> tuple[list[CachedEnvironment], int]:
    """Delete the environments that nobody uses and that nobody has used for so long.

    Return them, and the bytes that this freed: what uv's cache or another environment has a hard link to, is not.

    Raises:
        EnvironmentBuildError: the cache cannot be written.
    """
    removed = []
    freed = 0
    try:
        for environment in cached_environments(cache):
            folder = environment.folder

            def is_old(folder: Path = folder) -> bool:
                return time.time() - _last_used(folder) >= unused_seconds

            alone = sum(file.size for file in _files([folder]) if file.links_elsewhere == 0) if is_old() else 0
            if is_old() and remove_unless_used(folder, is_old):
                removed.append(environment)
                freed += alone
        sweep(cache / ENVIRONMENTS)
    except OSError as error:
        raise _unusable(cache, error) from error
    return removed, freed


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


def _described(folder: Path) -> CachedEnvironment:
    used = _last_used(folder)
    record = read_record(folder)
    notes = record["notes"] if record else {}
    return CachedEnvironment(
        key=folder.name,
        folder=folder,
        python=str(notes.get("python", "")),
        package=str(notes.get("package", "")),
        packages=len(notes.get("packages", ())),
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
