"""The parts of docs/benchmarks.md that have runs of their own: beside LitServe, and what the profilers saw."""

from collections.abc import Mapping
from typing import Any

from benchmarks.stacks import STAGES

Recorded = Mapping[str, Any]
Rows = Mapping[str, Mapping[str, Any]]

_OWN_FUNCTIONS, _OTHER_FUNCTIONS, _LINE = 6, 3, 88
_KERNEL, _INTERPRETER = "[kernel", ("libpython", "python3")


def beside_peer(rows: Rows) -> list[str]:
    """LitServe's figures and ours, and what must be known to compare them; nothing where nothing was recorded."""
    if not rows:
        return []
    theirs = next(iter(rows.values()))["peer_versions"]
    told = ", ".join(f"{name} {version}" for name, version in theirs.items() if name != "litserve")
    lines = [
        "## Beside LitServe",
        "",
        f"The same packages under [LitServe](https://github.com/Lightning-AI/LitServe) {theirs['litserve']} ({told}),"
        " in an environment of its own, with the workers of the row, as many processes for HTTP, no time limit, bytes"
        " of msgpack in and out (`benchmarks/litserve_server.py`). It and ours ran in turns of one run, apart from the"
        " runs above: `python -m benchmarks peers`.",
        "",
        "What it does not do: it looks at nothing that a model returns, and at nothing in a body beyond unpacking it;"
        " ours checks every element. What it is made for and these requests do not ask of it: batches across requests,"
        " streams, several models in one server. A body and an answer pass through a third process as pickles, which"
        " is what large ones cost. It restarts workers only where it is told to, as it was for the model that aborts.",
        "",
        "| | LitServe: median (quartiles) | ours | ratio, ours to LitServe's (95 %) | cores' time of both, ms |",
        "|---|---|---|---|---|",
    ]
    return [*lines, *(_beside(figures) for figures in rows.values()), ""]


def _beside(figures: Mapping[str, Any]) -> str:
    ours, figure = figures["ours"], figures["figure"]
    if "litserve_answer" in figures:
        again = figures["litserve_again"]
        good = "never good again" if again is None else f"good again after {again:,.0f} ms"
        theirs = f"told after {figures['litserve_told']:,.0f} ms: {figures['litserve_answer']}; {good}"
        own = f"told after {figures['ours_told']['median']:.0f} ms; good again after {ours['median']:.0f} ms"
        return f"| {figures['title']} | {theirs} | {own} | | |"
    if "litserve_worst" in figures:
        both = (f"{figures[side]['most']:,.1f} ms at worst" for side in ("litserve", "ours"))
        return f"| {figures['title']} | {' | '.join(both)} | | |"
    used, unit = figures["cpu_ms_per_request"], figures["unit"]
    return (
        f"| {figures['title']} | {spread_told(figures['litserve'], unit)} | {spread_told(ours, unit)} |"
        f" **{figure['value']:.2f}** ({figure['low']:.2f}–{figure['high']:.2f}) |"
        f" {short(used['litserve'])}, {short(used['ours'])} |"
    )


def profiled(rows: Rows) -> list[str]:
    """Stages and functions of each profiled row; nothing where nothing was recorded."""
    if not rows:
        return []
    before = next((figures["before"] for figures in rows.values() if figures["before"]), None)
    lines = [
        "## Profiles",
        "",
        "`python -m benchmarks profile` asks each side for some seconds while nobody looks, which gives the cores' time"
        " of a request, then under py-spy at 100 samples a second, and then under perf where there is one. Of py-spy's"
        " samples those count in which a thread runs, in any process of the side; a sample belongs to the innermost"
        " frame of a stage. py-spy stops the processes for each sample, so that shares are near the truth and no more."
        " Flame graphs are written beside the figures and not kept here, because they differ with every run."
        + (f" Before is commit {before}, the last before anything was made faster." if before else ""),
        "",
    ]
    for figures in rows.values():
        lines += [f"### {figures['title'][:1].upper()}{figures['title'][1:]}", "", *_stages(figures["sides"])]
        lines += ["", *_functions(figures["sides"]), ""]
    return lines


def _stages(sides: Rows) -> list[str]:
    """Milliseconds and share of each stage, by py-spy, and of kernel and interpreter, by perf."""
    lines = [f"| cores' time of a request, ms | {' | '.join(sides)} |", "|---|" + "---|" * len(sides)]
    cells = [short(found["cpu_ms_per_request"]) for found in sides.values()]
    lines.append(f"| all | {' | '.join(f'**{cell}**' for cell in cells)} |")
    for stage in STAGES:
        shares = [found["stages"].get(stage) for found in sides.values()]
        if any(shares):
            lines.append(f"| {stage} | {' | '.join(map(_part, shares, sides.values()))} |")
    if all(found["objects"] for found in sides.values()):
        for name, start in (("in the kernel", _KERNEL), ("in the interpreter", _INTERPRETER)):
            sums = [
                sum(share for library, share in found["objects"].items() if library.startswith(start)) / 100
                for found in sides.values()
            ]
            lines.append(f"| {name} (perf) | {' | '.join(map(_part, sums, sides.values()))} |")
    return lines


def _part(share: float | None, found: Mapping[str, Any]) -> str:
    return f"{short(share * found['cpu_ms_per_request'])} ({share:.0%})" if share else ""


def _functions(sides: Rows) -> list[str]:
    lines = ["| | share of its own | function | most of it in the line |", "|---|---|---|---|"]
    for side, found in sides.items():
        for one in found["functions"][: _OWN_FUNCTIONS if side == "ours" else _OTHER_FUNCTIONS]:
            line = one["line"].replace("|", "\\|").replace("`", "'")
            line = f"{line[:_LINE]}…" if len(line) > _LINE else line
            lines.append(f"| {side} | {one['share']:.0%} | `{one['function']}` | `{line}` |")
    return lines


def spread_told(values: Mapping[str, float], unit: str) -> str:
    """The median, and the quartiles in brackets."""
    quartiles = f"{short(values['first_quartile'])}–{short(values['third_quartile'])}"
    return f"{short(values['median'])} {unit} ({quartiles})"


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
