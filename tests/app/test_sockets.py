"""What only a real connection shows: slow, broken and hasty clients, and answers that overtake their request."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import msgpack
import pytest

from model_loader import errors
from model_loader.shared_buffer import SharedBuffer
from tests.app.sockets import answer_on, connected, head, is_closed, wait_until

DICOM = b"\0" * 128 + b"DICM" + b"rest"
BODY = msgpack.packb({"files": [{"content": DICOM, "content_type": "application/dicom"}]})
MSGPACK = {"Content-Type": "application/msgpack"}
MEGABYTE = b"x" * 1_000_000

Serve = Callable[..., SimpleNamespace]


def test_curl_gets_its_prediction(serve: Serve, pool: Any, tmp_path: Path) -> None:
    """The smoke test of the documentation, as it stands there."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (tmp_path / "chest.dcm").write_bytes(DICOM)
    server = serve()
    command = ["curl", "-sS", "-F", "files=@chest.dcm", "-H", "Accept: application/json", f"{server.url}/predict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout) == []
    assert msgpack.unpackb(pool.bodies[0])["files"] == [{"content": DICOM, "content_type": "application/dicom"}]


REFUSALS = [
    pytest.param("10MB", None, "application/msgpack", 413, id="over the limit"),
    pytest.param("1GB", errors.NotReady("Loading."), "application/msgpack", 503, id="not loaded"),
    pytest.param("1GB", None, "text/plain", 415, id="wrong media type"),
]


@pytest.mark.parametrize(("limit", "not_ready", "media", "status"), REFUSALS)
@pytest.mark.parametrize("declared", [True, False])
def test_a_client_that_sends_before_it_listens_reads_its_refusal(
    serve: Serve, pool: Any, limit: str, not_ready: Exception, media: str, status: int, declared: bool
) -> None:
    """The answer overtakes an upload of 50 MB, with or without Content-Length; it is not lost in a reset."""
    pool.not_ready = not_ready
    server = serve(max_body=limit)
    headers = {"Content-Type": media} | ({"Content-Length": "50000000"} if declared else {})
    content = (MEGABYTE for _ in range(50))
    with httpx2.Client(timeout=20, trust_env=False) as client:
        answer = client.post(f"{server.url}/predict", content=content, headers=headers)
        assert answer.status_code == status
        assert answer.text.startswith("Error ")
        assert answer.headers["connection"] == "close"
        assert client.get(f"{server.url}/healthz").status_code == 200
    assert pool.bodies == []


@pytest.mark.parametrize(("limit", "not_ready", "media", "status"), REFUSALS)
@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
def test_curl_reads_its_refusal(
    serve: Serve, pool: Any, tmp_path: Path, limit: str, not_ready: Exception, media: str, status: int, expect: str
) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    pool.not_ready = not_ready
    server = serve(max_body=limit)
    (tmp_path / "body").write_bytes(b"")
    with (tmp_path / "body").open("r+b") as file:
        file.truncate(300_000_000)
    command = ["curl", "-sS", "-w", "\n%{http_code}", "--data-binary", "@body", "-H", expect, f"{server.url}/predict"]
    command += ["-H", f"Content-Type: {media}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == str(status), done
    assert done.stdout.startswith("Error "), done


def test_a_refusal_does_not_break_the_pipe_of_a_naive_client(serve: Serve) -> None:
    """A client that knows nothing of early answers can send all it announced, then read."""
    server = serve(max_body="10MB")
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", "Content-Length: 50000000"))
        for _ in range(50):
            client.sendall(MEGABYTE)
        assert answer_on(client)[0] == 413
        assert client.recv(1) == b"", "the connection is closed afterwards"


def test_an_upload_without_a_length_is_stopped_where_it_passes_the_limit(
    serve: Serve, live_buffers: list[SharedBuffer]
) -> None:
    server = serve(max_body=1000)
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", "Transfer-Encoding: chunked"))
        client.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        client.sendall(b"1\r\nx\r\n")
        status, text = answer_on(client)
    assert (status, "longer than 1,000 bytes" in text) == (413, True)
    assert all(is_closed(buffer) for buffer in live_buffers)


def test_a_client_that_stops_sending_is_told_so(serve: Serve, live_buffers: list[SharedBuffer]) -> None:
    server = serve(read_timeout="100ms")
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", "Content-Length: 1000") + b"x" * 10)
        status, text = answer_on(client)
    assert status == 408
    assert text.startswith("Error reading input data: Nothing arrived for 0.1 seconds")
    assert "after 10 bytes" in text
    assert all(is_closed(buffer) for buffer in live_buffers)


def test_a_client_that_sends_a_byte_now_and_then_is_told_that_it_is_too_slow(
    serve: Serve, live_buffers: list[SharedBuffer]
) -> None:
    """Though it never pauses for long: a slow upload must not hold a connection and memory for days."""
    server = serve(read_timeout="200ms")
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", "Content-Length: 1000000"))
        client.settimeout(0.02)
        for _ in range(1000):
            client.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                assert client.recv(1, socket.MSG_PEEK)
                break
        client.settimeout(20)
        status, text = answer_on(client)
    assert status == 408
    assert text.startswith("Error reading input data: The body came too slowly") and "--min-upload-rate" in text
    assert all(is_closed(buffer) for buffer in live_buffers)


def test_a_slow_client_that_keeps_sending_is_served(serve: Serve, pool: Any) -> None:
    """The limit is on pauses, not on the whole upload."""
    server = serve(read_timeout="2s")
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}"))
        for byte in BODY:
            client.sendall(bytes([byte]))
        assert answer_on(client)[0] == 200
    assert pool.bodies == [BODY]


def test_a_client_that_leaves_while_it_uploads_leaves_nothing_behind(
    serve: Serve, pool: Any, live_buffers: list[SharedBuffer], log_of_app: pytest.LogCaptureFixture
) -> None:
    server = serve()
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", "Content-Length: 1000") + b"x" * 10)
        wait_until(lambda: bool(live_buffers) and live_buffers[0].size == 10)
    wait_until(lambda: "POST /predict 499" in log_of_app.text)
    assert is_closed(live_buffers[0])
    assert pool.bodies == []
    assert not [record for record in log_of_app.records if record.levelname in ("ERROR", "WARNING")]


def test_a_client_that_leaves_while_it_waits_is_dropped(
    serve: Serve, pool: Any, live_buffers: list[SharedBuffer], log_of_app: pytest.LogCaptureFixture
) -> None:
    pool.hold = asyncio.Event()
    server = serve()
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY)
        assert pool.has_begun.wait(10)
    assert pool.was_dropped.wait(10)
    wait_until(lambda: "POST /predict 499" in log_of_app.text)
    assert all(is_closed(buffer) for buffer in live_buffers)
    assert not [record for record in log_of_app.records if record.levelname in ("ERROR", "WARNING")]


