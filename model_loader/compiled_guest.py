"""The guest's modules, compiled: one copy in the cache for each Python and each release of the server.

A worker writes no bytecode, so that it leaves every folder as it is, and where the server was installed there is
bytecode for its own Python at most. To compile the guest takes as long as to start an interpreter twice, at each start
of each worker.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_loader.cache_hold import Hold
from model_loader.digest import content_digest
from model_loader.environment_cache import CacheSlot
from model_loader.errors import EnvironmentBuildError
from model_loader.interpreters import PROBE_SECONDS
from model_loader.process import GUEST
from model_loader.uv_process import BuildCancelled, Cancellation
from model_loader.worker_runtime import RUNTIMES


@dataclass(frozen=True)
class CompiledGuest:
    """`folder` holds what GUEST does, and is not deleted from the cache while ``held`` lives."""

    folder: Path = GUEST
    held: Hold | None = field(default=None, repr=False, compare=False)

    def to_start(self) -> Path:
        """The folder, or GUEST where somebody has deleted the cache under a running server."""
        return self.folder if (self.folder / "__main__.py").is_file() else GUEST


class _NotCompiled(Exception):
    """This Python would not."""


def compiled_guest(python: Path, version: str, *, cache: Path, cancellation: Cancellation) -> CompiledGuest:
    """Return the guest for this interpreter; compile it the first time, in some tenths of a second.

    Where it cannot be compiled or kept, the sources have to do.

    Raises:
        BuildCancelled: it was stopped before it began.
    """

    def build(folder: Path) -> dict[str, Any]:
        copy = folder / "worker"
        shutil.copytree(GUEST, copy, ignore=shutil.ignore_patterns("__pycache__"))
        _compile(python, copy)
        return {"version": version}

    try:
        finished = CacheSlot(cache / RUNTIMES / f"guest-{version}-{content_digest(GUEST)[:16]}").get(
            build,
            usable=lambda folder, notes: (folder / "worker" / "__main__.py").is_file(),
            progress=lambda sentence: None,
            cancellation=cancellation,
        )
    except BuildCancelled:
        raise
    except (EnvironmentBuildError, OSError, _NotCompiled):
        return CompiledGuest()
    return CompiledGuest(finished.folder / "worker", finished.held)


def _compile(python: Path, folder: Path) -> None:
    import compileall  # both are needed once for each Python
    import py_compile

    # Whoever copies an image's layers may change times; and what lies here is named by what it was compiled from.
    how = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if python == Path(sys.executable):  # less than half the work
        if not compileall.compile_dir(folder, quiet=2, optimize=0, invalidation_mode=how):
            raise _NotCompiled
        return
    mode = ("--invalidation-mode", how.name.lower().replace("_", "-"))
    try:
        subprocess.run(
            [python, "-I", "-S", "-B", "-m", "compileall", "-q", *mode, folder],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _NotCompiled from error
