"""Requests whose client hangs up: there is nobody to answer, so nothing is worth waiting for."""

import asyncio
from types import TracebackType
from typing import Self

from app.exchange import Exchange
from app.refusals import ClientGone

# Most predictions end before anybody can hang up; only longer ones are worth a task that watches.
_WATCH_AFTER_SECONDS = 0.05


class UntilHangUp:
    """Inside its `with` block, a client that closes the connection ends the request: ClientGone is raised."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._watcher: asyncio.Task[None] | None = None
        self._has_cancelled = False

    def __enter__(self) -> Self:
        self._served_by = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_SECONDS, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is None:
            return
        self._watcher.cancel()
        if kind is asyncio.CancelledError and self._has_cancelled and self._served_by is not None:
            self._served_by.uncancel()
            raise ClientGone from None

    def _begin(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while not self._exchange.gone:
            await self._exchange.receive()
        if not self._exchange.complete and self._served_by is not None:
            self._has_cancelled = self._served_by.cancel()
