"""A GPU that is asked for, with an `nvidia-smi` of the test's."""

from pathlib import Path

import pytest

from app.doctor import devices
from tests.building import write_files
from tests.doctoring import subject_of

DEPLOY = "class MDAIModel:\n    pass\n"


def environ(folder: Path, listing: str | None, **more: str) -> dict[str, str]:
    """Where PATH has an `nvidia-smi` that prints `listing`, or none at all."""
    folder.mkdir()
    if listing is not None:
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\necho '{listing}'\n")
        (folder / "nvidia-smi").chmod(0o755)
    return {"PATH": str(folder), **more}


def told(tmp_path: Path, config: str, environ: dict[str, str]) -> list[str]:
    folder = write_files(tmp_path / "m", {".mdai/mdai_deploy.py": DEPLOY, ".mdai/config.yaml": config})
    return [f"{finding.code.name} {finding.place}" for finding in devices.examine(subject_of(folder), environ)]


@pytest.mark.parametrize("config", ["# \ndevice_type: GPU\n", "base_image: py39\ndevice_type: gpu\n"])
def test_a_gpu_that_is_not_here_is_a_note_at_its_line(tmp_path: Path, config: str) -> None:
    assert told(tmp_path, config, environ(tmp_path / "bin", None)) == ["D001 .mdai/config.yaml:2"]


def test_hidden_gpus_are_not_here(tmp_path: Path) -> None:
    hidden = environ(tmp_path / "bin", "0, GPU-1, A100", CUDA_VISIBLE_DEVICES="-1")
    assert told(tmp_path, "device_type: gpu\n", hidden) == ["D001 .mdai/config.yaml:1"]


def test_a_gpu_that_is_here_is_no_finding(tmp_path: Path) -> None:
    assert told(tmp_path, "device_type: gpu\n", environ(tmp_path / "bin", "0, GPU-1, A100")) == []


def test_who_asks_for_none_is_not_told(tmp_path: Path) -> None:
    assert told(tmp_path, "device_type: cpu\ncuda_version: 11.0\n", environ(tmp_path / "bin", None)) == []
