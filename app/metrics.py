"""What the service counts about itself, and how that reads to Prometheus.

Counting is plain arithmetic, a few microseconds a request; prometheus_client, which takes a tenth of a second to
import, comes with the first scrape. Labels come from short lists of this service's own words: nothing of a request's
content, and no path that a caller made up, becomes one.
"""

import os
import platform
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from app.about import API_VERSION, service_version
from model_loader.memory import resident_bytes

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

#: Every metric, with its labels and what it says; docs/operations.md has the same table.
METRICS: dict[str, tuple[tuple[str, ...], str]] = {
    "mdai_model_build_info": (("version", "api_version", "python"), "The server; always 1."),
    "mdai_model_start_time_seconds": ((), "When the service started, in seconds since 1970."),
    "mdai_model_ready": ((), "1 when a worker can predict, else 0."),
    "mdai_model_requests_total": (
        ("route", "status", "problem"),
        "Answers, by route, HTTP status and type of problem.",
    ),
    "mdai_model_predict_in_progress": ((), "Requests to predict that have no whole answer yet."),
    "mdai_model_predict_duration_seconds": ((), "From the head of a request to predict to the end of its answer."),
    "mdai_model_stage_duration_seconds": (("stage",), "Stages of predictions."),
    "mdai_model_request_body_bytes": ((), "Size of bodies sent to predict, as far as they were received."),
    "mdai_model_response_body_bytes": ((), "Size of answers of predict, errors included."),
    "mdai_model_queue_length": ((), "Requests that wait for a worker."),
    "mdai_model_workers": (("state",), "Workers, by state."),
    "mdai_model_worker_restarts_total": (("worker", "cause"), "Workers that ended, and starts that failed."),
    "mdai_model_server_resident_memory_bytes": ((), "Memory of the server's process."),
    "mdai_model_worker_resident_memory_bytes": (("worker",), "Memory of the worker's process, without its children."),
}

#: The route of requests to predict, whose sizes and times are measured.
PREDICT = "predict"
STAGES = ("upload", "queue", "decode", "predict", "encode", "judge")
WORKER_STATES = ("starting", "ready", "busy", "stopping", "dead")

_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
_LONGEST = 1e6
#: Requests whose measurements are sorted in together, in half a millisecond.
_MOST_UNFOLDED = 500
_BYTES = tuple(float(4**power * 1024) for power in range(12))  # 1 kiB to 4 GiB


class Served(Protocol):
    """What is counted of a request and its answer."""

    status: int
    """0 where the client left before it had an answer."""
    problem_type: str
    """The last part of the problem's type, as docs/http.md lists it; "" for none."""
    started_at: float
    received: int
    sent: int
    timings: dict[str, float]


