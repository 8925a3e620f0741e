"""The parent's end of the socket to a worker: frames out with descriptors, replies in as they come.

What is said is written down in `model_loader.worker.mdai_guest.wire`. Replies arrive by callback on the event loop;
nothing here awaits, so a request costs no task and one wake-up. A worker's package can find the socket and write to
it, so every reply is checked against its type.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from model_loader.worker.mdai_guest import wire

_READ_AT_ONCE = 1 << 16

Message = dict[str, Any]
#: No file is longer, and no offset may be.
Length = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
#: They come to stand in a header of the answer: no other text of a worker's does.
Phase = Literal["decode", "predict", "encode"]


class Ready(msgspec.Struct, frozen=True):
    """The model is loaded; the version of the interpreter that it runs in."""

    python: str


class Done(msgspec.Struct, frozen=True):
    """A prediction: the response's and the skeleton's length in bytes, seconds by phase, and both where they are few.

    They lie in the response buffer where `small` is empty.
    """

    size: Length
    skeleton: Length
    timings: dict[Phase, float]
    small: bytes = b""


class Failure(msgspec.Struct, frozen=True):
    """What went wrong in a worker that lives on; `kind` is one of the lists in `wire`."""

    kind: str
    text: str
    traceback: str


class Reply(msgspec.Struct, frozen=True):
    """What a worker says: one of the four."""

    ready: Ready | None = None
    failed: Failure | None = None
    done: Done | None = None
    error: Failure | None = None


_reply = msgspec.msgpack.Decoder(Reply)


class Channel:
    """One connected Unix stream socket.

    `on_reply` gets each reply. When the channel ends, `on_end` is called once: with False where the other side
    closed it or is gone, with True where it sent something that is no reply.
    """

    def __init__(self, on_reply: Callable[[Reply], None], on_end: Callable[[bool], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_reply = on_reply
        self._on_end = on_end
        self._received = bytearray()
        self._unsent = b""
        self._sock, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock, self.read)

    @property
    def worker_end(self) -> int:
        """The descriptor that the worker inherits; close it here with `started` once it has."""
        return self._theirs.fileno()

    def started(self) -> None:
        """The worker has its end: give up our copy, so that its death ends the channel."""
        self._theirs.close()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send one message. Raises OSError when the worker is gone.

        A worker is spoken to only while it waits for us. What does not fit into the socket's buffer at once (the
        import folders of a large package) follows as the worker reads.
        """
        data = wire.frame(msgspec.msgpack.encode(message))
        sent = socket.send_fds(self._sock, [data], list(descriptors)) if descriptors else self._sock.send(data)
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.add_writer(self._sock, self._write)

    def close(self) -> None:
        """End the channel; the worker reads end of file. Closing twice is harmless."""
        self._theirs.close()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def read(self) -> None:
        """Hand on what has arrived; harmless on a channel that is closed."""
        if self._sock.fileno() < 0:
            return
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
            replies = self._complete_replies()
        except (ValueError, RecursionError, msgspec.MsgspecError):  # the package found our descriptor and wrote to it
            self._end(is_spoiled=True)
            return
        for reply in replies:
            self._on_reply(reply)

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # its end is gone, which reading finds out as well
            self._unsent = b""
        if not self._unsent:
            self._loop.remove_writer(self._sock)

    def _end(self, *, is_spoiled: bool) -> None:
        self.close()
        self._on_end(is_spoiled)

    def _complete_replies(self) -> list[Reply]:
        replies = []
        while len(self._received) >= wire.HEADER:
            end = wire.HEADER + wire.frame_length(self._received[: wire.HEADER])
            if len(self._received) < end:
                break
            replies.append(_reply.decode(self._received[wire.HEADER : end]))
            del self._received[:end]
        return replies
