"""A folder of wheels from which an environment is built where no network is.

``mdai-model env PACKAGE --wheelhouse DIR`` fills it: with a wheel of everything that the package's environment holds,
what comes as source or from git built by the model's own Python, and with the worker's msgpack. ``wheelhouse.json``
beside the wheels says which of them are one environment, and for what it was made::

    {"schema": 1, "environments": [{"package": "lung-finder", "digest": "…", "python": "3.11.7",
     "tag": "cpython-311-linux-x86_64-64", "made_of": "…", "wheels": ["numpy==1.26.4 --hash=sha256:…", …]}]}

A package that is found there is installed from exactly these. Any other one, and a folder that somebody filled by
other means, is resolved as usual, among the wheels that are there.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_loader.errors import EnvironmentBuildError, InstallFailed
from model_loader.installer import Installer
from model_loader.interpreters import Interpreter
from model_loader.lock_file import Lock, requirements_digest, unwanted
from model_loader.locked_torch import locked_source
from model_loader.package import ModelPackage
from model_loader.requirements_file import Requirements
from model_loader.uv_process import Uv, UvFailed
from model_loader.worker_runtime import REQUIREMENT

MANIFEST = "wheelhouse.json"
SCHEMA = 1


def wheelhouse_lock(
    wheelhouse: Path, package: ModelPackage, interpreter: Interpreter, requirements: Requirements, lock: Lock | None
) -> Lock | None:
    """Return what the wheelhouse holds for this package and Python; None where it does not know them.

    Raises:
        EnvironmentBuildError: the manifest is damaged.
    """
    made_of = _made_of(package, requirements, lock)
    for entry in _entries(wheelhouse):
        if (entry["tag"], entry["made_of"]) == (interpreter.tag, made_of):
            advice = f"Fill it anew with `mdai-model env PACKAGE --wheelhouse {wheelhouse}`, where a network is."
            return Lock("".join(f"{line}\n" for line in entry["wheels"]), f"the wheelhouse {wheelhouse}", advice)
    return None


def fill_wheelhouse(
    wheelhouse: Path,
    frozen: Lock,
    *,
    package: ModelPackage,
    interpreter: Interpreter,
    requirements: Requirements,
    lock: Lock | None,
    installer: Installer,
) -> list[str]:
    """Put a wheel of everything that ``frozen`` names into the folder, and the worker's msgpack; return their names.

    Parameters:
        wheelhouse: made where it is missing; what is in it stays
        frozen: a lock of the whole environment
        lock: the one that the package carries

    Raises:
        InstallFailed: something is not to be had, or cannot be built; the installer's words are in the text.
        EnvironmentBuildError: the folder cannot be written.
    """
    try:
        wheelhouse.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=wheelhouse) as unfinished:
            folder = Path(unfinished)
            _collect(folder, frozen, package, interpreter, requirements, installer)
            wheels = [*_moved(folder / "hashed", wheelhouse, anew=False), *_moved(folder / "unhashed", wheelhouse)]
            entry = {
                "package": package.name,
                "digest": package.digest,
                "python": interpreter.version,
                "tag": interpreter.tag,
                "made_of": _made_of(package, requirements, lock),
                "wheels": [_pinned(wheel) for wheel in wheels],
            }
            wheels += _moved(folder / "worker", wheelhouse)
            _add(wheelhouse, entry, folder)
    except OSError as error:
        raise EnvironmentBuildError(f"The wheelhouse {wheelhouse} cannot be written: {error}.") from error
    return [wheel.name for wheel in wheels]


def _collect(
    folder: Path,
    frozen: Lock,
    package: ModelPackage,
    interpreter: Interpreter,
    requirements: Requirements,
    installer: Installer,
) -> None:
    """Let the pip of a venv of the model's Python fetch and build the wheels: uv has no command for that."""
    uv = installer.uv(folder)
    python = folder / "venv" / "bin" / "python"
    hashed = [line for line in frozen.lines if "--hash=" in line]
    groups = {
        # pip demands a hash of every line as soon as one has one.
        "hashed": [*requirements.sources, *hashed],
        "unhashed": [*requirements.sources, *(line for line in frozen.lines if "--hash=" not in line)],
        "worker": [REQUIREMENT],
    }
    try:
        installer.progress("Collecting wheels.")
        uv.run("venv", "--python", interpreter.path, folder / "venv", cwd=folder, quiet=True)
        uv.run("pip", "install", "--python", python, *installer.arguments, "pip", cwd=folder, quiet=True)
        torch = _torch_source(uv, python, folder, hashed, requirements, installer)
        for name, lines in groups.items():
            if any(not line.startswith("-") for line in lines):
                _run_pip(uv, python, folder, name, [*torch, *lines], package, installer)
    except UvFailed as error:
        raise InstallFailed(f"The wheels of {package.name} cannot be collected:\n\n{error.output}") from error


