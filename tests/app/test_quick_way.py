"""Requests whose head is known by heart: they are answered as if they had gone the usual way."""

import asyncio
import itertools
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_loader import errors
from model_loader.shared_buffer import SharedBuffer
from tests.app.sockets import answer_on, connected, head, is_closed, wait_until

FILE = {"content": b"\0" * 128 + b"DICM", "content_type": "application/dicom"}
BODY = msgpack.packb({"files": [FILE]})
MSGPACK = "Content-Type: application/msgpack"

Serve = Callable[..., SimpleNamespace]


def request(body: bytes, *lines: str, path: str = "/predict") -> bytes:
    return head(MSGPACK, f"Content-Length: {len(body)}", *lines, path=path) + body


def whole_answer(client: socket.socket) -> tuple[bytes, dict[str, str], bytes]:
    """The first line, the headers, and the body of the next answer."""
    first, *lines = answer_begins(client).decode().split("\r\n")[:-2]
    headers = dict(line.split(": ", 1) for line in lines)
    body = b""
    while missing := int(headers["content-length"]) - len(body):
        body += client.recv(missing)
    return first.encode(), headers, body


def answer_begins(client: socket.socket) -> bytes:
    """Everything up to the first empty line."""
    top = b""
    while not top.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, f"closed after {top!r}"
        top += byte
    return top


def comparable(answer: tuple[bytes, dict[str, str], bytes]) -> tuple[bytes, dict[str, str], bytes]:
    """Without what is different each time."""
    first, headers, body = answer
    assert re.fullmatch("[0-9a-f]{32}", headers.pop("x-request-id"))
    headers["server-timing"] = re.sub(r"dur=[0-9.]+", "dur=0", headers.get("server-timing", ""))
    del headers["date"]
    return first, headers, re.sub(rb"[0-9a-f]{32}", b"ID", body)


def teach(client: socket.socket, pool: Any, body: bytes = BODY, *lines: str) -> bytes:
    """A request that goes the quick way from now on."""
    taught = request(body, *lines)
    client.sendall(taught)
    assert answer_on(client)[0] == 200
    assert not pool.asked
    return taught


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
@pytest.mark.parametrize("path", ["/predict", "/inference", "/inference/"])
def test_the_answer_is_the_usual_one_from_the_second_time_on(serve: Serve, pool: Any, accept: str, path: str) -> None:
    pool.outputs = [{"type": "NONE", "study_uid": "1.2", "note": "n"}]
    sent = request(BODY, f"Accept: {accept}", "Connection: keep-alive", path=path)
    with connected(serve()) as client:
        answers = []
        for _ in range(3):
            client.sendall(sent)
            answers.append(comparable(whole_answer(client)))
    assert len(pool.asked) == 2
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][2] == (json.dumps(pool.outputs).encode() if "json" in accept else msgpack.packb(pool.outputs))
    assert pool.bodies == [BODY] * 3


def test_whoever_has_taught_it_others_go_it_too(serve: Serve, pool: Any) -> None:
    server = serve()
    with connected(server) as client:
        taught = teach(client, pool)
    with connected(server) as other:
        other.sendall(taught)
        assert answer_on(other)[0] == 200
    assert len(pool.asked) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(min_size=len(BODY), max_size=len(BODY))
    | st.integers(0, len(BODY) - 1).flatmap(
        lambda at: st.integers(0, 255).map(lambda byte: BODY[:at] + bytes([byte]) + BODY[at + 1 :])
    )
)
def test_any_body_behind_a_known_head_is_answered_as_behind_an_unknown_one(
    serve: Serve, pool: Any, known: tuple[socket.socket, socket.socket], body: bytes
) -> None:
    quick, usual = known
    quick.sendall(request(body))
    usual.sendall(request(body, f"X-Request-Id: {'a' * 32}"))
    assert comparable(whole_answer(quick)) == comparable(whole_answer(usual))


@pytest.fixture
def known(serve: Serve, pool: Any) -> Any:
    """Two connections: on the first, requests as long as BODY go the quick way."""
    server = serve()
    with connected(server) as quick, connected(server) as usual:
        teach(quick, pool)
        yield quick, usual


