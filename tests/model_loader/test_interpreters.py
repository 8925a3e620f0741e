"""Finding interpreters: real ones where the machine has them, scripts that answer like one elsewhere."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from model_loader.errors import EnvironmentBuildError, InterpreterNotFound
from model_loader.interpreters import (
    available_interpreters,
    find_interpreter,
    named_interpreter,
    python_runs,
)

NOWHERE = Path("/nonexistent/python")
REAL = ("3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


def answering(path: Path, version: str, **told: object) -> Path:
    """Make a program that answers as a CPython of that version would."""
    facts = {
        "version": version,
        "release": [int(part) for part in version.split(".")],
        "final": True,
        "implementation": "cpython",
        "executable": str(path),
        "virtual": False,
        "tag": "fake",
    } | told
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{json.dumps(facts)}'\n")
    path.chmod(0o755)
    return path


def broken(path: Path) -> Path:
    """Make a program that fails as a pyenv shim without a version does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho 'pyenv: python3.9: command not found' >&2\nexit 127\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine without any interpreter."""
    return {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}


@pytest.mark.parametrize("series", REAL)
def test_a_real_interpreter_is_found_and_is_what_was_asked_for(series: str) -> None:
    try:
        found = find_interpreter(series, environ=os.environ)
    except InterpreterNotFound:
        pytest.skip(f"this machine has no Python {series}")
    version = subprocess.check_output([found.path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    assert version.decode().strip() == series == found.series
    assert found.path.is_absolute()
    assert found.version.startswith(f"{series}.")


def test_the_newest_patch_release_wins_whichever_folder_it_lies_in(environ: dict[str, str], tmp_path: Path) -> None:
    answering(tmp_path / ".pyenv/versions/3.9.9/bin/python", "3.9.9")
    newest = answering(tmp_path / ".local/share/uv/python/cpython-3.9.18-linux-x86_64-gnu/bin/python3", "3.9.18")
    answering(tmp_path / "bin/python3.9", "3.9.2")
    answering(tmp_path / "bin/python3.10", "3.10.1")
    assert find_interpreter("3.9", environ=environ, own=NOWHERE).path == newest
    versions = [found.version for found in available_interpreters(environ=environ, own=NOWHERE)]
    assert versions == ["3.10.1", "3.9.18", "3.9.9", "3.9.2"]


@pytest.mark.parametrize(
    ("variable", "inside"),
    [
        ("PYENV_ROOT", "versions/3.9.1/bin/python"),
        ("UV_PYTHON_INSTALL_DIR", "cpython-3.9.1-linux-x86_64-gnu/bin/python3"),
        ("XDG_DATA_HOME", "uv/python/cpython-3.9.1-linux-x86_64-gnu/bin/python3"),
    ],
)
def test_the_folders_that_the_environment_names_are_searched(
    environ: dict[str, str], tmp_path: Path, variable: str, inside: str
) -> None:
    there = answering(tmp_path / "elsewhere" / inside, "3.9.1")
    environ[variable] = str(tmp_path / "elsewhere")
    assert find_interpreter("3.9", environ=environ, own=NOWHERE).path == there


def test_a_candidate_that_does_not_run_is_passed_over(environ: dict[str, str], tmp_path: Path) -> None:
    broken(tmp_path / ".pyenv/versions/3.9.18/bin/python")
    (tmp_path / ".pyenv/versions/3.9.17/bin").mkdir(parents=True)
    broken(tmp_path / "bin/python3.9")
    environ["PATH"] += f"{os.pathsep}{tmp_path}/later{os.pathsep}relative"
    working = answering(tmp_path / "later/python3.9", "3.9.2")
    assert find_interpreter("3.9", environ=environ, own=NOWHERE).path == working


@pytest.mark.parametrize("told", [{"implementation": "pypy"}, {"final": False}])
def test_only_final_releases_of_cpython_are_chosen_unasked(
    environ: dict[str, str], tmp_path: Path, told: dict[str, object]
) -> None:
    answering(tmp_path / "bin/python3.9", "3.9.2", **told)
    with pytest.raises(InterpreterNotFound):
        find_interpreter("3.9", environ=environ, own=NOWHERE)


def test_an_interpreter_that_says_another_version_than_its_name_is_passed_over(
    environ: dict[str, str], tmp_path: Path
) -> None:
    answering(tmp_path / "bin/python3.9", "3.8.2")
    with pytest.raises(InterpreterNotFound):
        find_interpreter("3.9", environ=environ, own=NOWHERE)


def test_the_interpreter_of_the_server_is_the_last_resort(environ: dict[str, str]) -> None:
    series = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert find_interpreter(series, environ=environ).series == series


def test_behind_a_venv_its_own_origin_is_found(environ: dict[str, str], tmp_path: Path) -> None:
    """A model's environment must not break when the venv that the server runs in is deleted."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    series = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = find_interpreter(series, environ=environ, own=tmp_path / "venv/bin/python")
    assert not found.path.is_relative_to(tmp_path)


