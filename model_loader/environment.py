"""The Python environment that a package's model runs in: found, or built by uv and kept.

``auto`` finds the interpreter that the package asks for, makes a venv, installs the baseline and over it the
package's requirements.txt, and keeps the result under the digest of what went in. ``current`` is the
interpreter that runs this server, a path is an environment of the operator's; neither is changed.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_loader.baseline import baseline
from model_loader.cache_hold import Hold
from model_loader.environment_cache import CacheSlot
from model_loader.environment_key import environment_key
from model_loader.errors import EnvironmentBuildError, InterpreterNotFound
from model_loader.installer import Installer
from model_loader.interpreters import Interpreter, find_interpreter, known_to_run, named_interpreter
from model_loader.known_pythons import KnownPythons
from model_loader.lock_file import Lock, check_lock, lock_warnings, make_lock, package_lock
from model_loader.package import ModelPackage
from model_loader.package_venv import Recipe, build_venv, venv_python
from model_loader.requirements_file import Requirements, read_requirements
from model_loader.torch_backend import AUTO, NONE, VARIABLE, TorchWish, torch_wish
from model_loader.uv_process import Cancellation, Progress, UvFailed
from model_loader.wheelhouse import fill_wheelhouse, wheelhouse_lock
from model_loader.worker_runtime import worker_runtime

SERVER_FOLDER = Path(__file__).resolve().parent.parent
"""Holds the server's packages `app` and `model_loader`; site-packages where they are installed."""


@dataclass(frozen=True)
class EnvironmentRequest:
    """What the operator wants.

    Parameters:
        mode: ``auto``, ``current``, or the path of a venv or of an interpreter
        python: for ``auto``, instead of what the package asks for: X.Y, X.Y.Z or an interpreter's path
        offline: use no network
        wheelhouse: a folder of wheels; take everything from there, and nothing from an index
        preinstalled: for ``auto``, what is installed before the package's own; None stands for the baseline
        exclude_newer: for ``auto``, a date (or an RFC 3339 time); nothing that was published later is considered
        anew: for ``auto``, resolve requirements.txt even where the package carries a lock
        gpu: whether the model is to run on a GPU
        torch_backend: for ``auto``, which build of torch: ``auto`` goes by the device, ``none`` takes what the
            configured indexes give, or ``cpu``, ``cu118`` …
    """

    mode: Literal["auto", "current"] | Path = "auto"
    python: str | None = None
    offline: bool = False
    wheelhouse: Path | None = None
    preinstalled: tuple[str, ...] | None = None
    exclude_newer: str | None = None
    anew: bool = False
    gpu: bool = False
    torch_backend: str = AUTO


@dataclass(frozen=True)
class ModelEnvironment:
    """An environment that is there and whose interpreter runs.

    Attributes:
        python: the interpreter that runs the worker, absolute
        runtime: the folder with the worker's own msgpack; None where the interpreter has one itself
        hidden: folders whose top-level names `app` and `model_loader` the package must not see
        description: one line for people
        version: of the interpreter, such as ``3.7.16``
        packages: (name, version) of what is installed, by name
        frozen: the same as requirements, with where it came from when that was no index; ours only
        cached: nothing had to be built
        key: names it in the cache; empty where it is not of our making
        held: keeps what it consists of from being deleted from the cache while this object lives
    """

    python: Path
    runtime: Path | None
    hidden: tuple[Path, ...]
    description: str
    version: str
    packages: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    frozen: tuple[str, ...] = field(default=(), repr=False)
    cached: bool = False
    key: str = ""
    held: tuple[Hold, ...] = field(default=(), repr=False, compare=False)


def build_environment(
    package: ModelPackage,
    request: EnvironmentRequest,
    *,
    cache: Path,
    progress: Progress,
    environ: Mapping[str, str],
    cancellation: Cancellation | None = None,
) -> ModelEnvironment:
    """Return the environment for the package's model, after building what is not there yet.

    Blocks, for minutes where much has to be downloaded; run it in a thread.

    Parameters:
        cache: the folder for everything built, shared by all packages
        progress: gets a line at a time, in the calling thread
        environ: of this process; decides about pip's and uv's configuration
        cancellation: stops the build from another thread

    Raises:
        InterpreterNotFound: no such Python here, and none to be downloaded.
        InstallFailed: the requirements cannot be installed; uv's own words are in the text.
        BuildCancelled: it was stopped.
        EnvironmentBuildError: pip's configuration or the cache folder cannot be used.
    """
    if request.mode == "current":
        return _current()
    installer = _installer(request, progress, environ, cancellation or Cancellation())
    cache = cache.absolute()
    known = KnownPythons(cache)
    if request.mode == "auto":
        return _automatic(package, request, cache, environ, installer, known)
    return _given(Path(request.mode), cache, environ, installer, known)


