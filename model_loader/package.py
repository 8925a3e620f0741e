"""A model package: opened, its layout checked, its configuration read."""

import contextlib
import difflib
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from model_loader.archive import DEFAULT_LIMITS, ArchiveLimits, Meter, extract
from model_loader.config import ModelConfig, load_config
from model_loader.errors import ArchiveError, LayoutError
from model_loader.export import Export
from model_loader.inner_archives import SUFFIXES
from model_loader.known_digests import known_digest
from model_loader.layout import MDAI, Located, folders, locate_model, relative
from model_loader.member_paths import printable
from model_loader.package_warning import PackageWarning

_REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True)
class ModelPackage:
    """A package that can be served.

    `name` is for people. `root`, absolute, is the folder that holds `.mdai`. `warnings` are whole sentences, most
    of them about config.yaml; a PackageWarning among them knows its place.

    The rest is what a platform export says of the model; a plain package has none of it. `label_classes`, as a
    request has them, are for requests that bring none. `scope` is what the platform sends at a time ("INSTANCE",
    "SERIES", "STUDY" …), in upper case.
    """

    name: str
    root: Path
    config: ModelConfig
    warnings: tuple[str, ...]
    version: int | None = None
    versions: tuple[int, ...] = ()
    """All that the export holds, sorted."""
    scope: str | None = None
    label_classes: tuple[dict[str, Any], ...] = ()
    digests: Path | None = field(default=None, repr=False, compare=False)
    """The cache where the digest may be known."""

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

        Reads every file of the model root the first time that it is asked for, about a second per gigabyte, unless it
        is known from an earlier start; see `known_digest`.
        Ask before the model runs: what a model writes beside its code counts.
        """
        return known_digest(self.root, self.digests)

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
    model_version: int | None = None,
    is_python_chosen: bool = False,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    digests: Path | None = None,
) -> ModelPackage:
    """Open a .zip, a .tar.gz or a folder: a package, or a platform export of several versions of one.

    A folder is served where it lies and never written to. An archive is unpacked below `scratch`, which
    belongs to the caller, who deletes it. `model_root` chooses among several models: the path, relative to
    the package, of the folder that holds `.mdai`; of an export it is the export's folder, or a path inside the
    version. `model_version` chooses a version of an export, by default the highest. Where the operator has chosen
    the Python, a base_image that has no meaning here is a warning. In the cache `digests` the digest of a folder is
    kept. Raises ArchiveError, LayoutError or ConfigError,
    and then leaves nothing below `scratch`.
    """
    shown = printable(str(source))
    try:
        kind = stat.S_IFMT(source.stat().st_mode)
        top = source.resolve()
    except OSError as error:
        raise LayoutError(f"{shown} cannot be opened: {error.strerror}. Check the path.") from error
    except ValueError:
        raise LayoutError(f"{shown} is not a path. Give a .zip, a .tar.gz or a folder.") from None
    opening = _Opening(shown, scratch, model_root, model_version, is_python_chosen, limits, digests)
    if kind == stat.S_IFDIR:
        if not os.access(top, os.R_OK | os.X_OK):
            raise LayoutError(f"{shown} cannot be read: permission denied. Make it readable for this user.")
        return opening.package(printable(top.name) or "model", top)
    if kind != stat.S_IFREG:
        raise LayoutError(f"{shown} is neither a file nor a folder. Give a .zip, a .tar.gz or a folder.")
    if source.suffix.lower() in (".py", ".yaml", ".yml"):
        raise ArchiveError(f"{shown} is one file of a package. Serve the folder that holds {MDAI}.")
    unpacked, meter = _unpack(top, scratch, limits)
    with _removed_on_failure(unpacked):
        package = opening.package(_archive_name(source), unpacked, around=meter)
    if not package.root.is_relative_to(unpacked):  # an export, of which only one version is needed
        shutil.rmtree(unpacked, ignore_errors=True)
    return package


@dataclass(frozen=True)
class _Opening:
    """One call of `open_package`: what its messages call the source, and its options."""

    shown: str
    scratch: Path
    model_root: str | None
    model_version: int | None
    is_python_chosen: bool
    limits: ArchiveLimits
    digests: Path | None

    def package(self, name: str, top: Path, *, around: Meter | None = None) -> ModelPackage:
        """The package in the folder `top`; `around` counted what came out of the archive that it was."""
        located = locate_model(top, source=self.shown, unpacked=around is not None, model_root=self.model_root)
        if located.root is None:
            assert located.export is not None
            return self._version_of(located.export, located.inner_root, name, top, around)
        if self.model_version is not None:
            raise LayoutError(
                f"--model-version is {self.model_version}, but {self.shown} is no platform export: it holds one model, "
                f"{relative(located.root / MDAI, top)}. Leave the option out."
            )
        package = self._described(name, located.root)
        return replace(package, warnings=(*package.warnings, *_passed_over(located, top)))

    def _version_of(
        self, export: Export, inner_root: str | None, name: str, top: Path, around: Meter | None
    ) -> ModelPackage:
        facts = export.facts(self._inside(export.model_json, top, around))
        version = export.newest if self.model_version is None else self.model_version
        versions = tuple(sorted(export.versions))
        if version not in export.versions:
            there = f"version {versions[0]} only" if len(versions) == 1 else f"the versions {_numbers(versions)}"
            raise LayoutError(
                f"--model-version is {version}, but {self.shown} holds {there}. "
                "Choose one that is there, or leave the option out: it is then the highest."
            )
        path = export.versions[version]
        called = self._inside(path, top, around)
        chosen_by = "" if export.folder == top else relative(export.folder, top) + "/"
        if path.is_dir():
            root = _root_of_version(path, called, around is not None, inner_root, chosen_by)
            package = self._described(name, root)
        else:
            unpacked, _ = _unpack(path, self.scratch, self.limits, shown=called, around=around)
            with _removed_on_failure(unpacked):
                root = _root_of_version(unpacked, called, True, inner_root, chosen_by)
                package = self._described(name, root)
        own_name = facts.name or (name if export.folder == top else printable(export.folder.name))
        return replace(
            package,
            name=f"{own_name} v{version}",
            warnings=(*facts.warnings, *package.warnings),
            version=version,
            versions=versions,
            scope=facts.scope,
            label_classes=facts.label_classes,
        )

    def _inside(self, path: Path, top: Path, around: Meter | None) -> str:
        """What messages call something inside the source."""
        inner = relative(path, top)
        return f"{self.shown}/{inner}" if around is None else f"{inner} in {self.shown}"

    def _described(self, name: str, root: Path) -> ModelPackage:
        config, warnings = load_config(root / MDAI, is_python_chosen=self.is_python_chosen)
        # What is unpacked anew at each start is new to everybody.
        is_unpacked = root.is_relative_to(self.scratch) or root.is_relative_to(self.scratch.resolve())
        digests = None if is_unpacked else self.digests
        return ModelPackage(name, root, config, (*warnings, *_misplaced_requirements(root)), digests=digests)


def _root_of_version(top: Path, called: str, unpacked: bool, model_root: str | None, chosen_by: str) -> Path:
    located = locate_model(top, source=called, unpacked=unpacked, model_root=model_root, chosen_by=chosen_by)
    if located.root is None:
        raise LayoutError(f"{called} holds another platform export, not a package. Unpack it and serve that one.")
    return located.root


def _passed_over(located: Located, top: Path) -> Iterator[str]:
    if located.root and located.passed_over and located.passed_over.is_described:
        folder = relative(located.passed_over.folder, top)
        yield (
            f"{relative(located.root / MDAI, top)} is served, and the platform export of "
            f"{relative(located.passed_over.model_json, top)} is not; `--model-root {folder}` serves that."
        )


def _numbers(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, versions[-20:])) if len(versions) <= 20 else "…, " + ", ".join(map(str, versions[-20:]))


@contextlib.contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpack(
    archive: Path, scratch: Path, limits: ArchiveLimits, *, shown: str | None = None, around: Meter | None = None
) -> tuple[Path, Meter]:
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"{scratch} cannot be made to unpack into: {error.strerror}. Set TMPDIR.") from error
    names = (f"package-{number}" for number in itertools.count(1))
    target = next(path for name in names if not (path := scratch.resolve() / name).exists())
    return target, extract(archive, target, limits, shown=shown, around=around)


def _misplaced_requirements(root: Path) -> Iterator[PackageWarning]:
    """A warning where .mdai/requirements.txt is missing and something looks as if it were meant to be it."""
    wanted = root / MDAI / _REQUIREMENTS
    if wanted.is_file():
        return
    if (root / _REQUIREMENTS).is_file():
        yield PackageWarning(
            f"{_REQUIREMENTS} lies in the model root and is not read there: move it to {MDAI}/{_REQUIREMENTS}.",
            kind="requirements",
            file=_REQUIREMENTS,
        )
    for path in sorted(wanted.parent.iterdir()):
        if difflib.get_close_matches(path.name.lower(), [_REQUIREMENTS], cutoff=0.85):
            yield PackageWarning(
                f"{MDAI}/{printable(path.name)} is not read: the name must be {_REQUIREMENTS}.",
                kind="requirements",
                file=f"{MDAI}/{path.name}",
            )


def _archive_name(source: Path) -> str:
    name = source.name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return printable(name) or "model"


def _is_python(file_name: str) -> bool:
    return file_name.endswith(".py") and not file_name.startswith("._")