def stages_of(timings: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """The stages in `timings`, which a package can have a hand in: what is no stage or can be no time is left out."""
    return [(stage, seconds) for stage, seconds in timings.items() if stage in STAGES and 0 <= seconds < _LONGEST]


class Histogram:
    """Observations by size: `bounds` are the buckets' upper ends, without the infinite one.

    `observe` takes one. They are sorted into buckets by `fold`, many at once, which costs less than each by itself.
    """

    __slots__ = ("_new", "bounds", "counts", "observe", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._new: list[float] = []
        self.observe = self._new.append

    def fold(self) -> None:
        """Sort in what has been observed since the last time."""
        new = self._new
        new.sort()
        begin = 0
        for index, bound in enumerate(self.bounds):
            end = bisect_right(new, bound, begin)
            self.counts[index] += end - begin
            begin = end
        self.counts[-1] += len(new) - begin
        self.total += sum(new)
        new.clear()

    def buckets(self) -> list[tuple[str, float]]:
        """Prometheus' form: for each upper end how many observations are no larger."""
        below, found = 0.0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            found.append(("+Inf" if bound == float("inf") else repr(bound), below))
        return found


class Metrics:
    """The counts of one service. Everything but `text` is for the event loop, and cheap."""

    def __init__(self) -> None:
        self.started_at = time.time()
        self._in_progress = 0
        self._requests: Counter[tuple[str, int, str]] = Counter()
        self._duration = Histogram(_SECONDS)
        self._stages = {stage: Histogram(_SECONDS) for stage in STAGES}
        self._received, self._sent = Histogram(_BYTES), Histogram(_BYTES)
        self._unfolded = 0

    def began(self, route: str) -> None:
        """A request has come; `ended` must follow."""
        if route == PREDICT:
            self._in_progress += 1

    def ended(self, route: str, served: Served) -> None:
        """It has its answer; 499 stands for a client that left before it had one."""
        self._requests[route, served.status or 499, served.problem_type] += 1
        if route == PREDICT:
            self._in_progress -= 1
            self._measure(served)

    def _measure(self, served: Served) -> None:
        self._duration.observe(time.perf_counter() - served.started_at)
        self._received.observe(served.received)
        self._sent.observe(served.sent)
        for stage, seconds in stages_of(served.timings):
            self._stages[stage].observe(seconds)
        self._unfolded += 1
        if self._unfolded >= _MOST_UNFOLDED:
            self.fold()

    def fold(self) -> None:
        """Sort in what has been measured: before `text`."""
        self._unfolded = 0
        for histogram in (self._duration, self._received, self._sent, *self._stages.values()):
            histogram.fold()

    def text(self, facts: Mapping[str, Any], accept: str) -> tuple[bytes, str]:
        """Everything, with the pool's `facts`, in the form that `accept` asks for, and the form's media type.

        Measurements count as of the last `fold`. May run on a thread.
        """
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.registry import Collector, CollectorRegistry

        metrics = self

        class Now(Collector):
            def collect(self) -> "Iterator[Metric]":
                return metrics.collect(facts)

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Now())
        encode, media = choose_encoder(accept)
        return encode(registry), media

    def collect(self, facts: Mapping[str, Any]) -> "Iterator[Metric]":
        """Every metric of METRICS, as prometheus_client has them."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        simple = self._simple(facts)
        histograms = self._histograms()
        for name, (labels, text) in METRICS.items():
            if name in histograms:
                family: Any = HistogramMetricFamily(name, text, labels=labels)
                for values, histogram in histograms[name].items():
                    family.add_metric(values, histogram.buckets(), histogram.total)
            else:
                family = (CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily)(
                    name, text, labels=labels
                )
                for values, value in simple[name].items():
                    family.add_metric(values, value)
            yield family

    def _histograms(self) -> dict[str, dict[tuple[str, ...], Histogram]]:
        return {
            "mdai_model_predict_duration_seconds": {(): self._duration},
            "mdai_model_stage_duration_seconds": {(stage,): one for stage, one in self._stages.items()},
            "mdai_model_request_body_bytes": {(): self._received},
            "mdai_model_response_body_bytes": {(): self._sent},
        }

    def _simple(self, facts: Mapping[str, Any]) -> dict[str, dict[tuple[str, ...], float]]:
        workers = facts.get("workers", [])
        states = Counter(worker.get("state", "") for worker in workers)
        return {
            "mdai_model_build_info": {(service_version(), API_VERSION, platform.python_version()): 1},
            "mdai_model_start_time_seconds": {(): self.started_at},
            "mdai_model_ready": {(): float(facts.get("state") == "ready")},
            "mdai_model_requests_total": {
                (route, str(status), problem): count for (route, status, problem), count in list(self._requests.items())
            },
            "mdai_model_predict_in_progress": {(): self._in_progress},
            "mdai_model_queue_length": {(): facts.get("waiting", 0)},
            "mdai_model_workers": {(state,): states[state] for state in WORKER_STATES},
            "mdai_model_worker_restarts_total": dict(_restarts(workers)),
            "mdai_model_server_resident_memory_bytes": _memory(os.getpid(), ()),
            "mdai_model_worker_resident_memory_bytes": {
                key: value
                for worker in workers
                for key, value in _memory(worker.get("pid", 0), (str(worker.get("id", "")),)).items()
            },
        }


def _restarts(workers: list[dict[str, Any]]) -> Iterator[tuple[tuple[str, ...], float]]:
    for worker in workers:
        for cause, count in worker.get("restarts_by_cause", {}).items():
            yield (str(worker.get("id", "")), cause), float(count)


def _memory(pid: int, labels: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    """Resident bytes of a process, under `labels`; nothing where nobody can tell."""
    resident = resident_bytes(pid)
    return {labels: float(resident)} if resident else {}
