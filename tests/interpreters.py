"""The real interpreters of this machine, for tests that hold on each of them."""

import functools
import os
from pathlib import Path

import pytest

from model_loader.interpreters import Interpreter, available_interpreters

#: Every Python that a package may ask for.
SERIES = ("3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
#: Where whatever differs between them differs most.
OLDEST_AND_NEWEST = (SERIES[0], SERIES[-1])


def interpreter(series: str) -> Path:
    """This machine's Python `series`, its newest patch release; skips the test where there is none."""
    if series not in _by_series():
        pytest.skip(f"this machine has no Python {series}")
    return _by_series()[series].path


@functools.cache
def _by_series() -> dict[str, Interpreter]:
    newest_last = reversed(available_interpreters(environ=os.environ))
    return {found.series: found for found in newest_last}


def cache_with_runtimes(folder: Path, factory: pytest.TempPathFactory) -> Path:
    """A fresh cache in `folder` that shares the workers' msgpack with all tests of the session, in other processes too.

    Two that want the same interpreter's at once install it once: the slot in the cache is locked.
    """
    session = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each of its processes has a folder of its own in the session's
        session = session.parent
    shared = session / "worker-runtimes"
    shared.mkdir(exist_ok=True)
    cache = folder / "cache"
    cache.mkdir()
    (cache / "runtime").symlink_to(shared)
    return cache
