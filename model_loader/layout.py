"""Find the model root in a package: the folder that holds `.mdai/mdai_deploy.py`.

`.mdai` may lie at any depth and the shallowest wins. Nowhere else is `mdai_deploy.py` looked for: real
packages carry an older one beside it.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from model_loader.errors import LayoutError
from model_loader.member_paths import printable

MDAI = ".mdai"
DEPLOY = "mdai_deploy.py"

_NOT_THE_PACKAGES_OWN = {"__pycache__", "__MACOSX", ".git", "site-packages", "dist-packages", "node_modules"}
_MAX_FOLDERS = 20_000


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
    exports: list[Path] = field(default_factory=list)
    empty: bool = True
    complete: bool = True


def find_model_root(top: Path, *, source: str, unpacked: bool, model_root: str | None = None) -> Path:
    """The folder below `top` that holds `.mdai/mdai_deploy.py`.

    `source` is what the package is called in messages, `unpacked` says that it was an archive. `model_root`
    chooses among several: a path relative to `top`. Raises LayoutError.
    """
    if model_root is not None:
        return _chosen(top, model_root, source)
    found = _search(top)
    if len(found.roots) == 1:
        return found.roots[0]
    if found.roots:
        shown = [_relative(root, top) for root in found.roots]
        listed = ", ".join(f"{path}/{MDAI}" for path in shown[:10]) + (", …" if len(shown) > 10 else "")
        raise LayoutError(
            f"{source} holds {len(shown)} models at the same depth: {listed}. Choose one, for example "
            f"with `--model-root {shown[0]}`."
        )
    raise LayoutError(f"{source} {_why_not(found, top, unpacked)}")


def _search(top: Path) -> _Search:
    found = _Search()
    for count, folder in enumerate(folders(top)):
        if found.roots and folder.depth > len(found.roots[0].relative_to(top).parts):
            break
        if count == _MAX_FOLDERS:
            found.complete = False
            break
        found.empty = found.empty and not folder.files
        if _has_model(folder.path):
            found.roots.append(folder.path)
        if folder.path.name == MDAI:
            found.bare.append(folder.path)
        elif DEPLOY in folder.files:
            found.stray.append(folder.path / DEPLOY)
        if "model.json" in folder.files:
            found.exports += sorted((folder.path / "source").glob("*.zip"), key=_version)
    return found


def _chosen(top: Path, model_root: str, source: str) -> Path:
    parts = PurePosixPath(model_root).parts
    if parts and parts[-1] == MDAI:
        parts = parts[:-1]
    if PurePosixPath(model_root).is_absolute() or ".." in parts:
        raise LayoutError(f"--model-root is {model_root!r}; it must be a path inside {source}, such as `a/model`.")
    root = top.joinpath(*parts)
    if not _has_model(root):
        raise LayoutError(
            f"--model-root is {model_root!r}, but {source} has no {_relative(root / MDAI / DEPLOY, top)}. "
            f"Name the folder that holds {MDAI}, or leave the option out."
        )
    return root


def _why_not(found: _Search, top: Path, unpacked: bool) -> str:
    """What to say, after the package's name, when no model root was found."""
    if found.exports:
        inner = found.exports[-1]
        do = f"Unpack it and serve `{_relative(inner, top)}`" if unpacked else f"Serve `{inner}`"
        return f"is a platform export, which wraps the package itself. {do}."
    if top.name == MDAI and not unpacked:
        return f"is a {MDAI} folder itself. Serve the folder that holds it, `{top.parent}`."
    if found.bare:
        names = sorted(path.name for path in found.bare[0].iterdir())
        holds = printable(", ".join(names[:8])) or "nothing"
        return (
            f"has the folder {_relative(found.bare[0], top)}, but no {DEPLOY} in it (it holds {holds}). "
            f"Put {DEPLOY} there, with the class MDAIModel."
        )
    if not found.complete:
        return f"has no {MDAI}/{DEPLOY} in its first {_MAX_FOLDERS:,} folders. Serve the model's own folder."
    if found.empty:
        return f"holds no files. A package is a folder with {MDAI}/{DEPLOY} in it."
    return _lost_folder(found, top, unpacked)


def _lost_folder(found: _Search, top: Path, unpacked: bool) -> str:
    text = f"has no folder named {MDAI}"
    stray = [_relative(path, top) for path in found.stray[:1]]
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


def _relative(path: Path, top: Path) -> str:
    return printable(path.relative_to(top).as_posix())


def _version(path: Path) -> tuple[int, str]:
    """Sorts `v10.zip` after `v9.zip`."""
    number = re.search(r"\d+", path.stem)
    return (int(number[0]) if number and len(number[0]) < 10 else 0, path.name)
