"""A worker that was killed, until another is ready, beside what any Python with the same imports takes."""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import difference, spread
from benchmarks.rows import Row
from benchmarks.servers import Server, serving, wait_for_workers, workers

_ALONE = [sys.executable, "-I", "-c", "import numpy, pydicom; print(flush=True)"]
_PATIENCE_SECONDS = 60.0


def compare(row: Row, folder: Path) -> dict[str, Any]:
    """Milliseconds of both, in turns, and the difference."""
    alone, restarted = [], []
    with serving("ours", row.package, folder) as server:
        for number in range(row.rounds + 1):
            times = _alone(), _restarted(server)
            if number:  # the first fills the system's own caches
                alone.append(times[0])
                restarted.append(times[1])
            wait_for_workers(server, 1)
    return {
        "unit": "ms",
        "reference_is": "interpreter and imports",
        "reference": spread(alone),
        "ours": spread(restarted),
        "figure": {"of": "ms more", **difference(alone, restarted)},
        "least_difference": round(min(restarted) - min(alone), 1),
        "median_difference": round(statistics.median(restarted) - statistics.median(alone), 1),
    }


def _alone() -> float:
    began = time.perf_counter()
    with subprocess.Popen(_ALONE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        return (time.perf_counter() - began) * 1000


def _restarted(server: Server) -> float:
    """From the kill until the log says that another is ready. Watching the log disturbs the server little."""
    pid = workers(server)[0]["pid"]
    with server.log.open("rb") as log:
        log.seek(0, os.SEEK_END)
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        said = b""
        while b"is ready" not in said:
            if time.perf_counter() - began > _PATIENCE_SECONDS:
                raise TimeoutError(f"no worker became ready: {said!r}")
            time.sleep(0.001)
            said += log.read()
        return (time.perf_counter() - began) * 1000
