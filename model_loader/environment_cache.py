"""Folders that are expensive to make: built once, by one process at a time, and trusted only when finished.

A slot of the cache looks like this::

    SLOT/lock              held by whoever builds; the system lets go of it however that process ends
    SLOT/build-1a2b3c/     one attempt, never moved (a venv's scripts hold absolute paths)
    SLOT/record.json       names the attempt that succeeded; written last, in one step
    SLOT/used              held by everybody who uses the slot (see ``cache_hold``)

An attempt without a record is what a failed or killed build left behind; the next one to hold the lock
deletes it.
"""

import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from model_loader.cache_hold import Hold, hold
from model_loader.errors import EnvironmentBuildError
from model_loader.uv_process import Cancellation, Progress

SCHEMA = 1
"""Raised when what a finished build looks like changes; older ones are then built anew."""

RECORD = "record.json"
ATTEMPT = "build-"
LOCK_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Finished:
    """A successful build: its folder, what its builder noted, and whether it was there before.

    It is not deleted while ``held`` lives.
    """

    folder: Path
    notes: dict[str, Any]
    cached: bool
    held: Hold | None = field(default=None, compare=False, repr=False)


class CacheSlot:
    """The place of one thing in the cache, named by what went into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def is_finished(self) -> bool:
        """Whether it was built; not whether what was built is still usable."""
        return read_record(self.folder) is not None

    def get(
        self,
        build: Callable[[Path], dict[str, Any]],
        *,
        usable: Callable[[Path, dict[str, Any]], bool],
        progress: Progress,
        cancellation: Cancellation,
    ) -> Finished:
        """Return what was built before, or build it now.

        Parameters:
            build: fills an empty folder and returns JSON-able notes; whatever it raises discards the folder
            usable: whether a finished build still works
            progress: told when another process is building the same thing

        Raises:
            EnvironmentBuildError: the cache cannot be written.
            BuildCancelled: stopped while it waited for another process, or by ``build``.
        """
        held = hold(self.folder)
        found = self._finished(usable)
        if found is not None:
            return replace(found, held=held)
        with self._locked(progress, cancellation):
            # Somebody may have finished it while this process waited for the lock.
            found = self._finished(usable)
            return replace(found if found is not None else self._built(build), held=held)

    def _built(self, build: Callable[[Path], dict[str, Any]]) -> Finished:
        attempt = self.folder / f"{ATTEMPT}{secrets.token_hex(4)}"
        with self._written():
            self._sweep()
            attempt.mkdir()
        try:
            notes = build(attempt)
            with self._written():
                self._write_record({"schema": SCHEMA, "folder": attempt.name, "notes": notes})
        except BaseException:
            shutil.rmtree(attempt, ignore_errors=True)
            raise
        return Finished(attempt, notes, cached=False)

    def _finished(self, usable: Callable[[Path, dict[str, Any]], bool]) -> Finished | None:
        record = read_record(self.folder)
        if record is None:
            return None
        folder, notes = self.folder / Path(record["folder"]).name, record["notes"]
        if not folder.is_dir() or not usable(folder, notes):
            return None
        return Finished(folder, notes, cached=True)

    def _write_record(self, record: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix="record-", delete=False) as file:
            json.dump(record, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self.folder / RECORD)

    def _sweep(self) -> None:
        """Delete what is left of builds that nobody can use, the record first."""
        (self.folder / RECORD).unlink(missing_ok=True)
        for entry in self.folder.iterdir():
            if entry.name.startswith(ATTEMPT):
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name.startswith("record-"):
                entry.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, progress: Progress, cancellation: Cancellation) -> Iterator[None]:
        with self._written():
            # What a package installs may hold a token in its metadata: nobody else needs to look.
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            begun = time.monotonic()
            waited = False
            while not self._try_lock(descriptor):
                if not waited:
                    waited = True
                    progress("Another process is building the same environment; waiting for it.")
                cancellation.wait(LOCK_POLL_SECONDS)
            if waited:
                progress(f"The other process is done after {time.monotonic() - begun:.0f} s.")
            cancellation.check()
            yield
        finally:
            os.close(descriptor)

    def _try_lock(self, descriptor: int) -> bool:
        with self._written():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Explain what goes wrong with the cache folder itself."""
        try:
            yield
        except OSError as error:
            raise EnvironmentBuildError(
                f"The cache folder {self.folder} cannot be used: {error}. Free some space or correct its "
                "permissions, or name another folder with --cache-dir."
            ) from error


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a slot that was finished, with its ``folder`` and ``notes``; None where there is none."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
        schema, name, notes = record["schema"], record["folder"], record["notes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if schema != SCHEMA or not str(name).startswith(ATTEMPT) or not isinstance(notes, dict):
        return None
    return record
