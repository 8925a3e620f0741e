"""Fills an empty folder with a package's venv: the baseline first, the package's requirements over it; or its lock."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from model_loader.baseline import mend_decoders
from model_loader.errors import InstallFailed
from model_loader.installer import NOT_FOR_THE_BASELINE, Installer, wheelhouse_advice
from model_loader.interpreters import Interpreter
from model_loader.lock_file import Lock, frozen, install_lock
from model_loader.package import ModelPackage
from model_loader.requirements_file import Requirements, normalized, read_requirements
from model_loader.torch_backend import BRIEF, VARIABLE, TorchSource, TorchWish, choose_source
from model_loader.uv_process import Progress, Uv, UvFailed


@dataclass(frozen=True)
class Recipe:
    """What a venv is made of: ``lock`` alone, or else ``preinstalled`` and over it ``requirements``.

    ``torch`` is which build these should bring; None where that is nobody's affair.
    """

    interpreter: Interpreter
    preinstalled: tuple[str, ...] = ()
    requirements: Requirements = field(default_factory=Requirements)
    lock: Lock | None = None
    torch: TorchWish | None = None


def venv_python(folder: Path) -> Path:
    """Return the interpreter in a folder that ``build_venv`` filled."""
    return folder / "venv" / "bin" / "python"


def build_venv(
    folder: Path,
    *,
    package: ModelPackage,
    recipe: Recipe,
    installer: Installer,
) -> dict[str, Any]:
    """Make the venv and install into it; return what is in it, JSON-able.

    Raises:
        InstallFailed: uv cannot make the venv, or not install what is asked for.
        BuildCancelled: it was stopped.
    """
    begun = time.monotonic()
    progress = installer.progress
    interpreter = recipe.interpreter
    progress(f"Building the environment of {package.name} with {interpreter}.")
    uv = installer.uv(folder)
    python = venv_python(folder)
    try:
        uv.run("venv", "--python", interpreter.path, folder / "venv", cwd=folder, quiet=True)
    except UvFailed as error:
        raise InstallFailed(f"No venv can be made with {interpreter}:\n\n{error.output}") from error
    if recipe.lock is not None:
        _install_locked(uv, python, folder, package, recipe.lock, recipe.requirements, installer)
    else:
        _install_resolved(uv, python, package, recipe, installer)
    progress("Compiling bytecode.")
    uv.compile_bytecode(python)
    packages = installer.installed(python)
    progress(f"The environment is built: {len(packages)} packages, {time.monotonic() - begun:.0f} s.")
    return {
        "package": package.name,
        "python": interpreter.version,
        "packages": sorted(packages.items()),
        "frozen": frozen(uv, python, package),
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _install_locked(
    uv: Uv,
    python: Path,
    folder: Path,
    package: ModelPackage,
    lock: Lock,
    requirements: Requirements,
    installer: Installer,
) -> None:
    installer.progress(f"Installing what {lock.name} says.")
    try:
        install_lock(uv, python, lock, package=package, requirements=requirements, folder=folder, installer=installer)
    except UvFailed as error:
        raise InstallFailed(
            f"{lock.name} of {package.name} cannot be installed:\n\n{error.output}\n\n"
            f"{lock.advice} {_network_advice(error, installer)}".rstrip()
        ) from error


def _install_resolved(uv: Uv, python: Path, package: ModelPackage, recipe: Recipe, installer: Installer) -> None:
    progress, interpreter, requirements = installer.progress, recipe.interpreter, recipe.requirements
    install = partial(_install_requirements, uv, python, package, interpreter, requirements, installer)
    torch = None
    if requirements.asks_for_something:
        # Most mistakes show here, before minutes are spent on what comes first.
        progress("Resolving .mdai/requirements.txt.")
        resolve = partial(install, is_trial=True)
        torch = choose_source(
            recipe.torch,
            requirements,
            resolve,
            package=package.name,
            is_dated="UV_EXCLUDE_NEWER" in uv.environ,
            progress=progress,
        )
    if recipe.preinstalled:
        progress(f"Installing what models may expect to be there: {', '.join(recipe.preinstalled)}.")
        _install_preinstalled(uv, python, recipe.preinstalled, interpreter, installer)
    if requirements.asks_for_something:
        progress("Installing .mdai/requirements.txt.")
        before = installer.installed(python)
        install(torch)
        _settle(uv, python, before, requirements, installer)


def _install_preinstalled(
    uv: Uv, python: Path, preinstalled: Sequence[str], interpreter: Interpreter, installer: Installer
) -> None:
    def install(requirements: Sequence[str]) -> None:
        uv.run(
            *("pip", "install", "--python", python),
            *installer.arguments,
            *requirements,
            cwd=python.parent,
            without=NOT_FOR_THE_BASELINE,
        )

    try:
        try:
            install(preinstalled)
        except UvFailed as error:
            freed = _freed(preinstalled, installer.environ)
            if "No solution found" not in error.output:
                raise
            if "UV_EXCLUDE_NEWER" in installer.environ:
                _install_what_existed(install, freed, installer.progress)
            elif freed != list(preinstalled):
                installer.progress("This machine's constraints say otherwise; what they name goes by them alone.")
                install(freed)
            else:
                raise
    except UvFailed as error:
        raise InstallFailed(
            "The packages that every model gets beside its own requirements cannot be installed on "
            f"Python {interpreter.version}:\n\n{error.output}\n\n{_network_advice(error, installer)}".rstrip()
        ) from error


def _install_what_existed(
    install: Callable[[Sequence[str]], None], requirements: Sequence[str], progress: Progress
) -> None:
    """Install one after the other what was published by the day that was asked for: pylibjpeg began in 2020."""
    for requirement in requirements:
        try:
            install([requirement])
        except UvFailed as error:
            if "No solution found" not in error.output:
                raise
            progress(f"{requirement} is left out: nothing that fits was published by then.")


def _freed(requirements: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Take our version ranges off what the machine's constraints name: they are nearer to its people."""
    constrained: set[str] = set()
    for word in environ.get("UV_CONSTRAINT", "").split():
        constrained |= read_requirements(Path(word)).names
    names = {requirement: re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements}
    return [name if normalized(name) in constrained else full for full, name in names.items()]


