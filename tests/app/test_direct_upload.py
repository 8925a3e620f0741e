"""Long bodies, which come straight from the socket, over connections of every kind."""

import contextlib
import errno
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from app import direct_upload
from model_loader.shared_buffer import SharedBuffer
from tests.app.sockets import answer_on, connected, head, is_closed, wait_until

Serve = Callable[..., SimpleNamespace]
MSGPACK = "Content-Type: application/msgpack"


def body_of(size: int) -> bytes:
    """A request with a file of so many random bytes."""
    file = {"content": os.urandom(size), "content_type": "application/dicom"}
    return msgpack.packb({"files": [file], "annotations": [], "label_classes": [], "args": {}})


LONG = body_of(3_000_000)


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The bytes of each upload that went the direct way."""
    begun: list[int] = []
    make = direct_upload.DirectUpload.__init__

    def note(self: Any, http: Any, size: int, *rest: Any) -> None:
        begun.append(size)
        make(self, http, size, *rest)

    monkeypatch.setattr(direct_upload.DirectUpload, "__init__", note)
    return begun


def post(client: socket.socket, body: bytes, *more: str) -> None:
    client.sendall(head(MSGPACK, f"Content-Length: {len(body)}", *more) + body)


def test_a_long_body_arrives_as_it_was_sent_and_the_connection_serves_on(
    serve: Serve, pool: Any, uploads: list[int]
) -> None:
    server = serve()
    bodies = [LONG, body_of(10), body_of(200_000), body_of(70_000), LONG]
    with connected(server) as client:
        for body in bodies:
            post(client, body)
            assert answer_on(client)[0] == 200
    assert pool.bodies == bodies
    assert len(uploads) >= 2, "the longest ones cannot have come with their heads"


def test_a_body_in_small_segments_of_odd_sizes_arrives_as_it_was_sent(serve: Serve, pool: Any) -> None:
    server = serve()
    with connected(server) as client:
        whole = head(MSGPACK, f"Content-Length: {len(LONG)}") + LONG
        start, length = 0, 1
        while start < len(whole):
            client.sendall(whole[start : start + length])
            start, length = start + length, length * 3 % 70_001 + 1
        assert answer_on(client)[0] == 200
    assert pool.bodies == [LONG]


def test_a_request_right_behind_a_long_body_is_answered_too(serve: Serve, pool: Any, uploads: list[int]) -> None:
    server = serve()
    with connected(server) as client:
        second = body_of(20)
        post(client, LONG)
        post(client, second)
        post(client, LONG)
        assert [answer_on(client)[0] for _ in range(3)] == [200, 200, 200]
    assert pool.bodies == [LONG, second, LONG]
    assert uploads


def test_a_long_body_that_waits_for_its_go_ahead_gets_it(serve: Serve, pool: Any) -> None:
    server = serve()
    with connected(server) as client:
        client.sendall(head(MSGPACK, f"Content-Length: {len(LONG)}", "Expect: 100-continue"))
        assert client.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(LONG)
        assert answer_on(client)[0] == 200
    assert pool.bodies == [LONG]


def test_a_long_body_in_chunks_goes_through_the_parser(serve: Serve, pool: Any, uploads: list[int]) -> None:
    server = serve()
    with connected(server) as client:
        client.sendall(head(MSGPACK, "Transfer-Encoding: chunked"))
        client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LONG), LONG))
        assert answer_on(client)[0] == 200
    assert pool.bodies == [LONG]
    assert uploads == []


def test_a_client_that_leaves_in_the_middle_of_a_long_body_leaves_nothing_behind(
    serve: Serve, pool: Any, live_buffers: list[Any], log_of_app: pytest.LogCaptureFixture, uploads: list[int]
) -> None:
    server = serve()
    with connected(server) as client:
        client.sendall(head(MSGPACK, f"Content-Length: {len(LONG)}"))
        wait_until(lambda: bool(uploads))
        client.sendall(LONG[:1_000_000])
        wait_until(lambda: live_buffers[0].size == 1_000_000)
    wait_until(lambda: "POST /predict 499" in log_of_app.text)
    assert is_closed(live_buffers[0])
    assert pool.bodies == []
    assert not [record for record in log_of_app.records if record.levelname in ("ERROR", "WARNING")]


def test_a_client_that_stops_in_the_middle_of_a_long_body_is_told_so(
    serve: Serve, uploads: list[int], live_buffers: list[Any]
) -> None:
    server = serve(read_timeout="200ms")
    with connected(server) as client:
        client.sendall(head(MSGPACK, f"Content-Length: {len(LONG)}") + LONG[:1_000_000])
        status, text = answer_on(client)
        assert status == 408
        assert "Nothing arrived for 0.2 seconds in the middle of the body, after 1,000,000 bytes" in text
    assert uploads
    assert all(is_closed(buffer) for buffer in live_buffers)


def test_a_body_that_memory_does_not_suffice_for_is_answered(
    serve: Serve, pool: Any, uploads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    room, rooms = SharedBuffer.room, iter(range(3))

    def exhausted(buffer: SharedBuffer, size: int) -> memoryview:
        if next(rooms, None) is None:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return room(buffer, min(size, 50_000))

    monkeypatch.setattr(SharedBuffer, "room", exhausted)
    server = serve()
    with connected(server) as client:
        post(client, LONG)
        status, text = answer_on(client)
        assert (status, "cannot hold the body (Cannot allocate memory)" in text) == (503, True)
    assert uploads
    assert not pool.bodies


def test_a_long_body_that_crawls_is_told_so(serve: Serve, uploads: list[int]) -> None:
    server = serve(read_timeout="100ms", min_upload_rate=50_000_000)
    with connected(server) as client:
        client.sendall(head(MSGPACK, f"Content-Length: {len(LONG)}"))
        wait_until(lambda: bool(uploads))
        client.settimeout(0.02)
        status = 0
        for start in range(0, len(LONG) - 1, 1000):
            client.sendall(LONG[start : start + 1000])
            try:
                assert client.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                continue
        client.settimeout(20)
        status, text = answer_on(client)
    assert status == 408
    assert "came too slowly" in text


def test_many_at_once_are_not_mixed_up(serve: Serve, pool: Any) -> None:
    server = serve()
    bodies = [body_of(400_000 + number) for number in range(8)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in bodies]
        for client, body in zip(clients, bodies, strict=True):
            client.sendall(head(MSGPACK, f"Content-Length: {len(body)}"))
        for start in range(0, 400_100, 50_000):
            for client, body in zip(clients, bodies, strict=True):
                client.sendall(body[start : start + 50_000])
        assert [answer_on(client)[0] for client in clients] == [200] * len(bodies)
    assert {hashlib.sha256(body).digest() for body in pool.bodies} == {hashlib.sha256(b).digest() for b in bodies}
