"""What `mdai-model build` does: a package, its environment and the server in one image."""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from app.build_context import BuildContext, ContextError, write_context
from app.build_secrets import write_secrets
from app.cli import fail
from app.dockerfile import DEFAULT_PYTHON_37, ImageRecipe, dockerfile
from app.engines import NoEngine, build_command, find_engine, run_engine
from app.serving import ending_on_signals, opened, read_settings
from app.settings import Settings
from model_loader.errors import EnvironmentBuildError
from model_loader.lock_file import LOCK
from model_loader.package import ModelPackage
from model_loader.workdir import RunFolder

SERVER_IMAGES = {"cpu": "mdai-model-server:cpu", "gpu": "mdai-model-server:gpu"}
CUDA_IMAGES = {
    "10.0": "nvidia/cuda:10.0-cudnn7-runtime-ubuntu18.04",
    "10.1": "nvidia/cuda:10.1-cudnn7-runtime-ubuntu18.04",
    "11.0": "nvidia/cuda:11.0.3-cudnn8-runtime-ubuntu20.04",
    "11.3": "nvidia/cuda:11.3.1-cudnn8-runtime-ubuntu20.04",
    "11.8": "nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04",
    "12.1": "nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04",
    "12.2": "nvidia/cuda:12.2.2-cudnn8-runtime-ubuntu22.04",
    "12.3": "nvidia/cuda:12.3.2-cudnn9-runtime-ubuntu22.04",
    "12.4": "nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04",
}
"""What the GPU server's image is built on for each `cuda_version`; docs/images.md tells more about them."""

_FORWARDED = ("python", "exclude_newer", "torch_backend")
"""The options of `mdai-model env` that decide what is installed, by their names in `Settings`."""

_REFERENCE = re.compile(r"[A-Za-z0-9][\w./:@-]*", re.ASCII)


def build_image(
    source: Path,
    options: Mapping[str, Any],
    *,
    tag: str | None = None,
    engine: str | None = None,
    server_image: str | None = None,
    python_image: str | None = None,
    show: bool = False,
    context: Path | None = None,
    engine_options: Sequence[str] = (),
) -> None:
    """Build an image of `source` and call it `tag`; exit code 1 where the engine does not manage to.

    With `show` its Dockerfile is printed instead, with `context` written into that folder with all that it needs.
    """
    _check(tag, server_image, python_image, is_built=not show and context is None, engine_options=engine_options)
    settings = read_settings(options)
    with ending_on_signals(), RunFolder() as run:
        package = opened(source, run, settings)
        for warning in package.warnings:
            _tell(warning)
        chosen = None if show or context is not None else _engine(engine)
        folder = run.path / "context" if context is None else _empty(context, package)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            written = write_context(folder, package, may_link=context is None)
        except ContextError as error:
            fail(str(error))
        server_image = server_image or SERVER_IMAGES[package.config.device_type]
        text = dockerfile(_recipe(package, settings, written, server_image, python_image))
        if show:
            typer.echo(text, nl=False)
            return
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
        _advise(package, server_image)
        if chosen is None:
            _tell(f"{folder} is written. Build it: docker build -t {tag or 'NAME'} {folder}")
            return
        _build(chosen, folder, tag or "", engine_options, server_image)


def _check(tag: str | None, *images: str | None, is_built: bool, engine_options: Sequence[str]) -> None:
    if tag is None and is_built:
        fail("what shall the image be called? `mdai-model build PACKAGE -t NAME`, or --print or --context DIR.")
    for option, image in zip(("--tag", "--from", "--python-image"), (tag, *images), strict=True):
        if image is not None and not _REFERENCE.fullmatch(image):
            fail(f"{option}: {image!r} cannot be an image's name; write it as hospital/model:1.2.")
    if engine_options and not engine_options[0].startswith("-"):
        fail(f"{engine_options[0]!r} is one argument too many; options for the engine follow after --.")


def _engine(wanted: str | None) -> str:
    try:
        return find_engine(wanted)
    except NoEngine as error:
        fail(str(error))


def _empty(folder: Path, package: ModelPackage) -> Path:
    if folder.resolve().is_relative_to(package.root):
        fail(f"--context: {folder} lies in the package itself. Name a folder elsewhere.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail(f"--context: {folder} is there already and not an empty folder. Name another one, or delete it.")
    return folder


def _recipe(
    package: ModelPackage, settings: Settings, written: BuildContext, server_image: str, python_image: str | None
) -> ImageRecipe:
    series = ".".join((settings.python or package.config.python_version).split(".")[:2])
    given = {f"--{name.replace('_', '-')}": getattr(settings, name) for name in _FORWARDED}
    # Where it is built there need be no GPU; where it runs there will be.
    given["--device"] = package.config.device_type if settings.device == "auto" else settings.device
    return ImageRecipe(
        server_image=server_image,
        series=series,
        python_image=python_image or (DEFAULT_PYTHON_37 if series == "3.7" else None),
        environment_options=[word for name, value in given.items() if value for word in (name, str(value))],
        has_large=written.has_large,
        version=package.version,
        labels=_labels(package, written, server_image),
    )


def _labels(package: ModelPackage, written: BuildContext, server_image: str) -> dict[str, str]:
    """Those of the server's image that would be untrue of this one are replaced, too: licences, above all."""
    labels = {
        "org.opencontainers.image.title": package.name,
        "org.opencontainers.image.description": f"The model {package.name}, its environment and mdai-model-server.",
        "org.opencontainers.image.version": written.digest[:12],
        "org.opencontainers.image.revision": "",
        "org.opencontainers.image.licenses": "",
        "org.opencontainers.image.base.name": server_image,
        "mdai-model.package.name": package.name,
        "mdai-model.package.digest": written.digest,
    }
    lock = package.mdai / LOCK
    if lock.is_file():
        labels["mdai-model.lock.sha256"] = hashlib.sha256(lock.read_bytes()).hexdigest()
    return labels


def _advise(package: ModelPackage, server_image: str) -> None:
    if not (package.mdai / LOCK).is_file():
        _tell(
            "The package carries no lock, so another build may install other versions; `mdai-model env PACKAGE --lock` "
            "makes one."
        )
    if package.config.device_type == "gpu" and server_image == SERVER_IMAGES["gpu"]:
        cuda = package.config.cuda_version
        _tell(f"config.yaml asks for CUDA {cuda}: {server_image} should be one over {CUDA_IMAGES[cuda]}.")


def _build(engine: str, folder: Path, tag: str, engine_options: Sequence[str], server_image: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mdai-secrets-") as secret:
        try:
            secrets = write_secrets(Path(secret), os.environ)
        except EnvironmentBuildError as error:
            fail(error.text)
        except OSError as error:
            fail(f"{error.filename}, of pip's configuration, cannot be read: {error.strerror}.")
        command, unseen = build_command(engine, folder, tag, secrets, engine_options)
        for path in unseen:
            _tell(f"pip's configuration names {path}, and Docker cannot show it to a build; Podman and Buildah can.")
        code = run_engine(command)
    if code != 0:
        advice = ""
        if server_image in SERVER_IMAGES.values():
            kind = server_image.partition(":")[2]
            advice = (
                f" If it found no {server_image}: build that first, `docker build -f Dockerfile.{kind} -t "
                f"{server_image} .` in this project's folder, or name another one with --from."
            )
        fail(f"{engine} could not build the image (exit code {code}); its words are above.{advice}", code=1)
    _tell(f"{tag} is built, with {engine}.")


def _tell(line: str) -> None:
    typer.echo(line, err=True)
