"""`--reload`: the package is opened anew and its worker replaced whenever its files change."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.served import Served
from model_loader.package import ModelPackage
from model_loader.pool import Launch, Prepare, WorkerPool
from model_loader.watching import Look, changes, look_at
from model_loader.workdir import remove_tree

_NAMES_SHOWN = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watched:
    """What is served, and how its files were before it was opened."""

    source: Path
    known: Look

    @classmethod
    def from_now_on(cls, source: Path) -> Self:
        """The files as they are now."""
        return cls(source, look_at(source))


def reopening(
    served: Served,
    scratch: Path,
    reopen: Callable[[], ModelPackage],
    prepare: Callable[[ModelPackage], Prepare],
) -> Prepare:
    """Prepares what is `served`, and each later time what that then becomes. Raises PackageError where it cannot be.

    What an archive was unpacked into, below `scratch`, is deleted two openings later: until then a worker of it may
    still predict.
    """
    opened: list[ModelPackage] = []

    async def prepare_anew(progress: Callable[[str], None]) -> Launch:
        package = await asyncio.to_thread(reopen) if opened else served.package
        for warning in package.warnings if opened else ():
            if warning not in opened[-1].warnings:
                log.warning("%s", warning)
        opened.append(package)
        served.package = package
        if len(opened) > 2:
            await asyncio.to_thread(_forget, opened.pop(0).root, scratch)
        return await prepare(package)(progress)

    return prepare_anew


def _forget(root: Path, scratch: Path) -> None:
    scratch = scratch.resolve()
    if root.is_relative_to(scratch):
        remove_tree(scratch / root.relative_to(scratch).parts[0])


@contextlib.asynccontextmanager
async def reloading(pool: WorkerPool, watched: Watched | None) -> AsyncIterator[None]:
    """Inside its `with` block the pool reloads whenever what is watched changes, if anything is."""
    watching = asyncio.create_task(_reload_on_change(pool, watched)) if watched is not None else None
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _reload_on_change(pool: WorkerPool, watched: Watched) -> None:
    log.info("watching %s: the model starts anew when a file changes", watched.source)
    async for changed in changes(watched.source, watched.known):
        more = f" and {len(changed) - _NAMES_SHOWN} more" if len(changed) > _NAMES_SHOWN else ""
        names = ", ".join(changed[:_NAMES_SHOWN]) + more
        log.info("changed: %s; the model starts anew", names)
        pool.reload(f"the package has changed ({names}) and the model starts anew")
