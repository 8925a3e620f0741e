"""Files that are no Python, and Python that is newer than the package's."""

import sys
from pathlib import Path

import pytest

from app.doctor.code.language import examine
from tests.building import write_files
from tests.doctoring import examined, found_in, subject_of

MODEL = "class MDAIModel:\n    def predict(self, data):\n        return []\n"


@pytest.mark.parametrize(
    ("code", "line", "told"),
    [
        ("class MDAIModel:\n    def predict(self, data:\n        return []\n", 2, "never closed"),
        (MODEL + '\nprint "loaded"\n', 5, "This is Python 2"),
        (MODEL + "return 3\n", 4, "outside function"),
        (MODEL + "\tx = 1\n", 4, "This is no Python"),
        (MODEL + "x = '\0'\n", None, "null bytes"),
    ],
)
def test_a_file_that_is_no_python_is_told_with_its_line(tmp_path: Path, code: str, line: int | None, told: str) -> None:
    [finding] = examined(examine, tmp_path, code)
    assert (finding.code.name, finding.place.line) == ("M001", line)
    assert told in finding.reason


def test_a_file_that_the_model_imports_counts_and_one_beside_it_does_not(tmp_path: Path) -> None:
    files = {"used_py": "def f(:\n", "train_py": "print 'epoch'\n"}
    [finding] = examined(examine, tmp_path, f"import used\n{MODEL}", **files)
    assert finding.place.file == "used.py"


def test_text_in_another_encoding_is_told(tmp_path: Path) -> None:
    package = write_files(tmp_path, {".mdai/mdai_deploy.py": MODEL.encode() + 'x = "café"\n'.encode("latin-1")})
    [finding] = examine(subject_of(package))
    assert finding.code.name == "M001" and "UTF-8" in finding.fix


def test_what_a_newer_python_alone_could_read_is_passed_over(tmp_path: Path) -> None:
    """A SyntaxError of this Python says nothing about the package's, unless it is Python 2's."""
    newer = f"3.{sys.version_info[1] + 1}"
    assert found_in(examine, tmp_path, "def f(:\n", python=newer) == []
    assert found_in(examine, tmp_path, "print 1\n", python=newer) == ["M001:1"]


@pytest.mark.parametrize(
    ("line", "python", "since"),
    [
        ("y = [n := 1]", "3.7", "3.8"),
        ("def f(a, /): pass", "3.7", "3.8"),
        ("y = f'{MODEL=}'", "3.7", "3.8"),
        ("match 1:\n    case _: pass", "3.9", "3.10"),
        ("with (open('a') as a, open('b') as b): pass", "3.8", "3.9"),
        ("def f(a: list[int]): pass", "3.8", "3.9"),
        ("def f() -> dict[str, int]: pass", "3.8", "3.9"),
        ("Boxes = tuple[int, ...]", "3.8", "3.9"),
        ("def f(a: int | None): pass", "3.9", "3.10"),
        ("isinstance(3, int | str)", "3.9", "3.10"),
        ("'a.b'.removeprefix('a')", "3.8", "3.9"),
        ("x = {} | {'a': 1}", "3.8", "3.9"),
        ("from typing import Literal", "3.7", "3.8"),
        ("import functools\n@functools.cache\ndef f(): pass", "3.8", "3.9"),
        ("import math as m\nm.prod([1])", "3.7", "3.8"),
        ("list(zip([], [], strict=True))", "3.9", "3.10"),
    ],
)
def test_what_the_package_s_python_lacks_is_told(tmp_path: Path, line: str, python: str, since: str) -> None:
    code = f"{line}\n{MODEL}"
    [finding] = examined(examine, tmp_path, code, python=python)
    assert finding.code.name == "M002"
    assert f"since {since};" in finding.reason and f"py{since.replace('.', '')}" in finding.fix
    assert found_in(examine, tmp_path / "newer", code, python=since) == []


@pytest.mark.parametrize(
    "code",
    [
        "from __future__ import annotations\ndef f(a: list[int], b: int | None): pass\n",
        "def f():\n    found: list[int] = []\nf()\n",
        "import numpy as np\nmask = np.ones(3) > 0\nboth = mask | mask\n",
        "import sys\nif sys.version_info >= (3, 8):\n    from typing import Literal\n",
        "try:\n    from typing import Literal\nexcept ImportError:\n    Literal = None\n",
        "dict = {}\ndict['a'] = 1\nprint(dict['a'])\n",
        "def unused(a): return a.removeprefix('x')\n",
        "import pandas as pd\npd.Series(['a']).str.removeprefix('a')\n",
        "from typing import List, Optional\ndef f(a: Optional[List[int]] = None): pass\n",
        "def f(a: 'list[int]'): pass\n",
        "if __name__ == '__main__':\n    x = {} | {}\n",
    ],
)
def test_what_runs_on_old_pythons_is_silent(tmp_path: Path, code: str) -> None:
    assert found_in(examine, tmp_path, code + MODEL, python="3.7") == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="older Pythons cannot read it themselves")
def test_quotes_inside_an_f_string_of_their_own_kind_need_python_3_12(tmp_path: Path) -> None:
    code = "d = {}\nx = f\"{d.get(\"a\")}\"\ny = f\"{d.get('a')}\"\nz = f'''{d.get('a')}'''\n" + MODEL
    assert found_in(examine, tmp_path, code, python="3.11") == ["M002:2"]
