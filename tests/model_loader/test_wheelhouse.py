"""Wheelhouses: filled where a network is, and built from where none is."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from model_loader.environment import EnvironmentRequest, ModelEnvironment, export_wheels
from model_loader.errors import EnvironmentBuildError, InstallFailed
from model_loader.package import ModelPackage
from tests.building import NOTHING, build, ignore, open_with, told_by, write_project, write_wheel

pytest_plugins = ("tests.building_places",)


def offline(wheelhouse: Path) -> EnvironmentRequest:
    return replace(NOTHING, offline=True, wheelhouse=wheelhouse)


def cut_off(tmp_path: Path) -> dict[str, str]:
    """A machine without configuration, packages and network: what tries it meets a closed port."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    closed = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    return plain | closed | {"PIP_CONFIG_FILE": os.devnull, "UV_CACHE_DIR": str(tmp_path / "uv-cache")}


def with_everything(folder: Path) -> ModelPackage:
    """A package with a wheel and a folder of its own, and something from an index."""
    write_wheel(folder / "model/.mdai", "own", "1.5")
    write_project(folder / "model/.mdai/slow", folder / "built")
    return open_with(folder / "model", "tiny\n./own-1.5-py3-none-any.whl\n./slow\n")


def export(package: ModelPackage, wheelhouse: Path, cache: Path, environ: dict[str, str]) -> list[str]:
    environment = build(package, cache, environ)
    return export_wheels(wheelhouse, package, environment, NOTHING, progress=ignore, environ=environ)


@pytest.fixture
def connected(tmp_path: Path) -> dict[str, str]:
    """This machine as it is, and `wheels` beside its index."""
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    return dict(os.environ) | {"PIP_FIND_LINKS": str(tmp_path / "wheels")}


def test_everything_is_built_from_the_wheelhouse_and_nothing_else(
    tmp_path: Path, cache: Path, connected: dict[str, str]
) -> None:
    """Also what was a folder, and the worker's msgpack, on a machine that has neither cache nor configuration."""
    package = with_everything(tmp_path)
    names = export(package, tmp_path / "house", cache, connected)
    assert [name.split("-")[0] for name in names] == ["own", "tiny", "slow", "msgpack"]
    assert sorted(path.name for path in (tmp_path / "house").iterdir()) == sorted([*names, "wheelhouse.json"])
    write_wheel(tmp_path / "house", "tiny", "2.0")

    fresh = build(package, tmp_path / "fresh", cut_off(tmp_path), offline(tmp_path / "house"))
    assert fresh.packages == (("own", "1.5"), ("slow", "1.0"), ("tiny", "1.0"))
    assert fresh.runtime is not None
    assert str(fresh.runtime) in told_by(
        fresh, f"import sys; sys.path.insert(0, {str(fresh.runtime)!r}); import msgpack; print(msgpack.__file__)"
    )
    (entry,) = json.loads((tmp_path / "house/wheelhouse.json").read_text())["environments"]
    assert (entry["package"], entry["digest"], entry["python"]) == ("model", package.digest, fresh.version)

    # Another package goes by what is there.
    other = open_with(tmp_path / "other", "--index-url http://127.0.0.1:9/simple\n-f http://127.0.0.1:9/\ntiny\n")
    assert build(other, tmp_path / "fresh", cut_off(tmp_path), offline(tmp_path / "house")).packages[0][1] == "2.0"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not on this machine")
def test_what_comes_from_git_is_in_the_wheelhouse_beside_another_package_s(
    tmp_path: Path, cache: Path, connected: dict[str, str]
) -> None:
    write_project(tmp_path / "source", tmp_path / "built")
    git = ["git", "-C", tmp_path / "source", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    first = open_with(tmp_path / "first", f"slow @ git+file://{tmp_path}/source\n")
    second = open_with(tmp_path / "second", "tiny\n")
    for package in (first, second):
        export(package, tmp_path / "house", cache, connected)
    (tmp_path / "source").rename(tmp_path / "gone")
    environ = cut_off(tmp_path)
    environments: list[ModelEnvironment] = [
        build(package, tmp_path / "fresh", environ, offline(tmp_path / "house")) for package in (first, second)
    ]
    assert [environment.packages for environment in environments] == [(("slow", "1.0"),), (("tiny", "1.0"),)]


def test_what_a_wheelhouse_lacks_is_told_with_the_command_that_fills_one(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    (tmp_path / "house").mkdir()
    with pytest.raises(InstallFailed, match=r"(?s)tiny.*mdai-model env PACKAGE --wheelhouse DIR"):
        build(open_with(tmp_path / "model", "tiny\n"), cache, local, offline(tmp_path / "house"))
    with pytest.raises(InstallFailed, match=r"(?s)^msgpack.*mdai-model env PACKAGE --wheelhouse DIR"):
        build(open_with(tmp_path / "model"), tmp_path / "new", cut_off(tmp_path), offline(tmp_path / "house"))


def test_a_wheelhouse_that_cannot_be_filled_is_left_as_it_was(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    """Here there is no pip to be had that would collect the wheels."""
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    (tmp_path / "house").mkdir()
    with pytest.raises(InstallFailed, match=r"(?s)wheels of model cannot be collected.*pip"):
        export(open_with(tmp_path / "model", "tiny\n"), tmp_path / "house", cache, local)
    assert list((tmp_path / "house").iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "environments": [{}]}'])
def test_a_damaged_manifest_is_told(tmp_path: Path, cache: Path, local: dict[str, str], text: str) -> None:
    (tmp_path / "house").mkdir()
    (tmp_path / "house/wheelhouse.json").write_text(text)
    with pytest.raises(EnvironmentBuildError, match=r"wheelhouse\.json cannot be read"):
        build(open_with(tmp_path / "model", "tiny\n"), cache, local, offline(tmp_path / "house"))