def test_a_client_that_waits_long_gets_its_answer(serve: Serve, pool: Any) -> None:
    """Watching for a client that leaves does not disturb one that stays, nor its next request."""
    pool.hold = asyncio.Event()
    server = serve()
    with connected(server) as client:
        for _ in range(2):
            pool.has_begun.clear()
            server.call(pool.hold.clear)
            client.sendall(head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY)
            assert pool.has_begun.wait(10)
            with pytest.raises(TimeoutError):
                client.settimeout(0.2)
                client.recv(1)
            client.settimeout(20)
            server.call(pool.hold.set)
            assert answer_on(client)[0] == 200
    assert not pool.was_dropped.is_set()


def test_a_client_that_leaves_in_the_middle_of_the_answer_leaves_nothing_behind(
    serve: Serve, pool: Any, log_of_app: pytest.LogCaptureFixture
) -> None:
    pool.response = MEGABYTE * 100
    server = serve()
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY)
        assert client.recv(1000)
    wait_until(lambda: bool(pool.predictions) and pool.predictions[0].is_closed)
    assert httpx2.get(f"{server.url}/healthz", trust_env=False).status_code == 200


def test_a_client_that_does_not_read_its_answer_is_cut_off(
    serve: Serve, pool: Any, log_of_app: pytest.LogCaptureFixture
) -> None:
    """Nobody can hold an answer's memory by not reading it."""
    pool.response = MEGABYTE * 100
    server = serve(read_timeout="200ms")
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY)
        assert client.recv(1000)
        wait_until(lambda: bool(pool.predictions) and pool.predictions[0].is_closed)
    assert "Internal error" not in log_of_app.text


@contextlib.contextmanager
def unread(serve: Serve, pool: Any, line: str) -> Iterator[tuple[SimpleNamespace, socket.socket]]:
    """A client to which half a megabyte is on its way, most of it in the server's own memory."""
    pool.outputs = [{"type": "NONE", "study_uid": "1.2", "note": "x" * 500_000}]
    server = serve(read_timeout="300ms", send_buffer=10_000)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect((server.host, server.port))
        client.sendall(head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}", line) + BODY)
        yield server, client


