"""What was measured before, and what of it is said beside a new figure."""

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recorded"
PEERS = RECORDED / "peers"
PROFILES = RECORDED / "profiles"


def last_recorded(folder: Path = RECORDED) -> dict[str, Any]:
    """The rows that were recorded last, each by its name."""
    rows: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        rows |= json.loads(path.read_text())["rows"]
    return rows


def keep(path: Path, found: dict[str, Any]) -> None:
    """Write `found` to a file, with the rows that it has already and that are not in `found`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    text = json.dumps({**found, "rows": {**rows, **found["rows"]}}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n")


def said(name: str, figures: dict[str, Any], earlier: dict[str, Any]) -> str:
    """A row in a few lines of text."""
    other = figures.get("beside", "reference")
    lines = [f"{name}: {figures['title']}"]
    lines += [_side(side, figures[side], figures["unit"]) for side in (other, "ours") if side in figures]
    lines.append(_judged(figures, earlier.get(name, {})))
    if used := figures.get("cpu_ms_per_request"):
        share = used["ours"] / used[other] if used[other] else 0
        lines.append(
            f"  best {figures['ratio_of_best']:.3f}; cores' time for each {used['ours']:.2f} ms, {share:.2f} of its"
        )
    if stall := figures.get("stall_ms"):
        lines.append(
            f"  our event loop was held {stall['longest_with_a_core']:.1f} ms at most ({stall['longest']:.1f} with the"
            f" wait for a core)   ≤ {stall['goal']:g}: {verdict(stall['met'])}"
        )
    if back := figures.get("back_to_idle"):
        lines.append(f"  back to idle after {back['seconds']} s   ≤ {back['goal']:g}: {verdict(back['met'])}")
    if "ours_answer" in figures:
        lines.append(f"  told after {figures['ours_told']['median']:.1f} ms: {figures['ours_answer']}")
        lines.append(f"  {other}: {figures[f'{other}_answer']}; again after {figures[f'{other}_again']}")
    load, others = figures["load_average"], figures["cores_busy_with_others"]
    lines.append(f"  {figures['seconds']:.0f} s, load {load[0]} to {load[1]}, {others} cores busy with others")
    return "\n".join(lines)


def verdict(is_met: bool) -> str:
    return "reached" if is_met else "NOT REACHED"


def _side(side: str, values: dict[str, Any], unit: str) -> str:
    return (
        f"  {side:10} {values['median']:10.2f} {unit}   quartiles {values['first_quartile']:.2f} to"
        f" {values['third_quartile']:.2f}, {values['least']:.2f} to {values['most']:.2f}, {values['count']}"
    )


def _judged(figures: dict[str, Any], before: dict[str, Any]) -> str:
    figure = figures["figure"]
    line = f"  {figure['of']:10} {figure['value']:10.3f}   ({figure['low']:.3f} to {figure['high']:.3f})"
    if before:
        line += f"   recorded last: {before['figure']['value']:.3f}, {before['at'][:10]}"
    if "goal" in figures:
        line += f"   {figures['goal']}: {verdict(figures['met'])}"
    return line