def _install_requirements(
    uv: Uv,
    python: Path,
    package: ModelPackage,
    interpreter: Interpreter,
    requirements: Requirements,
    installer: Installer,
    torch: TorchSource | None,
    *,
    is_trial: bool = False,
) -> str:
    hosts = [*uv.environ.get("UV_INSECURE_HOST", "").split(), *requirements.trusted_hosts]
    # On the reference server the config's variables are in force while requirements are installed.
    environ = dict(package.config.env)
    if hosts:
        environ["UV_INSECURE_HOST"] = " ".join(hosts)
    if requirements.prereleases:
        environ["UV_PRERELEASE"] = "allow"
    if torch is not None and torch.own_index is not None:
        environ |= {VARIABLE: torch.own_index} | (BRIEF if is_trial else {})
    try:
        return uv.run(
            *("pip", "install", "--python", python),
            *(["--dry-run"] if is_trial else []),
            *installer.arguments,
            *(["--require-hashes"] if installer.require_hashes else []),
            *("-r", "requirements.txt"),
            *(torch.arguments if torch is not None else ()),
            cwd=package.mdai,
            environ=environ,
            without=("UV_DEFAULT_INDEX",) if installer.overrules_index(requirements) else (),
            quiet=is_trial,
        )
    except UvFailed as error:
        raise InstallFailed(
            f".mdai/requirements.txt of {package.name} cannot be installed on Python {interpreter.version}:"
            f"\n\n{error.output}\n\n"
            "Correct that file, or have the model run on another Python: base_image in .mdai/config.yaml, or "
            f"`--python X.Y`. {_network_advice(error, installer)}".rstrip()
        ) from error


def _settle(uv: Uv, python: Path, before: Mapping[str, str], requirements: Requirements, installer: Installer) -> None:
    """Mend what the package's own choice of numpy has broken in the baseline."""
    after = installer.installed(python)
    moved = {name for name, version in after.items() if before.get(name, version) != version}
    if moved & {"numpy", "pylibjpeg"}:
        mend_decoders(uv, python, installed=after, listed=requirements.names, arguments=installer.arguments)


def _network_advice(error: UvFailed, installer: Installer) -> str:
    if installer.wheelhouse is not None:
        return wheelhouse_advice(installer.wheelhouse)
    if installer.offline:
        return "This is an offline start, which installs only what uv has in its cache or beside the package."
    if any(sign in error.output for sign in ("Failed to fetch", "Request failed", "error sending request")):
        return "The package index was not reached: `pip config debug` shows the configuration that is used."
    return ""
