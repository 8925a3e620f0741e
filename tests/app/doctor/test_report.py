import json

from app.doctor.finding import Code, Finding, Place, Repair, Severity
from app.doctor.report import MOST_PLACES, as_json, as_text, exit_code, summary

BAD = Code("M003", Severity.ERROR, "no class MDAIModel")
DOUBTFUL = Code("M010", Severity.WARNING, "bare except")
KNOWN = Code("C003", Severity.NOTE, "no config.yaml")


def finding(code: Code, file: str = "a.py", line: int | None = 3, fix: str = "Do it.", reason: str = "Why.") -> Finding:
    return Finding(code, Place(file, line), reason, fix)


def test_the_exit_code_is_that_of_the_worst() -> None:
    assert exit_code([]) == 0
    assert exit_code([finding(KNOWN)]) == 0
    assert exit_code([finding(KNOWN), finding(DOUBTFUL)]) == 1
    assert exit_code([finding(DOUBTFUL), finding(BAD)]) == 2


def test_the_worst_comes_first_and_one_code_is_told_once() -> None:
    text = as_text([finding(KNOWN, line=None), finding(DOUBTFUL, line=9), finding(BAD), finding(DOUBTFUL, line=2)])
    assert text == (
        "M003 error: no class MDAIModel\n  a.py:3\n    Why.\n    Fix: Do it.\n\n"
        "M010 warning: bare except\n  a.py:2\n    Why.\n  a.py:9\n    Why.\n    Fix: Do it.\n\n"
        "C003 note: no config.yaml\n  a.py\n    Why.\n    Fix: Do it.\n\n"
    )


def test_fixes_that_differ_stand_at_their_places() -> None:
    text = as_text([finding(BAD, line=1, fix="One."), finding(BAD, line=2, fix="Two.")])
    assert text.index("a.py:1") < text.index("Fix: One.") < text.index("a.py:2") < text.index("Fix: Two.")


def test_many_places_are_counted_in_the_text_and_listed_in_json() -> None:
    findings = [finding(DOUBTFUL, line=line) for line in range(1, MOST_PLACES + 4)]
    assert "  and in 3 more places; --json lists them all\n" in as_text(findings)
    assert len(json.loads(as_json(findings, {}))["findings"]) == MOST_PLACES + 3


def test_what_has_lines_of_its_own_keeps_them_and_the_rest_is_filled() -> None:
    text = as_text([finding(BAD, reason="uv says:\n\n  no solution"), finding(DOUBTFUL, reason="word " * 60)])
    assert "    uv says:\n\n      no solution\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_json_holds_what_the_text_does() -> None:
    repaired = Finding(KNOWN, Place(), "Why.", "Do it.", Repair("did it", lambda: None))
    told = json.loads(as_json([repaired, finding(BAD)], {"package": "lungs"}))
    assert told["package"] == "lungs"
    assert told["findings"] == [
        {
            "code": "M003", "severity": "error", "title": "no class MDAIModel", "file": "a.py", "line": 3,
            "reason": "Why.", "fix": "Do it.", "fixable": False,
        },
        {
            "code": "C003", "severity": "note", "title": "no config.yaml", "file": None, "line": None,
            "reason": "Why.", "fix": "Do it.", "fixable": True,
        },
    ]  # fmt: skip


def test_the_summary_counts_by_severity() -> None:
    assert summary([finding(BAD), finding(DOUBTFUL), finding(DOUBTFUL)]) == "1 error, 2 warnings"
    assert summary([]) == "nothing found"
