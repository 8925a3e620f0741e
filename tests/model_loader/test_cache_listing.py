"""What is said about the cache of environments, and what is deleted from it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_loader.cache_hold import hold, is_in_use, remove_unless_used
from model_loader.cached import cached_environments, prune, size_on_disk
from model_loader.environment import ModelEnvironment
from model_loader.errors import EnvironmentBuildError
from tests.building import build, open_with, write_wheel

pytest_plugins = ("tests.building_places",)

DAY = 86400.0


def slot_of(environment: ModelEnvironment) -> Path:
    return environment.python.parents[3]


def let_go(environment: ModelEnvironment) -> Path:
    """As if the process that had built it had ended; returns its slot in the cache."""
    assert environment.held is not None
    environment.held.release()
    return slot_of(environment)


def make_older(slot: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(slot / "used", (then, then))


@pytest.fixture
def built(tmp_path: Path, cache: Path, local: dict[str, str]) -> list[ModelEnvironment]:
    """Environments of two packages, in use by this process."""
    for name in ("tiny", "other"):
        write_wheel(tmp_path / "wheels", name, "1.0", more="# a comment of some length\n" * 4000)
    return [
        build(open_with(tmp_path / "one", "tiny\n"), cache, local),
        build(open_with(tmp_path / "two", "tiny\nother\n"), cache, local),
    ]


def test_a_list_tells_what_each_is_and_what_was_used_last_comes_first(
    cache: Path, built: list[ModelEnvironment]
) -> None:
    make_older(let_go(built[0]), days=3)
    second, first = cached_environments(cache)
    assert (first.package, first.packages, first.in_use) == ("one", 1, False)
    assert (second.package, second.packages, second.in_use) == ("two", 2, True)
    assert first.python == built[0].version
    assert first.key == slot_of(built[0]).name
    assert first.key.endswith(built[0].key[:24])
    assert 2.9 * DAY < time.time() - first.used < 3.1 * DAY


def test_a_hard_link_is_counted_once(tmp_path: Path, cache: Path, built: list[ModelEnvironment]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(bytes(100_000))
    (tmp_path / "a/link").hardlink_to(tmp_path / "a/file")
    assert 100_000 <= size_on_disk([tmp_path / "a"]) < 120_000
    # uv links what two environments share, where its cache lies on the same file system.
    one, two = (next(environment.python.parents[1].glob("lib/*/*/tiny.py")) for environment in built)
    slots = [slot_of(environment) for environment in built]
    shared = sum(size_on_disk([slot]) for slot in slots) - size_on_disk(slots)
    assert (shared > 0) == one.samefile(two)


def test_what_is_old_is_deleted_and_what_is_used_is_not(
    tmp_path: Path, cache: Path, local: dict[str, str], built: list[ModelEnvironment]
) -> None:
    make_older(let_go(built[0]), days=31)
    make_older(slot_of(built[1]), days=31)
    removed, freed = prune(cache, 30 * DAY)
    assert [environment.package for environment in removed] == ["one"]
    assert 0 < freed <= removed[0].size
    assert [path.name for path in (cache / "environments").iterdir()] == [slot_of(built[1]).name]
    assert not build(open_with(tmp_path / "one", "tiny\n"), cache, local).cached


def test_use_makes_young(tmp_path: Path, cache: Path, local: dict[str, str], built: list[ModelEnvironment]) -> None:
    make_older(let_go(built[0]), days=31)
    again = build(open_with(tmp_path / "one", "tiny\n"), cache, local)
    assert again.cached
    let_go(again)
    assert prune(cache, 30 * DAY) == ([], 0)
    assert [environment.package for environment in prune(cache, 0)[0]] == ["one"]


USER = """
import sys
from pathlib import Path
from model_loader.cache_hold import hold
held = hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_another_process_s_use_ends_with_it_however_it_ends(tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    with subprocess.Popen(
        [sys.executable, "-c", USER, slot], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "held\n"
        assert is_in_use(slot)
        assert not remove_unless_used(slot, lambda: True)
        user.kill()
    assert not is_in_use(slot)
    assert remove_unless_used(slot, lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_whoever_begins_to_use_what_is_just_being_deleted_gets_a_new_one(tmp_path: Path) -> None:
    """It is decided when nobody can begin to; a later one makes the folder again."""
    slot = tmp_path / "slot"
    first = hold(slot)
    assert first is not None
    first.release()
    (slot / "record.json").write_text("{}")
    assert not remove_unless_used(slot, lambda: False)
    users: list[subprocess.Popen[str]] = []

    def somebody_comes() -> bool:
        command = [sys.executable, "-c", USER, slot]
        users.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return True

    assert remove_unless_used(slot, somebody_comes)
    (user,) = users
    with user:
        assert user.stdout is not None
        assert user.stdout.readline() == "held\n"
        assert [path.name for path in slot.iterdir()] == ["used"]
        assert is_in_use(slot)
        user.kill()


def test_what_a_killed_build_or_deletion_left_goes_too(cache: Path) -> None:
    for name in ("py3.11-0123/build-1", ".removed-1/build-1"):
        (cache / "environments" / name).mkdir(parents=True)
    (found,) = cached_environments(cache)
    assert (found.package, found.packages, found.in_use) == ("", 0, False)
    assert [environment.key for environment in prune(cache, 0)[0]] == ["py3.11-0123"]
    assert list((cache / "environments").iterdir()) == []


def test_an_empty_cache_is_an_empty_list(tmp_path: Path) -> None:
    assert cached_environments(tmp_path / "nowhere") == []
    assert prune(tmp_path / "nowhere", 0) == ([], 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may delete everything")
def test_a_cache_that_cannot_be_written_is_told(cache: Path, built: list[ModelEnvironment]) -> None:
    let_go(built[0])
    (cache / "environments").chmod(0o500)
    try:
        with pytest.raises(EnvironmentBuildError, match="cannot be used"):
            prune(cache, 0)
    finally:
        (cache / "environments").chmod(0o700)
