"""The service as its users meet it: the real command, real sockets, real processes."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

COMMAND = Path(sys.executable).with_name("mdai-model")
_SERVING = re.compile(r"serving .* on (https?://[^\s\"]+)")
START_SECONDS = 60.0


class Service:
    """A running `mdai-model serve` with everything it has printed so far; `patience` in seconds, for each line.

    `within` are the words of a command that becomes the one after them.
    """

    def __init__(
        self,
        package: Path,
        options: tuple[str, ...],
        folder: Path,
        patience: float,
        extra: dict[str, str],
        within: tuple[str, ...] = (),
    ) -> None:
        self._patience = patience
        self.temp = folder / "tmp"
        self.temp.mkdir(exist_ok=True)
        self.cache = folder / "cache"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MDAI_MODEL_")}
        command = [COMMAND, "serve", package, "--host", "127.0.0.1", "--port", "0", "--cache-dir", self.cache]
        # Under nohup a hang-up is ignored, here and by what is started here.
        inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.process = subprocess.Popen(
            [*within, *command, *options],
            env=environ | {"TMPDIR": str(self.temp)} | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        signal.signal(signal.SIGHUP, inherited)
        self.lines: list[str] = []
        self.url = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.wait_for_line(_SERVING.pattern)
        self.url = next(match[1] for line in self.lines if (match := _SERVING.search(line)))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for_line(self, pattern: str) -> str:
        """The first line that matches; fails where the service ends or time passes without one."""

        def found() -> str | None:
            return next((line for line in self.lines if re.search(pattern, line)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or not self._reader.is_alive(), self._patience)
            line = found()
        assert line, f"no line like {pattern!r} in:\n{self.output}"
        return line

    def wait_until_ready(self) -> "Service":
        self.wait_for_line(r"worker \d+ is ready")
        return self

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30)

    def post(self, **arguments: object) -> httpx.Response:
        return httpx.post(self.url + "/predict", timeout=60, **arguments)  # type: ignore[arg-type]

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return code

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        self.process.stdout.close()
        with self._changed:
            self._changed.notify_all()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start `mdai-model serve PACKAGE OPTION…`; whatever still runs afterwards is ended."""
    services: list[Service] = []

    def start(
        package: Path,
        *options: str,
        patience: float = START_SECONDS,
        environ: dict[str, str] | None = None,
        within: tuple[str, ...] = (),
    ) -> Service:
        service = Service(package, options, tmp_path, patience, environ or {}, within)
        services.append(service)
        return service

    yield start
    for service in services:
        if service.process.poll() is None:
            service.process.kill()
        service.ended()


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Write a package folder from the text of its mdai_deploy.py and, if need be, its config."""

    def write(code: str, config: str = "base_image: py311\n") -> Path:
        mdai = tmp_path / "package" / ".mdai"
        mdai.mkdir(parents=True)
        (mdai / "mdai_deploy.py").write_text(code)
        (mdai / "config.yaml").write_text(config)
        return mdai.parent

    return write
