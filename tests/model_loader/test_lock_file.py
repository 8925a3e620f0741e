"""Locks: made of a built environment, and installed from instead of requirements.txt."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from model_loader.environment import EnvironmentRequest, ModelEnvironment, lock_environment
from model_loader.errors import EnvironmentBuildError, InstallFailed
from model_loader.package import ModelPackage
from tests.building import NOTHING, OWN, build, ignore, open_with, told_by, write_project, write_wheel
from tests.interpreters import SERIES

pytest_plugins = ("tests.building_places",)

BESIDE = replace(NOTHING, preinstalled=("other",))


def lock(
    package: ModelPackage, cache: Path, environ: dict[str, str], request: EnvironmentRequest = NOTHING
) -> ModelEnvironment:
    """Build the environment and write the lock into the package, as `mdai-model env --lock` does."""
    request = replace(request, anew=True)
    environment = build(package, cache, environ, request)
    made = lock_environment(package, environment, request, progress=ignore, environ=environ)
    (package.mdai / "requirements.lock").write_text(made.text)
    return environment


def text_of(package: ModelPackage) -> str:
    return (package.mdai / "requirements.lock").read_text()


def test_a_locked_package_gets_what_it_had_whatever_has_been_published_since(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    """The baseline included, which the package does not list."""
    for name in ("tiny", "other"):
        write_wheel(tmp_path / "wheels", name, "1.0")
    package = open_with(tmp_path / "model", "tiny\n")
    had = lock(package, cache, local, BESIDE).packages
    for name in ("tiny", "other", "more"):
        write_wheel(tmp_path / "wheels", name, "2.0")
    request = replace(NOTHING, preinstalled=("other", "more"))
    assert build(package, cache, local, request).packages == had == (("other", "1.0"), ("tiny", "1.0"))
    anew = replace(request, anew=True)
    assert dict(build(package, cache, local, anew).packages) == {"tiny": "2.0", "other": "2.0", "more": "2.0"}


def test_a_lock_holds_versions_and_hashes_and_says_what_it_was_made_for(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    """And no address: where packages come from is the machine's affair."""
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    package = open_with(tmp_path / "model", "tiny\n")
    lock(package, cache, local, replace(NOTHING, exclude_newer="2023-01-31"))
    first, *rest = text_of(package).splitlines()
    assert re.fullmatch(
        rf"# Made by `mdai-model env --lock` for Python {re.escape(OWN)} "
        "from requirements.txt sha256:[0-9a-f]{16} as of 2023-01-31",
        first,
    )
    assert re.fullmatch(r"#.*\ntiny==1.0 \\\n    --hash=sha256:[0-9a-f]{64}", "\n".join(rest))
    assert str(tmp_path) not in text_of(package)


