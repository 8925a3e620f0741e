"""The folder that an engine builds an image from: what decides the environment apart from the rest of the package.

::

    DIR/environment/   .mdai with requirements, lock and config.yaml, what they name, and an empty mdai_deploy.py
    DIR/large/         the package's files of 1 MiB and more, only where there are such
    DIR/package/       everything else of it
    DIR/export/        model.json, only where a platform export is built

Each of them is laid over its place in the image, one layer each, so that a change of code moves no weights. An export
comes to lie there as an export of the one version, a folder.
Nothing else of the machine gets in: caches, version control and virtual environments stay out, and files that the
package has links to are put in their place.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from model_loader.digest import content_digest
from model_loader.export import MODEL_JSON, model_json
from model_loader.layout import DEPLOY, MDAI
from model_loader.lock_file import LOCK
from model_loader.package import ModelPackage
from model_loader.requirements_file import read_requirements

ENVIRONMENT, LARGE, PACKAGE, EXPORT = "environment", "large", "package", "export"
LARGE_BYTES = 1024**2

_LEFT_OUT = {
    *("__pycache__", "__MACOSX", ".DS_Store", ".git", ".hg", ".svn", ".ipynb_checkpoints"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache"),
}


class ContextError(Exception):
    """The package cannot be put into an image; the text is a whole sentence or more."""


@dataclass(frozen=True)
class BuildContext:
    """What was written: whether there is a folder `large`, and the digest of the package as the image will hold it."""

    has_large: bool
    digest: str


def write_context(folder: Path, package: ModelPackage, *, may_link: bool = False) -> BuildContext:
    """Write the folders into `folder`, which is there and empty.

    With `may_link` a large file may be another name of the package's own: for a folder that nobody else touches.

    Raises ContextError where the package cannot be copied, or its requirements name what lies elsewhere.
    """
    environment, large, rest = (folder / name for name in (ENVIRONMENT, LARGE, PACKAGE))
    try:
        for path in _environment_inputs(package):
            place = path.relative_to(package.root)
            _make_folder((environment / place).parent, below=folder)
            _Copy(package.root, environment, may_link)(path, place)
        deploy = environment / MDAI / DEPLOY
        if not deploy.exists():
            _make_folder(deploy.parent, below=folder)
            deploy.write_text("# The model's own is not needed to build its environment, and changes more often.\n")
            deploy.chmod(0o644)
        _Copy(package.root, rest, may_link)(package.root, Path())
        digest = content_digest(rest)
        _set_apart(rest, large)
        if package.version is not None:
            _write_export(folder / EXPORT, package)
    except OSError as error:
        raise ContextError(f"{error.filename or folder} cannot be copied: {error.strerror or error}.") from error
    return BuildContext(large.is_dir(), digest)


def _write_export(folder: Path, package: ModelPackage) -> None:
    """What the export says of the model; whatever else its model.json held stays behind."""
    _make_folder(folder, below=folder.parent)
    name = package.name.removesuffix(f" v{package.version}")
    (folder / MODEL_JSON).write_text(model_json(name, package.scope, package.label_classes), encoding="utf-8")
    (folder / MODEL_JSON).chmod(0o644)


def _environment_inputs(package: ModelPackage) -> Iterator[Path]:
    """Everything in the package that decides what is installed, each path once, none inside another."""
    named = [package.mdai / name for name in ("config.yaml", "config.yml", "requirements.txt", LOCK)]
    found = {path for path in (*named, *package.mdai.glob("*.whl")) if path.is_file()}
    for file in named[2:]:
        if file.is_file():
            requirements = read_requirements(file)
            for path in (*requirements.files, *requirements.local_files, *requirements.local_folders):
                found.add(_inside(path, file.name, package.root))
    yield from (path for path in sorted(found) if found.isdisjoint(path.parents))


def _inside(path: Path, file: str, root: Path) -> Path:
    normal = Path(os.path.normpath(path))
    if not normal.is_relative_to(root):
        raise ContextError(
            f"{MDAI}/{file} names {normal}, which lies outside of the package and would be missing in the image. Move "
            f"it into the package, and name it by its path from {MDAI}."
        )
    return normal


@dataclass(frozen=True)
class _Copy:
    """Copies out of the package at `root` to places below `top`, so that everybody may read what is there.

    Links that stay inside `root` stay links. With `may_link` a large file may become a second name of the original.
    """

    root: Path
    top: Path
    may_link: bool

    def __call__(self, source: Path, place: Path, within: tuple[Path, ...] = ()) -> None:
        target = self.top / place
        if source.is_symlink() and source != self.root and _stays(source, self.root):
            target.symlink_to(_link_text(source, place, self.root))
            return
        status = source.stat()
        if stat.S_ISREG(status.st_mode):
            self._file(source, target, status)
        elif stat.S_ISDIR(status.st_mode):
            real = source.resolve()
            if real in within:  # a link to a folder around it, elsewhere
                return
            _make_folder(target, below=self.top.parent)
            for entry in sorted(source.iterdir()):
                if not _is_left_out(entry, self.root):
                    self(entry, place / entry.name, (*within, real))

    def _file(self, source: Path, target: Path, status: os.stat_result) -> None:
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        # Weights may be gigabytes: where both lie on one disk they need not lie there twice.
        if self.may_link and status.st_size >= LARGE_BYTES and stat.S_IMODE(status.st_mode) == mode:
            with suppress(OSError):
                target.hardlink_to(source.resolve())
                return
        shutil.copyfile(source, target)
        target.chmod(mode)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _stays(link: Path, root: Path) -> bool:
    """Whether a link's target lies inside the package, or nowhere: it is as good in the image as it is here."""
    try:
        return link.resolve().is_relative_to(root) or not link.exists()
    except (OSError, RuntimeError):  # a link to itself
        return True


def _link_text(link: Path, place: Path, root: Path) -> str:
    """How to get from a link's place in the copy to what it leads to in the package, whatever the package's name is."""
    if not link.exists():
        return str(link.readlink())
    return os.path.relpath(root / link.resolve().relative_to(root), root / place.parent)


def _is_left_out(path: Path, root: Path) -> bool:
    if path.name in _LEFT_OUT or path.name.startswith("._"):
        return True
    if not path.is_dir():
        return not (path.is_file() or path.is_symlink())  # sockets, pipes, devices
    return (path / "pyvenv.cfg").is_file() or root.is_relative_to(path.resolve())


def _make_folder(folder: Path, *, below: Path) -> None:
    """Make it, and what is missing between it and `below`, readable whatever the umask is."""
    if folder != below and not folder.is_dir():
        _make_folder(folder.parent, below=below)
        folder.mkdir()
        folder.chmod(0o755)


def _set_apart(rest: Path, large: Path) -> None:
    """Move the large files, folders made anew, from one tree to the other."""
    for folder, _, names in os.walk(rest):
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink() and path.stat().st_size >= LARGE_BYTES:
                target = large / path.relative_to(rest)
                _make_folder(target.parent, below=large.parent)
                path.rename(target)
