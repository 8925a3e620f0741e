"""The worker's own msgpack: one folder for each kind of interpreter, apart from every model's environment.

A model may pin any msgpack, or none. The worker imports its own from here before it lets the model's code in.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_loader.cache_hold import Hold
from model_loader.environment_cache import CacheSlot
from model_loader.errors import InstallFailed
from model_loader.installer import RESOLVING, Installer, wheelhouse_advice
from model_loader.interpreters import Interpreter, known_to_run, python_runs
from model_loader.known_pythons import KnownPythons
from model_loader.uv_process import UvFailed

REQUIREMENT = "msgpack>=1.0.5"
RUNTIMES = "runtime"


@dataclass(frozen=True)
class WorkerRuntime:
    """`folder` holds msgpack, and is not deleted from the cache while ``held`` lives."""

    folder: Path
    held: Hold | None = field(default=None, repr=False, compare=False)


def worker_runtime(
    interpreter: Interpreter, *, cache: Path, installer: Installer, known: KnownPythons
) -> WorkerRuntime:
    """Return the worker's msgpack for this interpreter; install it the first time.

    Parameters:
        cache: the cache's top folder
        known: what need not be tried again

    Raises:
        InstallFailed: it cannot be installed; uv's words are in the text.
        EnvironmentBuildError: the cache cannot be written, or the build was cancelled.
    """

    def build(folder: Path) -> dict[str, Any]:
        installer.progress(f"Installing msgpack for workers on Python {interpreter.version}.")
        site = folder / "site"
        target = ("--python", interpreter.path, "--target", site)
        try:
            installer.uv(folder).run(
                *("pip", "install", *target, "--no-deps", "--compile-bytecode"),
                *installer.arguments,
                REQUIREMENT,
                cwd=folder,
                without=RESOLVING,
            )
        except UvFailed as error:
            advice = "Check the network and pip's configuration (`pip config debug`)."
            if installer.wheelhouse is not None:
                advice = wheelhouse_advice(installer.wheelhouse)
            raise InstallFailed(
                f"msgpack, which a worker on Python {interpreter.version} needs, cannot be installed:\n\n"
                f"{error.output}\n\n{advice}"
            ) from error
        compiled = python_runs(interpreter.path, *_importing("msgpack._cmsgpack", site))
        if not compiled:
            installer.progress(
                f"msgpack came without its compiled part for Python {interpreter.version}: it works, and "
                "large requests and masks will be slow. A package index with wheels for it would help."
            )
        return {"version": interpreter.version, "compiled": compiled}

    finished = CacheSlot(cache / RUNTIMES / interpreter.tag).get(
        build,
        usable=lambda folder, notes: _is_usable(interpreter, folder / "site", known),
        progress=installer.progress,
        cancellation=installer.cancellation,
    )
    if not finished.cached:
        _is_usable(interpreter, finished.folder / "site", known)  # which the next start will know
    return WorkerRuntime(finished.folder / "site", finished.held)


def _is_usable(interpreter: Interpreter, site: Path, known: KnownPythons) -> bool:
    return known_to_run(
        known,
        f"{interpreter.path} imports msgpack from {site}",
        interpreter.path,
        *_importing("msgpack", site),
        rests_on=[interpreter.path, *interpreter.rests_on, site / "msgpack" / "__init__.py"],
    )


def _importing(module: str, site: Path) -> tuple[str, ...]:
    return "-B", "-c", f"import sys; sys.path.insert(0, sys.argv[1]); import {module}", str(site)