def test_a_file_other_than_the_one_that_was_locked_is_refused(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    package = open_with(tmp_path / "model", "tiny\n")
    lock(package, cache, local)
    (tmp_path / "wheels/tiny-1.0-py3-none-any.whl").unlink()
    write_wheel(tmp_path / "wheels", "tiny", "1.0", more="tampered = True\n")
    with pytest.raises(InstallFailed, match=r"(?s)requirements\.lock of model cannot be installed.*[Hh]ash"):
        build(package, cache, local | {"UV_NO_CACHE": "1"})


def test_wheels_and_folders_of_the_package_are_found_wherever_it_is_unpacked(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    write_wheel(tmp_path / "one/.mdai", "tiny", "1.5")
    write_project(tmp_path / "one/.mdai/slow", tmp_path / "built")
    package = open_with(tmp_path / "one", "./tiny-1.5-py3-none-any.whl\n./slow\n")
    lock(package, cache, local)
    assert re.search(r"^\./tiny-1\.5-py3-none-any\.whl \\\n    --hash=", text_of(package), re.MULTILINE)
    assert "\n./slow\n" in text_of(package)
    (tmp_path / "one").rename(tmp_path / "two")
    moved = open_with(tmp_path / "two")
    assert told_by(build(moved, cache, local), "import tiny, slow; print(tiny.V, slow.V)") == "1.5 1.0"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not on this machine")
def test_what_comes_from_git_is_pinned_by_its_commit(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    write_project(tmp_path / "source", tmp_path / "built")
    git = ["git", "-C", tmp_path / "source", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    package = open_with(tmp_path / "model", f"slow @ git+file://{tmp_path}/source\n")
    lock(package, cache, local)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    assert f"slow @ git+file://{tmp_path}/source@{commit}\n" in text_of(package)
    assert told_by(build(package, cache, local), "import slow; print(slow.V)") == "1.0"


def test_where_packages_come_from_is_still_what_requirements_txt_says(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    write_wheel(tmp_path / "elsewhere", "tiny", "1.0")
    package = open_with(tmp_path / "model", f"-f {tmp_path}/elsewhere\ntiny\n")
    lock(package, cache, local)
    assert "elsewhere" not in text_of(package)
    assert build(package, cache, local).packages == (("tiny", "1.0"),)


def test_the_machine_s_wishes_do_not_touch_a_lock(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    """A lock was looked at by somebody; constraints are for what is still open, and have no hashes."""
    for version in ("1.0", "2.0"):
        write_wheel(tmp_path / "wheels", "tiny", version)
    package = open_with(tmp_path / "model", "tiny<2\n")
    lock(package, cache, local)
    (tmp_path / "constraints.txt").write_text("tiny>=2\nother<3\n")
    wishes = {"PIP_CONSTRAINT": str(tmp_path / "constraints.txt"), "UV_RESOLUTION": "lowest", "UV_OVERRIDE": ""}
    assert build(package, cache, local | wishes).packages == (("tiny", "1.0"),)


def test_a_lock_that_requirements_txt_has_left_behind_is_told_and_still_used(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    package = open_with(tmp_path / "model", "tiny\n")
    lock(package, cache, local)
    lines: list[str] = []
    build(open_with(tmp_path / "model", "tiny\r\n"), cache, local, progress=lines.append)
    assert "has changed" not in "".join(lines)
    changed = open_with(tmp_path / "model", "tiny\nother\n")
    assert build(changed, cache, local, progress=lines.append).packages == (("tiny", "1.0"),)
    assert "requirements.txt has changed since .mdai/requirements.lock was made" in "".join(lines)


def test_a_lock_for_another_python_is_refused_with_the_way_out(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    other = next(series for series in SERIES if series != OWN)
    package = open_with(tmp_path / "model", "tiny\n")
    heading = f"# Made by `mdai-model env --lock` for Python {other} from requirements.txt sha256:00\n"
    (package.mdai / "requirements.lock").write_text(heading)
    with pytest.raises(EnvironmentBuildError, match=f"made for Python {re.escape(other)}.*run on Python.*--lock"):
        build(package, cache, local)


@pytest.mark.parametrize("line", ["tiny==1.0", "tiny", "slow @ git+https://example.invalid/x@main", "./gone"])
def test_a_line_that_leaves_something_open_is_refused(
    tmp_path: Path, cache: Path, local: dict[str, str], line: str
) -> None:
    package = open_with(tmp_path / "model", "tiny\n")
    (package.mdai / "requirements.lock").write_text(line + "\n")
    with pytest.raises(EnvironmentBuildError, match=f"a line without a hash: {re.escape(line)}"):
        build(package, cache, local)


def test_a_lock_that_was_made_by_another_tool_is_installed_too(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    package = open_with(tmp_path / "model", "tiny\n")
    lock(package, cache, local)
    (package.mdai / "requirements.lock").write_text(re.sub("(?m)^#.*\n", "", text_of(package)))
    assert build(package, cache, local).packages == (("tiny", "1.0"),)


# As of a date


def test_a_day_ends_in_utc_and_is_part_of_what_an_environment_is_made_of(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    package = open_with(tmp_path / "model")
    days = [
        build(package, cache, local | {"TZ": zone}, replace(NOTHING, exclude_newer="2020-01-01"))
        for zone in ("Asia/Tokyo", "America/New_York")
    ]
    assert [day.cached for day in days] == [False, True]
    assert build(package, cache, local, replace(NOTHING, exclude_newer="2020-01-02")).key != days[0].key
    same = build(package, cache, local, replace(NOTHING, exclude_newer="2020-01-02T00:00:00Z"))
    assert same.key == days[0].key


def test_old_requirements_give_what_they_gave_that_day(tmp_path: Path, runtimes: Path) -> None:
    """attrs 21.1 to 21.4 came in 2021; the baseline is as of that day, too."""
    package = open_with(tmp_path / "model", "attrs>=20\n")
    lines: list[str] = []
    beside = ("six", "pydicom>=3,<4")
    request = EnvironmentRequest(python=OWN, preinstalled=beside, exclude_newer="2021-05-06")
    installed = dict(build(package, runtimes.parent, dict(os.environ), request, progress=lines.append).packages)
    assert installed == {"attrs": "20.3.0", "six": "1.16.0"}
    assert "pydicom>=3,<4 is left out: nothing that fits was published by then." in lines
