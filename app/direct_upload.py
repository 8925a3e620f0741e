"""The rest of a body straight from the socket into the memory that a worker will read.

The HTTP parser hands on what it was given in pieces, each of them a copy, and the server collects the pieces in
another. Once a head has said how long its body is there is nothing to parse before the body's end: the kernel can copy
it to where it belongs. The connection is the parser's again after the last byte.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

#: The ASGI extension by which a request finds its connection.
DIRECT_UPLOAD = "mdai_model.direct_upload"
#: A rest that is shorter comes through the parser in less time.
WORTH_IT = 64 * 1024
#: Bytes that are taken in one read at most: a socket that is always full has the loop for no longer than some of these.
_AT_ONCE = 512 * 1024


class Connection(Protocol):
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
    """The connection's protocol for as long as the rest of a body arrives, which fills `room` to its end.

    `arrived` is told of the bytes of each read; what it raises ends the upload.
    """

    def __init__(self, http: Connection, room: memoryview, arrived: Callable[[int], None]) -> None:
        self._http = http
        self._room = room
        self._arrived = arrived
        self._size = len(room)
        self._filled = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return self._filled == self._size

    async def run(self) -> None:
        """Take it in, until it `is_whole` or the client closes the connection. Raises whatever `arrived` raises."""
        self._http.hand_over(self)
        try:
            await self._ended
        finally:
            self._http.take_back(is_whole=self.is_whole)
            self._room.release()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room[self._filled : self._filled + _AT_ONCE]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        try:
            self._arrived(nbytes)
        except Exception as error:  # noqa: BLE001 (raised where the upload is awaited)
            self._end(error)
            return
        if self.is_whole:
            self._end()

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
