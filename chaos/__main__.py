import argparse
import json
import sys
import tempfile
from pathlib import Path

import chaos
from chaos import report
from chaos.storm import Plan, run


def plan_of(options: argparse.Namespace) -> Plan:
    if options.short:
        return Plan(options.kills or 25, 15.0, 0.8, options.seed, judges_time=False)
    if options.soak:
        return Plan(options.kills or 1_000_000, options.minutes * 60, 20.0, options.seed, judges_time=True)
    return Plan(options.kills or 1000, options.minutes * 60, 0.3, options.seed, judges_time=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=(chaos.__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true", help="half a minute, for CI: times are told, not judged")
    parser.add_argument("--soak", action="store_true", help="a constant mix, few kills: whether memory grows")
    parser.add_argument("--kills", type=int, default=0, help="end after so many workers were ended from outside")
    parser.add_argument("--minutes", type=float, default=60.0, help="end after so long at most")
    parser.add_argument("--seed", type=int, default=1, help="what is asked for and when; the machine's pace is its own")
    parser.add_argument("--json", type=Path, help="write everything that was seen here")
    parser.add_argument("--table", type=Path, help="write the tables between the marks of this document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        found = run(plan_of(options), Path(folder), lambda text: print(f"chaos: {text}", flush=True))
    print(report.tables(found))
    if options.json:
        options.json.write_text(json.dumps(report.facts(found), indent=2) + "\n")
    if options.table:
        report.write_into(options.table, report.tables(found))
    return int(bool(found.broken))


if __name__ == "__main__":
    sys.exit(main())
