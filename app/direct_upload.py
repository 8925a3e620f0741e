"""The rest of a body straight from the socket into the memory that a worker will read.

The HTTP parser hands on what it was given in pieces, each of them a copy, and the server collects the pieces in
another. Once a head has said how long its body is there is nothing to parse before the body's end: the kernel can copy
it to where it belongs. The connection is the parser's again after the last byte.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

#: A rest that is shorter comes through the parser in less time.
WORTH_IT = 64 * 1024
#: Bytes that are taken in one read, and before everybody else has a turn: a socket that is always full would have the
#: event loop for 32 reads, and where memory is new these take milliseconds.
_AT_ONCE, _TURN = 256 * 1024, 1 << 20
#: Bytes that are taken and forgotten where there is no room for them.
_LOST = 1024


class Reader(Protocol):
    """The HTTP protocol, as far as it can be asked to stand back."""

    transport: asyncio.Transport
    flow: Any

    def hand_over(self, protocol: asyncio.BaseProtocol) -> None: ...

    def take_back(self, *, is_whole: bool) -> None: ...

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class DirectUpload(asyncio.BufferedProtocol):
    """The connection's protocol for as long as the rest of a body arrives, `size` bytes.

    `room` gives memory for the next of them, and `arrived` is told how many each read has filled, so that `room` then
    gives what follows; what they raise ends the upload.
    """

    def __init__(
        self, http: Reader, size: int, room: Callable[[int], memoryview], arrived: Callable[[int], None]
    ) -> None:
        self._http = http
        self._left = size
        self._room = room
        self._arrived = arrived
        self._of_turn = 0
        self._failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return not self._left

    async def run(self) -> None:
        """Take it in, until it `is_whole` or the client closes the connection. Raises whatever `arrived` raises."""
        self._http.hand_over(self)
        try:
            await self._ended
        finally:
            self._http.take_back(is_whole=self.is_whole)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._failure is None:
            try:
                return self._room(min(self._left, _AT_ONCE))
            except Exception as error:  # noqa: BLE001 (raised where the upload is awaited)
                self._failure = error
        # libuv is about to read: to pause it now is the end of this process, and to raise that of the connection.
        return memoryview(bytearray(_LOST))

    def buffer_updated(self, nbytes: int) -> None:
        if self._failure is not None:
            self._end(self._failure)
            return
        self._left -= nbytes
        try:
            self._arrived(nbytes)
        except Exception as error:  # noqa: BLE001 (raised where the upload is awaited)
            self._end(error)
            return
        self._of_turn += nbytes
        if self.is_whole:
            self._end()
        elif self._of_turn >= _TURN:
            self._of_turn = 0
            self._http.flow.pause_reading()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._ended.done():
            self._http.flow.resume_reading()

    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)
        self._end()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def _end(self, error: Exception | None = None) -> None:
        if self._ended.done():
            return
        self._http.flow.pause_reading()
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)
