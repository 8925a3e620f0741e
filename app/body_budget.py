"""A bound on the bodies that lie in memory at once: what is uploaded, what waits in line and what is predicted on.

A declared length is set aside before the first byte is read, so that an upload that was let in has room to its end; a
body that does not say its length grows as it arrives. One body is taken however long it is (`--max-body` bounds it):
else a server with little memory would refuse for ever what it could do alone.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from model_loader.available_memory import available_memory
from model_loader.errors import QueueFull

_SHARE = 4


def default_budget() -> int:
    """A quarter of the memory that this process may use, in bytes; the rest is the models'."""
    return available_memory() // _SHARE


class BodyBudget:
    """At most `limit` bytes; `retry_after` gives the seconds that one who is refused is told to wait."""

    def __init__(self, limit: int, retry_after: Callable[[], float]) -> None:
        self._limit = limit
        self._retry_after = retry_after
        self._taken = 0

    def take(self, more: int, own: int) -> None:
        """Count `more` bytes for one that has `own` already. Raises QueueFull."""
        if self._taken > own and self._taken + more > self._limit:
            raise QueueFull(
                f"the requests that are here have {self._taken:,} bytes, and {more:,} more would be more than the"
                f" {self._limit:,} that --max-queue-bytes allows: try again later.",
                retry_after=self._retry_after(),
            )
        self._taken += more

    def give_back(self, size: int) -> None:
        self._taken -= size


class BodyShare:
    """What one request has of the budget; leaving its `with` block gives it back. Raises QueueFull for too much."""

    def __init__(self, budget: BodyBudget, declared: int) -> None:
        self._budget = budget
        self._size = 0
        self.grow_to(declared)

    def grow_to(self, size: int) -> None:
        """The body has come to `size` bytes. Raises QueueFull."""
        if size > self._size:
            self._budget.take(size - self._size, self._size)
            self._size = size

    def give_back(self) -> None:
        """The body is gone. Harmless a second time."""
        self._budget.give_back(self._size)
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
