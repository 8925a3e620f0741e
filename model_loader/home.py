"""The `HOME` of a package's model: one for each content of a package, so that weights which a model downloads survive.

In the cache, beside what tells of its use, which is no business of the model's::

    homes/DIGEST/used       held by everybody who uses it (see ``cache_hold``)
    homes/DIGEST/package    the package's name when it was last used, for people
    homes/DIGEST/home/      what the model sees
"""

import errno
import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from model_loader.cache_hold import Hold, hold
from model_loader.errors import EnvironmentBuildError
from model_loader.package import ModelPackage

HOMES = "homes"
_PACKAGE = "package"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelHome:
    """`path` is the folder, which is not deleted from the cache while ``held`` lives."""

    path: Path
    held: Hold | None = field(default=None, repr=False, compare=False)


def model_home(cache: Path, package: ModelPackage, *, otherwise: Path) -> ModelHome:
    """Return the package's home, made where there is none yet. Reads the whole package, see `ModelPackage.digest`.

    Where the cache is part of an image and nobody mounted a place for homes, a folder in `otherwise` has to do.

    Raises:
        EnvironmentBuildError: no home can be made.
    """
    # Resolved, because `homes` may be a link to a volume in which nothing has been made yet.
    slot = (cache / HOMES).resolve() / package.digest[:16]
    held = hold(slot)
    home = ModelHome(slot / "home", held)
    try:
        home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_writable = os.access(home.path, os.W_OK | os.X_OK)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise EnvironmentBuildError(
                f"The model's HOME {home.path} cannot be made: {error.strerror}. Free some space or correct the "
                "permissions, or name another folder with --cache-dir."
            ) from error
        is_writable = False
    if not is_writable:
        return _lost_home(otherwise, slot.parent)
    if home_package(slot) != package.name:
        with suppress(OSError):  # nobody but a list of the cache misses it
            (slot / _PACKAGE).write_text(package.name, encoding="utf-8")
    return home


def _lost_home(folder: Path, homes: Path) -> ModelHome:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    log.warning("%s cannot be written: what the model downloads into its home is lost when the service ends.", homes)
    return ModelHome(home)


def home_package(slot: Path) -> str:
    """Return the name of the package that used this folder of `homes` last; empty where it is not known."""
    try:
        return (slot / _PACKAGE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
