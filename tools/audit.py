"""Whether anything is known against what the locks name: `audit.py PIP-AUDIT [--unknown-is-no-failure] LOCK...`.

pip-audit asks a database of advisories about each package. Where that cannot be reached it skips packages and then says
that no vulnerability was found, which is true and misleads; so its report is judged here:

    0  every package was looked up, and nothing is known against any
    1  something is known: it is listed
    3  nothing is known against those that were looked up, and some were not (0 with --unknown-is-no-failure)
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

LOOKED_UP_AND_CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3
#: For all packages; a database that does not answer would keep one waiting for a quarter of a minute for each.
_SECONDS = 180.0
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Judgement:
    """What a report says: how many packages it is about, which of them nobody knows of, and what is known of others."""

    packages: int
    unknown: list[str]
    findings: list[str]

    @property
    def code(self) -> int:
        """The exit code."""
        if self.findings:
            return VULNERABLE
        return UNKNOWN if self.unknown or not self.packages else LOOKED_UP_AND_CLEAN

    @property
    def text(self) -> str:
        """Whole sentences, what is worst first."""
        sentences = []
        if self.findings:
            count = len(self.findings)
            sentences += [f"{count} known vulnerabilit{'y' if count == 1 else 'ies'}:", *self.findings]
        if self.unknown:
            more = len(self.unknown) - _NAMES_SHOWN
            names = ", ".join(self.unknown[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
            sentences.append(
                f"{len(self.unknown)} of {self.packages} packages could not be looked up: the advisory database did not"
                f" answer; nothing is known of them ({names})."
            )
        if not self.packages:
            sentences.append("No package was looked up: nothing is known of any.")
        if not sentences:
            sentences.append(f"{self.packages} packages were looked up; nothing is known against any of them.")
        return "\n".join(sentences)


def judged(report: dict[str, Any]) -> Judgement:
    """What pip-audit's JSON says; a package that stands in several locks counts once."""
    unknown: dict[str, None] = {}
    findings: dict[str, None] = {}
    packages = {(found["name"], found.get("version")) for found in report["dependencies"]}
    for found in report["dependencies"]:
        if "skip_reason" in found or "vulns" not in found:
            unknown[found["name"]] = None
        for known in found.get("vulns", ()):
            findings[_finding(found, known)] = None
    return Judgement(len(packages), sorted(unknown), sorted(findings))


def _finding(package: dict[str, Any], known: dict[str, Any]) -> str:
    names = " = ".join([known["id"], *known.get("aliases", ())])
    fixes = known.get("fix_versions", ())
    remedy = f"fixed in {', '.join(fixes)}" if fixes else "no version with a fix is known"
    return f"  {package['name']} {package['version']}: {names}, {remedy}"


def report_of(program: str, locks: list[str]) -> dict[str, Any] | str:
    """pip-audit's report on the locks, or why there is none."""
    options = ["--format", "json", "--progress-spinner", "off", "--disable-pip", "--require-hashes"]
    named = [word for lock in locks for word in ("--requirement", lock)]
    try:
        ran = subprocess.run([program, *options, *named], capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return f"it had not ended after {_SECONDS:g} s"
    try:
        report: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        return (ran.stderr.strip().splitlines() or [f"it ended with code {ran.returncode}"])[-1][:500]
    return report


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", metavar="PIP-AUDIT")
    parser.add_argument(
        "--unknown-is-no-failure", action="store_true", help="for where the database may be out of reach"
    )
    parser.add_argument("locks", metavar="LOCK", nargs="+")
    given = parser.parse_args(arguments)
    report = report_of(given.program, given.locks)
    if isinstance(report, str):
        print(f"Nothing was looked up, and nothing is known of any package: pip-audit gave no report ({report}).")
        code = UNKNOWN
    else:
        judgement = judged(report)
        print(judgement.text)
        code = judgement.code
    if code == UNKNOWN and given.unknown_is_no_failure:
        print(
            "WARNING: this is no pass. What could not be looked up was not audited; run `make audit` where it can be."
        )
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
