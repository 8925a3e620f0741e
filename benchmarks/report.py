"""docs/benchmarks.md, with its plots, from what was recorded."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import sections
from benchmarks.plots import Bar, bars
from benchmarks.rows import ROWS, STALL_GOAL, Row
from benchmarks.sections import Recorded, Rows, short, spread_told

DOCUMENTS = Path(__file__).parents[1] / "docs"
NOTHING: Recorded = {"machine": {}, "rows": {}}

# Of all cores, what other programs may take before the page says that they disturbed.
_QUIET_CORES = 0.2
_METHOD = Path(__file__).with_name("method.md")


def write(
    recorded: Recorded, peers: Recorded = NOTHING, profiles: Recorded = NOTHING, documents: Path = DOCUMENTS
) -> None:
    """Write the page and its plots into a folder."""
    (documents / "benchmarks.md").write_text(page(recorded, peers, profiles))
    for name, picture in plots(recorded["rows"]).items():
        (documents / name).write_text(picture)


def page(recorded: Recorded, peers: Recorded = NOTHING, profiles: Recorded = NOTHING) -> str:
    """The whole page as Markdown."""
    rows: Rows = {row.name: recorded["rows"][row.name] for row in ROWS if row.name in recorded["rows"]}
    lines = [
        "# Benchmarks",
        "",
        "How fast the service is beside a server of the reference's design, which runs the model in its own process."
        " Written by `python -m benchmarks report`; do not edit it by hand.",
        "",
        *_verdict(rows),
        "",
        "![Time for a request, as a multiple of the reference's](benchmarks-ratios.svg)",
        "",
        "A bar is the time that ours takes for a request, the reference's being 1; for requests per second it is the"
        " inverse of their ratio. The thick mark is the goal, the thin line the interval.",
        "",
        *_compared(rows),
        "",
        "![How long the event loop was held](benchmarks-stalls.svg)",
        "",
        *_stalls(rows),
        "",
        *_others(rows),
        "",
        *sections.beside_peer(peers["rows"]),
        _METHOD.read_text(),
        *sections.profiled(profiles["rows"]),
        *_circumstances(recorded["machine"], rows),
    ]
    return "\n".join(lines) + "\n"


def plots(rows: Rows) -> dict[str, str]:
    """Pictures by the name of their file."""
    ratios, stalls = [], []
    for row in ROWS:
        figures = rows.get(row.name, {})
        if figures.get("figure", {}).get("of") == "ratio":
            ratios.append(_ratio_bar(row, figures["figure"]))
        if stall := figures.get("stall_ms"):
            own = stall["longest_with_a_core"]
            stalls.append(Bar(_brief(row), own, own, stall["longest"], STALL_GOAL, f"{own:.1f} ms"))
    return {
        "benchmarks-ratios.svg": bars("Time for a request, as a multiple of the reference's", ratios, 2.5, line=1.0),
        "benchmarks-stalls.svg": bars(
            "Longest stall of the event loop, ms (thin: with waits for a core)", stalls, 60.0
        ),
    }


def _ratio_bar(row: Row, figure: Mapping[str, float]) -> Bar:
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    goal = row.goal.most if row.goal else None
    if row.kind == "throughput":
        value, low, high = 1 / value, 1 / high, 1 / low
        goal = 1 / row.goal.least if row.goal and row.goal.least else None
    return Bar(_brief(row), value, low, high, goal, f"× {value:.2f}")


def _brief(row: Row) -> str:
    return row.title.partition(" (")[0]


def _verdict(rows: Rows) -> list[str]:
    judged = {name: figures for name, figures in rows.items() if "goal" in figures}
    missed = [(name, figures) for name, figures in judged.items() if not figures["met"]]
    stalled = [figures for figures in rows.values() if not figures.get("stall_ms", {"met": True})["met"]]
    lines = [f"**{len(judged) - len(missed)} of {len(judged)} goals are reached.**"]
    busy = statistics.median(figures["cores_busy_with_others"] for figures in rows.values())
    if busy > _QUIET_CORES:
        lines += [
            "",
            f"Other programs kept {busy:.1f} cores busy meanwhile, so that times are mostly waits for a core.",
        ]
    if missed:
        lines += ["", "Not reached:", ""]
        for name, figures in missed:
            figure = figures["figure"]
            is_slower = figure["low"] > 1 if _row(name).kind == "latency" else figure["high"] < 1
            lost = ", **slower than the reference**" if figure["of"] == "ratio" and is_slower else ""
            lines.append(f"- {figures['title']}: {figure['value']:.2f}, wanted {figures['goal']}{lost}")
    lines += [f"- the event loop, {one['title']}: held {one['stall_ms']['longest_with_a_core']} ms" for one in stalled]
    return lines


def _row(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def _compared(rows: Rows) -> list[str]:
    lines = [
        "| | reference: median (quartiles) | ours | ratio (95 %) | goal | cores' time, reference and ours, ms |",
        "|---|---|---|---|---|---|",
    ]
    for figures in rows.values():
        figure = figures["figure"]
        if figure["of"] == "ratio":
            used = figures["cpu_ms_per_request"]
            goal = f"{figures['goal']} {'✓' if figures['met'] else '✗'}" if "goal" in figures else ""
            lines.append(
                f"| {figures['title']} | {spread_told(figures['reference'], figures['unit'])} |"
                f" {spread_told(figures['ours'], figures['unit'])} |"
                f" **{figure['value']:.2f}** ({figure['low']:.2f}–{figure['high']:.2f}) | {goal} |"
                f" {short(used['reference'])}, {short(used['ours'])} |"
            )
    return lines


def _stalls(rows: Rows) -> list[str]:
    found = [figures["stall_ms"]["longest_with_a_core"] for figures in rows.values() if "stall_ms" in figures]
    if not found:
        return []
    return [
        f"While ours answered these requests, its event loop served nothing else for {max(found):.1f} ms at most"
        f" ({STALL_GOAL:g} are allowed), waits for a core taken off."
    ]


def _others(rows: Rows) -> list[str]:
    lines = ["| | reference | ours | goal |", "|---|---|---|---|"]
    for name, figures in rows.items():
        goal = f"{figures['goal']} {'✓' if figures['met'] else '✗'}" if "goal" in figures else ""
        ours = figures["ours"]
        match _row(name).kind:
            case "memory":
                back = figures["back_to_idle"]
                told = f"{ours['median']:.2f} × body, at first level again (+ 10 %) after {back['seconds']} s"
                theirs = f"{figures['reference']['median']:.2f} × body"
            case "restart":
                told = f"{ours['median']:.0f} ms, {figures['figure']['value']:.0f} more"
                theirs = f"{figures['reference']['median']:.0f} ms (interpreter and imports alone)"
            case "hold":
                told, theirs = (f"{figures[side]['most']:,.0f} ms at worst" for side in ("ours", "reference"))
            case "abort":
                told = f"told after {figures['ours_told']['median']:.0f} ms, good again after {ours['median']:.0f} ms"
                again = figures["reference_again"]
                theirs = f"{figures['reference_answer']}; {'never' if again is None else f'after {again:.0f} ms'} again"
            case _:
                continue
        lines.append(f"| {figures['title']} | {theirs} | {told} | {goal} |")
    return lines if len(lines) > 2 else []


def _circumstances(machine: Mapping[str, Any], rows: Rows) -> list[str]:
    latest = max(rows.values(), key=lambda figures: str(figures["at"]))
    versions = ", ".join(f"{name} {version}" for name, version in latest["versions"].items())
    lines = [
        "## Where and when",
        "",
        f"{machine['cpus']} cores ({machine['cpu']}), {machine['memory_gb']} GB, Linux {machine['kernel']}.",
        f"{versions}.",
        "",
        "| row | at | turns of each side | load average before and after | cores busy with other programs |",
        "|---|---|---|---|---|",
    ]
    for name, figures in rows.items():
        before, after = figures["load_average"]
        busy = figures["cores_busy_with_others"]
        lines.append(f"| `{name}` | {figures['at']} | {figures.get('rounds', '')} | {before}, {after} | {busy} |")
    return lines


def read(folder: Path) -> dict[str, Any]:
    """A folder's recorded files as one; of a row that is in several the last counts."""
    recorded: dict[str, Any] = {"machine": {}, "rows": {}}
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        recorded = {"machine": found["machine"], "rows": {**recorded["rows"], **found["rows"]}}
    return recorded
