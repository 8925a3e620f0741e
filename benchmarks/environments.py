"""Environments for what is only compared with or looked through, made on demand and never part of the project's own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


class EnvironmentMissing(Exception):
    """What is wanted could not be installed; the text says why."""


def bin_folder(name: str, requirements: Sequence[str], folder: Path = REPOSITORY) -> Path:
    """Where the programs of `.venv-NAME` lie, which has the requirements; installed now if need be.

    Raises EnvironmentMissing.
    """
    environment = folder / f".venv-{name}"
    installed, wanted = environment / ".installed", "\n".join(requirements)
    found = environment / "bin"
    if installed.exists() and installed.read_text() == wanted:
        return found
    print(f"installing {name} in {environment.name}", file=sys.stderr, flush=True)
    _run(name, [sys.executable, "-m", "venv", "--clear", str(environment)])
    _run(name, [str(found / "python"), "-m", "pip", "-qq", "--disable-pip-version-check", "install", *requirements])
    installed.write_text(wanted)
    return found


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        # pip's last line is advice; its first error is the reason.
        errors = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("ERROR")]
        why = (errors or (done.stderr + done.stdout).strip().splitlines() or ["nothing was said"])[0]
        raise EnvironmentMissing(f"{name} could not be installed, and is left out: {why.removeprefix('ERROR: ')}")
