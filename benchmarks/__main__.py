import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import misbehaviour, peak_memory, restart, turns
from benchmarks.circumstances import machine, versions, watched
from benchmarks.record import RECORDED, last_recorded, merged, said
from benchmarks.rows import BY_NAME, ROWS, Row


def measured(row: Row, seconds: float) -> dict[str, Any]:
    """A row's figures, with what was to be reached and what else went on."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, watched() as about:
        match row.kind:
            case "memory":
                figures = peak_memory.compare(row, Path(folder))
            case "restart":
                figures = restart.compare(row, Path(folder))
            case "hold":
                figures = misbehaviour.hold(row, Path(folder))
            case "abort":
                figures = misbehaviour.abort(row, Path(folder))
            case _:
                figures = turns.compare(row, Path(folder), seconds)
    goal = {"goal": str(row.goal), "met": row.goal.is_met(figures["figure"]["value"])} if row.goal else {}
    return {"title": row.title, **figures, **goal, **about, "versions": versions()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(benchmarks.__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*BY_NAME, "all", []], help="see --list")
    parser.add_argument("--list", action="store_true", help="the rows")
    parser.add_argument("--rounds", type=int, help="turns of each side, instead of the row's own number")
    parser.add_argument("--seconds", type=float, default=60, help="no new turns after so long, where there were a few")
    parser.add_argument("--requests", type=int, help="requests in a turn")
    parser.add_argument(
        "--json", type=Path, default=Path("benchmark.json"), help="figures are written here, row by row"
    )
    parser.add_argument("--record", action="store_true", help=f"also keep them in {RECORDED.name}/, to compare with")
    options = parser.parse_args()
    if options.list or not options.rows:
        print("\n".join(f"{row.name:20} {row.title}{f'   {row.goal}' if row.goal else ''}" for row in ROWS))
        return 0
    rows = ROWS if "all" in options.rows else [BY_NAME[name] for name in options.rows]
    earlier = last_recorded()
    found: dict[str, Any] = {"machine": machine(), "rows": {}}
    changes = {key: value for key in ("rounds", "requests") if (value := getattr(options, key))}
    for row in rows:
        figures = measured(replace(row, **changes), options.seconds)
        found["rows"][row.name] = figures
        print(said(row.name, figures, earlier), flush=True)
        options.json.write_text(json.dumps(merged(options.json, found), indent=1, ensure_ascii=False) + "\n")
    if options.record:
        RECORDED.mkdir(exist_ok=True)
        path = RECORDED / f"{figures['at'][:10]}.json"
        path.write_text(json.dumps(merged(path, found), indent=1, ensure_ascii=False) + "\n")
    return int(any(not figures.get("met", True) for figures in found["rows"].values()))


if __name__ == "__main__":
    sys.exit(main())
