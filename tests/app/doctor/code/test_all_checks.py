"""The checks of the model's code together: silent on good packages, and each code has a page."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app.doctor.finding import Code, Finding
from app.scaffold import write_package as write_template
from tests.doctoring import subject_of
from tests.hosting import PACKAGES

REPOSITORY = Path(__file__).resolve().parents[4]
NAMES = (
    "language",
    "model_class",
    "request_keys",
    "returns",
    "gpu_code",
    "file_paths",
    "habits",
    "output_keys",
    "boxes",
)
MODULES: list[ModuleType] = [importlib.import_module(f"app.doctor.code.{name}") for name in (*NAMES, "number_types")]
CODES: list[Code] = [code for module in MODULES for code in module.CODES]


def findings(package: Path, python: str | None = None) -> Iterator[Finding]:
    subject = subject_of(package, python)
    for module in MODULES:
        yield from module.examine(subject)


@pytest.mark.parametrize("example", sorted(path.name for path in (REPOSITORY / "examples").iterdir() if path.is_dir()))
def test_the_examples_are_without_findings(example: str) -> None:
    assert list(findings(REPOSITORY / "examples" / example)) == []


def test_the_template_is_without_findings(tmp_path: Path) -> None:
    write_template(tmp_path / "model")
    assert list(findings(tmp_path / "model", python="3.7")) == []


@pytest.mark.parametrize(
    ("package", "found"),
    [
        ("early_return", ["M011:33"]),
        ("box_from_wrong_indices", ["M015:28", "M015:29"]),
        ("legacy_keys", ["M006:11"]),
        ("class_in_wrong_case", ["M003:4"]),
        ("class_without_predict", ["M004:5"]),
        ("import_has_syntax_error", ["M001:5"]),
        ("init_opens_relative_path", ["M018:6"]),
        ("predict_catches_everything", ["M010:16"]),
        ("predict_returns_none", ["M013:5"]),
        ("predict_set_by_init", []),
        ("reads_weights", []),
        ("own_names", []),
    ],
)
def test_packages_with_one_fault_have_that_finding_and_no_other(package: str, found: list[str]) -> None:
    assert [f"{one.code.name}:{one.place.line}" for one in findings(PACKAGES / package)] == found


def test_no_two_checks_share_a_code() -> None:
    assert sorted(code.name for code in CODES) == [f"M{number:03}" for number in range(1, len(CODES) + 1)]


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_each_code_has_a_page_that_shows_it_wrong_and_right(code: Code) -> None:
    page = (REPOSITORY / "docs" / "checks" / f"{code.name}.md").read_text()
    assert page.startswith(f"# {code.name}: {code.title}\n")
    assert code.severity.value in page.splitlines()[2].lower()
    assert page.count("```") >= 4 and "`--fix`" in page
    assert 10 <= len(page.splitlines()) <= 40
    assert not re.search(r"[^\n]{121,}", page)
