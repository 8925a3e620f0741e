"""Where and with what a row was measured, and what else the machine did meanwhile."""

import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TOLD = (
    *("mdai-model-server", "fastapi", "starlette", "uvicorn", "uvloop", "httptools"),
    *("msgpack", "msgspec", "pydantic", "numpy", "pydicom"),
)
_HERTZ = os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """The machine and its system."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpus": os.cpu_count(),
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """The interpreter, the libraries that both sides run on, and this repository's commit."""
    found = {"python": platform.python_version(), **{name: version(name) for name in _TOLD}}
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    told = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return {**found, "commit": told.stdout.strip() or "unknown"}


@contextmanager
def watched() -> Iterator[dict[str, Any]]:
    """Filled at the end: when, how long, load average before and after, and the cores that others kept busy."""
    about: dict[str, Any] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    before, busy, own, began = os.getloadavg()[0], _busy(), _own(), time.monotonic()
    yield about
    seconds = time.monotonic() - began
    others = (_busy() - busy - (_own() - own)) / seconds
    about |= {"seconds": round(seconds, 1), "load_average": [round(before, 2), round(os.getloadavg()[0], 2)]}
    about["cores_busy_with_others"] = round(max(0.0, others), 2)


def _busy() -> float:
    """Seconds that all cores have worked for any process."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _HERTZ


def _own() -> float:
    """Seconds that they have worked for this process and its descendants that have ended."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)
