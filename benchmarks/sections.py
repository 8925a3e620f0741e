"""The parts of docs/benchmarks.md that have runs of their own: beside LitServe, and what the profilers saw."""

import statistics
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
        " is what large ones cost. It restarts workers only where it is told to, as it was for the model that aborts."
        " Our workers come after everything else where cores are short (a nice value 5 above), LitServe's do not: what"
        " other programs take is held against ours.",
        "",
        "| | LitServe: median (quartiles) | ours | ratio, ours to LitServe's (95 %) | cores' time of both, ms"
        " | cores busy with others |",
        "|---|---|---|---|---|---|",
    ]
    return [*lines, *(_beside(figures) for figures in rows.values()), "", _when(rows), ""]


def _beside(figures: Mapping[str, Any]) -> str:
    ours, figure, busy = figures["ours"], figures["figure"], figures["cores_busy_with_others"]
    if "litserve_answer" in figures:
        again = figures["litserve_again"]
        good = "never good again" if again is None else f"good again after {again:,.0f} ms"
        answer = figures["litserve_answer"]
        what = "told " if answer.startswith("nothing") else f"told after {figures['litserve_told']:,.0f} ms: "
        theirs = f"{what}{answer}; {good}"
        own = f"told after {figures['ours_told']['median']:.0f} ms; good again after {ours['median']:.0f} ms"
        return f"| {figures['title']} | {theirs} | {own} | | | {busy} |"
    if "litserve_worst" in figures:
        both = (f"{figures[side]['most']:,.1f} ms at worst" for side in ("litserve", "ours"))
        return f"| {figures['title']} | {' | '.join(both)} | | | {busy} |"
    used, unit = figures["cpu_ms_per_request"], figures["unit"]
    return (
        f"| {figures['title']} | {spread_told(figures['litserve'], unit)} | {spread_told(ours, unit)} |"
        f" **{figure['value']:.2f}** ({figure['low']:.2f}–{figure['high']:.2f}) |"
        f" {short(used['litserve'])}, {short(used['ours'])} | {busy} |"
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
        " frame of a stage. py-spy stops the processes for each sample, and a thread that waits for a core counts as"
        " running, so that shares are near the truth and no more; milliseconds are the shares of the cores' time."
        " Flame graphs are written beside the figures and not kept here, because they differ with every run."
        + (f" Before is commit {before}, the last before anything was made faster." if before else ""),
        "",
    ]
    for figures in rows.values():
        lines += [f"### {figures['title'][:1].upper()}{figures['title'][1:]}", "", *_stages(figures["sides"])]
        lines += ["", *_functions(figures["sides"]), ""]
    return [*lines, _when(rows), ""]


def _when(rows: Rows) -> str:
    """When, of which commit, and how much of the cores others took: these rows are in no other table."""
    times = sorted(str(figures["at"]) for figures in rows.values())
    commits = ", ".join(sorted({figures["versions"].get("commit", "unknown") for figures in rows.values()}))
    busy = statistics.median(figures["cores_busy_with_others"] for figures in rows.values())
    return f"From {times[0]} to {times[-1]}, commit {commits}; other programs kept {busy:.1f} cores busy."


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
