"""What `make audit` makes of pip-audit's reports, which call a package that was not looked up no vulnerability."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
#: As pip-audit 2.10 writes them.
CLEAN: dict[str, Any] = {"name": "idna", "version": "3.20", "vulns": []}
SKIPPED: dict[str, Any] = {
    "name": "click",
    "skip_reason": "Dependency not found on PyPI and could not be audited: click (8.5.1)",
}
KNOWN: dict[str, Any] = {
    "name": "flask",
    "version": "0.5",
    "vulns": [
        {
            "id": "PYSEC-2019-179",
            "fix_versions": ["1.0"],
            "aliases": ["CVE-2019-1010083", "GHSA-5wv5-4vpf-pj6m"],
            "description": "Unexpected memory usage.",
        },
        {"id": "PYSEC-2018-66", "fix_versions": [], "aliases": [], "description": "Another one."},
    ],
}


def audited(folder: Path, output: str, *options: str, code: int = 0, stderr: str = "") -> tuple[int, str]:
    """Exit code and text of the tool where pip-audit ends with `code` and writes `output`."""
    program = folder / "pip-audit"
    lines = ("import sys", f"sys.stdout.write({output!r})", f"sys.stderr.write({stderr!r})", f"sys.exit({code})")
    program.write_text(f"#!{sys.executable}\n" + "\n".join(lines) + "\n")
    program.chmod(0o755)
    command = [sys.executable, REPOSITORY / "tools/audit.py", program, *options, "requirements.lock"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_a_pass_is_said_only_where_every_package_was_looked_up(tmp_path: Path) -> None:
    code, text = audited(tmp_path, report(CLEAN, {**CLEAN, "name": "h11"}))
    assert (code, text) == (0, "2 packages were looked up; nothing is known against any of them.\n")


@pytest.mark.parametrize("option", [(), ("--unknown-is-no-failure",)])
def test_what_is_known_fails_and_is_listed_once_with_its_remedy(tmp_path: Path, option: tuple[str, ...]) -> None:
    code, text = audited(tmp_path, report(CLEAN, KNOWN, KNOWN), *option, code=1)
    assert code == 1
    assert text.splitlines() == [
        "2 known vulnerabilities:",
        "  flask 0.5: PYSEC-2018-66, no version with a fix is known",
        "  flask 0.5: PYSEC-2019-179 = CVE-2019-1010083 = GHSA-5wv5-4vpf-pj6m, fixed in 1.0",
    ]


def test_packages_that_nobody_looked_up_are_no_pass(tmp_path: Path) -> None:
    code, text = audited(tmp_path, report(CLEAN, SKIPPED))
    assert code == 3
    assert text == (
        "1 of 2 packages could not be looked up: the advisory database did not answer; nothing is known of them"
        " (click).\n"
    )


def test_many_that_nobody_looked_up_are_named_in_part(tmp_path: Path) -> None:
    _, text = audited(tmp_path, report(*({**SKIPPED, "name": f"p{number}"} for number in range(9))))
    assert text.startswith("9 of 9 packages could not be looked up") and "(p0, p1, p2, p3, p4 and 4 more)" in text


def test_where_that_is_no_failure_a_warning_says_that_it_is_no_pass(tmp_path: Path) -> None:
    code, text = audited(tmp_path, report(SKIPPED), "--unknown-is-no-failure")
    assert code == 0 and "nothing is known of them" in text and "WARNING: this is no pass." in text
    assert "nothing is known against" not in text


def test_a_vulnerability_among_packages_that_nobody_looked_up_fails(tmp_path: Path) -> None:
    code, text = audited(tmp_path, report(SKIPPED, KNOWN), "--unknown-is-no-failure", code=1)
    assert code == 1 and text.startswith("2 known vulnerabilities:") and "1 of 2 packages could not" in text


@pytest.mark.parametrize(
    ("output", "stderr", "reason"),
    [
        ("", "INFO: x\nERROR: Could not connect to the service\n", "ERROR: Could not connect to the service"),
        ("", "", "it ended with code 1"),
        ("not json", "", "it ended with code 1"),
    ],
)
def test_without_a_report_nothing_is_known(tmp_path: Path, output: str, stderr: str, reason: str) -> None:
    code, text = audited(tmp_path, output, code=1, stderr=stderr)
    assert code == 3 and text.endswith(f"pip-audit gave no report ({reason}).\n")


def test_an_empty_report_is_no_pass(tmp_path: Path) -> None:
    assert audited(tmp_path, report()) == (3, "No package was looked up: nothing is known of any.\n")
