"""Requests and answers on a bare connection."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from model_loader.shared_buffer import SharedBuffer


@contextmanager
def connected(server: SimpleNamespace) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


def head(*lines: str, path: str = "/predict") -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *lines, "", "")).encode()


def answer_on(client: socket.socket) -> tuple[int, str]:
    """Status and body of the next answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        byte = client.recv(1)
        assert byte, f"closed after {data!r}"
        data += byte
    top, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in top.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        piece = client.recv(length - len(body))
        assert piece, "closed in the middle of the body"
        body += piece
    return int(top.split()[1]), body.decode(errors="replace")


def is_closed(buffer: SharedBuffer) -> bool:
    try:
        return buffer.fd < 0
    except ValueError:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a state of the server's that has no event of its own."""
    end = time.monotonic() + 10
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.005)