def test_a_full_version_takes_exactly_that_one(environ: dict[str, str], tmp_path: Path) -> None:
    answering(tmp_path / ".pyenv/versions/3.9.9/bin/python", "3.9.9")
    answering(tmp_path / ".pyenv/versions/3.9.18/bin/python", "3.9.18")
    assert find_interpreter("3.9.9", environ=environ, own=NOWHERE).version == "3.9.9"


def test_a_path_and_a_command_name_are_taken_as_they_are(environ: dict[str, str], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv/bin/python"
    assert find_interpreter(str(python), environ=environ).path == python
    broken(tmp_path / "bin/python3.9")
    environ["PATH"] += f"{os.pathsep}{tmp_path}/later"
    working = answering(tmp_path / "later/python3.9", "3.9.2")
    assert named_interpreter("python3.9", environ=environ).path == working


@pytest.mark.parametrize(
    ("name", "reason"),
    [("/nonexistent/python", "There is no Python interpreter at"), ("bad", "does not run"), ("old", "3.6.15")],
)
def test_a_path_that_is_no_usable_interpreter_is_refused_with_the_reason(
    environ: dict[str, str], tmp_path: Path, name: str, reason: str
) -> None:
    broken(tmp_path / "bin/bad")
    answering(tmp_path / "bin/old", "3.6.15")
    with pytest.raises(InterpreterNotFound, match=reason):
        named_interpreter(name, environ=environ)


def test_a_missing_interpreter_names_those_that_are_here_and_the_way_out(
    environ: dict[str, str], tmp_path: Path
) -> None:
    here = answering(tmp_path / "bin/python3.9", "3.9.2")
    answering(tmp_path / "bin/python3.12", "3.12.2")
    with pytest.raises(InterpreterNotFound) as caught:
        find_interpreter("3.8", environ=environ, own=NOWHERE)
    text = str(caught.value)
    assert text.startswith("Python 3.8 is needed, and this machine has none.")
    assert f"Python 3.9.2 ({here})" in text
    assert "Python 3.12.2" in text
    assert "such as `--python 3.9`" in text


def test_without_any_interpreter_the_text_says_so(environ: dict[str, str]) -> None:
    with pytest.raises(InterpreterNotFound, match="No other interpreter was found"):
        find_interpreter("3.8", environ=environ, own=NOWHERE)


def test_python_3_7_is_never_downloaded_and_the_text_says_where_to_get_it(environ: dict[str, str]) -> None:
    asked: list[str] = []
    with pytest.raises(InterpreterNotFound, match="uv cannot download a Python this old") as caught:
        find_interpreter("3.7", environ=environ, own=NOWHERE, download=asked.append)
    assert asked == []
    assert all(word in str(caught.value) for word in ("pyenv install 3.7", "conda", "distribution"))


def test_a_python_that_no_model_can_use_is_refused_as_too_old(environ: dict[str, str]) -> None:
    with pytest.raises(InterpreterNotFound, match=r"Python 2\.7 is too old"):
        find_interpreter("2.7", environ=environ, own=NOWHERE)


def test_what_was_downloaded_is_found(environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / ".local/share/uv/python/cpython-3.8.20-linux-x86_64-gnu/bin"

    def download(version: str) -> None:
        assert version == "3.8"
        answering(folder / "python3", "3.8.20")

    found = find_interpreter("3.8", environ=environ, own=NOWHERE, download=download)
    assert found.path == folder / "python3"


def test_a_failed_download_is_told_in_the_downloader_s_own_words(environ: dict[str, str]) -> None:
    def download(version: str) -> None:
        raise EnvironmentBuildError("error: dns error")

    with pytest.raises(InterpreterNotFound, match="Downloading it failed:\n\nerror: dns error"):
        find_interpreter("3.8", environ=environ, own=NOWHERE, download=download)


def test_python_runs_tells_a_working_interpreter_from_a_broken_one(tmp_path: Path) -> None:
    assert python_runs(Path(sys.executable), "-c", "")
    assert not python_runs(Path(sys.executable), "-c", "raise SystemExit(1)")
    assert not python_runs(broken(tmp_path / "python"))
    assert not python_runs(NOWHERE)
