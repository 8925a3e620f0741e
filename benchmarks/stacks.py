"""What py-spy's raw stacks say: which stage a sample falls into, and which function it was in."""

import linecache
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST_FUNCTIONS = 10
_SMALL = 0.005
_KNOWN = re.compile(r".*/(?:site-packages|lib/python3\.\d+)/(.*)|.*/((?:mdai_guest|benchmarks)/.*)")
_FRAME = re.compile(r"(?P<function>.+) \((?P<path>.+):(?P<line>\d+)\)")

# The innermost frame that fits one of these has the sample: what numpy does for a model is the model's.
_REFERENCE = r"reference_server\.py: "
_GUEST = r"/mdai_guest/hosting\.py: "
_PACKING = "encoding|skeleton|arrays|addresses|uniform|grids|plain|verbatim|json_text|arenas"
_STAGES = tuple(
    (stage, re.compile(pattern))
    for stage, pattern in (
        ("the model", r"benchmarks/packages/"),
        ("joining the body", r"/starlette/requests\.py"),
        ("unpacking", rf"{_REFERENCE}.*unpackb|{_GUEST}.*unpackb|/mdai_guest/(request|content_path)\.py"),
        ("checking and packing", rf"{_REFERENCE}.*(check\(|packb|function check$)|/mdai_guest/({_PACKING})\.py"),
        ("the worker's loop", r"/worker/__main__\.py|/mdai_guest/"),
        ("judging", r"/app/interface/"),
        ("the log", r"/logging/__init__\.py|/app/(logs|log_writer)\.py"),
        ("HTTP (uvicorn, starlette, fastapi)", r"/(uvicorn|starlette|fastapi)/"),
        ("the event loop", r"/(asyncio|uvloop)/"),
        ("the request's way through the server", r"/app/|reference_server\.py"),
        ("the way to the worker", r"/model_loader/"),
    )
)
# Calls that only wait. Of some threads in them py-spy says that they run.
_WAITING = re.compile(r"work_queue\.get\(|waiter\.acquire\(|waitid\(|\.poll\(|stdin\.buffer\.read\(")
_ELSEWHERE = "elsewhere"
#: In the order in which they are told.
STAGES = (*(stage for stage, _ in _STAGES), _ELSEWHERE)


@dataclass(frozen=True)
class Frame:
    function: str
    path: str
    line: int

    @property
    def text(self) -> str:
        return linecache.getline(self.path, self.line).strip()

    @property
    def stage(self) -> str | None:
        place = f"{self.path}: {self.text} function {self.function}"
        return next((stage for stage, pattern in _STAGES if pattern.search(place)), None)


def told(raw: str, code: Path) -> dict[str, Any]:
    """The shares of the samples, by stage and by function, of stacks like `process 7;f (a.py:1);g (b.py:2) 12`.

    Only threads that run are sampled, so that a share is one of the cores' time. Paths are told from `code` on.
    """
    stages: Counter[str] = Counter()
    places: Counter[Frame] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [Frame(one["function"], one["path"], int(one["line"])) for one in _frames(stack)]
        if frames and not _WAITING.search(frames[-1].text):
            stages[next((stage for frame in reversed(frames) if (stage := frame.stage)), _ELSEWHERE)] += int(count)
            places[frames[-1]] += int(count)
    total = stages.total() or 1
    return {
        "samples": stages.total(),
        "stages": {stage: round(n / total, 4) for stage, n in stages.most_common() if n / total >= _SMALL},
        "functions": _functions(places, total, code),
    }


def _frames(stack: str) -> list[re.Match[str]]:
    return [found for part in stack.split(";") if (found := _FRAME.fullmatch(part))]


def _functions(places: Counter[Frame], total: int, code: Path) -> list[dict[str, Any]]:
    """The functions with the most samples of their own, each with the line of it that has the most."""
    sums: Counter[tuple[str, str]] = Counter()
    hottest: dict[tuple[str, str], Frame] = {}
    for frame, count in places.most_common():
        sums[frame.function, frame.path] += count
        hottest.setdefault((frame.function, frame.path), frame)
    return [
        {
            "function": f"{function} ({_short(path, code)})",
            "line": hottest[function, path].text,
            "share": round(count / total, 4),
        }
        for (function, path), count in sums.most_common(_MOST_FUNCTIONS)
        if count / total >= _SMALL
    ]


def _short(path: str, code: Path) -> str:
    """The path as its readers know it, with nothing of this machine in it: the guest is copied before it runs."""
    if found := _KNOWN.fullmatch(path):
        return found[1] or found[2]
    return path.removeprefix(f"{code}/")