OTHER = msgpack.packb({"files": [FILE], "args": {"a": "b"}})
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = head(MSGPACK, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
#: What may be sent, the status of its answer, and the body that the model sees.
SENT = [
    (request(BODY), 200, BODY),
    (request(OTHER), 200, OTHER),
    (request(BODY, "X-Request-Id: a"), 200, BODY),
    (CHUNKED, 200, BODY),
    (request(b"\xc0"), 422, None),
    (request(b"\xc1" * len(BODY)), 400, None),
    (GET, 200, None),
    (GET.replace(b"healthz", b"nothing"), 404, None),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), which=st.lists(st.integers(0, len(SENT) - 1), min_size=1, max_size=12))
def test_however_requests_come_each_gets_its_own_answer_in_order(
    pool: Any, known: tuple[socket.socket, socket.socket], data: st.DataObject, which: list[int]
) -> None:
    """In one piece or in many, one behind the other or at once."""
    client, seen = known[0], len(pool.bodies)
    stream = b"".join(SENT[number][0] for number in which)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    for start, end in itertools.pairwise([0, *cuts, len(stream)]):
        client.sendall(stream[start:end])
    assert [answer_on(client)[0] for _ in which] == [SENT[number][1] for number in which]
    assert pool.bodies[seen:] == [SENT[number][2] for number in which if SENT[number][2]]


@pytest.mark.parametrize(
    "lines",
    [
        ("X-Request-Id: abc",),
        ("X-Request-Timeout: 30",),
        ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
        ("Expect: 100-continue",),
        ("X-Twice: 1", "X-Twice: 2"),
        (f"X-Long: {'x' * 5000}",),
    ],
)
def test_a_head_that_says_more_or_is_another_each_time_is_not_learned(
    serve: Serve, pool: Any, lines: tuple[str, ...]
) -> None:
    with connected(serve()) as client:
        for _ in range(2):
            client.sendall(request(BODY, *lines))
            if lines == ("Expect: 100-continue",):
                assert answer_begins(client) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert answer_on(client)[0] == 200
    assert not pool.asked


@pytest.mark.parametrize("line", ["Connection: close", "Proxy-Connection: close"])
def test_who_wants_the_connection_closed_has_it_closed_each_time(serve: Serve, pool: Any, line: str) -> None:
    """The parser knows more than one way to say so."""
    server = serve()
    for _ in range(3):
        with connected(server) as client:
            client.sendall(request(BODY, line))
            assert whole_answer(client)[1]["connection"] == "close"
            assert client.recv(1) == b""
    assert not pool.asked


def test_a_head_that_ends_in_bare_line_feeds_is_not_taken_for_a_longer_one(serve: Serve, pool: Any) -> None:
    """What looks like its end lies in the body: who sent the rest would have somebody else's request answered."""
    body = msgpack.packb({"files": [FILE | {"content": b"\r\n\r\n" + b"x" * 100}]})
    sent = head(MSGPACK, f"Content-Length: {len(body)}").replace(b"\r\n", b"\n") + body
    with connected(serve()) as client:
        client.sendall(sent)
        first = answer_on(client)[0]
        if first == 200:
            client.sendall(sent)
            assert answer_on(client)[0] == 200
    assert not pool.asked


def test_the_beginning_of_a_head_that_is_too_long_is_not_taken_for_a_head(
    serve: Serve, pool: Any, tmp_path: Path
) -> None:
    """Whoever sent its first bytes and a body would be served with the key that stands further behind in it."""
    key = "a-key-of-some-length-0123456789"
    (tmp_path / "keys").write_text(f"{key}\n")
    server = serve(api_key_file=tmp_path / "keys")
    body = msgpack.packb({"files": [FILE | {"content": b"x" * 9000}]})
    sent = request(body, f"X-API-Key: {key}", f"X-Long: {'x' * 5000}")
    at_once = len(body) + 3  # as long as if its head were three bytes long
    with connected(server) as client:
        client.sendall(sent[:at_once])
        wait_until(lambda: any(connection.cycle is not None for connection in server.connections))
        client.sendall(sent[at_once:])
        assert answer_on(client)[0] == 200
    assert status_of(server, sent[:3] + body) == 400
    assert not pool.asked


def test_a_request_in_pieces_or_followed_by_another_is_served_too(serve: Serve, pool: Any) -> None:
    with connected(serve()) as client:
        taught = teach(client, pool)
        client.sendall(taught[:-5])
        client.sendall(taught[-5:] + taught + taught)
        assert [answer_on(client)[0] for _ in range(3)] == [200, 200, 200]
    assert pool.bodies == [BODY] * 4


