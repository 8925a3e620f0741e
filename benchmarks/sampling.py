"""Where the time of a request goes: every side asked for some seconds under py-spy, and under perf where there is one.

Beside the reference and ours runs `before`, which is this repository at an earlier commit.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Connection, Request
from benchmarks.environments import REPOSITORY, bin_folder
from benchmarks.processes import cpu_seconds, tree
from benchmarks.rows import BY_NAME, Row
from benchmarks.servers import Server, serving
from benchmarks.stacks import told

REQUIREMENTS = ("py-spy>=0.4,<1",)
#: The last commit before anything was made faster.
BEFORE = "067d8b6f51b9bf8050ef85df1e74a74126b639fc"
ROWS = tuple(BY_NAME[name] for name in ("empty", "body-50MB", "segment-100-lists"))

# Of samples in a second: py-spy stops the processes for each, at 400 for three quarters of the time; perf does not.
_RATE, _PERF_RATE = 100, 400
_FEWEST_REQUESTS = 3
_OBJECTS = re.compile(r"^\s*([\d.]+)%\s*,(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Profiler:
    """The programs, for how many seconds each looks, and where flame graphs go: `PICTURES-ROW-SIDE.svg`."""

    py_spy: str
    perf: str | None
    seconds: int
    pictures: Path


def profiler(seconds: int, pictures: Path) -> Profiler:
    """Raises EnvironmentMissing."""
    return Profiler(str(bin_folder("py-spy", REQUIREMENTS) / "py-spy"), shutil.which("perf"), seconds, pictures)


def compare(row: Row, folder: Path, look: Profiler, before: str) -> dict[str, Any]:
    """Of each side: the cores' time of a request, its stages, the functions that take the most, and the libraries."""
    theirs = Request(row.body())
    own = Request(row.own_body()) if row.own_body else theirs
    found = {"reference": _looked_at("reference", row, folder, theirs, look, folder)}
    if earlier := unpacked(before, folder / "before"):
        found["before"] = _looked_at("before", row, folder, own, look, earlier)
    found["ours"] = _looked_at("ours", row, folder, own, look, REPOSITORY)
    return {"before": before[:10] if earlier else None, "sides": found}


def _looked_at(side: str, row: Row, folder: Path, request: Request, look: Profiler, code: Path) -> dict[str, Any]:
    """One side, whose own code lies in the folder `code`."""
    raw, data = folder / f"{side}.raw", folder / f"{side}.perf"
    picture = look.pictures.with_name(f"{look.pictures.name}-{row.name}-{side}.svg")
    environ = {"PYTHONPATH": str(code)} if side == "before" else {}
    with serving(side, row.package, folder, environ=environ) as server, closing(Connection(server.port)) as connection:
        for _ in range(row.warm_up):
            connection.ask(request)
        cost = _cost(server, connection, request, look.seconds)
        spy = [look.py_spy, "record", "--pid", str(server.pid), "--subprocesses", "--duration", str(look.seconds)]
        spy += ["--rate", str(_RATE)]
        ask_during([*spy, "--full-filenames", "--format", "raw", "--output", str(raw)], connection, request)
        ask_during([*spy, "--output", str(picture)], connection, request)
        objects = _objects(look, server, data, connection, request) if look.perf else {}
    return {"cpu_ms_per_request": cost, **told(raw.read_text(), code), "objects": objects}


def _cost(server: Server, connection: Connection, request: Request, seconds: float) -> float:
    """Milliseconds that the side's processes work for a request while nobody looks."""
    asked, end, used = 0, time.monotonic() + seconds, -cpu_seconds(server.pid)
    while asked < _FEWEST_REQUESTS or time.monotonic() < end:
        connection.ask(request)
        asked += 1
    return round((used + cpu_seconds(server.pid)) * 1000 / asked, 3)


def ask_during(command: Sequence[str], connection: Connection, request: Request) -> None:
    """Ask for as long as a command runs. Raises RuntimeError with what it said if it fails."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None:
            connection.ask(request)
        said = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{Path(command[0]).name} could not look at the server: {said.strip()[-500:]}")


def _objects(look: Profiler, server: Server, data: Path, connection: Connection, request: Request) -> dict[str, float]:
    """The share of each library, of the interpreter and of the kernel; empty where perf may not look."""
    assert look.perf
    pids = ",".join(map(str, tree(server.pid)))
    command = [look.perf, "record", "-q", "-F", str(_PERF_RATE), "-p", pids, "-o", str(data), "--"]
    try:
        ask_during([*command, "sleep", str(look.seconds)], connection, request)
    except RuntimeError:
        return {}
    command = [look.perf, "report", "-i", str(data), "--stdio", "--no-children", "--sort", "dso", "-t,"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    return {name: float(share) for share, name in _OBJECTS.findall(said) if float(share) >= 1}


def unpacked(commit: str, folder: Path) -> Path | None:
    """The product's code as of a commit, or None and a word about it."""
    folder.mkdir()
    packed = subprocess.run(["git", "archive", commit, "app", "model_loader"], cwd=REPOSITORY, capture_output=True)
    if packed.returncode:
        print(f"there is no commit {commit[:10]} here, so nothing is said of before")
        return None
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder


def said(name: str, figures: dict[str, Any]) -> str:
    """A profile in a few lines of text."""
    lines = [f"{name}: {figures['title']}"]
    for side, found in figures["sides"].items():
        lines.append(f"  {side}: cores' time {found['cpu_ms_per_request']} ms a request, {found['samples']} samples")
        lines += [f"    {share:6.1%} {stage}" for stage, share in found["stages"].items()]
        lines += [f"      {one['share']:6.1%} {one['function']}: {one['line']}" for one in found["functions"][:5]]
        if found["objects"]:
            lines.append("    perf: " + ", ".join(f"{name} {share} %" for name, share in found["objects"].items()))
    return "\n".join(lines)
