"""The sides, each started as its user would start it, and ended again."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.client import AnswerError, Connection
from benchmarks.processes import tree

FOLDER = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("mdai-model")
SIDES = ("reference", "ours")
_ADDRESS = re.compile(r"on http://127\.0\.0\.1:(\d+)")
_PATIENCE_SECONDS = 90.0


class Server:
    """A running server: its port, its process, and the file that its log goes to."""

    def __init__(self, command: list[str], log: Path, environ: Mapping[str, str]) -> None:
        self.log = log
        environ = {**{key: value for key, value in os.environ.items() if not key.startswith("MDAI_MODEL_")}, **environ}
        with log.open("w") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ)
        self.port = int(self.wait_for_line(_ADDRESS)[1])

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for_line(self, pattern: re.Pattern[str]) -> re.Match[str]:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not (found := pattern.search(self.log.read_text(errors="replace"))):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{pattern.pattern!r} was not said:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.01)
        return found

    def wait_until_ready(self, path: str) -> None:
        """Until `path` is answered with 200."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                connection = Connection(self.port)
                try:
                    connection.get(path)
                    return
                finally:
                    connection.close()
            except (OSError, AnswerError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            for pid in list(tree(self.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def serving(
    side: str,
    package: str,
    folder: Path,
    *,
    workers: int = 1,
    ticks: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """One side with one of the packages beside this file, ready; our event loop's stalls are written to `ticks`.

    Any side but the reference and LitServe is ours, of the version that `environ` makes it. Raises EnvironmentMissing.
    """
    path = str(FOLDER / "packages" / package)
    watched = [str(FOLDER / "ticker.py"), str(ticks)] if ticks else []
    match side:
        case "reference":
            command = [sys.executable, str(FOLDER / "reference_server.py"), path, "--port", "0"]
        case "litserve":
            command = [peers.python(), str(FOLDER / "litserve_server.py"), path, "--port", str(free_port())]
            command += ["--workers", str(workers)]
            # It tells a worker's end from its work by a message for each request, which it else does without.
            command += ["--restart-workers"] if package == "misbehave" else []
        case _:
            command = [sys.executable, *watched, str(COMMAND), "serve", path, "--environment", "current"]
            command += ["--host", "127.0.0.1", "--port", "0"]
            command += ["--workers", str(workers), "--cache-dir", str(folder / f"cache-{side}")]
    server = Server(command, folder / f"{side}{'-ticks' if ticks else ''}.log", environ or {})
    is_ours = side not in ("reference", "litserve")
    try:
        server.wait_until_ready("/ready" if is_ours else "/healthz")
        if is_ours:
            wait_for_workers(server, workers)
        yield server
    finally:
        server.end()


def free_port() -> int:
    """For servers that take none to be any, as LitServe."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_workers(server: Server, count: int) -> None:
    """Until so many workers wait for requests."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while sum(worker["state"] == "ready" for worker in workers(server)) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"no {count} workers became ready")
        time.sleep(0.02)


def workers(server: Server) -> list[dict[str, Any]]:
    """What our `/info` says of each worker."""
    connection = Connection(server.port)
    try:
        connection.get("/info")
        found: list[dict[str, Any]] = json.loads(bytes(connection.answer))["workers"]
        return found
    finally:
        connection.close()
