"""The two sides, each started as its user would start it, and ended again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.client import AnswerError, Connection

FOLDER = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("mdai-model")
SIDES = ("reference", "ours")
_ADDRESS = re.compile(r"on http://127\.0\.0\.1:(\d+)")
_PATIENCE_SECONDS = 90.0


class Server:
    """A running server: its port, its process, and the file that its log goes to."""

    def __init__(self, command: list[str], log: Path, **environ: str) -> None:
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
            self.process.kill()
            self.process.wait()


@contextmanager
def serving(side: str, package: str, folder: Path, *, workers: int = 1, ticks: Path | None = None) -> Iterator[Server]:
    """One side with one of the packages beside this file, ready; its event loop's stalls are written to `ticks`."""
    path = str(FOLDER / "packages" / package)
    if side == "reference":
        script, arguments = str(FOLDER / "reference_server.py"), [path, "--port", "0"]
    else:
        script = str(COMMAND)
        arguments = ["serve", path, "--environment", "current", "--host", "127.0.0.1", "--port", "0"]
        arguments += ["--workers", str(workers), "--cache-dir", str(folder / "cache")]
    watched = [str(FOLDER / "ticker.py"), str(ticks)] if ticks else []
    server = Server([sys.executable, *watched, script, *arguments], folder / f"{side}{'-ticks' if ticks else ''}.log")
    try:
        server.wait_until_ready("/healthz" if side == "reference" else "/ready")
        if side == "ours":
            wait_for_workers(server, workers)
        yield server
    finally:
        server.end()


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
