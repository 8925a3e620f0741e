"""The real command, started on the misbehaving package, and what can be asked of it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent / "package"
COMMAND = Path(sys.executable).with_name("mdai-model")
MAX_BODY = 12_000_000
PREDICT_TIMEOUT = 2.0
OPTIONS = {
    "--host": "127.0.0.1",
    "--port": "0",
    "--environment": "current",
    "--workers": "2",
    "--predict-timeout": f"{PREDICT_TIMEOUT:g}s",
    "--startup-timeout": "30s",
    "--max-body": str(MAX_BODY),
    "--grace": "10s",
    "--log-level": "info",
}
_SERVING = re.compile(rb"serving .* on http://127\.0\.0\.1:(\d+)")
_KEPT_LINES = 400


class Service:
    """A running `mdai-model serve` whose files, processes and log are told from everybody else's."""

    def __init__(self, folder: Path, package: Path = PACKAGE) -> None:
        self.trace = uuid.uuid4().hex[:16]
        self.temp = folder / f"tmp-{self.trace}"
        self.temp.mkdir()
        self.lines: list[bytes] = []
        self.line_count = 0
        #: Lines of the server's log that say that it failed itself.
        self.own_failures: list[str] = []
        command = [str(COMMAND), "serve", str(package), "--cache-dir", str(folder / "cache")]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MDAI_MODEL_")}
        self.process = subprocess.Popen(
            command + [word for option in OPTIONS.items() for word in option],
            env=environ | {"TMPDIR": str(self.temp), "CHAOS_FOLDER": str(folder), "CHAOS_TRACE": self.trace},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # As a service is started. Linux may deal out the cores by session, and callers are not the server's.
            start_new_session=True,
        )
        self._port_known = threading.Event()
        self.port = 0
        self._reader = threading.Thread(target=self._read, name="log")
        self._reader.start()
        if not self._port_known.wait(60) or not self.port:
            raise RuntimeError("the service does not listen:\n" + self.log)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """The last lines of what the service has written."""
        return b"".join(self.lines).decode(errors="replace")

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def workers(self) -> list[dict[str, Any]]:
        """What `/info` says of each worker."""
        found: list[dict[str, Any]] = json.loads(self.get("/info")[1])["workers"]
        return found

    def wait_until_ready(self, patience: float = 90.0) -> None:
        """Wait until every worker is idle. Raises TimeoutError."""

        def every_worker_is_idle() -> bool:
            try:
                workers = self.workers()
            except ConnectionRefusedError:  # it says where before it listens there
                return False
            return bool(workers) and all(worker["state"] == "ready" for worker in workers)

        wait_for(every_worker_is_idle, patience)

    def send_signal(self, pid: int, number: int) -> bool:
        """Send a signal to a worker; False where that process is gone, or no child of the service."""
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if parent != self.pid:
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except (OSError, ValueError, IndexError):
            return False
        finally:
            os.close(handle)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the service itself and wait for its end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(30)
        return code

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.line_count += 1
            self.lines.append(line)
            del self.lines[:-_KEPT_LINES]
            if b"Internal error" in line or b"was not foreseen" in line or b"never retrieved" in line:
                self.own_failures.append(line.decode(errors="replace").strip())
            if not self.port and (match := _SERVING.search(line)):
                self.port = int(match[1])
                self._port_known.set()
        self.process.stderr.close()
        self._port_known.set()


def wait_for(condition: Callable[[], bool], patience: float, step: float = 0.05) -> None:
    """Wait until `condition` holds. Raises TimeoutError."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not so within {patience:g} s: {getattr(condition, '__name__', condition)}")
        time.sleep(step)
