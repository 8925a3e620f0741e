"""A limit on pauses, for transfers that may take as long as they like but must not stand still."""

import asyncio
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
