"""The parent's end of the socket to a worker: frames out with descriptors, frames in as they come.

What is said is written down in `model_loader.worker.mdai_guest.wire`. Replies arrive by callback on the event loop;
nothing here awaits, so a request costs no task and one wake-up.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from model_loader.worker.mdai_guest import wire

_READ_AT_ONCE = 1 << 16

Message = dict[str, Any]


class Channel:
    """One connected Unix stream socket.

    `on_message` gets each message. When the channel ends, `on_end` is called once: with False where the other side
    closed it or is gone, with True where it sent something that is no message.
    """

    def __init__(self, on_message: Callable[[Message], None], on_end: Callable[[bool], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_end = on_end
        self._received = bytearray()
        self._sock, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock, self._readable)

    @property
    def worker_end(self) -> int:
        """The descriptor that the worker inherits; close it here with `started` once it has."""
        return self._theirs.fileno()

    def started(self) -> None:
        """The worker has its end: give up our copy, so that its death ends the channel."""
        self._theirs.close()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send one message. Raises OSError when the worker is gone or has stopped reading.

        A worker is spoken to only while it waits for us, so a frame always fits into the socket's empty buffer.
        """
        data = wire.frame(msgspec.msgpack.encode(message))
        sent = socket.send_fds(self._sock, [data], list(descriptors)) if descriptors else self._sock.send(data)
        if sent != len(data):
            raise BlockingIOError("the worker does not read its channel")

    def close(self) -> None:
        """End the channel; the worker reads end of file. Closing twice is harmless."""
        self._theirs.close()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(is_spoiled=False)
            return
        self._received += data
        try:
            messages = self._complete_messages()
        except (ValueError, msgspec.MsgspecError):  # the package found our descriptor and wrote to it
            self._end(is_spoiled=True)
            return
        for message in messages:
            self._on_message(message)

    def _end(self, *, is_spoiled: bool) -> None:
        self.close()
        self._on_end(is_spoiled)

    def _complete_messages(self) -> list[Message]:
        messages = []
        while len(self._received) >= wire.HEADER:
            end = wire.HEADER + wire.frame_length(self._received[: wire.HEADER])
            if len(self._received) < end:
                break
            messages.append(msgspec.msgpack.decode(bytes(self._received[wire.HEADER : end]), type=Message))
            del self._received[:end]
        return messages
