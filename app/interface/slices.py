"""Long work on the event loop, done in short slices.

The work is a generator that yields wherever it may be interrupted and returns its result. It runs to the end at
once with `finish`, or with `finish_in_slices`, which lets other requests be served in between.
"""

import asyncio
import time
from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]

#: Seconds of work between two turns of the event loop.
SLICE = 0.004


def finish(steps: Steps[T]) -> T:
    """Run `steps` to the end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def finish_in_slices(steps: Steps[T], *, seconds: float = SLICE) -> T:
    """Run `steps` to the end, giving way to the event loop whenever `seconds` have passed; returns its result."""
    due = time.monotonic() + seconds
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if time.monotonic() >= due:
            await asyncio.sleep(0)
            due = time.monotonic() + seconds
