"""Findings as text for people and as JSON for programs."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from app.doctor.finding import Finding, Severity

#: Places of one code that the text names; JSON has all.
MOST_PLACES = 8
_WIDTH = 100
_ORDER = list(Severity)


def exit_code(findings: Iterable[Finding]) -> int:
    """2 where there is an error, 1 where there is a warning, 0 where there are notes at most."""
    met = {finding.code.severity for finding in findings}
    return 2 if Severity.ERROR in met else 1 if Severity.WARNING in met else 0


def worst(findings: Iterable[Finding]) -> Finding:
    """The one that is told first. Raises ValueError where there is none."""
    return min(findings, key=_rank)


def as_text(findings: Iterable[Finding]) -> str:
    """The findings, worst first, those of one code together, with an empty line behind each code."""
    ordered = sorted(findings, key=_rank)
    groups = [list(group) for _, group in groupby(ordered, key=lambda finding: finding.code)]
    return "".join(_group(group) + "\n" for group in groups)


def summary(findings: Sequence[Finding]) -> str:
    """How many there are: "2 errors, 1 warning"."""
    counts = {severity: sum(finding.code.severity is severity for finding in findings) for severity in Severity}
    told = [f"{count} {severity}{'s' if count > 1 else ''}" for severity, count in counts.items() if count]
    return ", ".join(told) or "nothing found"


def as_json(findings: Iterable[Finding], facts: dict[str, Any]) -> str:
    """`facts` and, under "findings", every finding with its code, severity, title, file, line, reason and fix."""
    listed = [
        {
            "code": finding.code.name,
            "severity": str(finding.code.severity),
            "title": finding.code.title,
            "file": finding.place.file or None,
            "line": finding.place.line,
            "reason": finding.reason,
            "fix": finding.fix,
            "fixable": finding.repair is not None,
        }
        for finding in sorted(findings, key=_rank)
    ]
    return json.dumps({**facts, "findings": listed}, indent=2, ensure_ascii=False)


def _rank(finding: Finding) -> tuple[object, ...]:
    place = finding.place
    return _ORDER.index(finding.code.severity), finding.code.name, place.file, place.line or 0


def _group(group: list[Finding]) -> str:
    code = group[0].code
    lines = [f"{code.name} {code.severity}: {code.title}"]
    shared_fix = group[0].fix if len({finding.fix for finding in group}) == 1 else None
    for finding in group[:MOST_PLACES]:
        if str(finding.place):
            lines.append(f"  {finding.place}")
        lines += _wrapped(finding.reason)
        if shared_fix is None:
            lines += _wrapped(f"Fix: {finding.fix}")
    if len(group) > MOST_PLACES:
        lines.append(f"  and in {len(group) - MOST_PLACES} more places; --json lists them all")
    if shared_fix is not None:
        lines += _wrapped(f"Fix: {shared_fix}")
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    """The text indented and filled; lines that are indented already, as a traceback's are, stay as they are."""
    lines = []
    for line in text.strip().splitlines():
        if line[:1].isspace() or not line:
            lines.append(f"    {line}".rstrip())
        else:
            filled = textwrap.wrap(line, _WIDTH - 4, break_on_hyphens=False, break_long_words=False)
            lines += [f"    {part}" for part in filled]
    return lines
