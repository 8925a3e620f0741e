"""Find the model root in a package: the folder that holds `.mdai/mdai_deploy.py`; or the export that wraps it.

`.mdai` may lie at any depth and the shallowest wins. Nowhere else is `mdai_deploy.py` looked for: real
packages carry an older one beside it.

A model root wins over a platform export at whatever depth: what is served as it lies needs no unwrapping, and a
package may carry exports among its data. But the folders that an export's versions were unpacked to belong to the
export.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from model_loader.errors import LayoutError, LayoutFault
from model_loader.export import MODEL_JSON, SOURCE, Export, export_at, is_described, misnamed_versions
from model_loader.inner_archives import is_archive_name, packs_a_model
from model_loader.member_paths import printable

MDAI = ".mdai"
DEPLOY = "mdai_deploy.py"

_NOT_THE_PACKAGES_OWN = {"__pycache__", "__MACOSX", ".git", "site-packages", "dist-packages", "node_modules"}
_MAX_FOLDERS = 20_000
_MOST_LISTED = 10
_MAX_ARCHIVES = 20


@dataclass(frozen=True)
class Folder:
    """One folder of a package. `path` starts with the package's folder; `files` are names, sorted."""

    path: Path
    depth: int
    files: tuple[str, ...]


def folders(top: Path) -> Iterator[Folder]:
    """Every folder from `top` down, level by level, each level in sorted order.

    Left out are caches, version control, virtual environments and installed libraries. Links to folders are
    followed, but no folder is met twice, and none that holds `top`. What cannot be read counts as empty.
    """
    level, depth, met = [top], 0, {_identity(top)}
    real_top = top.resolve()
    while level:
        below: list[Path] = []
        for path in level:
            files, inner = _listing(path)
            if depth and "pyvenv.cfg" in files:
                continue
            yield Folder(path, depth, files)
            for child in inner:
                if child.is_symlink() and real_top.is_relative_to(child.resolve()):
                    continue
                if (identity := _identity(child)) not in met:
                    met.add(identity)
                    below.append(child)
        level, depth = below, depth + 1


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return status.st_dev, status.st_ino


def _has_model(folder: Path) -> bool:
    try:
        return (folder / MDAI / DEPLOY).is_file()
    except OSError:
        return False


def _listing(path: Path) -> tuple[tuple[str, ...], list[Path]]:
    """The names of the files in `path` and the folders in it, both sorted."""
    files, inner = [], []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    files.append(entry.name)
                elif entry.name not in _NOT_THE_PACKAGES_OWN:
                    inner.append(path / entry.name)
    except OSError:
        return (), []
    return tuple(sorted(files)), sorted(inner)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


@dataclass
class _Search:
    """What was met on the way, for the sentence that says why nothing was found."""

    roots: list[Path] = field(default_factory=list)
    bare: list[Path] = field(default_factory=list)
    stray: list[Path] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    """The shallowest ones."""
    wrapped: set[Path] = field(default_factory=set)
    """Where exports of any depth keep their versions."""
    described: list[Path] = field(default_factory=list)
    """Folders with a model.json, of whatever kind."""
    archives: list[Path] = field(default_factory=list)
    empty: bool = True
    complete: bool = True
    packed: Path | None = None
    """An archive that holds a package."""


@dataclass(frozen=True)
class Located:
    """Where the model is: a `root`, or an export and what `--model-root` says of the inside of its versions.

    Beside a root, `passed_over` is an export that is not served.
    """

    root: Path | None = None
    export: Export | None = None
    inner_root: str | None = None
    passed_over: Export | None = None


def locate_model(
    top: Path, *, source: str, unpacked: bool, model_root: str | None = None, chosen_by: str = ""
) -> Located:
    """The folder below `top` that holds `.mdai/mdai_deploy.py`, or the platform export there.

    `source` is what the package is called in messages, `unpacked` says that it was an archive. `model_root`
    chooses among several: a path relative to `top`, or to a version of the export. `chosen_by` stands before what the
    option is told to be: the path to the export that `top` is a version of. Raises LayoutError.
    """
    if model_root is not None:
        return _chosen(top, model_root, source)
    found = _search(top)
    if len(found.roots) == 1:
        return Located(root=found.roots[0], passed_over=next(iter(found.exports), None))
    if found.roots:
        shown = [relative(root, top) for root in found.roots]
        raise LayoutError(
            f"{source} holds {len(shown)} models at the same depth: {_listed([f'{path}/{MDAI}' for path in shown])}. "
            f"Choose one, for example with `--model-root {chosen_by}{shown[0]}`.",
            fault="several roots",
        )
    if len(found.exports) > 1:
        names = [relative(export.model_json, top) for export in found.exports]
        raise LayoutError(
            f"{source} holds {len(names)} platform exports at the same depth: {_listed(names)}. "
            f"Choose one, for example with `--model-root {relative(found.exports[0].folder, top)}`.",
            fault="several roots",
        )
    if found.exports:
        return Located(export=found.exports[0])
    found.packed = next(filter(packs_a_model, found.archives[:_MAX_ARCHIVES]), None)
    raise LayoutError(f"{source} {_why_not(found, top, unpacked)}", fault=_fault(found, top))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_LISTED]) + (", …" if len(names) > _MOST_LISTED else "")


