"""What a package sees of its process, on every interpreter of this machine: imports, folders, environment, thread."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosting import PACKAGES, Hosted
from tests.interpreters import SERIES, cache_with_runtimes, interpreter

Serve = Callable[..., Hosted]


@pytest.fixture(params=SERIES)
def python(request: pytest.FixtureRequest) -> Path:
    return interpreter(request.param)


@pytest.fixture
def serve_on(serve: Serve, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Serves a package on an interpreter."""
    cache = cache_with_runtimes(tmp_path, tmp_path_factory)
    return lambda python, package, **options: serve(package, environment=python, cache=cache, **options)


def copy_of(package: str, folder: Path) -> Path:
    return shutil.copytree(PACKAGES / package, folder / package)


def tree(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_modules_are_found_in_the_root_then_mdai_then_python_s_own_folders_then_every_other(
    serve_on: Serve, python: Path, tmp_path: Path
) -> None:
    """The other folders in sorted order, deep ones too.

    A folder without `__init__.py` is not hidden by a module of its name in them: `from model.net import …` beside
    `model/model.py` works as on the reference, and a bare `import net` as well; `lib` is the root. A legacy
    mdai_deploy.py at the root is not the one that is meant. Importing writes nothing into the package.
    """
    package = copy_of("same_names_in_folders", tmp_path)
    before = tree(package)
    seen = serve_on(python, package).note()
    assert seen["places"] == ["root", ".mdai", "a", "lib/networks/unet"]
    assert seen["model"] == ["net", "net", [str(package / "model")]]
    assert seen["deploy"] is True
    assert seen["lib"] == "root"
    own = subprocess.check_output([python, "-I", "-c", "import json, sys; print(json.dumps(sys.path))"])
    folders = [str(package / folder) for folder in ("a", "b", "lib/networks/unet", "model")]
    first = [str(package), str(package / ".mdai"), seen["working directory"]]
    assert seen["path"] == [*first, *json.loads(own), *folders]
    assert tree(package) == before


def test_the_package_s_modules_win_but_for_those_that_the_reference_has_loaded(serve_on: Serve, python: Path) -> None:
    """Over the server's names too; the standard library's `random` and `types` stay what everybody expects."""
    names = {"app", "args", "mdai_guest", "model_loader", "model_loader.network", "test", "utils", "wire", "worker"}
    own = {name: name.rpartition(".")[2] for name in names}
    assert serve_on(python, "own_names").note() == own | dict.fromkeys(("queue", "random", "tempfile", "types"))


def test_the_package_s_own_msgpack_is_its_own_and_the_worker_s_goes_on_working(serve_on: Serve, python: Path) -> None:
    served = serve_on(python, "own_msgpack")
    for _ in range(2):
        assert served.note() == [[0, 6, 2], [0, 6, 2]]


def test_weights_are_found_from_the_working_directory_and_from_the_module_s_place(
    serve_on: Serve, python: Path
) -> None:
    assert serve_on(python, "reads_weights").note() == [["far", "far", "far", "near", "near"]] * 3


def test_an_executable_in_a_zip_is_one_after_unpacking(serve_on: Serve, python: Path, tmp_path: Path) -> None:
    archive = tmp_path / "runs_executable.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(tree(PACKAGES / "runs_executable")):
            file.write(PACKAGES / "runs_executable" / path, path)
    assert serve_on(python, archive).note() == "converted x"


@dataclass(frozen=True)
class Look:
    """What a package saw that looks around, at import, in `__init__` and in two predictions, and where it was."""

    notes: tuple[dict[str, Any], dict[str, Any]]
    root: Path
    runs: Path
    cache: Path
    python: Path
    pid: int


@pytest.fixture(scope="module", params=[*SERIES, "current"])
def look(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """One process on each interpreter, and one on the server's own with the server's packages beside it."""
    environment: Any = "current" if request.param == "current" else interpreter(request.param)
    folder = tmp_path_factory.mktemp("look")
    (folder / "from_pythonpath.py").write_text("")
    cache = cache_with_runtimes(folder, tmp_path_factory)
    environ = {"MDAI_MODEL_API_KEY": "secret", "PYTHONPATH": str(folder), "INHERITED": "yes"}
    with (
        tempfile.TemporaryDirectory(prefix="runs-") as runs,
        Hosted(
            copy_of("surroundings", folder), Path(runs), cache=cache, environment=environment, environ=environ
        ).start() as served,
    ):
        names = {"import": "app model_loader mdai_guest mdai_guest.wire model_loader.worker from_pythonpath msgpack"}
        notes = served.note(**names), served.note(**names)
        pid = served.pool.describe()["workers"][0]["pid"]
        python = Path(sys.executable) if environment == "current" else environment
        return Look(notes, folder / "surroundings", Path(runs), cache, python, pid)


def test_the_package_s_module_is_called_mdai_deploy_and_has_an_absolute_file(look: Look) -> None:
    """It is no script: what is guarded by `__name__ == "__main__"` does not run, or the package would not load."""
    seen = look.notes[0]
    assert seen["name"] == "mdai_deploy"
    assert seen["file"] == str(look.root / ".mdai/mdai_deploy.py")
    assert seen["argv"] == [""]


def test_import_init_and_every_predict_run_on_the_main_thread_of_one_process(look: Look) -> None:
    threads = [seen[when] for seen in look.notes for when in ("import thread", "init thread", "predict thread")]
    assert all(thread == threads[0] for thread in threads)
    pid, _, is_main = threads[0]
    assert (pid, is_main) == (look.pid, True)


def test_no_name_of_the_server_s_can_be_imported_or_is_loaded(look: Look) -> None:
    """msgpack is there only where the environment has one, as the server's own has."""
    for seen in look.notes:
        missing = {name for name, found in seen["imports"].items() if found.startswith("ModuleNotFoundError")}
        assert set(seen["imports"]) - missing == ({"msgpack"} if look.python == Path(sys.executable) else set())
        ours = {"app", "model_loader", "mdai_guest", "msgpack", "msgspec", "fastapi", "pydantic"}
        assert not ours & {name.partition(".")[0] for name in seen["modules"]}


def test_neither_the_worker_s_folder_nor_its_msgpack_s_is_on_the_path(look: Look) -> None:
    server = Path(__file__).parents[2]
    for seen in look.notes:
        for entry in seen["path"]:
            assert Path(entry) != server
            assert not Path(entry).is_relative_to(server / "model_loader")
            assert not Path(entry).resolve().is_relative_to((look.cache / "runtime").resolve())


def test_python_is_isolated_from_the_server_s_variables_and_the_user_s_packages(look: Look) -> None:
    assert look.notes[0]["flags"] == [1, 1, 1]
    assert look.notes[0]["imports"]["from_pythonpath"].startswith("ModuleNotFoundError")
    assert "PYTHONPATH" not in look.notes[0]["environment"]


def test_working_directory_tmpdir_and_home_are_private_and_writable(look: Look) -> None:
    for seen in look.notes:
        assert seen["writes"] == [True, True, True]
        assert seen["lib"] == str(look.root)
        assert Path(seen["cwd"]).is_relative_to(look.runs)
        assert Path(seen["temporary"]).is_relative_to(look.runs)
        assert Path(seen["home"]).is_relative_to(look.cache)
        assert len({seen["cwd"], seen["temporary"], seen["home"]}) == 3
    assert look.notes[0]["cwd"] == look.notes[1]["cwd"]


def test_the_environment_is_the_server_s_with_the_config_s_values_and_without_the_server_s_settings(look: Look) -> None:
    """Each value of `env` arrives as `str(value)`; no GPU is visible to a package that asks for a CPU."""
    seen = look.notes[0]
    environment = seen["environment"]
    expected = {
        "THRESHOLD": "0.5",
        "VERBOSE": "True",
        "MODEL_NAME": "lungs",
        "MDAI_PATH": ".mdai",
        "TMPDIR": seen["temporary"],
        "HOME": seen["home"],
        "CUDA_VISIBLE_DEVICES": "-1",
        "INHERITED": "yes",
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert not [name for name in environment if name.startswith("MDAI_MODEL_")]
    assert environment["PATH"].split(os.pathsep)[0] == str(look.python.parent)


def test_low_descriptors_are_the_package_s(look: Look) -> None:
    """Beside the standard streams only the one that lists them is below 64, while a request is at work too."""
    for seen in look.notes:
        assert [number for number in seen["descriptors"] if number < 64] == [0, 1, 2, 3]


def test_nothing_is_written_into_the_package(look: Look) -> None:
    assert tree(look.root) == tree(PACKAGES / "surroundings")