def _current() -> ModelEnvironment:
    from importlib import metadata  # slow to import, and needed here alone

    version = ".".join(str(part) for part in sys.version_info[:3])
    return ModelEnvironment(
        python=Path(sys.executable),
        runtime=None,
        hidden=(SERVER_FOLDER,),
        description=f"Python {version}, the server's own environment",
        version=version,
        packages=tuple(sorted({(project.name, project.version) for project in metadata.distributions()})),
        cached=True,
    )


def _given(
    path: Path, cache: Path, environ: Mapping[str, str], installer: Installer, known: KnownPythons
) -> ModelEnvironment:
    if path.is_dir():
        path = path / "bin" / "python"
        if not path.exists():
            raise InterpreterNotFound(
                f"{path.parent.parent} is a folder without bin/python, so it is no environment of Python's. "
                "Name a venv, a conda environment or an interpreter."
            )
    interpreter = named_interpreter(str(path), environ=environ, known=known)
    ours = interpreter.path.parent.resolve() == Path(sys.executable).parent.resolve()
    runtime = worker_runtime(interpreter, cache=cache, installer=installer, known=known)
    return ModelEnvironment(
        python=interpreter.path,
        runtime=runtime.folder,
        hidden=(SERVER_FOLDER,) if ours else (),
        description=str(interpreter),
        version=interpreter.version,
        packages=_listed(installer, interpreter, known),
        cached=True,
        held=_holds(runtime.held),
    )


def _automatic(
    package: ModelPackage,
    request: EnvironmentRequest,
    cache: Path,
    environ: Mapping[str, str],
    installer: Installer,
    known: KnownPythons,
) -> ModelEnvironment:
    wanted = request.python or package.config.python_version

    def chosen(known: KnownPythons) -> tuple[Interpreter, Recipe, str, CacheSlot]:
        interpreter = _interpreter(wanted, environ, installer, known)
        recipe = _recipe(package, request, interpreter, installer)
        key = environment_key(package, recipe, installer)
        # The shebang lines of a venv's scripts hold its path, and the system limits their length.
        return interpreter, recipe, key, CacheSlot(cache / "environments" / f"py{interpreter.series}-{key[:24]}")

    interpreter, recipe, key, slot = chosen(known)
    if not slot.is_finished:  # what a Python once said is not enough to build with it
        interpreter, recipe, key, slot = chosen(known.forgotten())
    runtime = worker_runtime(interpreter, cache=cache, installer=installer, known=known)
    finished = slot.get(
        lambda folder: build_venv(folder, package=package, recipe=recipe, installer=installer),
        usable=lambda folder, notes: "frozen" in notes and _runs(venv_python(folder), interpreter, known),
        progress=installer.progress,
        cancellation=installer.cancellation,
    )
    if not finished.cached:
        _runs(venv_python(finished.folder), interpreter, known)  # which the next start will know
    packages = tuple((name, version) for name, version in finished.notes["packages"])
    state = " (cached)" if finished.cached else ""
    return ModelEnvironment(
        python=venv_python(finished.folder),
        runtime=runtime.folder,
        hidden=(),
        description=f"Python {interpreter.version}, {len(packages)} packages{state}",
        version=interpreter.version,
        packages=packages,
        frozen=tuple(finished.notes["frozen"]),
        cached=finished.cached,
        held=_holds(finished.held, runtime.held),
        key=key,
    )


def _runs(python: Path, interpreter: Interpreter, known: KnownPythons) -> bool:
    """Whether the venv's Python does, which is `interpreter` by way of a link."""
    rests_on = [python, python.parents[1] / "pyvenv.cfg", *interpreter.rests_on]
    return known_to_run(known, f"{python} runs", python, "-c", "", rests_on=rests_on)


def _holds(*held: Hold | None) -> tuple[Hold, ...]:
    return tuple(one for one in held if one is not None)


