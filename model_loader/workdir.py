"""The folders that a worker sees as its own: working directory, `TMPDIR`, `HOME`.

A run of the server has one folder, locked while the server lives, so that a later start can tell what a killed one
left behind and remove it.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_PREFIX = "mdai-model-"
_LOCK = "lock"
_OF_THE_SERVER = ("MDAI_MODEL_", "OTEL_", "PIP_", "UV_")
#: What a lock holds, so that a stranger's folder of a similar name is told from a run's.
_CLAIM = b"a run of mdai-model; the next one removes this folder when nobody holds this lock\n"


class RunFolder:
    """The temporary folder of one run of the server; a context manager that removes it.

    `scratch` is where archives are unpacked.
    """

    def __init__(self, parent: Path | None = None) -> None:
        base = parent or Path(tempfile.gettempdir())
        remove_abandoned(base)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        # Locked before it has its name, so that no other start finds it unlocked.
        unnamed = self.path / "lock.new"
        self._lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.write(self._lock, _CLAIM)
        unnamed.rename(self.path / _LOCK)
        self.scratch = self.path / "package"
        self.scratch.mkdir()

    def worker_folder(self, name: str, root: Path) -> "WorkerFolder":
        """A fresh folder for the worker `name` that serves the package at `root`."""
        return WorkerFolder(self.path / name, root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove_tree(self.path)
        os.close(self._lock)


class WorkerFolder:
    """`path` is the working directory, in which `lib` leads to the model root; `temp` its `TMPDIR`."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        self.temp = path / "tmp"
        remove_tree(path)
        self.temp.mkdir(parents=True)
        (path / "lib").symlink_to(root)

    def remove(self) -> None:
        """Delete the folder with whatever the package left in it."""
        remove_tree(self.path)


def remove_abandoned(base: Path) -> None:
    """Delete this user's folders of runs that ended without cleaning up: their lock is free."""
    for folder in base.glob(_PREFIX + "*"):
        try:
            if not _is_own_folder(folder):
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # not a run's folder, or one that is being made, or gone meanwhile
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pread(lock, len(_CLAIM), 0) == _CLAIM:
                remove_tree(folder)
        except OSError:
            continue  # somebody holds the lock, or it is no file
        finally:
            os.close(lock)


def _is_own_folder(path: Path) -> bool:
    """Also when this is the superuser, who could open everybody's."""
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def remove_tree(path: Path) -> None:
    """Delete a folder, also where the package took away its own write permission; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        _unlock(path)
        for folder, inner, _files in os.walk(path):
            for name in inner:
                _unlock(Path(folder, name))
        shutil.rmtree(path, ignore_errors=True)


def _unlock(folder: Path) -> None:
    with suppress(OSError):  # not ours to change
        if not folder.is_symlink():
            folder.chmod(0o700)


def worker_environment(
    inherited: Mapping[str, str], python: Path, home: Path, temp: Path, extra: Mapping[str, str]
) -> dict[str, str]:
    """The variables a worker starts with; `extra` (the config's `env`, then the device's) wins over what is inherited.

    Left out are the server's own settings, those of its installers and of its traces (both hold passwords) and what
    points into its Python; programs that the package starts find the package's Python first.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(_OF_THE_SERVER) and name not in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
    }
    kept["PATH"] = os.pathsep.join(filter(None, (str(python.parent), kept.get("PATH", os.defpath))))
    if (python.parent.parent / "pyvenv.cfg").is_file():
        kept["VIRTUAL_ENV"] = str(python.parent.parent)
    private = {"MDAI_PATH": ".mdai", "HOME": str(home), "TMPDIR": str(temp), "PYTHONDONTWRITEBYTECODE": "1"}
    return kept | private | dict(extra)
