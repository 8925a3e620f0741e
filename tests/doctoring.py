"""Packages for the doctor: written in a test, opened, and examined."""

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import TypeAlias

from app.doctor.finding import Finding
from app.doctor.subject import Subject
from model_loader.package import open_package
from tests.building import write_files

Examination: TypeAlias = Callable[[Subject], Iterator[Finding]]

#: A model that finds nothing.
SILENT = "class MDAIModel:\n    def predict(self, data):\n        return []\n"
DEPLOY = ".mdai/mdai_deploy.py"


def write_model(folder: Path, files: dict[str, str | bytes]) -> Path:
    """`write_files`, with a mdai_deploy.py that answers nothing where `files` have none."""
    return write_files(folder, {DEPLOY: SILENT, **files})


def subject_of(folder: Path, python: str | None = None) -> Subject:
    """The package in `folder`, for the Python that it asks for or for another one."""
    package = open_package(folder, scratch=folder.parent / "scratch", is_python_chosen=python is not None)
    return Subject(folder, package, python or package.config.python_version)


def found_in(examine: Examination, folder: Path, code: str, *, python: str | None = None, **files: str) -> list[str]:
    """What a check finds in a package whose mdai_deploy.py is `code`, as "M011:7", in the order of the lines.

    Other files are named `utils_py` for utils.py in the model root, and `mdai_utils_py` for one in `.mdai`.
    """
    findings = examined(examine, folder, code, python=python, **files)
    return [f"{one.code.name}:{one.place.line}" for one in sorted(findings, key=lambda one: one.place)]


def examined(
    examine: Examination, folder: Path, code: str, *, python: str | None = None, **files: str
) -> list[Finding]:
    """The findings themselves; each is shown to be one that people can use."""
    named = {name.replace("mdai_", ".mdai/", 1).replace("_", "."): text for name, text in files.items()}
    package = write_files(folder / "model", {DEPLOY: code, **named})
    findings = list(examine(subject_of(package, python)))
    for one in findings:
        assert one.reason.endswith(".") and one.fix.endswith("."), one
        assert one.place.file and (one.place.line is None or one.place.line > 0), one
    return findings


def predicting(body: str, *, init: str = "", before: str = "") -> str:
    """An mdai_deploy.py: `before` in front of the class, `init` and `body` as the bodies of its methods.

    The first line of `body` is line 6 where `before` and `init` are empty.
    """
    start = before or "import os\nimport numpy as np\n"
    methods = f"    def __init__(self):\n{indent(dedent(init), ' ' * 8)}\n\n" if init else ""
    return f"{start}\nclass MDAIModel:\n{methods}    def predict(self, data):\n{indent(dedent(body), ' ' * 8)}"
