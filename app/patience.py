"""Limits on transfers that may take as long as they like but must not stand still, nor crawl."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Patience:
    """Inside its `with` block, TimeoutError is raised when `renew` has not been called for `seconds`.

    Like `asyncio.timeout`, with a `renew` that costs nothing: one timer looks now and then when the last one was.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False

    def renew(self) -> None:
        """Something has moved."""
        self._last = self._loop.time()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_later(self._seconds, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._is_over and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise TimeoutError from None

    def _look(self) -> None:
        left = self._last + self._seconds - self._loop.time()
        if left > 0.001:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._is_over = True
            self._task.cancel()


class Speed:
    """A least rate in bytes a second, looked at over spans of `span` seconds or more.

    It is looked at when something arrives; that nothing does is `Patience`'s affair.
    """

    def __init__(self, least: float, span: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._least = least
        self._span = span
        self._clock = clock
        self._began = clock()
        self._size = 0

    def is_too_low(self, size: int) -> bool:
        """Whether the span that ends with the byte number `size`, if one does, was too slow."""
        now = self._clock()
        passed = now - self._began
        if passed < self._span:
            return False
        came, self._began, self._size = size - self._size, now, size
        return came < self._least * passed
