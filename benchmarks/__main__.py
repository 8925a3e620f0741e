import argparse
import sys
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import misbehaviour, peak_memory, report, restart, turns
from benchmarks.circumstances import machine, versions, watched
from benchmarks.client import AnswerError
from benchmarks.record import RECORDED, keep, last_recorded, said
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


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(benchmarks.__doc__ or "").split("\n")[0])
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help="see --list; `all`, or `report`, which writes docs/benchmarks.md"
    )
    parser.add_argument("--list", action="store_true", help="the rows")
    parser.add_argument("--rounds", type=int, help="turns of each side, instead of the row's own number")
    parser.add_argument("--requests", type=int, help="requests in a turn")
    parser.add_argument("--seconds", type=float, default=60, help="no new turns after so long, where there were a few")
    parser.add_argument("--json", type=Path, default=Path("benchmark.json"), help="figures go here, row by row")
    parser.add_argument("--record", action="store_true", help=f"also keep them in {RECORDED.name}/, to compare with")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in BY_NAME]
    if unknown and options.rows not in (["all"], ["report"]):
        parser.error(f"there is no row {unknown[0]}; --list has those that there are")
    if any(number is not None and number < 1 for number in (options.rounds, options.requests)):
        parser.error("--rounds and --requests count from 1")
    if not options.json.absolute().parent.is_dir():
        parser.error(f"there is no folder for {options.json}")
    return options


def main() -> int:
    options = parsed()
    if options.list or not options.rows:
        print("\n".join(f"{row.name:20} {row.title}{f'   {row.goal}' if row.goal else ''}" for row in ROWS))
        return 0
    if options.rows == ["report"]:
        report.write(report.read(sorted(RECORDED.glob("*.json"))))
        return 0
    rows = ROWS if options.rows == ["all"] else [BY_NAME[name] for name in options.rows]
    changes = {key: value for key in ("rounds", "requests") if (value := getattr(options, key))}
    files = [options.json, *([RECORDED / f"{date.today()}.json"] if options.record else [])]
    earlier, failed = last_recorded(), False
    for row in rows:
        try:
            figures = measured(replace(row, **changes), options.seconds)
        except (OSError, RuntimeError, AnswerError) as error:  # the other rows have figures still
            print(f"{row.name}: {row.title}\n  failed: {error}", flush=True)
            failed = True
            continue
        print(said(row.name, figures, earlier), flush=True)
        for file in files:
            keep(file, {"machine": machine(), "rows": {row.name: figures}})
        failed = failed or not figures.get("met", True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
