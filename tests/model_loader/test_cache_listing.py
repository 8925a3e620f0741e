"""What is said about the cache, and what is deleted from it: environments, homes of models, workers' msgpack."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_loader.cache_hold import hold, is_in_use, remove_unless_used
from model_loader.cached import CachedFolder, cached_folders, prune, size_on_disk
from model_loader.environment import ModelEnvironment
from model_loader.errors import EnvironmentBuildError
from model_loader.home import model_home
from tests.building import build, open_with, write_wheel

pytest_plugins = ("tests.building_places",)

DAY = 86400.0


def slot_of(environment: ModelEnvironment) -> Path:
    return environment.python.parents[3]


def let_go(environment: ModelEnvironment) -> Path:
    """As if the process that had built it had ended; returns its slot in the cache."""
    for held in environment.held:
        held.release()
    return slot_of(environment)


def environments(cache: Path) -> list[CachedFolder]:
    return [one for one in cached_folders(cache) if one.kind == "environments"]


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
    second, first = environments(cache)
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
    assert [(one.kind, one.package) for one in removed] == [("environments", "one")]
    assert 0 < freed <= removed[0].size
    assert [path.name for path in (cache / "environments").iterdir()] == [slot_of(built[1]).name]
    assert not build(open_with(tmp_path / "one", "tiny\n"), cache, local).cached


def test_use_makes_young(tmp_path: Path, cache: Path, local: dict[str, str], built: list[ModelEnvironment]) -> None:
    make_older(let_go(built[0]), days=31)
    again = build(open_with(tmp_path / "one", "tiny\n"), cache, local)
    assert again.cached
    let_go(again)
    assert prune(cache, 30 * DAY) == ([], 0)
    assert [one.package for one in prune(cache, 0)[0] if one.kind == "environments"] == ["one"]


def test_what_was_in_use_until_now_is_young_however_long_ago_it_was_taken_into_use(tmp_path: Path) -> None:
    """Else what a server used for months could be deleted a moment after its end."""
    held = hold(tmp_path / "slot")
    assert held is not None
    make_older(tmp_path / "slot", days=90)
    held.release()
    assert time.time() - (tmp_path / "slot/used").stat().st_mtime < DAY


def test_a_look_at_what_is_old_does_not_make_it_young(tmp_path: Path) -> None:
    held = hold(tmp_path / "slot")
    assert held is not None
    held.release()
    make_older(tmp_path / "slot", days=90)
    assert not is_in_use(tmp_path / "slot")
    assert not remove_unless_used(tmp_path / "slot", lambda: False)
    assert time.time() - (tmp_path / "slot/used").stat().st_mtime > 89 * DAY


def test_homes_are_listed_with_their_package_and_pruned_with_what_was_downloaded(tmp_path: Path) -> None:
    cache, old, young = tmp_path / "cache", open_with(tmp_path / "old", ""), open_with(tmp_path / "young")
    homes = [model_home(cache, package, otherwise=tmp_path) for package in (old, young)]
    for home in homes:
        (home.path / ".cache").mkdir()
        (home.path / ".cache/weights.pt").write_bytes(bytes(300_000))
        (home.path / ".cache").chmod(0o500)  # as some download caches protect what they hold
        make_older(home.path.parent, days=31)
    first, second = sorted(cached_folders(cache), key=lambda one: one.package)
    assert [(one.kind, one.package, one.in_use) for one in (first, second)] == [
        ("homes", "old", True),
        ("homes", "young", True),
    ]
    assert min(first.size, second.size) >= 300_000
    assert prune(cache, 30 * DAY) == ([], 0)
    for home in homes:
        assert home.held is not None
        home.held.release()
    make_older(homes[0].path.parent, days=31)
    removed, freed = prune(cache, 30 * DAY)
    assert [one.package for one in removed] == ["old"]
    assert freed >= 300_000
    assert [path.parent for path in (cache / "homes").glob("*/home")] == [homes[1].path.parent]


def test_a_home_is_the_model_s_alone(tmp_path: Path) -> None:
    """What is noted about it lies beside it; a model may delete all that it sees."""
    home = model_home(tmp_path / "cache", open_with(tmp_path / "package"), otherwise=tmp_path)
    assert list(home.path.iterdir()) == []
    again = model_home(tmp_path / "cache", open_with(tmp_path / "package"), otherwise=tmp_path)
    assert again.path == home.path


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(EnvironmentBuildError, match=r"HOME .* cannot be made(?s:.*)--cache-dir"):
        model_home(tmp_path / "cache", open_with(tmp_path / "package"), otherwise=tmp_path)


def test_the_msgpack_of_workers_is_held_with_the_environment_and_pruned_when_no_interpreter_needs_it(
    tmp_path: Path, local: dict[str, str]
) -> None:
    write_wheel(tmp_path / "wheels", "msgpack", "1.0.5")
    environment = build(open_with(tmp_path / "model"), tmp_path / "cache", local)
    (runtime,) = (one for one in cached_folders(tmp_path / "cache") if one.kind == "runtime")
    assert (runtime.python, runtime.is_finished, runtime.in_use) == (environment.version, True, True)
    make_older(runtime.folder, days=31)
    assert prune(tmp_path / "cache", 30 * DAY) == ([], 0)
    make_older(let_go(environment), days=31)
    make_older(runtime.folder, days=31)
    assert [one.kind for one in prune(tmp_path / "cache", 30 * DAY)[0]] == ["environments", "runtime"]
    again = build(open_with(tmp_path / "model"), tmp_path / "cache", local)
    assert not again.cached
    assert again.runtime is not None and again.runtime.is_dir()


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
    (found,) = environments(cache)
    assert (found.package, found.packages, found.in_use) == ("", 0, False)
    assert [one.key for one in prune(cache, 0)[0] if one.kind == "environments"] == ["py3.11-0123"]
    assert list((cache / "environments").iterdir()) == []


def test_an_empty_cache_is_an_empty_list(tmp_path: Path) -> None:
    assert cached_folders(tmp_path / "nowhere") == []
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