@pytest.mark.parametrize("line", ["Connection: close", "Connection: keep-alive"])
def test_a_client_that_leaves_a_short_answer_unread_is_cut_off(
    serve: Serve, pool: Any, log_of_app: pytest.LogCaptureFixture, line: str
) -> None:
    """Closing the connection would wait for it without end."""
    with unread(serve, pool, line) as (server, _):
        wait_until(lambda: "POST /predict 200" in log_of_app.text)
        wait_until(lambda: not server.connections)


@pytest.mark.parametrize("behind", ["another", "garbage"])
def test_a_client_that_leaves_its_answer_unread_and_asks_for_more_is_cut_off(
    serve: Serve, pool: Any, log_of_app: pytest.LogCaptureFixture, behind: str
) -> None:
    """The next answer would wait for it without end."""
    asking = head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY
    with unread(serve, pool, "Connection: keep-alive") as (server, client):
        wait_until(lambda: "POST /predict 200" in log_of_app.text)
        client.sendall(asking if behind == "another" else b"\0" * 10)
        wait_until(lambda: not server.connections)
    assert "Internal error" not in log_of_app.text


def test_who_sends_more_than_is_answered_fills_no_memory(serve: Serve, pool: Any) -> None:
    """Though each answer lets in what one read brings, which is many requests."""
    server = serve()
    asked = b"GET /version HTTP/1.1\r\nHost: x\r\nX-Padding: %b\r\n\r\n" % (b"x" * 1000)
    most, longest, answered = 3000, 0, 0
    with connected(server) as client:
        sending = threading.Thread(target=client.sendall, args=(asked * most,))
        sending.start()
        rest = b""
        while answered < most:
            data = rest + client.recv(1 << 16)
            answered += data.count(b"HTTP/1.1 200")
            rest = data[-11:]
            longest = max([longest, *(len(connection.pipeline) for connection in list(server.connections))])
        sending.join()
    assert longest < 1000  # four reads


def test_a_client_that_asks_for_more_and_leaves_is_noticed(
    serve: Serve, pool: Any, log_of_app: pytest.LogCaptureFixture
) -> None:
    server = serve()
    asking = head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY
    pool.hold = asyncio.Event()
    with connected(server) as client:
        client.sendall(asking + asking)
        assert pool.has_begun.wait(10)
    assert pool.was_dropped.wait(10)
    wait_until(lambda: "POST /predict 499" in log_of_app.text)
    assert not [record for record in log_of_app.records if record.levelname in ("ERROR", "WARNING")]


def test_a_client_that_reads_slowly_gets_all_of_its_answer(serve: Serve, pool: Any) -> None:
    """Though that takes longer than it may take nothing."""
    with unread(serve, pool, "Connection: close") as (_, client):
        pause, received, began = threading.Event(), 0, time.monotonic()
        while data := client.recv(50_000 if time.monotonic() - began > 2 else 2000):
            received += len(data)
            pause.wait(0.01)
    assert received > 500_000


def test_small_requests_share_a_connection(serve: Serve) -> None:
    server = serve()
    with connected(server) as client:
        for _ in range(3):
            client.sendall(head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY)
            assert answer_on(client)[0] == 200
            client.sendall(head("Content-Type: application/msgpack", "Content-Length: 1") + b"\xc0")
            assert answer_on(client)[0] == 422


def test_healthz_answers_at_once_while_a_large_body_arrives(serve: Serve, pool: Any) -> None:
    """200 MB of msgpack, 100 MB of form: nobody waits for them."""
    server = serve()
    content = {"files": [{"content": MEGABYTE * 200, "content_type": "x"}]}
    uploads = [
        lambda: httpx2.post(f"{server.url}/predict", content=msgpack.packb(content), headers=MSGPACK, trust_env=False),
        lambda: httpx2.post(f"{server.url}/predict", files={"files": ("x", MEGABYTE * 100)}, trust_env=False),
    ]
    threads = [threading.Thread(target=upload) for upload in uploads]
    for thread in threads:
        thread.start()
    times = []
    with httpx2.Client(trust_env=False) as client:
        while any(thread.is_alive() for thread in threads):
            start = time.perf_counter()
            assert client.get(f"{server.url}/healthz").status_code == 200
            times.append(time.perf_counter() - start)
    assert len(pool.bodies) == 2
    times.sort()
    assert times[int(len(times) * 0.9)] < 0.2, "far above what is promised, since test machines are busy"


def test_requests_may_be_sent_before_the_answers_to_earlier_ones(serve: Serve, pool: Any) -> None:
    """HTTP/1.1 pipelining: every request gets its own answer, in order, a refused one between good ones too."""
    server = serve()
    good = head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY
    bad = head("Content-Type: application/msgpack", "Content-Length: 1") + b"\xc0"
    with connected(server) as client:
        client.sendall(good + bad + good)
        assert [answer_on(client)[0] for _ in range(3)] == [200, 422, 200]


