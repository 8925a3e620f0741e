"""Files that clients load ahead of the requests that name them by `content_path`.

They lie in the run's folder under names of the server's own, so that no path of a client's leads anywhere, until a
request takes them: then they are moved into a folder of that request's, in which their paths are what the client said.
So a file that is loaded meanwhile under the same path never changes what a running model reads. They are deleted when
the model has ended with the request, when nobody asked for them for `max_age` seconds, and with the run.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from app.interface.errors import InvalidRequest
from app.interface.files import ContentPath
from app.interface.loading import FileToLoad
from app.refusals import BodyTooLarge, LoadedFilesFull
from model_loader.errors import NotReady
from model_loader.shared_buffer import SharedBuffer
from model_loader.workdir import remove_tree

#: So many files may lie here, those of running requests included.
MOST_FILES = 100_000


@dataclass(frozen=True)
class _Stored:
    """A file under a name of ours."""

    file: Path
    size: int
    loaded_at: float


class LoadedFiles:
    """What has been loaded into `folder` and not been deleted yet. Threads may share it.

    `quota` is in bytes, over all files here; `max_age` in seconds; `now` tells them.
    """

    def __init__(
        self,
        folder: Path,
        quota: int,
        max_age: float,
        *,
        most_files: int = MOST_FILES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._quota = quota
        self._max_age = max_age
        self._most_files = most_files
        self._now = now
        self._lock = threading.Lock()
        self._numbers = count()
        self._stored: dict[str, _Stored] = {}
        self._bytes = 0
        self._files = 0

    def store(self, body: SharedBuffer, files: Sequence[FileToLoad]) -> None:
        """Write the files, which lie in `body`, all or none; one under the path of an earlier one takes its place.

        Raises BodyTooLarge where they are more than ever fit, LoadedFilesFull where there is no room now.
        """
        size = sum(file.length for file in files)
        self._reserve(size, len(files))
        written: dict[str, _Stored] = {}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with body.mapped() as view:
                for file in files:
                    stored = written[file.path] = self._named(file.length)
                    with view[file.start : file.start + file.length] as content:
                        _write(stored.file, content)
        except BaseException as error:
            _delete(written.values())
            self._free(size, len(files))
            if isinstance(error, OSError):
                raise LoadedFilesFull(f"The files cannot be written ({error.strerror}). Try later.") from error
            raise
        with self._lock:
            replaced = [self._stored.pop(path) for path in written if path in self._stored]
            self._stored |= written
        self._drop(replaced)

    def take(self, paths: Iterable[ContentPath]) -> "TakenFiles":
        """Move the files that a request names into a folder of its own; nobody else finds them from then on.

        Raises InvalidRequest where one that is needed was not loaded, or lies below another; LoadedFilesFull.
        """
        named = {one.path: one for one in sorted(paths, key=lambda one: one.is_needed)}
        with self._lock:
            missing = next((one for one in named.values() if one.is_needed and one.path not in self._stored), None)
            if missing is not None:
                raise InvalidRequest(
                    f"{missing.place}.content_path names a file that is not here: load it with POST /load-files first. "
                    f"A file is there for one request, and for {self._max_age:g} seconds at most."
                )
            there = [path for path in named if path in self._stored]
            _check_that_none_lies_below_another(there, named)
            taken = {path: self._stored.pop(path) for path in there}
            folder = self._folder / f"request-{next(self._numbers)}"
        try:
            folder.mkdir(mode=0o700, parents=True)
            for inner in {path.rpartition("/")[0] for path in taken}:
                (folder / inner).mkdir(parents=True, exist_ok=True)
            for path, stored in taken.items():
                stored.file.rename(f"{folder}/{path}")
        except OSError as error:
            self.put_back(taken, folder)
            raise LoadedFilesFull(f"The files cannot be laid ready ({error.strerror}). Try later.") from error
        return TakenFiles(self, folder, taken)

    def expire(self) -> None:
        """Delete what nobody has asked for in time."""
        with self._lock:
            latest = self._now() - self._max_age
            old = [path for path, stored in self._stored.items() if stored.loaded_at <= latest]
            dropped = [self._stored.pop(path) for path in old]
        self._drop(dropped)

    def put_back(self, taken: dict[str, _Stored], folder: Path) -> None:
        """Undo `take`, but for files under whose paths others have come."""
        for path, stored in taken.items():
            with suppress(OSError):  # it had not been moved yet
                Path(folder, path).rename(stored.file)
        with self._lock:
            kept = {path: stored for path, stored in taken.items() if path not in self._stored}
            self._stored |= kept
        self._drop([stored for path, stored in taken.items() if path not in kept])
        remove_tree(folder)

    def _reserve(self, size: int, files: int) -> None:
        if size > self._quota:
            raise BodyTooLarge(
                f"The files have {size:,} bytes, and {self._quota:,} may be loaded ahead. Load fewer at a time, or ask "
                "the operator to raise --load-files-quota (MDAI_MODEL_LOAD_FILES_QUOTA)."
            )
        with self._lock:
            if self._bytes + size > self._quota or self._files + files > self._most_files:
                raise LoadedFilesFull(
                    f"{self._files:,} files with {self._bytes:,} bytes are loaded and not used up, and {size:,} bytes "
                    f"more do not fit: --load-files-quota allows {self._quota:,} bytes in {self._most_files:,} files. "
                    "Send the requests that use them first."
                )
            self._bytes += size
            self._files += files

    def forget(self, files: Collection[_Stored]) -> None:
        """They take no room any more."""
        self._free(sum(stored.size for stored in files), len(files))

    def _free(self, size: int, files: int) -> None:
        with self._lock:
            self._bytes -= size
            self._files -= files

    def _named(self, size: int) -> _Stored:
        with self._lock:
            return _Stored(self._folder / f"file-{next(self._numbers)}", size, self._now())

    def _drop(self, files: Sequence[_Stored]) -> None:
        _delete(files)
        self.forget(files)


class TakenFiles:
    """The files of one request, in `folder` under their paths. An asynchronous context manager.

    Where a worker got the request, they are deleted when it has ended with it, whoever waits for that. Where none did,
    they are put back if the request was refused for now, so that it finds them when it comes again, and else deleted.
    """

    def __init__(self, home: LoadedFiles, folder: Path, taken: dict[str, _Stored]) -> None:
        self.folder = folder
        self._home = home
        self._taken = taken
        self._is_in_use = False

    def hold(self) -> None:
        """A worker has got the request."""
        self._is_in_use = True

    def let_go(self) -> None:
        """It has done with it."""
        self._delete()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_in_use:
            return
        if isinstance(error, NotReady):
            await asyncio.to_thread(self._home.put_back, self._taken, self.folder)
        else:
            self._delete()

    def _delete(self) -> None:
        self._home.forget(self._taken.values())
        with suppress(RuntimeError):  # the server ends, and the run's folder goes as a whole
            asyncio.get_running_loop().run_in_executor(None, remove_tree, self.folder)


def _check_that_none_lies_below_another(paths: Iterable[str], named: Mapping[str, ContentPath]) -> None:
    # With "/" before everything else, what lies below a path comes right behind it.
    for above, path in pairwise(sorted(paths, key=lambda path: path.replace("/", "\0"))):
        if path.startswith(f"{above}/"):
            raise InvalidRequest(
                f"{named[path].place}.content_path lies below {named[above].place}.content_path, which is a file."
            )


def _write(file: Path, content: memoryview) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while written < len(content):
            with content[written:] as rest:
                written += os.write(descriptor, rest)
    finally:
        os.close(descriptor)


def _delete(files: Iterable[_Stored]) -> None:
    for stored in files:
        with suppress(OSError):
            stored.file.unlink()
