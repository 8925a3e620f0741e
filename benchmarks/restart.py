"""A worker that was killed, until another is ready, beside what any Python with the same imports takes."""

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.figures import difference, spread
from benchmarks.rows import Row
from benchmarks.servers import Server, serving, wait_for_workers, workers
from model_loader.starting import come_before

_ALONE = [sys.executable, "-I", "-c", "import numpy, pydicom; print(flush=True)"]
_PATIENCE_SECONDS = 60.0
_READY = re.compile(rb"(?m)^(\S+) INFO .* is ready on .*\n")


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
    with subprocess.Popen(_ALONE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        # As a worker: else whatever the machine does beside this would be held against the worker alone.
        come_before(process.pid)
        process.stdout.readline()
        return (time.perf_counter() - began) * 1000


def _restarted(server: Server) -> float:
    """From the kill until another is ready, by the time that the log gives, which writes its lines a moment later."""
    pid = workers(server)[0]["pid"]
    with server.log.open("rb") as log:
        log.seek(0, os.SEEK_END)
        began = time.time()
        os.kill(pid, signal.SIGKILL)
        said = b""
        while not (found := _READY.search(said)):
            if time.time() - began > _PATIENCE_SECONDS:
                raise TimeoutError(f"no worker became ready: {said!r}")
            time.sleep(0.01)
            said += log.read()
        return (datetime.fromisoformat(found[1].decode()).timestamp() - began) * 1000