def test_a_client_without_keep_alive_is_served(serve: Serve) -> None:
    """HTTP/1.0, as old load balancers and health checks speak it."""
    server = serve()
    with connected(server) as client:
        client.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        assert answer_on(client) == (200, "ready\n")
        assert client.recv(1) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        head("Content-Type: application/msgpack", "Transfer-Encoding: chunked") + b"zz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_no_http_harms_nobody(serve: Serve, pool: Any, request_bytes: bytes) -> None:
    server = serve()
    with connected(server) as client:
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        client.recv(1000)
    assert pool.bodies == []
    assert httpx2.get(f"{server.url}/healthz", trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(b"GET /" + b"x" * 500_000, id="address"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 500_000, id="one header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000, id="many headers"),
    ],
)
def test_a_head_without_end_is_refused_and_not_collected(serve: Serve, flood: bytes) -> None:
    server = serve()
    with connected(server) as client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for start in range(0, len(flood), 10_000):
            client.sendall(flood[start : start + 10_000])
        status, text = answer_on(client)
        assert (status, "head of the request is longer than 65536 bytes" in text) == (431, True)
        assert client.recv(1) == b""
    assert httpx2.get(f"{server.url}/healthz", trust_env=False).status_code == 200


def test_trailers_without_end_close_the_connection(serve: Serve, pool: Any) -> None:
    server = serve()
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", "Transfer-Encoding: chunked") + b"0\r\n")
        with pytest.raises(OSError):
            for _ in range(1000):
                client.sendall(b"X: " + b"x" * 10_000 + b"\r\n")
    assert pool.bodies == []


def test_a_head_that_does_not_end_in_time_is_refused(serve: Serve) -> None:
    server = serve(read_timeout="200ms")
    with connected(server) as silent, connected(server) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        for client in (silent, slow):
            assert answer_on(client)[0] == 408
            assert client.recv(1) == b""


@pytest.mark.parametrize("offered", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_ignored_and_the_request_served(serve: Serve, pool: Any, offered: str) -> None:
    """As Java's HTTP client makes one with every first request, and curl with --http2."""
    server = serve()
    offer = (f"Upgrade: {offered}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    whole = head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}", *offer) + BODY
    with connected(server) as client:
        for cut in (len(whole), len(whole) - 10, len(whole) - len(BODY), 40):
            client.sendall(whole[:cut])
            client.sendall(whole[cut:])
            assert answer_on(client)[0] == 200
    assert pool.bodies == [BODY] * 4


def test_a_proxy_request_is_refused(serve: Serve) -> None:
    server = serve()
    with connected(server) as client:
        client.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        assert answer_on(client)[0] == 405
        assert client.recv(1) == b""


def test_a_good_request_with_rubbish_behind_it_gets_its_answer(serve: Serve) -> None:
    server = serve()
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}") + BODY + b"\0\0\0")
        assert answer_on(client)[0] == 200
        assert client.recv(1) == b""


def test_bodies_beyond_what_memory_may_hold_are_refused_before_they_are_read_and_taken_when_there_is_room(
    serve: Serve, pool: Any
) -> None:
    """One whose length is declared, and one that grows past the bound; the first body is taken whatever it is."""
    pool.hold = asyncio.Event()
    server = serve(max_queue_bytes=str(len(BODY) // 2))
    request = head("Content-Type: application/msgpack", f"Content-Length: {len(BODY)}")
    chunk = b"1\r\nx\r\n"
    with connected(server) as first:
        first.sendall(request + BODY)
        assert pool.has_begun.wait(10)
        for late in (request, head("Content-Type: application/msgpack", "Transfer-Encoding: chunked") + chunk):
            with connected(server) as second:
                second.sendall(late)
                status, text = answer_on(second)
                assert (status, "--max-queue-bytes allows" in text) == (503, True)
        server.call(pool.hold.set)
        assert answer_on(first)[0] == 200
    with connected(server) as third:
        third.sendall(request + BODY)
        assert answer_on(third)[0] == 200


def test_a_request_that_finds_the_queue_full_is_refused_before_its_body(serve: Serve, pool: Any) -> None:
    pool.queue_full = errors.QueueFull("Busy.", retry_after=3)
    server = serve()
    with connected(server) as client:
        client.sendall(head("Content-Type: application/msgpack", "Content-Length: 1000000"))
        assert answer_on(client) == (503, "Error running model: Busy.\n")
