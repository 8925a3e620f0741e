"""Ten times as many callers as workers and queue can serve: memory stays bounded, every answer is an honest one."""

import hashlib
import http.client
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgpack

from benchmarks.processes import sampled, shared_memory
from chaos.leftovers import memory_of

_WORKERS, _QUEUE, _TIMES = 2, 4, 10
_CALLERS = _TIMES * _WORKERS * (1 + _QUEUE)
_BODY = os.urandom(4 << 20)
#: Six bodies: two that are predicted on, and four that wait.
_QUEUE_BYTES = 25 << 20
#: What the server may take beside the bodies that it lets in: what has arrived of others' before they are refused.
_ALLOWANCE = _CALLERS * (160 << 10)
SLOW = """
import hashlib, time
class MDAIModel:
    def predict(self, data):
        time.sleep(0.6)
        digest = hashlib.sha256(data["files"][0]["content"]).hexdigest()
        return [{"type": "NONE", "study_uid": "1.2", "note": data["args"]["nonce"] + " " + digest}]
"""


def test_memory_stays_bounded_at_ten_times_overload_and_who_is_let_in_is_answered_rightly(
    serve: Callable[..., Any], package: Callable[..., Path]
) -> None:
    options = {"--workers": _WORKERS, "--max-queue": _QUEUE, "--max-queue-bytes": _QUEUE_BYTES}
    words = [str(word) for option in options.items() for word in option]
    service = serve(package(SLOW), "--environment", "current", *words)
    service.wait_for_line(r"worker 2 is ready")
    ask(service.url, "first")  # what grows once
    before = held_by(service.process.pid)
    with sampled(lambda: held_by(service.process.pid), 0.005) as held, ThreadPoolExecutor(_CALLERS) as callers:
        answers = list(callers.map(lambda number: ask(service.url, f"n{number}"), range(2 * _CALLERS)))
    refused = [answer for answer in answers if answer[0] == 503]
    digest = hashlib.sha256(_BODY).hexdigest()
    for number, (status, _, body) in enumerate(answers):
        assert status in (200, 503), body
        if status == 200:
            assert msgpack.unpackb(body)[0]["note"] == f"n{number} {digest}"
    assert len(answers) - len(refused) >= _WORKERS * (1 + _QUEUE) / 2
    assert len(refused) > _CALLERS / 2
    waits = [int(wait) for _, wait, _ in refused]
    assert min(waits) >= 1
    assert max(waits) >= 2, "three ahead that take 0.6 s each, for two workers"
    grown = max(held) - before
    assert grown <= _QUEUE_BYTES + _ALLOWANCE, f"{grown / 2**20:.1f} MiB more, {len(refused)} refused"
    assert service.stop() == 0


def ask(url: str, nonce: str) -> tuple[int, str, bytes]:
    """Status, Retry-After ("" for none) and body; all callers share the bytes that they send."""
    request = {"args": {"nonce": nonce}, "files": [{"content_type": "application/octet-stream", "content": _BODY}]}
    head = msgpack.packb(request)[: -len(_BODY)]
    headers = {"Content-Type": "application/msgpack", "Content-Length": str(len(head) + len(_BODY))}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", "/predict", iter([head, _BODY]), headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Retry-After", ""), answer.read()
    finally:
        connection.close()


def held_by(pid: int) -> int:
    """Bytes of a process's own memory and of the shared memory that it has open, mapped or not."""
    return memory_of(pid) + sum(shared_memory(pid).values())
