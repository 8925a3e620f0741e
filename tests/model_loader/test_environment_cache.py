"""A slot of the cache: built once, trusted only when finished."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from model_loader.environment_cache import CacheSlot, Finished
from model_loader.errors import EnvironmentBuildError
from model_loader.uv_process import BuildCancelled, Cancellation

PATIENCE = 30.0


def ignore(line: str) -> None:
    """Progress that nobody looks at."""


def fill(folder: Path) -> dict[str, Any]:
    (folder / "content").write_text("whole")
    return {"size": 5}


def whole(folder: Path, notes: dict[str, Any]) -> bool:
    return (folder / "content").read_text() == "whole"


def get(
    slot: CacheSlot,
    build: Callable[[Path], dict[str, Any]] = fill,
    progress: Callable[[str], None] = ignore,
    cancellation: Cancellation | None = None,
) -> Finished:
    return slot.get(build, usable=whole, progress=progress, cancellation=cancellation or Cancellation())


def forbidden(folder: Path) -> dict[str, Any]:
    raise AssertionError("built again")


@pytest.fixture
def slot(tmp_path: Path) -> CacheSlot:
    return CacheSlot(tmp_path / "slot")


def attempts(slot: CacheSlot) -> list[str]:
    return [entry.name for entry in slot.folder.iterdir() if entry.name.startswith("build-")]


def test_the_second_time_nothing_is_built(slot: CacheSlot) -> None:
    first = get(slot)
    second = get(slot, forbidden)
    assert (first.cached, second.cached) == (False, True)
    assert first.folder == second.folder
    assert second.notes == {"size": 5}


def test_nobody_else_can_look_into_it(slot: CacheSlot) -> None:
    get(slot)
    assert slot.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_build_that_raises_leaves_nothing(slot: CacheSlot, error: BaseException) -> None:
    def build(folder: Path) -> dict[str, Any]:
        fill(folder)
        raise error

    with pytest.raises(type(error)):
        get(slot, build)
    assert attempts(slot) == []
    assert not get(slot).cached


KILLED = """
import os, signal, sys
from pathlib import Path
from model_loader.environment_cache import CacheSlot
from model_loader.uv_process import Cancellation

def build(folder):
    (folder / "content").write_text("whole")
    os.kill(os.getpid(), signal.SIGKILL)

slot = CacheSlot(Path(sys.argv[1]))
slot.get(build, usable=lambda folder, notes: True, progress=print, cancellation=Cancellation())
"""


def test_what_a_killed_build_left_is_not_trusted_and_is_deleted(slot: CacheSlot) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, slot.folder])
    assert killed.returncode < 0
    left = attempts(slot)
    assert len(left) == 1
    finished = get(slot)
    assert not finished.cached
    assert attempts(slot) == [finished.folder.name] != left


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"schema": 1}',
        b'{"schema": 0, "folder": "build-1", "notes": {}}',
        b'{"schema": 1, "folder": "../build-1", "notes": {}}',
        b'{"schema": 1, "folder": 7, "notes": {}}',
        b'{"schema": 1, "folder": "build-gone", "notes": {}}',
        b'{"schema": 1, "folder": "build-1", "notes": 3}',
    ],
)
def test_a_record_without_meaning_is_not_trusted(slot: CacheSlot, record: bytes) -> None:
    (slot.folder / "build-1").mkdir(parents=True)
    (slot.folder / "build-1/content").write_text("whole")
    (slot.folder / "record.json").write_bytes(record)
    assert not get(slot).cached


def test_a_finished_build_that_no_longer_works_is_built_anew(slot: CacheSlot) -> None:
    (get(slot).folder / "content").write_text("half")
    again = get(slot)
    assert not again.cached
    assert attempts(slot) == [again.folder.name]


def test_a_cache_that_cannot_be_written_still_serves_what_is_in_it(slot: CacheSlot, tmp_path: Path) -> None:
    """An image carries a cache that its user may only read. A lock that is a folder stands for that."""
    get(slot)
    (slot.folder / "lock").unlink()
    (slot.folder / "lock").mkdir()
    assert get(slot, forbidden).cached


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentBuildError, match="cannot be used"):
        get(CacheSlot(tmp_path / "file" / "slot"))


def test_two_at_once_build_once_and_the_second_says_that_it_waits(slot: CacheSlot) -> None:
    started, waiting, results = threading.Event(), threading.Event(), Queue[Finished]()

    def build(folder: Path) -> dict[str, Any]:
        started.set()
        assert waiting.wait(PATIENCE)
        return fill(folder)

    first = threading.Thread(target=lambda: results.put(get(slot, build)))
    first.start()
    assert started.wait(PATIENCE)

    def progress(line: str) -> None:
        if "waiting for it" in line:
            waiting.set()

    second = get(slot, forbidden, progress)
    first.join()
    assert results.get_nowait().folder == second.folder
    assert second.cached


def test_waiting_for_another_one_can_be_stopped(slot: CacheSlot) -> None:
    started, stop = threading.Event(), threading.Event()

    def build(folder: Path) -> dict[str, Any]:
        started.set()
        assert stop.wait(PATIENCE)
        return fill(folder)

    first = threading.Thread(target=get, args=(slot, build))
    first.start()
    try:
        assert started.wait(PATIENCE)
        cancellation = Cancellation()
        with pytest.raises(BuildCancelled):
            get(slot, forbidden, lambda line: cancellation.cancel(), cancellation)
    finally:
        stop.set()
        first.join()


def test_the_record_is_small_and_readable(slot: CacheSlot) -> None:
    finished = get(slot)
    record = json.loads((slot.folder / "record.json").read_text())
    assert record == {"schema": 1, "folder": finished.folder.name, "notes": {"size": 5}}