def _search(top: Path) -> _Search:
    found = _Search()
    for count, folder in enumerate(folders(top)):
        if found.roots and folder.depth > len(found.roots[0].relative_to(top).parts):
            break
        if count == _MAX_FOLDERS:
            found.complete = False
            break
        found.empty = found.empty and not folder.files
        if _has_model(folder.path) and found.wrapped.isdisjoint(folder.path.parents):
            found.roots.append(folder.path)
        if folder.path.name == MDAI:
            found.bare.append(folder.path)
        elif DEPLOY in folder.files:
            found.stray.append(folder.path / DEPLOY)
        if MODEL_JSON in folder.files:
            _note_export(found, folder.path)
        found.archives += [folder.path / name for name in folder.files if is_archive_name(name)]
    return found


def _note_export(found: _Search, folder: Path) -> None:
    found.described.append(folder)
    export = export_at(folder)
    if export is None:
        return
    if not found.exports or len(found.exports[0].folder.parts) == len(folder.parts):
        found.exports.append(export)
    if export.is_described:
        found.wrapped.add(export.source)


def _chosen(top: Path, model_root: str, source: str) -> Located:
    parts = PurePosixPath(model_root).parts
    if parts and parts[-1] == MDAI:
        parts = parts[:-1]
    if PurePosixPath(model_root).is_absolute() or ".." in parts:
        raise LayoutError(f"--model-root is {model_root!r}; it must be a path inside {source}, such as `a/model`.")
    root = top.joinpath(*parts)
    if _has_model(root):
        return Located(root=root)
    for length in range(len(parts), -1, -1):
        if export := export_at(top.joinpath(*parts[:length])):
            return Located(export=export, inner_root="/".join(parts[length:]) or None)
    exports = _search(top).exports
    if len(exports) == 1:
        return Located(export=exports[0], inner_root="/".join(parts))
    raise LayoutError(
        f"--model-root is {model_root!r}, but {source} has no {relative(root / MDAI / DEPLOY, top)}. "
        f"Name the folder that holds {MDAI}, or leave the option out."
    )


def _fault(found: _Search, top: Path) -> LayoutFault:
    """In one word what `_why_not` says at length."""
    if found.packed and not found.bare:
        return "packed twice"
    if found.bare and top.name != MDAI:
        return "no deploy file"
    return "" if top.name == MDAI or found.empty or not found.complete else "lost folder"


def _why_not(found: _Search, top: Path, unpacked: bool) -> str:
    """What to say, after the package's name, when no model root was found."""
    if unwrapped := next(filter(is_described, found.described[:_MOST_LISTED]), None):
        return _lost_versions(unwrapped, top)
    if top.name == MDAI and not unpacked:
        return f"is a {MDAI} folder itself. Serve the folder that holds it, `{top.parent}`."
    if found.bare:
        names = sorted(path.name for path in found.bare[0].iterdir())
        holds = printable(", ".join(names[:8])) or "nothing"
        return (
            f"has the folder {relative(found.bare[0], top)}, but no {DEPLOY} in it (it holds {holds}). "
            f"Put {DEPLOY} there, with the class MDAIModel."
        )
    if found.packed:
        packed = relative(found.packed, top)
        do = f"Unpack it and serve `{packed}`" if unpacked else f"Serve `{found.packed}`"
        return f"has no folder named {MDAI}, but an archive that holds a package, {packed}. {do}."
    if not found.complete:
        return f"has no {MDAI}/{DEPLOY} in its first {_MAX_FOLDERS:,} folders. Serve the model's own folder."
    if found.empty:
        return f"holds no files. A package is a folder with {MDAI}/{DEPLOY} in it."
    return _lost_folder(found, top, unpacked)


def _lost_folder(found: _Search, top: Path, unpacked: bool) -> str:
    text = f"has no folder named {MDAI}"
    stray = [relative(path, top) for path in found.stray[:1]]
    if stray:
        text += f"; {stray[0]} is there, but only {MDAI}/{DEPLOY} is read"
    if unpacked:
        return (
            f"{text}. `zip -r model.zip *` leaves hidden folders out: go into the model's folder and type "
            "`zip -r ../model.zip .` instead."
        )
    if stray and PurePosixPath(stray[0]).parent.name == MDAI.lstrip("."):
        return f"{text}. Give its folder the name {MDAI}, with the dot."
    if stray:
        return f"{text}. Make a folder {MDAI} beside it and move it there."
    return (
        f"{text}. `cp -r model/* COPY` leaves hidden folders out: type `cp -r model/. COPY` instead, or put "
        f"{DEPLOY} into a folder named {MDAI}."
    )


def _lost_versions(folder: Path, top: Path) -> str:
    """An export's model.json without an archive that could be a version."""
    source = folder / SOURCE
    text = f"has the {MODEL_JSON} of a platform export, {relative(folder / MODEL_JSON, top)}, but"
    if not source.is_dir():
        return f"{text} no folder {SOURCE} beside it, which holds the versions. Serve the whole export."
    if names := misnamed_versions(source):
        return (
            f"{text} no version in {relative(source, top)} (it holds {printable(_listed(names))}). "
            "A version is named vN.zip, such as v3.zip: rename the archive."
        )
    return f"{text} no vN.zip in {relative(source, top)}. Export the model again, with a version."


def relative(path: Path, top: Path) -> str:
    """`path` for people, as it lies below `top`."""
    return printable(path.relative_to(top).as_posix())
