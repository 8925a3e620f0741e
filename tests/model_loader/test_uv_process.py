"""uv on its leash. Python programs stand in for uv where what matters is how it is run."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_loader.uv_process import BuildCancelled, Cancellation, Uv, UvFailed, redact

PATIENCE = 30.0

ENDLESS = """#!{python}
import os, signal, subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("pids", os.getpid(), grandchild.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A uv that starts a child and never ends."""
    program = tmp_path / "uv"
    program.write_text(ENDLESS.format(python=sys.executable))
    program.chmod(0o755)
    return program


def make(progress: Callable[[str], None] = lambda line: None, **options: object) -> Uv:
    options = {"environ": dict(os.environ), "cancellation": Cancellation()} | options
    return Uv(progress=progress, **options)  # type: ignore[arg-type]


def gone(line: str) -> bool:
    """Whether the processes that the endless uv told of have ended, waiting for that."""
    for pid in line.split()[1:]:
        try:
            process = os.pidfd_open(int(pid))
        except ProcessLookupError:
            continue
        try:
            if not select.select([process], [], [], PATIENCE)[0]:
                return False
        finally:
            os.close(process)
    return True


def test_uv_runs_and_its_words_come_back_and_go_to_progress() -> None:
    lines: list[str] = []
    assert make(lines.append).run("--version").startswith("uv ")
    assert len(lines) == 1
    assert make(lines.append).run("--version", quiet=True).startswith("uv ")
    assert len(lines) == 1


def test_a_failure_carries_all_that_uv_said() -> None:
    with pytest.raises(UvFailed, match="unexpected argument '--nonsense'") as caught:
        make().run("--nonsense")
    assert caught.value.output in str(caught.value)


def test_cancelling_ends_uv_and_its_children(endless: Path) -> None:
    lines: list[str] = []
    cancellation = Cancellation()

    def stop(line: str) -> None:
        lines.append(line)
        threading.Thread(target=cancellation.cancel).start()

    with pytest.raises(BuildCancelled):
        make(stop, cancellation=cancellation, program=endless).run()
    assert gone(lines[0])
    with pytest.raises(BuildCancelled):
        make(cancellation=cancellation).run("--version")


def test_whatever_progress_raises_ends_uv_and_its_children(endless: Path) -> None:
    lines: list[str] = []

    def fail(line: str) -> None:
        lines.append(line)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        make(fail, program=endless).run()
    assert gone(lines[0])


STARTER = """
import os, sys
from pathlib import Path
from model_loader.uv_process import Cancellation, Uv
uv = Uv(environ=os.environ, progress=lambda line: print(line, flush=True), cancellation=Cancellation(),
        program=Path(sys.argv[1]))
uv.run()
"""


@pytest.fixture
def starter(endless: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the endless uv."""
    command = [sys.executable, "-c", STARTER, endless]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_uv_and_its_children_do_not_outlive_a_killed_starter(starter: subprocess.Popen[str]) -> None:
    assert starter.stdout is not None
    line = starter.stdout.readline()
    assert line.startswith("pids")
    starter.kill()
    assert gone(line)


def test_a_grandchild_that_keeps_the_output_open_does_not_hold_things_up(tmp_path: Path) -> None:
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\nsetsid sleep 1000 &\necho pids $!\nexit 3\n")
    program.chmod(0o755)
    lines: list[str] = []
    with pytest.raises(UvFailed):
        make(lines.append, program=program).run()
    os.kill(int(lines[0].split()[1]), signal.SIGKILL)


def test_a_uv_that_is_killed_is_told(tmp_path: Path) -> None:
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    with pytest.raises(UvFailed, match="uv was ended by signal 9"):
        make(program=program).run()


def test_uv_sees_neither_what_would_steer_it_elsewhere_nor_this_server_s_settings(tmp_path: Path) -> None:
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\nexport -p\n")
    program.chmod(0o755)
    names = ("UV_SYSTEM_PYTHON", "UV_WORKING_DIR", "VIRTUAL_ENV", "PYTHONPATH", "MDAI_MODEL_API_KEY")
    environ = {"PATH": os.environ["PATH"], "UV_LINK_MODE": "copy", **dict.fromkeys(names, "/x")}
    said = make(environ=environ, program=program, project=tmp_path).run()
    assert not any(name in said for name in names)
    assert "UV_LINK_MODE='copy'" in said.replace('"', "'")
    assert f"UV_PROJECT='{tmp_path}'" in said.replace('"', "'")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@a.invalid/simple", "https://****@a.invalid/simple"),
        ("(`https://to:ke@n@a.invalid`)", "(`https://****@a.invalid`)"),
        ("git+https://ghp_token@a.invalid/x@main", "git+https://****@a.invalid/x@main"),
        ("git+ssh://git@a.invalid/x", "git+ssh://git@a.invalid/x"),
        ("https://a.invalid/x@main and me@b.invalid", "https://a.invalid/x@main and me@b.invalid"),
    ],
)
def test_credentials_are_taken_out_of_addresses(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_credentials_that_uv_prints_go_nowhere(tmp_path: Path) -> None:
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\necho https://user:secret@a.invalid/simple\nexit 1\n")
    program.chmod(0o755)
    lines: list[str] = []
    with pytest.raises(UvFailed) as caught:
        make(lines.append, program=program).run()
    assert "secret" not in str(caught.value) + "".join(lines)
