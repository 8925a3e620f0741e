"""Start-up, memory of a large body, and health under load: the figures that the service promises.

    python benchmarks/service.py [--runs 5] [--json FILE]

Needs the development environment and Linux; starts the real command on 127.0.0.1 and stops it again.
"""

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack

from benchmarks.processes import sampled
from benchmarks.servers import free_port

COMMAND = Path(sys.executable).with_name("mdai-model")
MB = 1_000_000
BODY = 200 * MB
HOLD_SECONDS = 10

TRIVIAL = """
class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2"}]
"""
# One call into C that keeps the interpreter to itself for about as long as it is told to.
HOLDING = """
import re, time
class MDAIModel:
    def predict(self, data):
        end = time.monotonic() + float(data["args"]["seconds"])
        while time.monotonic() < end:
            re.match(r"(a+)+$", "a" * 24 + "b")
        return []
"""


class Server:
    """`mdai-model serve` on a free port."""

    def __init__(self, folder: Path, code: str) -> None:
        mdai = folder / ".mdai"
        mdai.mkdir(exist_ok=True)
        (mdai / "mdai_deploy.py").write_text(code)
        self.port = free_port()
        self.started_at = time.perf_counter()
        self.process = subprocess.Popen(
            [COMMAND, "serve", folder, "--environment", "current", "--host", "127.0.0.1", "--port", str(self.port)],
            stderr=subprocess.DEVNULL,
        )

    def get(self, path: str) -> int:
        return self.ask(path)[0]

    def ask(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "application/msgpack"})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def wait_for(self, path: str) -> float:
        """Seconds from the command to the first 200."""
        while True:
            try:
                if self.get(path) == 200:
                    return time.perf_counter() - self.started_at
            except OSError:
                pass
            time.sleep(0.005)

    def worker(self) -> int:
        pid: int = json.loads(self.ask("/info")[1])["workers"][0]["pid"]
        return pid


@contextmanager
def serving(code: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), code)
        try:
            yield server
        finally:
            server.process.terminate()
            server.process.wait()


def start_up(runs: int) -> dict[str, float]:
    """Median seconds from the command to /healthz and to /ready, for a trivial package."""
    alive, ready = [], []
    for _ in range(runs):
        with serving(TRIVIAL) as server:
            alive.append(server.wait_for("/healthz"))
            ready.append(server.wait_for("/ready"))
    return {"healthz_seconds": statistics.median(alive), "ready_seconds": statistics.median(ready)}


def memory() -> dict[str, float]:
    """Peak growth over idle while a 200 MB body is answered, as multiples of the body.

    The server's counts its private memory and the body's shared memory once, the worker's its private memory and what
    it has mapped of the shared.
    """
    body = msgpack.packb({"files": [{"content": bytes(BODY), "content_type": "application/dicom"}]})
    with serving(TRIVIAL) as server:
        server.wait_for("/ready")
        server.post(msgpack.packb({"files": []}))
        server_pid, worker_pid = server.process.pid, server.worker()
        idle = {pid: _resident(pid) for pid in (server_pid, worker_pid)}
        with sampled(lambda: {pid: _resident(pid) for pid in idle}, 0.001) as samples:
            assert server.post(body) == 200
        private = max(sample[server_pid]["RssAnon"] for sample in samples) - idle[server_pid]["RssAnon"]
        whole = max(sum(sample[worker_pid].values()) for sample in samples) - sum(idle[worker_pid].values())
    return {"server_growth": (private + len(body)) / len(body), "worker_growth": whole / len(body)}


def health() -> dict[str, float]:
    """99th percentile and worst of /healthz in milliseconds, on a fresh connection each time."""
    figures: dict[str, float] = {}
    with serving(HOLDING) as server:
        server.wait_for("/ready")
        hold = msgpack.packb({"files": [], "args": {"seconds": str(HOLD_SECONDS)}})
        figures |= _named("while_predict_holds_the_gil", _probed(server, lambda: server.post(hold)))
        upload = msgpack.packb(
            {"files": [{"content": bytes(BODY), "content_type": "application/dicom"}], "args": {"seconds": "0"}}
        )
        figures |= _named("while_200_mb_upload", _probed(server, lambda: [server.post(upload) for _ in range(10)]))
    return figures


def _probed(server: Server, work: Callable[[], object]) -> list[float]:
    busy = threading.Thread(target=work)
    busy.start()
    times = []
    while busy.is_alive():
        began = time.perf_counter()
        assert server.get("/healthz") == 200
        times.append((time.perf_counter() - began) * 1000)
        time.sleep(0.005)
    busy.join()
    return times


def _named(name: str, times: list[float]) -> dict[str, float]:
    p99 = statistics.quantiles(times, n=100)[98]
    return {f"healthz_p99_ms_{name}": p99, f"healthz_worst_ms_{name}": max(times)}


def _resident(pid: int) -> dict[str, int]:
    """Bytes of private and of shared memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kept = (line.split() for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _unit in kept}


PROMISES = {
    "healthz_seconds": 1.5,
    "ready_seconds": 2.5,
    "server_growth": 1.3,
    "worker_growth": 2.2,
    "healthz_p99_ms_while_predict_holds_the_gil": 50,
    "healthz_p99_ms_while_200_mb_upload": 50,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="starts to take the median of")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    figures = start_up(options.runs) | memory() | health()
    for name, value in figures.items():
        promise = f"   promised: under {PROMISES[name]}" if name in PROMISES else ""
        print(f"{name:48} {value:9.3f}{promise}")
    if options.json:
        machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
        options.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")
    return int(any(figures[name] >= limit for name, limit in PROMISES.items()))


if __name__ == "__main__":
    sys.exit(main())
