"""What `mdai-model env` does: build an environment, show it, lock it, collect its wheels; list and prune the cache."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from app.cli import fail
from app.interface.wording import all_of
from app.serving import built_here, ending_on_signals, environment_request, opened, read_settings
from app.settings import parse_age
from model_loader.cached import ENVIRONMENTS, KINDS, CachedFolder, cached_folders, prune, size_on_disk
from model_loader.environment import ModelEnvironment, build_environment, export_wheels, lock_environment
from model_loader.errors import EnvironmentBuildError
from model_loader.home import HOMES
from model_loader.lock_file import LOCK, Lock, write_lock
from model_loader.package import ModelPackage
from model_loader.reliance import unlisted as unlisted_in
from model_loader.requirements_file import read_requirements
from model_loader.source_code import read_source_code
from model_loader.workdir import RunFolder
from model_loader.worker_runtime import RUNTIMES


def show_environment(
    source: Path, options: Mapping[str, Any], *, lock: bool = False, wheelhouse: Path | None = None
) -> None:
    """Build the environment of `source` and print what is in it; exit code 1 where it cannot be built.

    With `lock` a lock is written into the package; where that is an archive, it is printed, and nothing else is.
    With `wheelhouse` wheels of everything are put into that folder.
    """
    settings = read_settings(options)
    request = environment_request(settings)
    if request.mode != "auto" and (lock or wheelhouse):
        fail("--lock and --wheelhouse are for environments that are built here; leave --environment out.")
    if lock and wheelhouse:
        fail("--lock and --wheelhouse are two steps: lock first, then collect the wheels of what is locked.")
    request = replace(request, anew=lock)
    with ending_on_signals(), RunFolder() as run:
        package = opened(source, run, settings)
        for warning in package.warnings:
            _tell(warning)
        request = built_here(request, package, settings)
        try:
            environment = build_environment(
                package, request, cache=settings.cache_dir, progress=_tell, environ=os.environ
            )
            made = lock_environment(package, environment, request, progress=_tell, environ=os.environ) if lock else None
            wheels = (
                export_wheels(wheelhouse, package, environment, request, progress=_tell, environ=os.environ)
                if wheelhouse
                else []
            )
        except EnvironmentBuildError as error:
            fail(error.text, code=1)
        if made is not None and package.root.is_relative_to(run.scratch.resolve()):
            typer.echo(made.text, nl=False)
            what = str(source) if package.version is None else f"version {package.version} of the export"
            _tell(f"{what} is an archive and is not changed: put what was printed into it as .mdai/{LOCK}.")
            return
        if made is not None:
            _write(made, package)
        if wheelhouse is not None:
            _tell(f"{len(wheels)} wheels are in {wheelhouse}.")
        _show(package, environment)
        _tell_what_is_unlisted(package, environment)


def list_cached(options: Mapping[str, Any]) -> None:
    """Print a table of what the cache holds, last used first, and what it takes together."""
    cache = read_settings(options).cache_dir
    try:
        found = cached_folders(cache)
    except EnvironmentBuildError as error:
        fail(error.text, code=1)
    width = max((len(_name(one)) for one in found), default=0)
    if found:
        typer.echo(f"{'':{width}}  {'Python':8}  packages  {'size':>9}  last used         for")
    for one in found:
        used = "in use now" if one.in_use else f"{datetime.fromtimestamp(one.used):%Y-%m-%d %H:%M}"
        packages = one.packages if one.kind == ENVIRONMENTS and one.is_finished else "-"
        row = f"{one.python or '-':8}  {packages:>8}  {_size(one.size):>9}  {used:16}  {_purpose(one)}"
        typer.echo(f"{_name(one):{width}}  {row}")
    for kind in KINDS:
        together = [one.folder for one in found if one.kind == kind]
        typer.echo(f"{_counted(len(together), kind)}, {_size(size_on_disk(together))}, in {cache / kind}")


def prune_cache(options: Mapping[str, Any], age: str) -> None:
    """Delete what was not used for `age` from the cache, and print what."""
    try:
        unused_seconds = parse_age(age)
    except ValueError as error:
        fail(f"--unused-for: {error}.")
    cache = read_settings(options).cache_dir
    try:
        removed, freed = prune(cache, unused_seconds)
        left = cached_folders(cache)
    except EnvironmentBuildError as error:
        fail(error.text, code=1)
    for one in removed:
        typer.echo(f"deleted {_name(one)} ({_purpose(one)}, {_size(one.size)})")
    for kind in KINDS:
        kept = [one for one in left if one.kind == kind]
        gone = sum(one.kind == kind for one in removed)
        in_use = sum(one.in_use for one in kept)
        typer.echo(f"{_counted(gone, kind)} deleted, {len(kept)} left, {in_use} of them in use")
    typer.echo(f"{_size(freed)} freed. What uv keeps in a cache of its own stays: `uv cache prune` is for that.")


_KIND_NAMES = {
    ENVIRONMENTS: ("environment", "environments"),
    HOMES: ("home of a model, with what it has downloaded", "homes of models, with what these have downloaded"),
    RUNTIMES: ("part of workers", "parts of workers"),
}


def _counted(count: int, kind: str) -> str:
    return f"{count} {_KIND_NAMES[kind][count != 1]}"


def _name(one: CachedFolder) -> str:
    return f"{one.kind}/{one.key}"


def _purpose(one: CachedFolder) -> str:
    if not one.is_finished:
        return "(unfinished)"
    return "workers" if one.kind == RUNTIMES else one.package or "(not known)"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _write(lock: Lock, package: ModelPackage) -> None:
    try:
        path = write_lock(lock, package)
    except OSError as error:
        fail(f"{package.mdai / LOCK} cannot be written: {error.strerror}.", code=1)
    _tell(f"wrote {path}")


def _show(package: ModelPackage, environment: ModelEnvironment) -> None:
    typer.echo(f"{package.name}: {environment.description}\n{environment.python}")
    for name, version in environment.packages:
        typer.echo(f"    {name}=={version}")


def _tell_what_is_unlisted(package: ModelPackage, environment: ModelEnvironment) -> None:
    """Name what the package's imports rely on without listing it: elsewhere it may be missing, or another version."""
    listed = read_requirements(package.requirements)
    try:
        unlisted = unlisted_in(read_source_code(package), listed, environment)
    except EnvironmentBuildError as error:
        _tell(error.text)
        return
    if unlisted:
        names = all_of([f"{one.distribution} {one.version}" for one in unlisted])
        _tell(
            f"{package.name} relies on {names}, which .mdai/requirements.txt does not list: list "
            f"{'them' if len(unlisted) > 1 else 'it'}, so that the model meets the same versions wherever it runs."
        )


def _tell(line: str) -> None:
    typer.echo(line, err=True)
