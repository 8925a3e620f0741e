"""Lines of requirements.txt, taken apart."""

from pathlib import Path

import pytest

from model_loader.requirement_line import RequirementLine
from model_loader.requirements_file import numbered_lines


def line(text: str) -> RequirementLine:
    return RequirementLine(Path("requirements.txt"), 1, text)


@pytest.mark.parametrize(
    ("text", "project", "clauses"),
    [
        ("numpy", "numpy", ()),
        ("Scikit_Learn[a,b] == 1.0 ; python_version < '4'", "Scikit_Learn", (("==", "1.0"),)),
        ("numpy (>=1.19, <2)", "numpy", ((">=", "1.19"), ("<", "2"))),
        ("numpy>=1.19,", "numpy", ((">=", "1.19"),)),
        ("torch==1.4.0+cpu --hash=sha256:00", "torch", (("==", "1.4.0+cpu"),)),
        ("x==1.0rc1.post2,!=1.*", "x", (("==", "1.0rc1.post2"), ("!=", "1.*"))),
        ("torch @ https://a.invalid/t.whl ; python_version<'3'", "torch", ()),
        ("git+https://a.invalid/x#egg=x", None, ()),
        ("-r more.txt", None, ()),
        ("numpy=1.19", None, ()),
    ],
)
def test_a_requirement_by_name(text: str, project: str | None, clauses: tuple[tuple[str, str], ...]) -> None:
    assert (line(text).project, line(text).clauses) == (project, clauses)


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("x-1.0-py3-none-any.whl[extra]", "x-1.0-py3-none-any.whl", "x"),
        ("./src", "./src", None),
        ("-e ./src", "./src", None),
        ("git+https://a.invalid/b@main#egg=The_B", "git+https://a.invalid/b@main#egg=The_B", "the-b"),
        (
            "https://a.invalid/a;b/x-1-py3-none-any.whl ; os_name=='nt'",
            "https://a.invalid/a;b/x-1-py3-none-any.whl",
            "x",
        ),
        ("C:\\x\\y-1.0-cp37-cp37m-win_amd64.whl", "C:\\x\\y-1.0-cp37-cp37m-win_amd64.whl", "y"),
        ("Torch @ file:///x", "file:///x", "torch"),
    ],
)
def test_a_place_to_install_from(text: str, address: str, name: str | None) -> None:
    assert (line(text).address, line(text).name) == (address, name)


# As uv 0.13 judges them.
@pytest.mark.parametrize(
    "text",
    [
        "a=1",
        "a=1=py37_0",
        "pip install a",
        "a 1.0",
        "- a",
        "_a=0.1=main",
        "a,b",
        "@a",
        "a==",
        "a==1.x",
        "Package  Version",
        "a==1 -f https://a.invalid/",
        "<html>",
    ],
)
def test_what_the_installer_refuses_is_not_understood(text: str) -> None:
    assert not line(text).is_understood


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("python_version < '3.8'", True),
        ('python_version >= "3.8"', False),
        ("python_version == '3'", True),
        ("python_version > '3.10'", False),
        ("sys_platform == 'win32' or python_version < '3.8'", True),
        ("sys_platform == 'win32' and python_version < '3.8'", False),
        ("(sys_platform == 'win32')", True),
        ("platform_machine == 'unheard-of'", True),
    ],
)
def test_a_marker_decides_and_an_unusual_one_is_taken_to_hold(marker: str, holds: bool) -> None:
    assert line(f"numpy; {marker}").applies((3, 7)) is holds


def test_lines_keep_the_number_that_they_begin_on() -> None:
    content = b"# said\r\nnumpy \\\r\n  ==1.19 \\\r\n\r\n\r\nscipy # and\r\n  \r\nsix"
    assert list(numbered_lines(content)) == [(2, "numpy   ==1.19"), (6, "scipy"), (8, "six")]
