"""The digest of a folder that has not changed since it was digested, kept in the cache.

A model's HOME is named by it, so it is known before the model loads, and to read gigabytes of weights for that may take
longer than to load them. Like git, this goes by what the system says of each file: size, times, inode. The time of
change (ctime) is nobody's to set, and a folder in which something has just changed is not kept: a second change might
bear the same time.
"""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from model_loader.digest import content_digest, entries

FOLDER = "digests"

_SETTLED_NS = 2_000_000_000
"""Coarser than the clocks of file systems are."""


def known_digest(root: Path, cache: Path | None, clock: Callable[[], int] = time.time_ns) -> str:
    """`content_digest(root)`, from the cache where nothing has changed; always computed where `cache` is None."""
    if cache is None:
        return content_digest(root)
    kept = cache / FOLDER / hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    before, changed = _look(root)
    with suppress(OSError, ValueError):
        look, digest = kept.read_text("ascii").split()
        if look == before and len(digest) == hashlib.sha256().digest_size * 2:
            return digest
    digest = content_digest(root)
    if changed + _SETTLED_NS < clock() and _look(root)[0] == before:
        with suppress(OSError):  # a cache that cannot be written is somebody's image
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = kept.with_name(f"{kept.name}-{os.getpid()}")
            new.write_text(f"{before} {digest}\n", "ascii")
            new.replace(kept)
    return digest


def _look(root: Path) -> tuple[str, int]:
    """How everything that counts looks from outside, as a digest, and when something changed last (ns)."""
    total, newest = hashlib.sha256(), 0
    for name, path in entries(root):
        facts: list[object] = [name]
        for how in (path.lstat, path.stat):
            with suppress(OSError):
                status = how()
                newest = max(newest, status.st_ctime_ns)
                facts += [status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
                facts += [status.st_ino, status.st_dev]
        total.update(repr(facts).encode())
    return total.hexdigest(), newest
