"""Archives that lie in a package, and whether one of them holds a package itself."""

import contextlib
from pathlib import Path, PurePosixPath

from model_loader.archive import read_members
from model_loader.errors import ArchiveError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
_DEPLOY = (".mdai", "mdai_deploy.py")
#: A tar is decompressed to the end where nothing is found: larger ones hold data.
_LARGEST_TAR = 64 << 20


def is_archive_name(name: str) -> bool:
    """Whether a file of this name is, by its name, of a format in which packages come."""
    return name.lower().endswith(SUFFIXES) and not name.startswith("._")


def packs_a_model(archive: Path) -> bool:
    """Whether an archive holds `.mdai/mdai_deploy.py` at some depth. What cannot be read does not."""
    try:
        if archive.suffix.lower() != ".zip" and archive.stat().st_size > _LARGEST_TAR:
            return False
        with contextlib.closing(read_members(archive)) as members:
            return any(PurePosixPath(member.name.replace("\\", "/")).parts[-2:] == _DEPLOY for member in members)
    except (ArchiveError, OSError):
        return False
