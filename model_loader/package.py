"""A model package: opened, its layout checked, its configuration read."""

import difflib
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model_loader.archive import DEFAULT_LIMITS, ArchiveLimits, extract
from model_loader.config import ModelConfig, load_config
from model_loader.digest import content_digest
from model_loader.errors import ArchiveError, LayoutError
from model_loader.layout import MDAI, find_model_root, folders
from model_loader.member_paths import printable

_REQUIREMENTS = "requirements.txt"
_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True)
class ModelPackage:
    """A package that can be served.

    `name` is for people. `root`, absolute, is the folder that holds `.mdai`. `warnings` are whole sentences, most
    of them about config.yaml.
    """

    name: str
    root: Path
    config: ModelConfig
    warnings: tuple[str, ...]

    @property
    def mdai(self) -> Path:
        return self.root / MDAI

    @property
    def requirements(self) -> Path | None:
        """requirements.txt, where the package has one."""
        path = self.mdai / _REQUIREMENTS
        return path if path.is_file() else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the package's content, in hexadecimal; see `content_digest`.

        Reads every file of the model root the first time that it is asked for, about a second per gigabyte.
        Ask before the model runs: what a model writes beside its code counts.
        """
        return content_digest(self.root)

    @cached_property
    def import_folders(self) -> tuple[Path, ...]:
        """Every folder with Python files directly in it, sorted by path, except `root` and `root/.mdai`.

        These follow at the end of the model's `sys.path`. Hidden folders, caches, virtual environments and
        installed libraries do not count; folders inside `.mdai` do.
        """
        holding = [
            folder.path
            for folder in folders(self.root)
            if self._is_importable(folder.path) and any(_is_python(name) for name in folder.files)
        ]
        return tuple(sorted(holding, key=lambda path: path.relative_to(self.root).parts))

    def _is_importable(self, folder: Path) -> bool:
        parts = folder.relative_to(self.root).parts
        inner = parts[1:] if parts[:1] == (MDAI,) else parts
        return bool(inner) and not any(part.startswith(".") for part in inner)


def open_package(
    source: Path,
    *,
    scratch: Path,
    model_root: str | None = None,
    is_python_chosen: bool = False,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> ModelPackage:
    """Open a .zip, a .tar.gz or a folder.

    A folder is served where it lies and never written to. An archive is unpacked below `scratch`, which
    belongs to the caller, who deletes it. `model_root` chooses among several models: the path, relative to
    the package, of the folder that holds `.mdai`. Where the operator has chosen the Python, a base_image that has
    no meaning here is a warning. Raises ArchiveError, LayoutError or ConfigError, and then
    leaves nothing below `scratch`.
    """
    shown = printable(str(source))
    try:
        kind = stat.S_IFMT(source.stat().st_mode)
        top = source.resolve()
    except OSError as error:
        raise LayoutError(f"{shown} cannot be opened: {error.strerror}. Check the path.") from error
    except ValueError:
        raise LayoutError(f"{shown} is not a path. Give a .zip, a .tar.gz or a folder.") from None
    if kind == stat.S_IFDIR:
        if not os.access(top, os.R_OK | os.X_OK):
            raise LayoutError(f"{shown} cannot be read: permission denied. Make it readable for this user.")
        name = printable(top.name) or "model"
        root = find_model_root(top, source=shown, unpacked=False, model_root=model_root)
        return _described(name, root, is_python_chosen)
    if kind != stat.S_IFREG:
        raise LayoutError(f"{shown} is neither a file nor a folder. Give a .zip, a .tar.gz or a folder.")
    if source.suffix.lower() in (".py", ".yaml", ".yml"):
        raise ArchiveError(f"{shown} is one file of a package. Serve the folder that holds {MDAI}.")
    unpacked = _unpack(top, scratch, limits)
    try:
        root = find_model_root(unpacked, source=shown, unpacked=True, model_root=model_root)
        return _described(_archive_name(source), root, is_python_chosen)
    except BaseException:
        shutil.rmtree(unpacked, ignore_errors=True)
        raise


def _unpack(archive: Path, scratch: Path, limits: ArchiveLimits) -> Path:
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"{scratch} cannot be made to unpack into: {error.strerror}. Set TMPDIR.") from error
    names = (f"package-{number}" for number in itertools.count(1))
    target = next(path for name in names if not (path := scratch.resolve() / name).exists())
    extract(archive, target, limits)
    return target


def _described(name: str, root: Path, is_python_chosen: bool) -> ModelPackage:
    config, warnings = load_config(root / MDAI, is_python_chosen=is_python_chosen)
    return ModelPackage(name, root, config, (*warnings, *_misplaced_requirements(root)))


def _misplaced_requirements(root: Path) -> Iterator[str]:
    """A warning where .mdai/requirements.txt is missing and something looks as if it were meant to be it."""
    wanted = root / MDAI / _REQUIREMENTS
    if wanted.is_file():
        return
    if (root / _REQUIREMENTS).is_file():
        yield f"{_REQUIREMENTS} lies in the model root and is not read there: move it to {MDAI}/{_REQUIREMENTS}."
    for path in sorted(wanted.parent.iterdir()):
        if difflib.get_close_matches(path.name.lower(), [_REQUIREMENTS], cutoff=0.85):
            yield f"{MDAI}/{printable(path.name)} is not read: the name must be {_REQUIREMENTS}."


def _archive_name(source: Path) -> str:
    name = source.name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return printable(name) or "model"


def _is_python(file_name: str) -> bool:
    return file_name.endswith(".py") and not file_name.startswith("._")
