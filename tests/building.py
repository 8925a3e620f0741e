"""Packages and wheels for tests that build environments with the real uv."""

import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from model_loader.environment import EnvironmentRequest, ModelEnvironment, build_environment
from model_loader.package import ModelPackage, open_package
from model_loader.uv_process import Cancellation

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
NOTHING = EnvironmentRequest(python=OWN, preinstalled=())


def ignore(line: str) -> None:
    """Progress that nobody looks at."""


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write the files into `folder`, their names relative to it; returns the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_wheel(
    folder: Path, name: str, version: str, more: str = "", *, module: str | None = None, requires: Sequence[str] = ()
) -> Path:
    """Write a wheel with one module, called as the project or `module`, which holds its version in V."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{module or name}.py", f"V = {version!r}\n{more}")
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_project(folder: Path, wheels: Path) -> None:
    """Write a project `slow` that is built without anything from an index."""
    wheel = write_wheel(wheels, "slow", "1.0")
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slow"\nversion = "1.0"\n'
    )
    (folder / "backend.py").write_text(
        "import os, shutil\ndef build_wheel(folder, *_, **__):\n"
        f"    return os.path.basename(shutil.copy({str(wheel)!r}, folder))\n"
    )


def open_with(folder: Path, requirements: str | None = None) -> ModelPackage:
    """Make the folder a package with these requirements, written byte for byte."""
    mdai = folder / ".mdai"
    mdai.mkdir(parents=True, exist_ok=True)
    (mdai / "mdai_deploy.py").write_text("class MDAIModel:\n    pass\n")
    if requirements is not None:
        (mdai / "requirements.txt").write_bytes(requirements.encode())
    return open_package(folder, scratch=folder.parent / "scratch")


def told_by(environment: ModelEnvironment, program: str) -> str:
    """What a program prints that runs in the environment."""
    return subprocess.check_output([environment.python, "-I", "-W", "ignore", "-c", program], text=True).strip()


def build(
    package: ModelPackage,
    cache: Path,
    environ: dict[str, str],
    request: EnvironmentRequest = NOTHING,
    progress: Callable[[str], None] = ignore,
    cancellation: Cancellation | None = None,
) -> ModelEnvironment:
    return build_environment(
        package, request, cache=cache, progress=progress, environ=environ, cancellation=cancellation
    )
