"""What callers see of a model that holds the interpreter, and of one that aborts the process."""

import json
import subprocess
import sys
import threading
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
_TOLD_SECONDS = 30.0
# So long nobody else asks: a server that tells its caller does it by then.
_ALONE_SECONDS = 0.5
_ANSWERED = "a model that aborts has answered"


def hold(row: Row, folder: Path, sides: tuple[str, str] = SIDES) -> dict[str, Any]:
    """Milliseconds of `/healthz`, asked from a process of its own while a predict holds the interpreter."""
    times = {}
    for side in sides:
        with serving(side, row.package, folder) as server:
            times[side] = _probed(server)
    worst = {side: round(max(times[side]), 1) for side in sides}
    return {
        "unit": "ms",
        **{side: spread(times[side]) for side in sides},
        "figure": {"of": "ms at worst", "value": worst["ours"], "low": min(times["ours"]), "high": worst["ours"]},
        f"{sides[0]}_worst": worst[sides[0]],
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


def abort(row: Row, folder: Path, sides: tuple[str, str] = SIDES) -> dict[str, Any]:
    """Milliseconds until the caller of a model that aborts is told, and until the next predict is answered."""
    told, again = [], []
    with serving(sides[0], row.package, folder) as server:
        other = _aborted(server)
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
        f"{sides[0]}_answer": other[0],
        f"{sides[0]}_told": other[1],
        f"{sides[0]}_again": other[2],
        "figure": {
            "of": "ms until good again",
            "value": spread(again)["median"],
            "low": min(again),
            "high": max(again),
        },
    }


def _aborted(server: Server) -> tuple[str, float, float | None]:
    """What the caller was told, after how many ms, and after how many a predict was answered again, or None."""
    began = time.perf_counter()
    told: list[tuple[str, float]] = []
    caller = threading.Thread(target=lambda: told.append(caller_told(server, began)))
    caller.start()
    caller.join(_ALONE_SECONDS)
    again = _good_again(server, began)
    caller.join()
    what, until_told = told[0]
    if what == _ANSWERED:
        raise RuntimeError(what)
    return what, until_told, again


def caller_told(server: Server, began: float, patience: float = _TOLD_SECONDS) -> tuple[str, float]:
    """What the caller of a model that aborts is told, and how many ms after the time `began`."""
    with closing(Connection(server.port, timeout=patience)) as connection:
        try:
            connection.ask(Request(asking(abort="yes")))
            what = _ANSWERED
        except AnswerError as error:
            what = str(error)[:80]
        except TimeoutError:
            what = f"nothing for {patience:g} s"
        except OSError:
            what = "the connection was reset"
    return what, round((time.perf_counter() - began) * 1000, 1)


def _good_again(server: Server, began: float) -> float | None:
    good = Request(asking())
    while time.perf_counter() - began < _GOOD_AGAIN_SECONDS and server.process.poll() is None:
        try:
            with closing(Connection(server.port, timeout=_GOOD_AGAIN_SECONDS)) as connection:
                connection.ask(good)
            return round((time.perf_counter() - began) * 1000, 1)
        except (OSError, AnswerError):
            time.sleep(0.01)
    return None
