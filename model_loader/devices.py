"""Which device each worker sees: one GPU, or none and its share of the CPU's threads."""

import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_loader.errors import DeviceError

DeviceChoice = Literal["auto", "cpu", "gpu"]

_QUERY = ("--query-gpu=index,uuid,name", "--format=csv,noheader")
_SMI_TIMEOUT = 20.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Device:
    """What one worker computes on: a name for people and the variables that make it so."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DevicePlan:
    """One device per worker, and what the operator should know about the choice."""

    devices: tuple[Device, ...]
    warnings: tuple[str, ...] = ()
    on_gpu: bool = False


@dataclass(frozen=True)
class Gpu:
    """A GPU as `nvidia-smi` lists it."""

    index: str
    uuid: str
    name: str


def plan_devices(device_type: str, choice: DeviceChoice, workers: int | None, environ: Mapping[str, str]) -> DevicePlan:
    """The devices for the package's `device_type` under the operator's `choice`.

    `auto` does what the package says, with a warning where it asks for a GPU that is not here (most public packages
    ask and run on a CPU all the same). `workers` defaults to one per GPU, else one; more workers than GPUs share them.
    Raises DeviceError when the operator demands a GPU and there is none.
    """
    wanted = _is_gpu_wanted(device_type, choice)
    gpus = find_gpus(environ) if wanted else ()
    if gpus:
        count = workers or len(gpus)
        chosen = [gpus[number % len(gpus)] for number in range(count)]
        devices = tuple(Device(f"gpu {g.index} ({g.name})", {"CUDA_VISIBLE_DEVICES": g.uuid}) for g in chosen)
        return DevicePlan(devices, on_gpu=True)
    if choice == "gpu":
        raise DeviceError(
            "--device gpu was asked for and no GPU is visible here: `nvidia-smi` lists none, or is not on PATH, or"
            " CUDA_VISIBLE_DEVICES hides them. Use --device auto or cpu to serve on the CPU."
        )
    warnings: tuple[str, ...] = ()
    if wanted:
        warnings = (
            "config.yaml asks for a GPU and none is visible here: the model runs on the CPU, which may be slow, and"
            " fails if it calls .cuda() without looking. --device gpu refuses to start without one.",
        )
    count = workers or 1
    return DevicePlan((_cpu(count, environ),) * count, warnings)


def builds_for_gpu(device_type: str, choice: DeviceChoice, environ: Mapping[str, str]) -> bool:
    """Whether an environment that is only built here is for a GPU: with `gpu` also without one, as in an image."""
    return choice == "gpu" or (_is_gpu_wanted(device_type, choice) and bool(find_gpus(environ)))


def _is_gpu_wanted(device_type: str, choice: DeviceChoice) -> bool:
    return device_type == "gpu" if choice == "auto" else choice == "gpu"


def find_gpus(environ: Mapping[str, str], timeout: float = _SMI_TIMEOUT) -> tuple[Gpu, ...]:
    """The GPUs that `nvidia-smi` lists and CUDA_VISIBLE_DEVICES does not hide, in that variable's order.

    It takes as long as `nvidia-smi` does, seconds where a driver wakes its GPUs first, and at most `timeout` seconds.
    """
    smi = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if smi is None:
        return ()
    try:
        listing = subprocess.run(
            [smi, *_QUERY],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()  # a driver that does not answer has no GPU to offer
    rows = [[part.strip() for part in line.split(",", 2)] for line in listing.stdout.splitlines()]
    gpus = tuple(Gpu(*row) for row in rows if len(row) == 3)
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return gpus
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in visible.split(",")):
        matches = _matches(gpus, entry)
        if len(matches) != 1:  # CUDA itself ignores everything from the first entry on that it does not know
            break
        chosen += matches
    return tuple(chosen)


def _matches(gpus: tuple[Gpu, ...], entry: str) -> list[Gpu]:
    """The GPUs that one entry of CUDA_VISIBLE_DEVICES means: an index, or the beginning of a UUID."""
    if entry.startswith("MIG-"):  # a slice of a GPU, which `nvidia-smi` does not list with the GPUs
        return [Gpu(entry, entry, "a slice of a GPU")] if gpus else []
    by_index = [gpu for gpu in gpus if gpu.index == entry]
    return by_index or [gpu for gpu in gpus if entry.startswith("GPU-") and gpu.uuid.startswith(entry)]


def _cpu(workers: int, environ: Mapping[str, str]) -> Device:
    variables = {"CUDA_VISIBLE_DEVICES": "-1"}
    allowed = cpu_count()
    if workers > 1 or allowed < (os.cpu_count() or 1):
        threads = str(max(1, allowed // workers))
        variables |= {name: threads for name in _THREAD_VARIABLES if name not in environ}
    return Device("cpu", variables)


def cpu_count(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many CPUs this process may use, by its affinity and by its container's quota, which libraries overlook."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return count if quota == "max" else min(count, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or an older kind of cgroup
        return count
