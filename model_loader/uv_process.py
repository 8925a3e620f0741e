"""Runs uv so that people see what it does, and so that it stops when it should.

uv's own words go to ``progress`` line by line, and back to the caller as a whole. It stops when the build is
cancelled, when anything here raises, and when this process is killed (see ``leash``).
"""

import os
import re
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from uv import find_uv_bin

from model_loader.errors import EnvironmentBuildError, InstallFailed

Progress = Callable[[str], None]

HEARTBEAT_SECONDS = 15.0
"""After so long without a word from uv, say that it still runs."""

POLL_SECONDS = 0.25
"""How often to look whether uv has ended while somebody else keeps its output open."""

LONGEST_OUTPUT = 200_000
"""Characters of uv's output that are kept; a failing compiler can print megabytes."""

# Where uv would install, and what it would read beside the requirements, is decided here and nowhere else.
_STEERING = (
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_MANAGED_PYTHON",
    "UV_NO_MANAGED_PYTHON",
    "UV_WORKING_DIR",
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_VENV_RELOCATABLE",
    "UV_VENV_SEED",
    "UV_ISOLATED",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
)
_OWN_SETTINGS = "MDAI_MODEL_"
_USERINFO = re.compile(r"(?<=://)(?!git@)[^/\s'\"`]+@")
_UNHELPFUL = re.compile(r"Using C?Python \S+ (environment|interpreter) at: ")


class BuildCancelled(EnvironmentBuildError):
    """Somebody stopped the build, such as a server that shuts down."""


class UvFailed(InstallFailed):
    """uv ended with an error; ``output`` is all it said, without credentials."""

    def __init__(self, output: str) -> None:
        super().__init__(f"uv failed:\n\n{output}")
        self.output = output


class Cancellation:
    """Stops a build from another thread. Once cancelled it stays so."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._stops: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Stop what runs now, and refuse what would start later."""
        with self._lock:
            self._cancelled.set()
            for stop in self._stops:
                stop()

    def check(self) -> None:
        """Raise BuildCancelled after a cancel()."""
        if self._cancelled.is_set():
            raise BuildCancelled("The build of the model's Python environment was stopped.")

    def wait(self, seconds: float) -> None:
        """Wait so long, but raise BuildCancelled as soon as it is cancelled."""
        self._cancelled.wait(seconds)
        self.check()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Within the block, cancel() calls ``stop``; raise BuildCancelled where that happened."""
        with self._lock:
            self.check()
            self._stops.append(stop)
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)
        self.check()


def redact(text: str) -> str:
    """Return the text with the user names, passwords and tokens taken out of its addresses."""
    return _USERINFO.sub("****@", text)


class Uv:
    """uv with one environment, one place for its words and one way to stop it.

    Parameters:
        environ: what uv sees, less what would steer it elsewhere and less this server's own settings
        progress: gets each line that uv prints, in the thread that runs it
        cancellation: stops it
        project: a folder with an empty ``pyproject.toml``, so that uv reads no settings out of the package
        program: uv's program; None stands for the one that is installed beside this server

    Raises:
        EnvironmentBuildError: there is no uv.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        progress: Progress,
        cancellation: Cancellation,
        project: Path | None = None,
        program: Path | None = None,
    ) -> None:
        self.environ = {
            name: value
            for name, value in environ.items()
            if name not in _STEERING and not name.startswith(_OWN_SETTINGS)
        }
        self.environ.update(NO_COLOR="1", UV_NO_EDITABLE="1", UV_PYTHON_INSTALL_BIN="0")
        if project is not None:
            self.environ["UV_PROJECT"] = str(project)
        self.progress = progress
        self.cancellation = cancellation
        self.program = str(program) if program is not None else _uv()

    def run(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        environ: Mapping[str, str] = {},
        without: tuple[str, ...] = (),
        quiet: bool = False,
    ) -> str:
        """Run ``uv ARGUMENTS`` and return what it said.

        Parameters:
            environ, without: added to and left out of uv's environment, this time
            quiet: do not forward its words to ``progress``

        Raises:
            UvFailed: uv ended with an error.
            BuildCancelled: it was stopped.
            EnvironmentBuildError: uv cannot be started.
        """
        variables = {name: value for name, value in self.environ.items() if name not in without}
        return self._run([self.program, *map(str, arguments)], cwd, variables | dict(environ), quiet)

    def run_python(
        self, python: Path, *arguments: str | Path, cwd: Path | None = None, environ: Mapping[str, str] = {}
    ) -> str:
        """Run another interpreter the way uv is run: for the one thing that uv cannot do, collecting wheels.

        Raises:
            UvFailed: it ended with an error.
            BuildCancelled: it was stopped.
        """
        return self._run([str(python), *map(str, arguments)], cwd, self.environ | dict(environ), quiet=False)

    def compile_bytecode(self, python: Path) -> None:
        """Compile everything in the venv of ``python``: a worker writes nothing beside its code, so it never would.

        What does not compile, such as templates and examples for other Pythons, stays as it is.

        Raises:
            BuildCancelled: it was stopped.
        """
        folders = [str(folder) for folder in (python.parents[1] / "lib").glob("python3*/site-packages")]
        with suppress(UvFailed):
            self._run(
                [str(python), "-I", "-m", "compileall", "-qq", "-j", "0", *folders], None, self.environ, quiet=True
            )

    def _run(self, command: list[str], cwd: Path | None, environ: Mapping[str, str], quiet: bool) -> str:
        leash = Path(__file__).with_name("leash.py")
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(leash), *command],
                cwd=cwd,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentBuildError(f"{command[0]} cannot be started: {error}.") from error
        with process:
            assert process.stdin is not None
            try:
                with self.cancellation.stopping(process.stdin.close):
                    output = self._forward(process, quiet)
            finally:
                process.stdin.close()
        if process.returncode > 128:
            output += f"\nuv was ended by signal {process.returncode - 128}."
        if process.returncode != 0:
            raise UvFailed(output.strip("\n"))
        return output

    def _forward(self, process: subprocess.Popen[bytes], quiet: bool) -> str:
        kept: list[str] = []
        size = 0
        with closing(self._lines(process)) as lines:
            for line in lines:
                clean = redact(line)
                if _UNHELPFUL.match(clean):
                    continue
                if size < LONGEST_OUTPUT:
                    kept.append(clean)
                    size += len(clean)
                if clean.strip() and not quiet:
                    self.progress(clean)
        return "\n".join(kept)

    def _lines(self, process: subprocess.Popen[bytes]) -> Generator[str, None, None]:
        """Yield whole lines until uv has ended, whoever may still hold the other end of the pipe."""
        assert process.stdout is not None
        begun = silent_since = time.monotonic()
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                ended = process.poll() is not None
                if not selector.select(0 if ended else POLL_SECONDS):
                    if ended:
                        break
                    if time.monotonic() - silent_since > HEARTBEAT_SECONDS:
                        silent_since = time.monotonic()
                        self.progress(f"Still at it, {silent_since - begun:.0f} s so far.")
                    continue
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                silent_since = time.monotonic()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace").rstrip()
        process.wait()
        if rest:
            yield rest.decode(errors="replace").rstrip()


def _uv() -> str:
    try:
        return find_uv_bin()
    except FileNotFoundError as error:
        raise EnvironmentBuildError(
            "uv, which builds the environments of models, is not installed beside this server. "
            "Install it there with `pip install uv`, or choose `--environment current`."
        ) from error
