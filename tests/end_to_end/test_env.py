"""`mdai-model env` from outside."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.building import OWN, open_with, write_files, write_wheel
from tests.end_to_end.conftest import COMMAND
from tests.exports import DEPLOY, export_files

pytest_plugins = ("tests.building_places",)

#: What stands for the packages that every environment gets.
BASELINE = ("numpy", "pydicom", "pylibjpeg", "pylibjpeg_libjpeg", "pylibjpeg_openjpeg", "pylibjpeg_rle", "protobuf")


@pytest.fixture
def machine(tmp_path: Path, cache: Path, local: dict[str, str]) -> dict[str, str]:
    """Takes everything from a folder, where little lies."""
    for name in (*BASELINE, "setuptools", "tiny"):
        write_wheel(tmp_path / "wheels", name, "1.0")
    return local | {"MDAI_MODEL_CACHE_DIR": str(cache), "TMPDIR": str(tmp_path), "MDAI_MODEL_PYTHON": OWN}


def env(machine: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "env", *map(str, arguments)], env=machine, capture_output=True, text=True)


def test_an_environment_is_locked_listed_and_pruned(tmp_path: Path, machine: dict[str, str]) -> None:
    package = open_with(tmp_path / "model", "tiny\n").root
    locked = env(machine, package, "--lock")
    assert f"wrote {package}/.mdai/requirements.lock" in locked.stderr
    assert "tiny==1.0" in locked.stdout
    again = env(machine, package)
    assert "Installing what .mdai/requirements.lock says." in again.stderr
    assert again.stdout.splitlines()[2:] == locked.stdout.splitlines()[2:]
    assert "2 environments" in env(machine, "--list").stdout
    assert env(machine, "--prune").stdout.startswith("0 environments deleted, 2 left, 0 of them in use\n")
    assert "2 environments deleted, 0 left" in env(machine, "--prune", "--unused-for", "0d").stdout


def test_the_lock_of_a_version_of_an_export_is_printed_and_not_lost(tmp_path: Path, machine: dict[str, str]) -> None:
    """In a folder, too, a version is an archive."""
    files = {".mdai/mdai_deploy.py": DEPLOY, ".mdai/requirements.txt": "tiny\n"}
    export = write_files(tmp_path / "export", export_files("", {2: files}))
    locked = env(machine, export, "--lock")
    assert "tiny==1.0" in locked.stdout
    assert locked.stderr.splitlines()[-1] == (
        "version 2 of the export is an archive and is not changed: put what was printed into it as"
        " .mdai/requirements.lock."
    )


def test_what_the_code_relies_on_without_listing_it_is_told(tmp_path: Path, machine: dict[str, str]) -> None:
    package = open_with(tmp_path / "model", "tiny\n").root
    (package / ".mdai/mdai_deploy.py").write_text("import numpy, pydicom, tiny\nclass MDAIModel:\n    pass\n")
    told = "model relies on numpy 1.0 and pydicom 1.0, which .mdai/requirements.txt does not list: list them, so that"
    assert told in env(machine, package).stderr
    (package / ".mdai/requirements.txt").write_text("tiny\nnumpy\npydicom\n")
    assert "relies on" not in env(machine, package).stderr


@pytest.mark.parametrize(
    ("gpus", "arguments", "said"),
    [
        (0, (), "Installing .mdai/requirements.txt."),
        (1, (), "torch==2.1.0+cpu comes from the configured indexes"),
        (1, ("--device", "cpu"), "Installing .mdai/requirements.txt."),
        (0, ("--device", "gpu"), "torch==2.1.0+cpu comes from the configured indexes"),
        (0, ("--torch-backend", "cu118"), "mdai-model: --torch-backend cu118: the configured indexes give"),
        (1, ("--torch-backend", "none"), "Installing .mdai/requirements.txt."),
    ],
)
def test_torch_is_for_the_gpu_where_the_package_asks_for_one_and_it_is_there(
    tmp_path: Path, machine: dict[str, str], gpus: int, arguments: tuple[str, ...], said: str
) -> None:
    """What is said tells which build was wanted: the machine has torch for the CPU only."""
    write_wheel(tmp_path / "wheels", "torch", "2.1.0+cpu")
    package = open_with(tmp_path / "model", "torch\n")
    (package.mdai / "config.yaml").write_text("device_type: gpu\n")
    (tmp_path / "bin").mkdir()
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n[ {gpus} = 0 ] || echo 0, GPU-aaaa1111, NVIDIA A100\n")
    smi.chmod(0o700)
    machine.pop("CUDA_VISIBLE_DEVICES", None)
    machine["PATH"] = f"{tmp_path}/bin:{machine['PATH']}"
    said_by_it = env(machine, package.root, *arguments).stderr
    assert any(line.startswith(said) for line in said_by_it.splitlines()), said_by_it
    assert ("torch's own index" in said_by_it) is not said.startswith("Installing")


def test_a_running_server_keeps_the_home_of_its_model_and_all_else_that_it_uses(
    serve: Callable[..., Any], machine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model may download at any time, and a worker may have to start anew."""
    for name in os.environ.keys() - machine.keys():
        monkeypatch.delenv(name)
    for name, value in machine.items():
        monkeypatch.setenv(name, value)
    folder = open_with(tmp_path / "downloads", "tiny\n").mdai
    (folder / "mdai_deploy.py").write_text(DOWNLOADS)
    service = serve(folder.parent, "--python", OWN).wait_until_ready()
    here = machine | {"MDAI_MODEL_CACHE_DIR": str(service.cache)}
    listed = env(here, "--list").stdout
    assert re.search(r"^homes/\S+ .* in use now +downloads$", listed, re.MULTILINE)
    assert "1 home of a model" in listed
    pruned = env(here, "--prune", "--unused-for", "0d").stdout
    assert pruned.count("0 homes of models, with what these have downloaded deleted, 1 left, 1 of them in use") == 1
    assert pruned.count("deleted, 1 left, 1 of them in use") == 2
    assert pruned.count("deleted, 2 left, 2 of them in use") == 1, "workers' msgpack, and their program"
    answer = service.post(content=msgpack.packb({"files": []}), headers={"Content-Type": "application/msgpack"})
    assert msgpack.unpackb(answer.content)[0]["note"] == "weights"
    assert service.stop() == 0
    assert env(here, "--prune").stdout.count("0 left") == 0
    pruned = env(here, "--prune", "--unused-for", "0d").stdout
    assert "deleted homes/" in pruned and pruned.count("deleted, 0 left") == 2
    assert [path for kind in ("environments", "homes") for path in (service.cache / kind).iterdir()] == []


DOWNLOADS = """
import os
WEIGHTS = os.path.join(os.path.expanduser("~"), "weights")
class MDAIModel:
    def __init__(self):
        with open(WEIGHTS, "w") as file:
            file.write("weights")
    def predict(self, data):
        with open(WEIGHTS) as file:
            return [{"type": "NONE", "study_uid": "1.2", "note": file.read()}]
"""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "which package?"),
        (("--prune", "--unused-for", "x"), "'x' is not an age"),
        (("--prune", "x.zip"), "leave PACKAGE out"),
        (("--unused-for", "1d"), "give both"),
        (("--list", "--prune"), "two commands"),
        ((".", "--lock", "--environment", "current"), "leave --environment out"),
        ((".", "--offline", "--wheelhouse", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_a_sentence(arguments: tuple[str, ...], reason: str) -> None:
    ended = env({name: value for name, value in os.environ.items() if "MDAI" not in name}, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("mdai-model: ") and reason in ended.stderr
