"""What callers see of a model that holds the interpreter, and of one that aborts the process."""

import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.bodies import asking
from benchmarks.client import AnswerError, Connection, Request
from benchmarks.figures import spread
from benchmarks.rows import Row
from benchmarks.servers import FOLDER, SIDES, Server, serving

_HOLD_SECONDS = 5
_GOOD_AGAIN_SECONDS = 60.0


def hold(row: Row, folder: Path) -> dict[str, Any]:
    """Milliseconds of `/healthz`, asked from a process of its own while a predict holds the interpreter."""
    times = {}
    for side in SIDES:
        with serving(side, row.package, folder) as server:
            times[side] = _probed(server)
    worst = {side: round(max(times[side]), 1) for side in SIDES}
    return {
        "unit": "ms",
        **{side: spread(times[side]) for side in SIDES},
        "figure": {"of": "ms at worst", "value": worst["ours"], "low": min(times["ours"]), "high": worst["ours"]},
        "reference_worst": worst["reference"],
    }


def _probed(server: Server) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.probe", str(server.port)]
    with subprocess.Popen(
        command, cwd=FOLDER.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as probe:
        assert probe.stdout
        probe.stdout.readline()
        with closing(Connection(server.port)) as connection:
            connection.ask(Request(asking(hold=str(_HOLD_SECONDS))))
        found: list[float] = json.loads(probe.communicate()[0])
    return found


def abort(row: Row, folder: Path) -> dict[str, Any]:
    """Milliseconds until the caller of a model that aborts is told, and until the next predict is answered."""
    told, again = [], []
    with serving("reference", row.package, folder) as server:
        reference = _aborted(server)
    with serving("ours", row.package, folder) as server:
        for _ in range(row.rounds):
            what, until_told, until_good = _aborted(server)
            assert until_good is not None, "ours did not recover"
            told.append(until_told)
            again.append(until_good)
    return {
        "unit": "ms",
        "ours": spread(again),
        "ours_told": spread(told),
        "ours_answer": what,
        "reference_answer": reference[0],
        "reference_again": reference[2],
        "figure": {
            "of": "ms until good again",
            "value": spread(again)["median"],
            "low": min(again),
            "high": max(again),
        },
    }


def _aborted(server: Server) -> tuple[str, float, float | None]:
    """What the caller was told, after how long, and after how long a predict was answered again, or None."""
    began = time.perf_counter()
    with closing(Connection(server.port)) as connection:
        try:
            connection.ask(Request(asking(abort="yes")))
            raise RuntimeError("a model that aborts has answered")
        except AnswerError as error:
            what = str(error)[:80]
        except ConnectionResetError:
            what = "the connection was reset"
    told = (time.perf_counter() - began) * 1000
    good = Request(asking())
    while time.perf_counter() - began < _GOOD_AGAIN_SECONDS:
        if server.process.poll() is not None:
            return what, told, None
        try:
            with closing(Connection(server.port)) as connection:
                connection.ask(good)
            return what, told, (time.perf_counter() - began) * 1000
        except (OSError, AnswerError):
            time.sleep(0.01)
    return what, told, None
