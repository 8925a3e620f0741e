"""What an engine gets to build an image from, and what it does not."""

import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from app.build_context import LARGE_BYTES, BuildContext, ContextError, write_context
from model_loader.package import ModelPackage, open_package
from tests.building import open_with, write_wheel
from tests.exports import DESCRIPTION, PACKAGE, zipped


def written(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, links not followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def stage(folder: Path, package: ModelPackage, may_link: bool = False) -> BuildContext:
    folder.mkdir()
    return write_context(folder, package, may_link=may_link)


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    """With a lock, a wheel of its own, an included file, a source tree that is installed, and another one."""
    package = open_with(tmp_path / "model", "-r more/common.txt\n./own-1.0-py3-none-any.whl\n../src\n")
    write_wheel(package.mdai, "own", "1.0")
    for name in (".mdai/more/common.txt", ".mdai/config.yml", ".mdai/requirements.lock", "src/setup.py", "code/a.py"):
        (package.root / name).parent.mkdir(exist_ok=True)
        (package.root / name).write_text("# nothing\n")
    return package


def test_the_environment_gets_what_decides_it_and_nothing_else(tmp_path: Path, package: ModelPackage) -> None:
    stage(tmp_path / "context", package)
    assert sorted(written(tmp_path / "context/environment")) == [
        ".mdai/config.yml",
        ".mdai/mdai_deploy.py",
        ".mdai/more/common.txt",
        ".mdai/own-1.0-py3-none-any.whl",
        ".mdai/requirements.lock",
        ".mdai/requirements.txt",
        "src/setup.py",
    ]


def test_an_export_is_laid_out_as_one_of_the_version_that_was_chosen(tmp_path: Path) -> None:
    """What comes to lie in the image is the same package, with its label classes."""
    archive = zipped(
        {"m/model.json": json.dumps(DESCRIPTION), **{f"m/source/v{n}.zip": zipped(PACKAGE) for n in (2, 9)}}
    )
    (tmp_path / "export.zip").write_bytes(archive)
    package = open_package(tmp_path / "export.zip", scratch=tmp_path / "scratch", model_version=2)
    built = stage(tmp_path / "context", package)
    assert sorted(path.name for path in (tmp_path / "context").iterdir()) == ["environment", "export", "package"]
    shutil.copytree(tmp_path / "context/export", tmp_path / "image")
    shutil.copytree(tmp_path / "context/package", tmp_path / "image/source/v2")
    baked = open_package(tmp_path / "image", scratch=tmp_path / "other")
    assert (baked.label_classes, baked.scope, baked.version) == (package.label_classes, package.scope, 2)
    assert baked.label_classes and baked.digest == built.digest
    assert baked.name == package.name


def test_a_change_of_code_changes_nothing_that_the_environment_is_made_of(
    tmp_path: Path, package: ModelPackage
) -> None:
    first = stage(tmp_path / "first", package)
    (package.mdai / "mdai_deploy.py").write_text("class MDAIModel:\n    '''another one'''\n")
    second = stage(tmp_path / "second", open_package(package.root, scratch=tmp_path))
    assert written(tmp_path / "first/environment") == written(tmp_path / "second/environment")
    assert first.digest != second.digest


def test_it_is_a_package_that_opens_and_asks_for_the_same(tmp_path: Path, package: ModelPackage) -> None:
    stage(tmp_path / "context", package)
    stub = open_package(tmp_path / "context/environment", scratch=tmp_path)
    assert stub.config == package.config
    assert stub.requirements and package.requirements
    assert stub.requirements.read_bytes() == package.requirements.read_bytes()


def test_the_whole_package_is_in_the_image_under_the_digest_that_serve_would_tell(
    tmp_path: Path, package: ModelPackage
) -> None:
    context = stage(tmp_path / "context", package)
    assert written(tmp_path / "context/package") == written(package.root)
    assert context == BuildContext(has_large=False, digest=package.digest)


def test_large_files_are_apart(tmp_path: Path) -> None:
    package = open_with(tmp_path / "model")
    for name, size in {"lib/weights.h5": LARGE_BYTES, "lib/small.h5": LARGE_BYTES - 1}.items():
        (package.root / name).parent.mkdir(exist_ok=True)
        (package.root / name).write_bytes(bytes(size))
    context = stage(tmp_path / "context", package)
    assert context == BuildContext(has_large=True, digest=package.digest)
    assert list(written(tmp_path / "context/large")) == ["lib/weights.h5"]
    assert list(written(tmp_path / "context/package")) == [".mdai/mdai_deploy.py", "lib/small.h5"]


def test_large_files_are_not_copied_where_they_need_not_be(tmp_path: Path) -> None:
    package = open_with(tmp_path / "model")
    for name, mode in {"readable": 0o644, "private": 0o600}.items():
        (package.root / name).write_bytes(bytes(LARGE_BYTES))
        (package.root / name).chmod(mode)
    stage(tmp_path / "context", package, may_link=True)
    assert (tmp_path / "context/large/readable").samefile(package.root / "readable")
    assert not (tmp_path / "context/large/private").samefile(package.root / "private")
    assert (tmp_path / "context/large/private").stat().st_mode & 0o777 == 0o644
    assert (package.root / "private").stat().st_mode & 0o777 == 0o600
    stage(tmp_path / "kept", package)
    assert not (tmp_path / "kept/large/readable").samefile(package.root / "readable")


def test_no_history_cache_environment_or_socket_gets_in(tmp_path: Path) -> None:
    package = open_with(tmp_path / "model")
    for name in (".git/config", "__pycache__/a.pyc", "venv/pyvenv.cfg", "venv/lib/x.py", ".DS_Store", "._a.py"):
        (package.root / name).parent.mkdir(exist_ok=True)
        (package.root / name).write_text("no\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(package.root / "socket"))
        stage(tmp_path / "context", package)
    assert list(written(tmp_path / "context/package")) == [".mdai/mdai_deploy.py"]
    assert sorted(path.name for path in (tmp_path / "context/package").iterdir()) == [".mdai"]


def test_links_out_of_the_package_become_what_they_lead_to_and_others_stay(tmp_path: Path) -> None:
    package = open_with(tmp_path / "model")
    store = tmp_path / "store"
    (store / "deep").mkdir(parents=True)
    (store / "weights").write_text("heavy")
    (store / "deep/back").symlink_to(store)
    (package.root / "file").symlink_to(store / "weights")
    (package.root / "folder").symlink_to(store)
    (package.root / "inner").symlink_to(package.root / ".mdai")
    (store / "home").symlink_to(package.root / ".mdai")
    (package.root / "round_about").symlink_to("../model/.mdai")
    (package.root / "dangling").symlink_to("nowhere")
    (package.root / "itself").symlink_to("itself")
    (package.root / "around").symlink_to(tmp_path)
    stage(tmp_path / "context", package)
    copy = tmp_path / "context/package"
    assert not (copy / "file").is_symlink() and (copy / "file").read_text() == "heavy"
    assert (copy / "folder/weights").read_text() == "heavy" and not (copy / "folder/deep/back").exists()
    assert (copy / "inner").readlink() == (copy / "round_about").readlink() == Path(".mdai")
    assert (copy / "folder/home").readlink() == Path("../.mdai")
    assert (copy / "dangling").is_symlink() and (copy / "itself").is_symlink()
    assert not (copy / "around").exists()


def test_every_user_can_read_it_whatever_the_umask_is(tmp_path: Path) -> None:
    package = open_with(tmp_path / "model", "./src\n")
    (package.mdai / "src").mkdir(mode=0o700)
    (package.mdai / "run.sh").touch(mode=0o700)
    before = os.umask(0o077)
    try:
        stage(tmp_path / "context", package)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "context").rglob("*")}
    assert modes.pop("run.sh") == 0o755
    assert set(modes.values()) == {0o755, 0o644}


@pytest.mark.parametrize("line", ["{outside}/x-1.0-py3-none-any.whl", "-r ../../more.txt", "-e ../../project"])
def test_what_lies_elsewhere_is_refused_by_its_name(tmp_path: Path, line: str) -> None:
    write_wheel(tmp_path, "x", "1.0")
    (tmp_path / "more.txt").touch()
    (tmp_path / "project").mkdir()
    package = open_with(tmp_path / "model", line.format(outside=tmp_path) + "\n")
    named = line.split()[-1].replace("{outside}", "").replace("../../", "").strip("/")
    with pytest.raises(ContextError, match=rf"requirements.txt names \S+{re.escape(named)}, which lies outside"):
        stage(tmp_path / "context", package)


def test_a_package_that_is_installed_itself_is_part_of_what_decides(tmp_path: Path) -> None:
    package = open_with(tmp_path / "model", "..\n")
    (package.root / "setup.py").touch()
    stage(tmp_path / "context", package)
    assert written(tmp_path / "context/environment") == written(tmp_path / "context/package")
