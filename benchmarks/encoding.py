"""What it costs to check and pack outputs, beside msgpack.packb of the same as nested lists, which checks nothing.

    python benchmarks/encoding.py [--runs 9] [--json FILE]

Each line is one kind of output: packb, then the worker's way for lists and for the array that they came from (response
and skeleton, written to shared memory), then the server's judge, in turn in each run. Figures are milliseconds of
this process's own time, the least and the median of the runs; the ratios are of the medians. Needs the development
environment and Linux.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.interface.outputs import judge
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import encoding

SIDE = 512


def disc() -> Any:
    """A round foreground in a square image, as booleans."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - SIDE / 2) ** 2 + (columns - SIDE / 2) ** 2 < (0.3 * SIDE) ** 2


def cases() -> dict[str, tuple[int, str, Any]]:
    """By name: how many outputs, under which key of `data`, and the array."""
    chance = np.random.default_rng(0)
    return {
        "1 mask of 0 and 1": (1, "mask", disc().astype("u1")),
        "20 masks of 0 and 1": (20, "mask", disc().astype("u1")),
        "100 masks of 0 and 1": (100, "mask", disc().astype("u1")),
        "20 masks of 0 and 255": (20, "mask", disc().astype("u1") * 255),
        "20 masks of bools": (20, "mask", disc()),
        "20 masks of floats": (20, "mask", disc() * chance.random((SIDE, SIDE))),
        "20 masks of labels to 1000": (20, "mask", disc() * chance.integers(0, 1000, (SIDE, SIDE))),
        "100,000 vertices, ints": (1, "vertices", chance.integers(0, 4096, (100_000, 2))),
        "100,000 vertices, floats": (1, "vertices", chance.random((100_000, 2)) * 4096),
    }


def output(number: int, data: dict[str, Any]) -> dict[str, Any]:
    """One output with nothing doubtful in it."""
    uids = {"study_uid": "1.2.3", "series_uid": "1.2.3.4", "instance_uid": f"1.2.3.4.{number}"}
    return {"type": "ANNOTATION", **uids, "class_index": number % 5, "probability": 0.5, "data": data}


def measured(steps: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Milliseconds of each step in each run, the steps in turn; the first run does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for run in range(runs + 1):
        for name, step in steps.items():
            gc.collect()
            began = time.process_time()
            step()
            if run:
                times[name].append(1000 * (time.process_time() - began))
    return times


def figures_of(lists: list[Any], arrays: list[Any] | None, runs: int) -> dict[str, float]:
    with SharedBuffer() as buffer:
        size, skeleton_size = encoding.write_into(lists, encoding.Sink(lambda: buffer.fd), "msgpack")
        skeleton = buffer.read(size, skeleton_size)
        steps: dict[str, Callable[[], object]] = {
            "packb": lambda: msgpack.packb(lists),
            "lists": lambda: encoding.write_into(lists, encoding.Sink(lambda: buffer.fd), "msgpack"),
            "judge": lambda: judge(skeleton),
        }
        if arrays is not None:
            steps["arrays"] = lambda: encoding.write_into(arrays, encoding.Sink(lambda: buffer.fd), "msgpack")
        times = measured(steps, runs)
    figures = {f"{name}_ms": statistics.median(values) for name, values in times.items()}
    figures |= {f"{name}_least_ms": min(values) for name, values in times.items()}
    for name in times.keys() - {"packb"}:
        figures[f"{name}_ratio"] = figures[f"{name}_ms"] / figures["packb_ms"]
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=9, help="runs to take the median of")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    columns = ("packb", "lists", "arrays", "judge")
    print(f"{'milliseconds, median (least); ratio':36}" + "".join(f"{column:>26}" for column in columns))
    for name, (count, key, array) in cases().items():
        as_lists = [output(number, {key: array.tolist()}) for number in range(count)]
        as_arrays = [output(number, {key: array}) for number in range(count)]
        found[name] = figures_of(as_lists, as_arrays, options.runs)
        print(line(name, found[name], columns))
    boxes = [output(number, {"x": number, "y": 7, "width": 20, "height": 10}) for number in range(10_000)]
    found["10,000 boxes"] = figures_of(boxes, None, options.runs)
    print(line("10,000 boxes", found["10,000 boxes"], columns))
    if options.json:
        load = round(os.getloadavg()[0], 1)
        machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "load": load}
        machine |= {"python": platform.python_version(), "numpy": np.__version__, "msgpack": msgpack.version}
        options.json.write_text(json.dumps({"machine": machine, "figures": found}, indent=2) + "\n")
    return 0


def line(name: str, figures: dict[str, float], columns: tuple[str, ...]) -> str:
    cells = []
    for column in columns:
        if f"{column}_ms" in figures:
            ratio = f" {figures[f'{column}_ratio']:6.2f}" if column != "packb" else ""
            cells.append(f"{figures[f'{column}_ms']:9.2f} ({figures[f'{column}_least_ms']:.2f}){ratio}")
        else:
            cells.append("")
    return f"{name:36}" + "".join(f"{cell:>26}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
