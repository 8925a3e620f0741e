"""A folder is not read again for its digest while nothing in it has changed."""

import os
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from model_loader.digest import content_digest
from model_loader.known_digests import FOLDER, known_digest
from model_loader.package import open_package


def in_an_hour() -> int:
    return time.time_ns() + 3600 * 10**9


known = partial(known_digest, clock=in_an_hour)
"""By then the files of a test have been there for a while."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / ".mdai").mkdir(parents=True)
    (root / ".mdai/mdai_deploy.py").write_text("class MDAIModel: ...\n")
    (root / "weights").write_bytes(b"1234")
    (root / "link").symlink_to("weights")
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def kept(cache: Path) -> Path:
    (file,) = (cache / FOLDER).iterdir()
    return file


def pretend(cache: Path) -> str:
    """Write another digest in place of the one that is kept, and return it: who says it has not read the folder."""
    look, digest = kept(cache).read_text().split()
    other = digest[::-1]
    kept(cache).write_text(f"{look} {other}\n")
    return other


def test_the_second_time_it_is_known(root: Path, cache: Path) -> None:
    assert known(root, cache) == content_digest(root)
    other = pretend(cache)
    assert known(root, cache) == other
    assert known(root, None) == content_digest(root)


def rewritten_in_place(root: Path) -> None:
    """The same size and the same time as before: the change has a time of its own."""
    before = (root / "weights").stat()
    (root / "weights").write_bytes(b"4321")
    os.utime(root / "weights", ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        rewritten_in_place,
        lambda root: (root / "weights").unlink(),
        lambda root: (root / "weights").chmod(0o755),
        lambda root: (root / "new").touch(),
        lambda root: (root / "weights").rename(root / "other"),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("elsewhere")),
    ],
    ids=["rewritten in place", "deleted", "made executable", "added", "renamed", "linked elsewhere"],
)
def test_it_is_read_again_after_a_change(root: Path, cache: Path, change: Callable[[Path], object]) -> None:
    known(root, cache)
    other = pretend(cache)
    change(root)
    assert known(root, cache) == content_digest(root) != other


def test_it_is_read_again_after_a_change_behind_a_link(root: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"1")
    (root / "far").symlink_to(tmp_path / "outside")
    known(root, cache)
    (tmp_path / "outside").write_bytes(b"22")
    assert known(root, cache) == content_digest(root)


def test_what_has_just_changed_is_not_kept(root: Path, cache: Path) -> None:
    """A second change might bear the same time."""
    known(root, cache, clock=lambda: (root / "weights").stat().st_ctime_ns + 1)
    assert not (cache / FOLDER).exists()


@pytest.mark.parametrize("content", [b"", b"one", b"a b c", b"\xff \xff", b"x" * 64 + b" short"])
def test_what_was_kept_and_says_nothing_is_no_obstacle(root: Path, cache: Path, content: bytes) -> None:
    known(root, cache)
    kept(cache).write_bytes(content)
    assert known(root, cache) == content_digest(root)


def test_a_cache_that_cannot_be_written_is_no_obstacle(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert known(root, tmp_path / "file") == content_digest(root)


def test_a_package_that_lies_open_may_be_known(root: Path, cache: Path, tmp_path: Path) -> None:
    known(root, cache)
    other = pretend(cache)
    assert open_package(root, scratch=tmp_path / "scratch", digests=cache).digest == other
    assert open_package(root, scratch=tmp_path / "scratch").digest == content_digest(root)


def test_nothing_is_kept_of_an_archive_which_is_unpacked_anew_each_time(
    root: Path, cache: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.write(root / ".mdai/mdai_deploy.py", ".mdai/mdai_deploy.py")
    package = open_package(tmp_path / "model.zip", scratch=tmp_path / "scratch", digests=cache)
    assert package.digest and package.digests is None
