"""A client that costs little: blocking sockets for one caller, one epoll loop for several; bytes are never copied."""

import re
import select
import socket
import time

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class AnswerError(Exception):
    """The answer was none, or no 200."""


class Request:
    """`POST path` with a body of msgpack, ready to be sent again and again."""

    def __init__(self, body: bytes | bytearray, path: str = "/predict") -> None:
        self.head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/msgpack\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        self.body = memoryview(body)


class Connection:
    """A connection that is kept, and the buffer into which every answer is read."""

    def __init__(self, port: int, *, timeout: float | None = 300.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1 << 16)
        self._filled = self._head_size = self._wanted = 0
        self.status = 0

    def ask(self, request: Request) -> float:
        """Seconds from the first byte sent to the last received. Raises AnswerError."""
        began = time.perf_counter()
        self.expect()
        if len(request.body) < 1 << 16:
            self.socket.sendall(request.head + request.body)
        else:
            self.socket.sendall(request.head)
            self.socket.sendall(request.body)
        while not self.receive():
            pass
        return time.perf_counter() - began

    def get(self, path: str) -> float:
        """The same for `GET path`."""
        began = time.perf_counter()
        self.expect()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        while not self.receive():
            pass
        return time.perf_counter() - began

    @property
    def answer(self) -> memoryview:
        """The body of the last answer; the next overwrites it."""
        return memoryview(self._buffer)[self._head_size : self._wanted]

    def expect(self) -> None:
        """Forget the last answer."""
        self._filled = self._head_size = self._wanted = self.status = 0

    def receive(self) -> bool:
        """Read once; whether the answer is complete. Raises AnswerError."""
        with memoryview(self._buffer) as view:
            count = self.socket.recv_into(view[self._filled :])
        if not count:
            raise AnswerError("the server hung up")
        self._filled += count
        if not self._wanted:
            self._read_head()
        return bool(self._wanted) and self._filled >= self._wanted

    def _read_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n", 0, self._filled)
        if end < 0:
            return
        self._head_size = end + 4
        self.status = int(self._buffer[9:12])
        length = _LENGTH.search(self._buffer, 0, end)
        if length is None:
            raise AnswerError("an answer without a Content-Length")
        self._wanted = self._head_size + int(length[1])
        if len(self._buffer) < self._wanted:
            self._buffer.extend(bytes(self._wanted - len(self._buffer)))
        if self.status != 200:
            text = bytes(self._buffer[end + 4 : self._filled]).decode(errors="replace")
            raise AnswerError(f"answered {self.status}: {text[-2000:]}")

    def close(self) -> None:
        self.socket.close()


class Callers:
    """Several connections, each of which asks again as soon as it was answered."""

    def __init__(self, port: int, count: int) -> None:
        self._connections = {}
        for _ in range(count):
            connection = Connection(port)
            connection.socket.setblocking(False)
            self._connections[connection.socket.fileno()] = connection

    def ask(self, request: Request, count: int) -> float:
        """Seconds for `count` requests in all. Raises AnswerError."""
        whole = memoryview(request.head + request.body) if len(request.body) < 1 << 16 else None
        parts = [whole] if whole else [memoryview(request.head), request.body]
        began = time.perf_counter()
        with select.epoll() as epoll:
            unsent: dict[int, list[memoryview]] = {}
            started = ended = 0
            for fd, connection in self._connections.items():
                if started < count:
                    started += 1
                    connection.expect()
                    unsent[fd] = list(parts)
                    epoll.register(fd, select.EPOLLOUT)
            while ended < count:
                for fd, _event in epoll.poll():
                    connection = self._connections[fd]
                    if fd in unsent:
                        if _sent(connection.socket, unsent[fd]):
                            del unsent[fd]
                            epoll.modify(fd, select.EPOLLIN)
                    elif connection.receive():
                        ended += 1
                        if started < count:
                            started += 1
                            connection.expect()
                            unsent[fd] = list(parts)
                            if _sent(connection.socket, unsent[fd]):
                                del unsent[fd]
                            else:
                                epoll.modify(fd, select.EPOLLOUT)
                        else:
                            epoll.unregister(fd)
        return time.perf_counter() - began

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


def _sent(to: socket.socket, parts: list[memoryview]) -> bool:
    """Send what goes without waiting; whether that was all."""
    while parts:
        try:
            count = to.send(parts[0])
        except BlockingIOError:
            return False
        if count == len(parts[0]):
            parts.pop(0)
        else:
            parts[0] = parts[0][count:]
    return True
