"""How fast the service is beside a server that runs the model in its own process.

One row is one comparison: `python -m benchmarks ROW`. What is compared runs in turns in one run, with the same model,
the same request, the same client and the same libraries. `peers` compares with LitServe instead, `profile` says where
the time goes, `report` writes docs/benchmarks.md from what was recorded.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import misbehaviour, peak_memory, peers, report, restart, sampling, turns
from benchmarks.circumstances import machine, versions, watched
from benchmarks.client import AnswerError
from benchmarks.environments import EnvironmentMissing
from benchmarks.record import PEERS, PROFILES, RECORDED, keep, last_recorded, said
from benchmarks.rows import BY_NAME, ROWS, Row
from benchmarks.servers import SIDES

# As with `make audit`: nothing is wrong, and nothing could be told.
_NOT_INSTALLED = 3
_COMMANDS = {
    "rows": BY_NAME,
    "peers": {row.name: row for row in peers.ROWS},
    "profile": {row.name: row for row in ROWS if row.kind == "latency"},
    "report": {},
}


def measured(row: Row, seconds: float, sides: tuple[str, str] = SIDES) -> dict[str, Any]:
    """A row's figures, with what was to be reached and what else went on."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, watched() as about:
        match row.kind:
            case "memory":
                figures = peak_memory.compare(row, Path(folder))
            case "restart":
                figures = restart.compare(row, Path(folder))
            case "hold":
                figures = misbehaviour.hold(row, Path(folder), sides)
            case "abort":
                figures = misbehaviour.abort(row, Path(folder), sides)
            case _:
                figures = turns.compare(row, Path(folder), seconds, sides)
    goal = {"goal": str(row.goal), "met": row.goal.is_met(figures["figure"]["value"])} if row.goal else {}
    return {"title": row.title, **figures, **goal, **about, "versions": versions()}


def beside_peer(row: Row, seconds: float, theirs: dict[str, str]) -> dict[str, Any]:
    return {**measured(row, seconds, peers.SIDES), "beside": peers.SIDES[0], "peer_versions": theirs}


def profiled(row: Row, look: sampling.Profiler, before: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, watched() as about:
        figures = sampling.compare(row, Path(folder), look, before)
    return {"title": row.title, **figures, **about, "versions": versions()}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(benchmarks.__doc__ or "").split("\n")[0])
    parser.add_argument(
        "rows", nargs="*", metavar="ROW",
        help="see --list, or `all`; `peers [ROW]` compares with LitServe, `profile [ROW]` looks with py-spy and perf,"
        " `report` writes docs/benchmarks.md",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="the rows")
    parser.add_argument("--rounds", type=int, help="turns of each side, instead of the row's own number")
    parser.add_argument("--requests", type=int, help="requests in a turn")
    parser.add_argument(
        "--seconds", type=float, help="no new turns after so long, where there were a few (60); a profile's length (8)"
    )
    parser.add_argument("--before", default=sampling.BEFORE, metavar="COMMIT", help="what a profile has beside ours")
    parser.add_argument("--json", type=Path, help="figures go here, row by row (benchmark.json, benchmark-peers.json…)")
    parser.add_argument("--record", action="store_true", help=f"also keep them in {RECORDED.name}/, to compare with")
    options = parser.parse_args()
    is_command = options.rows[:1] and options.rows[0] in _COMMANDS
    options.command, options.names = ("rows", options.rows) if not is_command else (options.rows[0], options.rows[1:])
    unknown = [name for name in options.names if name not in _COMMANDS[options.command]]
    if unknown and (options.command, options.names) != ("rows", ["all"]):
        of = f" of {options.command}" if is_command else ""
        parser.error(f"there is no row {unknown[0]}{of}; --list has those that there are")
    if any(number is not None and number < 1 for number in (options.rounds, options.requests)):
        parser.error("--rounds and --requests count from 1")
    options.json = options.json or Path(f"benchmark{f'-{options.command}' if is_command else ''}.json")
    if not options.json.absolute().parent.is_dir():
        parser.error(f"there is no folder for {options.json}")
    return options


def each(
    rows: Sequence[Row],
    measure: Callable[[Row], dict[str, Any]],
    say: Callable[[str, dict[str, Any]], str],
    files: Sequence[Path],
) -> int:
    """Measure, say and keep row after row; 1 if one failed or missed its goal."""
    failed = False
    for row in rows:
        try:
            figures = measure(row)
        except (OSError, RuntimeError, AnswerError) as error:  # the other rows have figures still
            print(f"{row.name}: {row.title}\n  failed: {error}", flush=True)
            failed = True
            continue
        print(say(row.name, figures), flush=True)
        for file in files:
            keep(file, {"machine": machine(), "rows": {row.name: figures}})
        failed = failed or not figures.get("met", True)
    return int(failed)


def main() -> int:
    options = parsed()
    if options.list or not options.rows:
        print("\n".join(f"{row.name:20} {row.title}{f'   {row.goal}' if row.goal else ''}" for row in ROWS))
        return 0
    changes = {key: value for key in ("rounds", "requests") if (value := getattr(options, key))}
    rows = [replace(_COMMANDS[options.command][name], **changes) for name in options.names if name != "all"]
    recorded = {"rows": RECORDED, "peers": PEERS, "profile": PROFILES, "report": RECORDED}[options.command]
    files = [options.json, *([recorded / f"{date.today()}.json"] if options.record else [])]
    say = partial(said, earlier=last_recorded(recorded))
    try:
        match options.command:
            case "report":
                found, theirs, profiles = (report.read(folder) for folder in (RECORDED, PEERS, PROFILES))
                report.write(found, theirs, profiles)
                return 0
            case "peers":
                measure = partial(beside_peer, seconds=options.seconds or 60, theirs=peers.versions())
                return each(rows or [replace(row, **changes) for row in peers.ROWS], measure, say, files)
            case "profile":
                look = sampling.profiler(max(1, round(options.seconds or 8)), options.json.with_suffix(""))
                look_at = partial(profiled, look=look, before=options.before)
                return each(rows or sampling.ROWS, look_at, sampling.said, files)
            case _:
                rows = rows or [replace(row, **changes) for row in ROWS]
                return each(rows, partial(measured, seconds=options.seconds or 60), say, files)
    except EnvironmentMissing as error:
        print(error, file=sys.stderr)
        return _NOT_INSTALLED


if __name__ == "__main__":
    sys.exit(main())