def test_requests_that_come_while_one_is_on_its_way_wait_for_their_turn(serve: Serve, pool: Any) -> None:
    server = serve()
    with connected(server) as client:
        taught = teach(client, pool)
        pool.hold = asyncio.Event()
        pool.has_begun.clear()
        client.sendall(taught)
        assert pool.has_begun.wait(10)
        other = msgpack.packb({"files": [FILE], "args": {"a": "b"}})
        client.sendall(taught)
        client.sendall(request(b"\xc0") + request(other) + taught)
        server.call(pool.hold.set)
        assert [answer_on(client)[0] for _ in range(5)] == [200, 200, 422, 200, 200]
    assert pool.bodies == [BODY, BODY, BODY, other, BODY]


def test_what_a_head_means_is_not_taken_from_another_that_was_answered_meanwhile(
    serve: Serve, pool: Any, tmp_path: Path
) -> None:
    """The second has no key: it must not become known as one that has."""
    key = "a-key-of-some-length-0123456789"
    (tmp_path / "keys").write_text(f"{key}\n")
    server = serve(api_key_file=tmp_path / "keys")
    pool.hold = asyncio.Event()
    without_key = request(BODY)
    with connected(server) as client:
        client.sendall(request(BODY, f"X-API-Key: {key}", "Accept: application/json"))
        assert pool.has_begun.wait(10)
        client.sendall(without_key)
        server.call(pool.hold.set)
        assert [answer_on(client)[0] for _ in range(2)] == [200, 401]
    assert status_of(server, without_key) == 401
    pool.hold = None
    with connected(server) as client:
        plain = request(BODY, f"X-API-Key: {key}")
        pool.hold, _ = asyncio.Event(), pool.has_begun.clear()
        client.sendall(request(BODY, f"X-API-Key: {key}", "Accept: application/json"))
        assert pool.has_begun.wait(10)
        client.sendall(plain)
        server.call(pool.hold.set)
        assert [whole_answer(client)[2] for _ in range(2)] == [b"[]", b"\x90"]
        client.sendall(plain)
        assert whole_answer(client)[2] == b"\x90"


@pytest.mark.parametrize("more", [b"", request(BODY), b"POST /pre"])
def test_a_client_that_leaves_is_dropped(
    serve: Serve, pool: Any, live_buffers: list[SharedBuffer], log_of_app: pytest.LogCaptureFixture, more: bytes
) -> None:
    server = serve()
    with connected(server) as client:
        taught = teach(client, pool)
        pool.hold = asyncio.Event()
        client.sendall(taught)
        wait_until(lambda: bool(pool.asked))
        client.sendall(more)
        wait_until(lambda: any(connection._behind == more for connection in server.connections))
    assert pool.was_dropped.wait(10)
    wait_until(lambda: "POST /predict 499" in log_of_app.text)
    assert all(is_closed(buffer) for buffer in live_buffers)
    assert not [record for record in log_of_app.records if record.levelname in ("ERROR", "WARNING")]


ODD = {"type": "NONE", "study_uid": "1.2", "extra": 1}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"outputs": [{"type": "WRONG"}]}, 500),
        ({"outputs": [ODD]}, 200),
        ({"outputs": [{"type": "NONE", "study_uid": "1.2", "note": "n" * 100_000}]}, 200),
        ({"outputs": [{"type": "NONE", "study_uid": "1.2"}] * 500}, 200),
        ({"raises": errors.WorkerDied("It died.")}, 500),
        ({"raises": errors.DeadlineExceeded("Too late.")}, 504),
        ({"not_ready": errors.NotReady("It loads.")}, 503),
        ({"queue_full": errors.QueueFull("Full.", retry_after=3)}, 503),
    ],
)
def test_whatever_is_not_in_order_is_told_as_usual(
    serve: Serve, pool: Any, live_buffers: list[SharedBuffer], change: dict[str, Any], status: int
) -> None:
    server = serve()
    with connected(server) as quick, connected(server) as usual:
        taught = teach(quick, pool)
        vars(pool).update(change)
        usual.sendall(request(BODY, f"X-Request-Id: {'a' * 32}"))
        expected = whole_answer(usual)
        quick.sendall(taught)
        answer = whole_answer(quick)
        assert comparable(answer) == comparable(expected)
        assert expected[0].split()[1] == b"%d" % status
        assert bool(pool.asked) is not (status == 503)
    wait_until(lambda: all(is_closed(buffer) for buffer in live_buffers))


class Spoiling:
    """Gives the recipient an answer that cannot be read."""

    def __init__(self, recipient: Any) -> None:
        self.set_exception = recipient.set_exception
        self._set_result = recipient.set_result

    def set_result(self, answer: Any) -> None:
        answer.body.close()
        self._set_result(answer)