def _recipe(
    package: ModelPackage, request: EnvironmentRequest, interpreter: Interpreter, installer: Installer
) -> Recipe:
    requirements = read_requirements(package.requirements)
    lock = own = None if request.anew else package_lock(package)
    if request.wheelhouse is not None and not request.anew:
        lock = wheelhouse_lock(request.wheelhouse, package, interpreter, requirements, own) or own
    if lock is None:
        preinstalled = baseline(interpreter.release) if request.preinstalled is None else request.preinstalled
        return Recipe(interpreter, preinstalled, requirements, torch=_torch(package, request, requirements, installer))
    check_lock(lock, interpreter, package)
    for warning in lock_warnings(own, requirements) if own is not None else ():
        installer.progress(warning)
    chosen = {"--exclude-newer": request.exclude_newer is not None, "--torch-backend": request.torch_backend != AUTO}
    for option in (option for option, is_given in chosen.items() if is_given):
        installer.progress(f"{option} has no effect: {lock.name} leaves no choice.")
    return Recipe(interpreter, requirements=requirements, lock=lock)


def _torch(
    package: ModelPackage, request: EnvironmentRequest, requirements: Requirements, installer: Installer
) -> TorchWish | None:
    choice = installer.torch_backend if request.torch_backend == AUTO else request.torch_backend
    if not requirements.asks_for_something or request.wheelhouse is not None or VARIABLE in package.config.env:
        choice = NONE
    return torch_wish(choice, gpu=request.gpu, cuda_version=package.config.cuda_version)


def lock_environment(
    package: ModelPackage,
    environment: ModelEnvironment,
    request: EnvironmentRequest,
    *,
    progress: Progress,
    environ: Mapping[str, str],
) -> Lock:
    """Return a lock of an environment that was built for ``request``.

    Raises:
        InstallFailed: a package is not to be had any more, so it has no hash; uv's words are in the text.
        EnvironmentBuildError: pip's configuration cannot be used.
    """
    installer = _installer(request, progress, environ, Cancellation())
    with tempfile.TemporaryDirectory(prefix="mdai-lock-") as folder:
        return make_lock(
            environment.frozen,
            python=environment.python,
            version=environment.version,
            package=package,
            requirements=read_requirements(package.requirements),
            exclude_newer=request.exclude_newer,
            folder=Path(folder),
            installer=installer,
        )


def export_wheels(
    wheelhouse: Path,
    package: ModelPackage,
    environment: ModelEnvironment,
    request: EnvironmentRequest,
    *,
    progress: Progress,
    environ: Mapping[str, str],
) -> list[str]:
    """Put wheels of all that an environment holds, which was built for ``request``, into a folder; return their names.

    Raises:
        InstallFailed: something is not to be had any more, or cannot be built.
        EnvironmentBuildError: the folder cannot be written, or pip's configuration not be used.
    """
    frozen = lock_environment(package, environment, request, progress=progress, environ=environ)
    return fill_wheelhouse(
        wheelhouse.absolute(),
        frozen,
        package=package,
        interpreter=named_interpreter(str(environment.python), environ=environ),
        requirements=read_requirements(package.requirements),
        lock=package_lock(package),
        installer=_installer(request, progress, environ, Cancellation()),
    )


def _installer(
    request: EnvironmentRequest, progress: Progress, environ: Mapping[str, str], cancellation: Cancellation
) -> Installer:
    return Installer(
        environ,
        progress=progress,
        cancellation=cancellation,
        offline=request.offline,
        wheelhouse=request.wheelhouse,
        exclude_newer=request.exclude_newer,
    )


def _interpreter(wanted: str, environ: Mapping[str, str], installer: Installer, known: KnownPythons) -> Interpreter:
    def download(version: str) -> None:
        installer.progress(f"No Python {version} is here; trying to download one.")
        try:
            installer.uv().run("python", "install", version)
        except UvFailed as error:
            raise EnvironmentBuildError(error.output) from error

    allowed = None if installer.offline else download
    return find_interpreter(wanted, environ=environ, download=allowed, known=known)


def _listed(installer: Installer, interpreter: Interpreter, known: KnownPythons) -> tuple[tuple[str, str], ...]:
    """Return what an environment that is not ours holds; nothing where uv does not get on with it."""
    question = f"{interpreter.path} has packages"
    packages = known.recall(question)
    if packages is None:
        try:
            packages = sorted(installer.installed(interpreter.path).items())
        except UvFailed:
            return ()
        site = interpreter.path.parents[1] / "lib" / f"python{interpreter.series}" / "site-packages"
        known.note(question, packages, [site, interpreter.path])
    return tuple((name, version) for name, version in packages)