def _torch_source(
    uv: Uv, python: Path, folder: Path, hashed: Sequence[str], requirements: Requirements, installer: Installer
) -> tuple[str, ...]:
    """pip does not know torch's own index, where a build of it may have come from; uv does."""
    lines = [line for line in hashed if line.startswith("torch==")]
    file = folder / "torch.txt"
    file.write_text("".join(f"{line}\n" for line in (*requirements.sources, *lines)))

    def compile_lines(variables: Mapping[str, str]) -> str:
        return uv.run(
            *("pip", "compile", "--python", python, "--no-deps", "--no-header", "--emit-index-annotation"),
            *installer.arguments,
            file,
            cwd=folder,
            environ=variables,
            without=unwanted(installer, requirements),
            quiet=True,
        )

    return locked_source(compile_lines, lines)


def _moved(folder: Path, wheelhouse: Path, *, anew: bool = True) -> list[Path]:
    """Move the wheels into the wheelhouse; return where they are now.

    With ``anew`` false, one that is there stays: what was built from the same source is the same but for its
    hash, which another package may have been promised.
    """
    places = []
    for wheel in sorted(folder.glob("*.whl")):
        place = wheelhouse / wheel.name
        if anew or not place.exists():
            wheel.replace(place)
        places.append(place)
    return places


def _run_pip(
    uv: Uv, python: Path, folder: Path, name: str, lines: Sequence[str], package: ModelPackage, installer: Installer
) -> None:
    file = folder / f"{name}.txt"
    file.write_text("".join(f"{line}\n" for line in lines))
    uv.run_python(
        python,
        *("-I", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder / name, "--progress-bar", "off"),
        *installer.arguments,
        *("-r", file),
        cwd=package.mdai,
        environ=dict(package.config.env) | _for_pip(installer.environ),
    )


def _for_pip(environ: dict[str, str]) -> dict[str, str]:
    """What uv is told, in pip's variables: it may come from either's configuration."""

    def first(*names: str) -> str:
        words = next((environ[name] for name in names if environ.get(name)), "").split()
        return " ".join(re.sub(r"^[\w.-]+=", "", word) for word in words)

    wanted = {
        "PIP_INDEX_URL": first("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
        "PIP_EXTRA_INDEX_URL": first("UV_INDEX", "UV_EXTRA_INDEX_URL"),
        "PIP_FIND_LINKS": environ.get("UV_FIND_LINKS", "").replace(",", " "),
    }
    # Constraints are for what is still open, and have no hashes.
    fixed = {"PIP_CONSTRAINT": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    return {name: value for name, value in wanted.items() if value} | fixed


def _pinned(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    with wheel.open("rb") as file:
        return f"{name.replace('_', '-')}=={version} --hash=sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _made_of(package: ModelPackage, requirements: Requirements, lock: Lock | None) -> str:
    """Return a digest of what decides what the package's environment holds; a folder may hold anything."""
    parts = [requirements_digest(requirements), lock.text if lock else "", json.dumps(package.config.env)]
    for file in requirements.local_files:
        with file.open("rb") as opened:
            parts.append(hashlib.file_digest(opened, "sha256").hexdigest())
    if requirements.local_folders:
        parts.append(package.digest)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _entries(wheelhouse: Path) -> list[dict[str, Any]]:
    path = wheelhouse / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        entries: list[dict[str, Any]] = manifest["environments"] if manifest["schema"] == SCHEMA else []
        for entry in entries:
            _ = entry["tag"], entry["made_of"], entry["wheels"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentBuildError(f"{path} cannot be read: {error!r}. Fill the wheelhouse anew.") from error
    return entries


def _add(wheelhouse: Path, entry: dict[str, Any], scratch: Path) -> None:
    others = [old for old in _entries(wheelhouse) if (old["tag"], old["made_of"]) != (entry["tag"], entry["made_of"])]
    unfinished = scratch / MANIFEST
    unfinished.write_text(json.dumps({"schema": SCHEMA, "environments": [*others, entry]}, indent=1) + "\n")
    unfinished.replace(wheelhouse / MANIFEST)
