"""Every comparison, what it asks, and what it must reach: one line each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks.bodies import MB, asking, empty, of_bytes, slices

#: The server's event loop may be held so long by any request, in milliseconds.
STALL_GOAL = 20.0


@dataclass(frozen=True)
class Goal:
    """A limit of a row's figure: `most` for what should be small, `least` for what should be large."""

    most: float | None = None
    least: float | None = None

    def is_met(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def __str__(self) -> str:
        return f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"


@dataclass(frozen=True)
class Row:
    """A comparison of one request on both sides.

    Each round asks one side `requests` times and then the other. `clients` above one makes it a matter of requests
    per second. `own_body` is what ours is asked where it is not what the reference is asked.
    """

    name: str
    title: str
    kind: Literal["latency", "throughput", "memory", "restart", "hold", "abort"]
    package: str = "empty"
    body: Callable[[], bytes] = empty
    own_body: Callable[[], bytes] | None = None
    rounds: int = 10
    requests: int = 3
    warm_up: int = 2
    clients: int = 1
    workers: int = 1
    goal: Goal | None = None


def _segment(count: int, form: str, goal: float, rounds: int, requests: int) -> Row:
    """Segmented slices whose masks ours returns in a form; the reference in lists of ints where it takes no other."""
    told = {"lists": "masks as lists", "arrays": "masks as arrays (the reference: lists)", "floats": "masks of floats"}
    told |= {"255": "masks of 0 and 255", "bools": "masks of booleans (the reference, which refuses them: ints)"}
    theirs = "lists" if form in ("arrays", "bools") else form
    return Row(
        f"segment-{count}-{form}",
        f"segment {count} slice{'s' if count > 1 else ''}, {told[form]}",
        "latency",
        package="segment",
        body=partial(slices, count, form=theirs),
        own_body=None if theirs == form else partial(slices, count, form=form),
        rounds=rounds,
        requests=requests,
        warm_up=1,
        goal=Goal(most=goal),
    )


def _drawn(form: str, count: int, title: str, goal: Goal | None) -> Row:
    body = partial(asking, form=form, count=str(count))
    return Row(f"{form}-{count}", title, "latency", package="draw", body=body, requests=5, goal=goal)


ROWS = (
    Row("empty", "empty request, 1 client", "latency", rounds=30, requests=100, warm_up=200, goal=Goal(most=1.0)),
    Row(
        "empty-8", "empty request, 8 clients, 2 workers", "throughput",
        rounds=15, requests=1500, warm_up=300, clients=8, workers=2, goal=Goal(least=1.3),
    ),
    Row("body-0.5MB", "0.5 MB body, 1 client", "latency", body=partial(of_bytes, MB // 2),
        rounds=30, requests=30, warm_up=30, goal=Goal(most=1.0)),
    Row("body-50MB", "50 MB body, 1 client", "latency", body=partial(of_bytes, 50 * MB),
        rounds=15, requests=5, warm_up=3, goal=Goal(most=0.5)),
    Row("body-200MB", "200 MB body, 1 client", "latency", body=partial(of_bytes, 200 * MB),
        rounds=10, requests=4, warm_up=2, goal=Goal(most=0.5)),
    Row("body-50MB-4", "50 MB bodies, 4 clients, 2 workers", "throughput", body=partial(of_bytes, 50 * MB),
        rounds=10, requests=16, warm_up=8, clients=4, workers=2, goal=Goal(least=1.6)),
    Row("classify-100-4", "classify 100 slices, 4 clients, 2 workers", "throughput", package="classify",
        body=partial(slices, 100), rounds=8, requests=8, warm_up=4, clients=4, workers=2, goal=Goal(least=1.7)),
    _segment(1, "lists", 0.6, rounds=20, requests=10),
    _segment(20, "lists", 0.6, rounds=10, requests=3),
    _segment(100, "lists", 0.6, rounds=10, requests=1),
    _segment(1, "arrays", 0.25, rounds=20, requests=10),
    _segment(20, "arrays", 0.25, rounds=10, requests=3),
    _segment(100, "arrays", 0.25, rounds=10, requests=1),
    _segment(20, "floats", 0.6, rounds=8, requests=3),
    _segment(20, "255", 0.6, rounds=8, requests=3),
    _segment(20, "bools", 0.6, rounds=8, requests=3),
    _drawn("floats", 100_000, "an outline of 100,000 vertices, floats", Goal(most=0.6)),
    _drawn("ints", 100_000, "an outline of 100,000 vertices, ints", Goal(most=0.6)),
    _drawn("boxes", 10_000, "10,000 boxes", None),
    Row("memory-1.5GB", "peak memory of a 1.5 GB body over idle, all processes", "memory",
        body=partial(of_bytes, 1500 * MB), rounds=2, goal=Goal(most=2.1)),
    Row("restart", "a killed worker (numpy, pydicom) until another is ready, over interpreter and imports", "restart",
        package="segment", rounds=60, goal=Goal(most=50)),
    Row("hold", "/healthz while a predict holds the interpreter for 5 s", "hold", package="misbehave"),
    Row("abort", "a model that aborts: until the next predict is answered", "abort", package="misbehave", rounds=5),
)  # fmt: skip
BY_NAME = {row.name: row for row in ROWS}
