"""How much memory one large body takes, and how soon it is given back."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.bodies import empty
from benchmarks.client import Connection, Request
from benchmarks.figures import spread
from benchmarks.processes import memory, sampled
from benchmarks.rows import Row
from benchmarks.servers import SIDES, serving

BACK_WITHIN_SECONDS = 10.0
BACK_SHARE = 0.1
_EVERY_SECONDS = 0.01
_GB = 1e9


def compare(row: Row, folder: Path) -> dict[str, Any]:
    """Peak over idle as a multiple of the body, on both sides; seconds until ours holds little more than at first."""
    request = Request(row.body())
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(row.rounds):
        for side in SIDES:
            seen[side].append(_one(side, row, folder, request))
    peaks = {side: [round(one["multiple"], 3) for one in seen[side]] for side in SIDES}
    back = max(one["back_seconds"] for one in seen["ours"])
    return {
        "unit": "× body",
        "bytes_in": len(request.body),
        **{side: spread(peaks[side]) for side in SIDES},
        "figure": {
            "of": "peak over idle",
            "value": max(peaks["ours"]),
            "low": min(peaks["ours"]),
            "high": max(peaks["ours"]),
        },
        "back_to_idle": {
            "seconds": None if back == float("inf") else round(back, 2),
            "goal": BACK_WITHIN_SECONDS,
            "met": back <= BACK_WITHIN_SECONDS,
            "gb": [{name: round(one[name] / _GB, 3) for name in ("idle", "peak", "after")} for one in seen["ours"]],
            "reference_gb": [
                {name: round(one[name] / _GB, 3) for name in ("idle", "peak", "after")} for one in seen["reference"]
            ],
        },
    }


def _one(side: str, row: Row, folder: Path, request: Request) -> dict[str, float]:
    with serving(side, row.package, folder) as server:
        with closing(Connection(server.port)) as connection:
            connection.ask(Request(empty()))
        idle = memory(server.pid)
        with (
            sampled(lambda: (time.monotonic(), memory(server.pid)), _EVERY_SECONDS) as samples,
            closing(Connection(server.port, timeout=600)) as connection,
        ):
            connection.ask(request)
            answered = time.monotonic()
            time.sleep(BACK_WITHIN_SECONDS)
    peak = max(held for _, held in samples)
    above = [at - answered for at, held in samples if at >= answered and held > idle * (1 + BACK_SHARE)]
    is_back = samples[-1][1] <= idle * (1 + BACK_SHARE)
    return {
        "idle": idle,
        "peak": peak,
        "after": samples[-1][1],
        "multiple": (peak - idle) / len(request.body),
        "back_seconds": max(above, default=0.0) if is_back else float("inf"),
    }
