"""Every code has its page, and the index has every code."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.doctor.examination import CODES
from app.doctor.finding import Code
from app.doctor.pages import NoSuchPage, codes_with_pages, page

PAGES = Path(__file__).parents[3] / "docs/checks"


def test_no_code_stands_for_two_things() -> None:
    assert len({code.name for code in CODES}) == len(CODES)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_a_page_begins_with_what_the_code_says(code: Code) -> None:
    lines = page(code.name).splitlines()
    assert lines[0] == f"# {code.name}: {code.title}"
    assert lines[2].lower().startswith(code.severity)


def test_the_index_lists_every_code_and_nothing_else() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \| (.*) \|$", (PAGES / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted((code.name, str(code.severity), code.title) for code in CODES)
    assert codes_with_pages() == sorted(name for name, _, _ in rows)


def test_a_code_is_found_whatever_its_case() -> None:
    assert page(" m011 ") == page("M011")


@pytest.mark.parametrize("code", ["M999", "", "README", "../index", "*"])
def test_what_is_no_code_is_answered_with_those_that_are(code: str) -> None:
    with pytest.raises(NoSuchPage, match=r"is no code of a finding\. There are C001, "):
        page(code)


def test_an_installation_has_the_pages(tmp_path: Path) -> None:
    """They are part of the wheel, beside the module that reads them."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=PAGES.parents[1], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as built:
        names = set(built.namelist())
    assert {f"app/doctor/pages/{code.name}.md" for code in CODES} <= names
