"""What a run saw, as JSON for programs and as tables for people."""

import os
import platform
import statistics
from pathlib import Path
from typing import Any

from chaos.faults import BY_NAME, CALLERS
from chaos.storm import Run, memory_of_run, percentile

_BEGIN, _END = "<!-- what follows is written by make chaos -->", "<!-- end of what make chaos writes -->"


def facts(run: Run) -> dict[str, Any]:
    """Everything as JSON."""
    first, last = memory_of_run(run)
    times = [value for value in run.health if value == value]
    return {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "load": {"median": statistics.median(run.load or [0.0]), "worst": max(run.load, default=0.0)},
        "seed": run.plan.seed,
        "seconds": round(run.seconds, 1),
        "kills": run.kills,
        "killed_while": dict(run.states),
        "restarts": run.restarts,
        "requests": run.seen.requests,
        "outcomes": {name: dict(counts) for name, counts in sorted(run.seen.outcomes.items())},
        "recovered_seconds": {
            name: {"times": len(times), "median": statistics.median(times), "p99": percentile(times, 99)}
            for name, times in sorted(run.recovered.items())
        },
        "healthz_seconds": {"times": len(times), "median": percentile(times, 50), "p99": percentile(times, 99)},
        "probe_woken_late_seconds": {"p99": percentile(run.lateness, 99)},
        "server_main_thread_seconds": {"ran": round(run.ran, 1), "waited_for_a_core": round(run.waited, 1)},
        "memory_bytes": {"first_minute": first, "last_minute": last, "every_minute": _every_minute(run)},
        "held": run.held,
        "broken": run.broken,
        "violations": run.seen.violations[:100],
    }


def tables(run: Run) -> str:
    """The same in Markdown."""
    found = facts(run)
    lines = [
        f"{found['requests']} requests and {found['kills']} workers ended from outside in {found['seconds']:.0f} s; "
        f"{found['restarts']} workers started anew. {found['machine']['cpus']} cores, Python "
        f"{found['machine']['python']}, load average {found['load']['median']:.1f} (median), "
        f"{found['load']['worst']:.1f} (worst).",
        "",
        "| what the model does | asked for | what its callers saw |",
        "|---|---|---|",
    ]
    outcomes = run.seen.outcomes
    for name in ["", *BY_NAME]:
        says = BY_NAME[name].says if name else "nothing: it answers"
        lines.append(f"| {says} | {sum(outcomes[name].values())} | {_told(outcomes[name])} |")
    lines += ["", "| what a caller does | times | what it saw |", "|---|---|---|"]
    lines += [f"| {name} | {sum(outcomes[name].values())} | {_told(outcomes[name])} |" for name in CALLERS]
    lines += ["", "| a worker is sent | times | ready again: median | 99th percentile |", "|---|---|---|---|"]
    for name, figures in found["recovered_seconds"].items():
        lines.append(f"| {name} | {figures['times']} | {figures['median']:.2f} s | {figures['p99']:.2f} s |")
    health, late = found["healthz_seconds"], found["probe_woken_late_seconds"]
    lines += [
        "",
        f"`/healthz`, {health['times']} times: median {health['median'] * 1000:.1f} ms, 99th percentile "
        f"{health['p99'] * 1000:.1f} ms. The probe itself was woken {late['p99'] * 1000:.1f} ms late (99th), and the "
        f"server's main thread waited {run.waited:.0f} s for a core to run {run.ran:.0f} s.",
        "",
        "Held:" if run.held else "",
        "",
        *(f"- {text}" for text in run.held),
    ]
    if run.broken:
        lines += ["", "Did not hold:", "", *(f"- {text}" for text in run.broken)]
    return "\n".join(lines) + "\n"


def write_into(document: Path, text: str) -> None:
    """Replace what stands between the two marks of `document`."""
    before, _, rest = document.read_text().partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise SystemExit(f"{document} has not both of the lines {_BEGIN} and {_END}")
    document.write_text(f"{before}{_BEGIN}\n\n{text}\n{_END}{after}")


def _every_minute(run: Run) -> list[int]:
    """The least in each minute: what is not given back."""
    minutes: dict[int, int] = {}
    for at, held in run.memory:
        minute = int(at // 60)
        minutes[minute] = min(held, minutes.get(minute, held))
    return list(minutes.values())


def _told(outcomes: dict[str, int]) -> str:
    ordered = sorted(outcomes.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count}" for name, count in ordered) or "-"