def test_what_nobody_foresaw_leaves_no_client_without_an_answer(serve: Serve, pool: Any) -> None:
    ask = pool.ask
    with connected(serve()) as client:
        taught = teach(client, pool)
        pool.ask = lambda request, recipient: ask(request, Spoiling(recipient))
        client.sendall(taught)
        assert answer_on(client)[0] == 500
        assert len(pool.asked) == 1
        pool.ask = None  # what nobody can call
        client.sendall(taught)
        assert answer_on(client)[0] == 200
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert "mdai_model_predict_in_progress 0.0" in answer_on(client)[1]


def test_bodies_count_for_the_budget_while_they_wait(serve: Serve, pool: Any) -> None:
    server = serve(max_queue_bytes=str(2 * len(BODY)))
    with connected(server) as first, connected(server) as second, connected(server) as third:
        taught = teach(first, pool)
        pool.hold = asyncio.Event()
        for client in (first, second):
            client.sendall(taught)
        wait_until(lambda: len(pool.asked) == 2)
        third.sendall(taught)
        assert answer_on(third)[0] == 503
        server.call(pool.hold.set)
        assert [answer_on(client)[0] for client in (first, second)] == [200, 200]
        for client in (first, second):
            client.sendall(taught)
            assert answer_on(client)[0] == 200


def test_a_key_is_looked_at_each_time(serve: Serve, pool: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("old-key-of-some-length-0123456789\n")
    server = serve(api_key_file=keys)
    with connected(server) as client:
        taught = teach(client, pool, BODY, "X-API-Key: old-key-of-some-length-0123456789")
        client.sendall(taught)
        assert answer_on(client)[0] == 200
        assert len(pool.asked) == 1
    keys.write_text("new-key-of-some-length-0123456789\n")
    wait_until(lambda: status_of(server, taught) == 401)
    assert status_of(server, taught.replace(b"old-key", b"new-key")) == 200


def status_of(server: SimpleNamespace, sent: bytes) -> int:
    with connected(server) as client:
        client.sendall(sent)
        return answer_on(client)[0]


def access_ids(log: pytest.LogCaptureFixture) -> list[str]:
    """Of the requests that have their access lines."""
    return [vars(record)["request_id"] for record in log.records if record.name == "app.access"]


def test_each_is_counted_and_logged_once(serve: Serve, pool: Any, log_of_app: pytest.LogCaptureFixture) -> None:
    server = serve()
    with connected(server) as client:
        taught = teach(client, pool)
        for _ in range(3):
            client.sendall(taught)
            _, headers, _ = whole_answer(client)
            wait_until(lambda own=headers["x-request-id"]: own in access_ids(log_of_app))  # type: ignore[misc]
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        metrics = answer_on(client)[1]
    assert 'mdai_model_requests_total{problem="",route="predict",status="200"} 4.0' in metrics
    assert "mdai_model_predict_in_progress 0.0" in metrics
    assert "mdai_model_predict_duration_seconds_count 4.0" in metrics
    assert log_of_app.text.count("POST /predict 200") == 4


def test_one_that_is_on_its_way_when_the_server_stops_gets_its_answer(
    make_app: Callable[..., Any], pool: Any, serve: Serve
) -> None:
    server = serve()
    with connected(server) as client:
        taught = teach(client, pool)
        pool.hold = asyncio.Event()
        client.sendall(taught)
        wait_until(lambda: bool(pool.asked))
        server.stop()
        wait_until(lambda: not accepts(server))
        server.call(pool.hold.set)
        first, headers, _ = whole_answer(client)
        assert (first.split()[1], headers["connection"]) == (b"200", "close")
        assert client.recv(1) == b""


def accepts(server: SimpleNamespace) -> bool:
    try:
        with connected(server):
            return True
    except OSError:
        return False


def test_the_oldest_heads_make_room(serve: Serve, pool: Any) -> None:
    """Whoever sends another head each time does not fill the memory."""
    with connected(serve()) as client:
        for number in range(200):
            client.sendall(request(BODY, f"X-Number: {number}"))
            assert answer_on(client)[0] == 200
        assert not pool.asked
        client.sendall(request(BODY, "X-Number: 199"))
        assert answer_on(client)[0] == 200
        client.sendall(request(BODY, "X-Number: 0"))
        assert answer_on(client)[0] == 200
    assert len(pool.asked) == 1
