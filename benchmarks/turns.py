"""Both sides asked in turns, in one run; and how long our event loop was held meanwhile."""

import gc
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.client import Callers, Connection, Request
from benchmarks.figures import flat, ratio, spread
from benchmarks.processes import cpu_seconds
from benchmarks.rows import STALL_GOAL, Row
from benchmarks.servers import SIDES, serving
from benchmarks.ticker import FORMAT

# Between one side's turn and the other's, for what a server tidies up after its last answer.
_SETTLE_SECONDS = 0.1
_FEWEST_ROUNDS = 4


def compare(row: Row, folder: Path, seconds: float, sides: tuple[str, str] = SIDES) -> dict[str, Any]:
    """What a row of latency or throughput is about: both sides, the ratio, and beside the reference the stalls.

    Ends with the row's rounds, or after so many seconds where there were a few rounds by then.
    """
    theirs = row.body()
    bodies = {sides[0]: Request(theirs), "ours": Request(row.own_body() if row.own_body else theirs)}
    rounds: dict[str, list[list[float]]] = {side: [] for side in sides}
    with ExitStack() as stack:
        servers = {side: stack.enter_context(serving(side, row.package, folder, workers=row.workers)) for side in sides}
        _demand_the_same({side: _warmed_up(row, servers[side].port, bodies[side]) for side in sides})
        used = dict.fromkeys(sides, 0.0)
        end = time.monotonic() + seconds
        gc.disable()
        try:
            for number in range(row.rounds):
                if number >= _FEWEST_ROUNDS and time.monotonic() > end:
                    break
                for side in sides if number % 2 else reversed(sides):
                    used[side] -= cpu_seconds(servers[side].pid)
                    rounds[side].append(_turn(row, servers[side].port, bodies[side]))
                    time.sleep(_SETTLE_SECONDS)
                    used[side] += cpu_seconds(servers[side].pid)
        finally:
            gc.enable()
    figures = _figures(row, rounds, used)
    figures["bytes_in"] = len(bodies["ours"].body)
    return figures | stalls(row, folder, bodies["ours"]) if sides == SIDES else figures


def _figures(row: Row, rounds: dict[str, list[list[float]]], used: dict[str, float]) -> dict[str, Any]:
    """Both sides' spread, the ratio, that of the best of each, and what the servers' processes have worked."""
    other = next(side for side in rounds if side != "ours")
    values = {side: flat(rounds[side]) for side in rounds}
    best = min if row.kind == "latency" else max
    asked = len(rounds["ours"]) * row.requests
    return {
        "unit": "ms" if row.kind == "latency" else "requests/s",
        "rounds": len(rounds["ours"]),
        **{side: spread(values[side]) for side in rounds},
        "figure": {"of": "ratio", **ratio(rounds[other], rounds["ours"])},
        "ratio_of_best": round(best(values["ours"]) / best(values[other]), 3),
        "cpu_ms_per_request": {side: round(used[side] * 1000 / asked, 3) for side in rounds},
    }


def _turn(row: Row, port: int, request: Request) -> list[float]:
    """Milliseconds of each request, or the requests per second of all.

    On connections of this turn's own, because a server may close one that waits for seconds.
    """
    if row.kind == "throughput":
        with closing(Callers(port, row.clients)) as callers:
            return [row.requests / callers.ask(request, row.requests)]
    with closing(Connection(port)) as connection:
        connection.get("/healthz")
        return [connection.ask(request) * 1000 for _ in range(row.requests)]


def _warmed_up(row: Row, port: int, request: Request) -> bytes:
    """The answer, after some requests that do not count."""
    with closing(Connection(port)) as connection:
        for _ in range(row.warm_up):
            connection.ask(request)
        return bytes(connection.answer)


def stalls(row: Row, folder: Path, request: Request) -> dict[str, Any]:
    """Milliseconds that our event loop served nothing else, at most, while it answered two turns of requests."""
    ticks = folder / "ticks"
    ticks.write_bytes(bytes(FORMAT.size))
    with serving("ours", row.package, folder, workers=row.workers, ticks=ticks) as server:
        _warmed_up(row, server.port, request)
        time.sleep(_SETTLE_SECONDS)
        with ticks.open("r+b") as file:
            file.write(bytes(FORMAT.size))
        for _ in range(2):
            _turn(row, server.port, request)
        time.sleep(_SETTLE_SECONDS)
        longest, own = FORMAT.unpack(ticks.read_bytes())
    figures = {"longest": round(longest * 1000, 2), "longest_with_a_core": round(own * 1000, 2)}
    return {"stall_ms": {**figures, "goal": STALL_GOAL, "met": own * 1000 <= STALL_GOAL}}


def _demand_the_same(answers: dict[str, bytes]) -> None:
    if len(set(answers.values())) > 1:
        begun = {side: answer[:300] for side, answer in answers.items()}
        raise SystemExit(f"the two sides do not answer alike: {begun}")
