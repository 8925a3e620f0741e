"""Real workers for the packages in `tests/packages`."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosting import PACKAGES, Hosted
from tests.scripted_workers import Meeting


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Hosted]]:
    """Opens a package, by its name or path, for workers that nobody has started yet."""
    with contextlib.ExitStack() as stack:
        # Not below `tmp_path`: a worker's TMPDIR must be short enough for Unix sockets in it.
        runs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runs-")))

        def hosted(package: str | Path, **options: Any) -> Hosted:
            options.setdefault("cache", tmp_path / "cache")
            return stack.enter_context(Hosted(PACKAGES / package, runs, **options))

        yield hosted


@pytest.fixture
def serve(host: Callable[..., Hosted]) -> Callable[..., Hosted]:
    """Serves a package from a pool that is ready."""
    return lambda package, **options: host(package, **options).start()


@pytest.fixture
def meet(host: Callable[..., Hosted], tmp_path: Path) -> Callable[..., Meeting]:
    """A pool of scripted workers that obey files."""

    def meeting(**options: Any) -> Meeting:
        folder = tmp_path / "meeting"
        folder.mkdir()
        return Meeting(host("echoes"), folder, **options)

    return meeting
