"""Workers start from bytecode, whatever Python they run on, and from sources where there is none to be had."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_loader.compiled_guest import CompiledGuest, compiled_guest
from model_loader.pool import PoolState
from model_loader.process import GUEST
from model_loader.uv_process import BuildCancelled, Cancellation
from tests.building import write_files
from tests.hosting import Hosted
from tests.interpreters import OLDEST_AND_NEWEST, interpreter

SEES = """
import gc, json, sys
at_import = gc.isenabled(), gc.get_freeze_count() > 0
class MDAIModel:
    def predict(self, data):
        main = sys.modules["__main__"]
        note = {"gc": at_import, "file": main.__file__, "spec": main.__spec__.name, "path": sys.path, "argv": sys.argv}
        note["writes"] = not (sys.dont_write_bytecode and sys.flags.dont_write_bytecode)
        return [{"type": "NONE", "study_uid": "1", "note": json.dumps(note)}]
"""


def guest_for(python: Path, cache: Path, version: str = "3") -> CompiledGuest:
    return compiled_guest(python, version, cache=cache, cancellation=Cancellation())


def sources(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*.py")}


@pytest.mark.parametrize("series", OLDEST_AND_NEWEST)
def test_every_module_is_loaded_from_bytecode(series: str, tmp_path: Path) -> None:
    """Whose source is not looked at: here it is no Python any more, and its time another."""
    python = interpreter(series)
    folder = guest_for(python, tmp_path).folder
    assert sources(folder) == sources(GUEST)
    for path in folder.rglob("*.py"):
        path.write_text("this is no Python")
    program = "import sys; sys.path.insert(0, sys.argv[1]); from mdai_guest import groups, loading, streams, visibility"
    subprocess.run([python, "-I", "-S", "-B", "-c", program, folder], check=True)


def test_it_is_compiled_once_and_anew_for_another_python(tmp_path: Path) -> None:
    python = interpreter(OLDEST_AND_NEWEST[0])
    first = guest_for(python, tmp_path)
    assert guest_for(python, tmp_path).folder == first.folder != guest_for(python, tmp_path, "4").folder
    assert first.held is not None, "it is not pruned while it is in use"


def test_the_installed_program_is_left_as_it_is(tmp_path: Path) -> None:
    before = set(GUEST.rglob("*"))
    assert guest_for(interpreter(OLDEST_AND_NEWEST[0]), tmp_path).folder != GUEST
    assert set(GUEST.rglob("*")) == before


@pytest.mark.parametrize("python", ["/bin/false", "/nowhere/python"])
def test_where_it_cannot_be_compiled_the_sources_do(python: str, tmp_path: Path) -> None:
    assert guest_for(Path(python), tmp_path) == CompiledGuest(GUEST)
    assert not list(tmp_path.rglob("*.py")), "nothing half done is left"


def test_where_it_cannot_be_kept_the_sources_do(tmp_path: Path) -> None:
    (tmp_path / "runtime").touch()
    assert guest_for(interpreter(OLDEST_AND_NEWEST[0]), tmp_path) == CompiledGuest(GUEST)


def test_nothing_is_compiled_for_who_has_stopped_the_build(tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(BuildCancelled):
        compiled_guest(Path(sys.executable), "3", cache=tmp_path, cancellation=cancellation)


def test_workers_start_again_where_somebody_has_deleted_the_cache(serve: Callable[..., Hosted], tmp_path: Path) -> None:
    write_files(tmp_path / "package", {".mdai/mdai_deploy.py": SEES, ".mdai/config.yaml": "base_image: py311\n"})
    served = serve(tmp_path / "package", cache=tmp_path / "cache")
    before = Path(served.note()["file"])
    shutil.rmtree(tmp_path / "cache" / "runtime")
    (pid,) = served.processes()
    os.kill(pid, signal.SIGKILL)
    served.until(lambda: served.pool.restarts_by_cause.total() == 1, "that is known")
    served.until(lambda: served.pool.state is PoolState.READY, "another is ready")
    assert before != Path(served.note()["file"]) == GUEST / "__main__.py"


def test_a_worker_starts_from_it_and_the_package_sees_nothing_of_that(
    serve: Callable[..., Hosted], tmp_path: Path
) -> None:
    """Its garbage is collected as ever, but for what was there before it; a path with `..` in it is no exception."""
    write_files(tmp_path / "package", {".mdai/mdai_deploy.py": SEES, ".mdai/config.yaml": "base_image: py311\n"})
    (tmp_path / "other").mkdir()
    served = serve(tmp_path / "package", cache=tmp_path / "other" / ".." / "cache")
    note = served.predict().note
    assert note["gc"] == [True, True]
    assert Path(note["file"]).resolve().is_relative_to(tmp_path / "cache" / "runtime")
    assert Path(importlib.util.cache_from_source(note["file"])).is_file()
    assert note["spec"] == "__main__"
    assert note["argv"] == [""]
    assert not note["writes"]
    assert not [entry for entry in note["path"] if "runtime" in entry], json.dumps(note["path"])
