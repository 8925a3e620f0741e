"""What Pythons answered is kept, and believed for as long as it can be."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_loader.interpreters import find_interpreter, known_to_run
from model_loader.known_pythons import FILE, KnownPythons
from tests.building import OWN, build, open_with, write_wheel

pytest_plugins = ("tests.building_places",)

NOWHERE = Path("/nonexistent/python")
_started: list[str] = []
_watching: list[bool] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen" and _watching:
        _started.append(str(arguments[0]))


sys.addaudithook(_note)


@contextmanager
def processes_started() -> Iterator[list[str]]:
    """Names of the programs that are started inside its `with` block."""
    _started.clear()
    _watching.append(True)
    try:
        yield _started
    finally:
        _watching.clear()


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A file that an answer rests on."""
    path = tmp_path / "python"
    path.write_bytes(b"\x7fELF")
    return path


def test_an_answer_is_known_to_those_who_ask_later(tmp_path: Path, python: Path) -> None:
    KnownPythons(tmp_path).note("version", ["3.9", 1], [python])
    assert KnownPythons(tmp_path).recall("version") == ["3.9", 1]
    assert KnownPythons(tmp_path).recall("another") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"\x7fELF, a newer one"),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: (path.unlink(), path.symlink_to("nowhere")),
    ],
    ids=["deleted", "another size", "another time", "a link that dangles"],
)
def test_an_answer_is_forgotten_with_what_it_rests_on(
    tmp_path: Path, python: Path, change: Callable[[Path], object]
) -> None:
    known = KnownPythons(tmp_path)
    known.note("version", "3.9", [Path(sys.executable), python])
    change(python)
    assert known.recall("version") is None
    known.note("other", True, [Path(sys.executable)])
    assert list(json.loads((tmp_path / FILE).read_bytes())) == ["other"]


def test_what_a_script_says_is_not_kept(tmp_path: Path) -> None:
    """The shims of version tools answer by the folder that somebody is in."""
    script = tmp_path / "python3.9"
    script.write_text("#!/bin/sh\n")
    known = KnownPythons(tmp_path)
    known.note("version", "3.9", [script])
    assert known.recall("version") is None and not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"version": 3}',
        b'{"version": {"answer": 1}}',
        b'{"version": {"answer": 1, "files": [1]}}',
        b'{"version": {"answer": 1, "files": {"\\u0000": [1, 1]}}}',
    ],
)
def test_a_file_that_says_nothing_is_no_obstacle(tmp_path: Path, python: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert KnownPythons(tmp_path).recall("version") is None
    KnownPythons(tmp_path).note("version", "3.9", [python])
    assert KnownPythons(tmp_path).recall("version") == "3.9"


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path, python: Path) -> None:
    known = KnownPythons(tmp_path / "nowhere")
    known.note("version", "3.9", [python])
    assert known.recall("version") == "3.9" and not (tmp_path / "nowhere").exists()


def test_an_interpreter_that_was_found_is_not_started_again(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PATH": ""}

    def found(known: KnownPythons) -> object:
        return find_interpreter(OWN, environ=environ, known=known)

    first = found(KnownPythons(tmp_path))
    with processes_started() as started:
        assert found(KnownPythons(tmp_path)) == first
    assert started == []
    with processes_started() as started:
        assert found(KnownPythons(tmp_path).forgotten()) == first
    assert started != []


@pytest.mark.parametrize(
    "told", [None, 3, {}, {"release": [3]}, {"release": "3.9"}, {"release": [3, 9, 1], "version": 1}]
)
def test_what_makes_no_sense_is_asked_again(tmp_path: Path, told: object) -> None:
    environ = {"HOME": str(tmp_path), "PATH": ""}
    question = f"{Path(sys.executable)} with "
    KnownPythons(tmp_path).note(question, told, [Path(sys.executable)])
    assert find_interpreter(OWN, environ=environ, known=KnownPythons(tmp_path)).series == OWN


def test_only_what_ran_is_known_to_run(tmp_path: Path) -> None:
    known, here = KnownPythons(tmp_path), Path(sys.executable)
    assert not known_to_run(known, "ends badly", here, "-c", "raise SystemExit(1)", rests_on=[here])
    assert not known_to_run(known, "ends badly", NOWHERE, rests_on=[here])
    assert known.recall("ends badly") is None
    assert known_to_run(known, "runs", here, "-c", "", rests_on=[here])
    assert known_to_run(known, "runs", NOWHERE, rests_on=[here])


def test_a_second_start_starts_no_process_before_its_worker(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    package = open_with(tmp_path / "model", "tiny")
    first = build(package, cache, local)
    with processes_started() as started:
        again = build(package, cache, local)
    assert (again.python, again.packages, started) == (first.python, first.packages, [])


def test_nothing_is_built_with_a_python_that_is_known_by_hearsay(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    """It may have been broken in a way that its files do not show."""
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    first = build(open_with(tmp_path / "model", "tiny"), cache, local)
    kept = json.loads((cache / FILE).read_bytes())
    for entry in kept.values():
        if isinstance(entry["answer"], dict):
            entry["answer"]["version"] = "3.99.0"
    (cache / FILE).write_text(json.dumps(kept))
    assert build(open_with(tmp_path / "model", "tiny"), cache, local).version == first.version
