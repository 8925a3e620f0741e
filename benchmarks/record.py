"""What was measured before, and what of it is said beside a new figure."""

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recorded"


def last_recorded() -> dict[str, Any]:
    """The rows that were recorded last, each by its name."""
    rows: dict[str, Any] = {}
    for path in sorted(RECORDED.glob("*.json")):
        rows |= json.loads(path.read_text())["rows"]
    return rows


def merged(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """`found`, with the rows that a file has already and this run did not measure."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    return {**found, "rows": {**rows, **found["rows"]}}


def said(name: str, figures: dict[str, Any], earlier: dict[str, Any]) -> str:
    """A row in a few lines of text."""
    lines = [f"{name}: {figures['title']}"]
    if "ratio" in figures:
        for side in ("reference", "ours"):
            values = figures[side]
            lines.append(
                f"  {side:10} {values['median']:10.2f} {figures['unit']}   quartiles {values['first_quartile']:.2f} to"
                f" {values['third_quartile']:.2f}, {values['least']:.2f} to {values['most']:.2f}, {values['count']}"
            )
        ratio = figures["ratio"]
        lines.append(f"  ratio      {ratio['value']:10.3f}   ({ratio['low']:.3f} to {ratio['high']:.3f})")
        if before := earlier.get(name, {}).get("ratio"):
            lines[-1] += f"   recorded last: {before['value']:.3f}, {earlier[name]['at'][:10]}"
        if "goal" in figures:
            lines[-1] += f"   {figures['goal']}: {'reached' if figures['met'] else 'NOT REACHED'}"
    if stall := figures.get("stall_ms"):
        lines.append(
            f"  our event loop was held {stall['longest_with_a_core']:.1f} ms at most ({stall['longest']:.1f} with the"
            f" wait for a core)   ≤ {stall['goal']:g}: {'reached' if stall['met'] else 'NOT REACHED'}"
        )
    load, others = figures["load_average"], figures["cores_busy_with_others"]
    lines.append(f"  {figures['seconds']:.0f} s, load {load[0]} to {load[1]}, {others} cores busy with others")
    return "\n".join(lines)
