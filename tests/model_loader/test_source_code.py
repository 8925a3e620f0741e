"""A package's Python files: which of them the model imports, found without running any."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from model_loader.package import open_package
from model_loader.source_code import Import, SourceCode, SourceFile, read_source_code
from tests.building import open_with

MODEL = "class MDAIModel:\n    pass\n"


def code_of(tmp_path: Path, files: dict[str, str | bytes], deploy: str = "") -> SourceCode:
    """The code of a package whose mdai_deploy.py begins with `deploy`."""
    for name, content in ({".mdai/mdai_deploy.py": f"{deploy}\n{MODEL}"} | files).items():
        path = tmp_path / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_source_code(open_package(tmp_path / "m", scratch=tmp_path))


def reached(tmp_path: Path, files: dict[str, str | bytes], deploy: str) -> list[str]:
    first, *others = [file.shown for file in code_of(tmp_path, files, deploy).reachable]
    assert first == ".mdai/mdai_deploy.py"
    return others


def imports_of(text: str) -> list[Import]:
    file = SourceFile(Path("x.py"), "x.py")
    file.__dict__["content"] = text.encode()
    return list(file.imports)


# Which files there are


def test_every_file_that_python_could_import_is_read_and_sorted(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "b.py": "",
        "a/x.py": "",
        "a/notes.txt": "",
        ".mdai/inner/y.py": "",
        ".hidden/z.py": "",
        "venv/pyvenv.cfg": "",
        "venv/z.py": "",
        "a/__pycache__/z.py": "",
        "a/._x.py": "",
    }
    code = code_of(tmp_path, files)
    assert [file.shown for file in code.files] == [".mdai/inner/y.py", ".mdai/mdai_deploy.py", "a/x.py", "b.py"]
    assert code.deploy.shown == ".mdai/mdai_deploy.py"


# Which of them the model imports


@pytest.mark.parametrize(
    ("deploy", "expected"),
    [
        ("import one", ["one.py"]),
        ("import one, two", ["one.py", "two.py"]),
        ("import one as two", ["one.py"]),
        ("from one import name", ["one.py"]),
        ("from one import *", ["one.py"]),
        ("import pack", ["pack/__init__.py"]),
        ("import pack.inner", ["pack/__init__.py", "pack/inner.py"]),
        ("from pack import inner", ["pack/__init__.py", "pack/inner.py"]),
        ("from pack import name", ["pack/__init__.py"]),
        ("import pack.nowhere", ["pack/__init__.py"]),
        ("import space.inside", ["space/inside.py"]),
        ("from space import inside", ["space/inside.py"]),
        ("from space.deeper import lowest", ["space/deeper/lowest.py"]),
        ("import inside", ["space/inside.py"]),
        ("import beside", [".mdai/beside.py"]),
        ("from lib import one", ["one.py"]),
        ("from lib.pack import inner", ["pack/__init__.py", "pack/inner.py"]),
        ("import lib.space.inside", ["space/inside.py"]),
        ("import numpy, one.name", []),
        ("try:\n    import one\nexcept ImportError:\n    import two", ["one.py", "two.py"]),
        ("def f():\n    import one", ["one.py"]),
        ("import importlib\nimportlib.import_module('pack.inner')", ["pack/__init__.py", "pack/inner.py"]),
        ("# import one\ntext = 'import two'", []),
    ],
)
def test_an_import_reaches_what_python_would_run(tmp_path: Path, deploy: str, expected: list[str]) -> None:
    """The module, the packages above it, and the submodules that are taken out of it; not what is nowhere."""
    files: dict[str, str | bytes] = {
        "one.py": "name = 1",
        "two.py": "",
        "pack/__init__.py": "name = 1",
        "pack/inner.py": "",
        "space/inside.py": "",
        "space/deeper/lowest.py": "",
        ".mdai/beside.py": "",
    }
    assert reached(tmp_path, files, deploy) == expected


def test_what_is_imported_in_turn_is_reached_once_though_it_goes_in_circles(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "a.py": "import b",
        "b.py": "import c, a",
        "c.py": "import mdai_deploy, b",
        "d.py": "",
    }
    assert reached(tmp_path, files, "import a") == ["a.py", "b.py", "c.py"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from . import near", ["pack/deep/near.py"]),
        ("from .near import name", ["pack/deep/near.py"]),
        ("from .. import above", ["pack/above.py"]),
        ("from ..above import name", ["pack/above.py"]),
        ("from ..side.one import name", ["pack/side/one.py"]),
        ("from ... import top", ["top.py"]),
        ("from ..... import top", []),
        ("import near", ["pack/deep/near.py"]),
    ],
)
def test_relative_imports_start_from_the_files_own_folder(tmp_path: Path, text: str, expected: list[str]) -> None:
    files: dict[str, str | bytes] = {
        "pack/deep/start.py": text,
        "pack/deep/near.py": "",
        "pack/above.py": "",
        "pack/side/one.py": "",
        "top.py": "",
    }
    assert reached(tmp_path, files, "import pack.deep.start") == ["pack/deep/start.py", *expected]


def test_the_root_wins_over_mdai_and_both_over_other_folders(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "helper.py": "",
        ".mdai/helper.py": "",
        "a/helper.py": "",
        "b/other.py": "",
        "a/other.py": "",
    }
    assert reached(tmp_path, files, "import helper, other") == ["helper.py", "a/other.py"]


def test_a_module_wins_over_a_folder_without_init_and_a_package_over_a_module(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"one.py": "", "one/x.py": "", "two.py": "", "two/__init__.py": "", "two/x.py": ""}
    assert reached(tmp_path, files, "import one, two") == ["one.py", "two/__init__.py"]


def test_a_namespace_spans_the_root_and_mdai(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"space/a.py": "", ".mdai/space/b.py": ""}
    assert reached(tmp_path, files, "from space import a, b") == ["space/a.py", ".mdai/space/b.py"]


def test_a_folder_in_an_import_folder_is_found(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "src/setup.py": "",
        "src/net/__init__.py": "from .unet import UNet",
        "src/net/unet.py": "",
    }
    assert reached(tmp_path, files, "import net") == ["src/net/__init__.py", "src/net/unet.py"]


@pytest.mark.parametrize("name", ["random", "types", "logging", "sys"])
def test_what_is_loaded_before_the_model_is_not_the_packages_own(tmp_path: Path, name: str) -> None:
    code = code_of(tmp_path, {f"{name}.py": "", f".mdai/{name}.py": ""}, f"import {name}")
    assert [file.shown for file in code.reachable] == [".mdai/mdai_deploy.py"]
    assert not code.provides(name)


def test_other_names_of_the_standard_library_are_the_packages_where_they_come_first(tmp_path: Path) -> None:
    """`test` in the root comes before the interpreter's own, in a folder that is appended behind it."""
    code = code_of(tmp_path, {"test.py": "", "lib/wave.py": "", "lib/mine.py": ""}, "import test, wave, mine")
    assert [file.shown for file in code.reachable][1:] == ["test.py", "lib/mine.py"]
    assert (code.provides("test"), code.provides("wave"), code.provides("mine")) == (True, False, True)


def test_what_the_package_provides(tmp_path: Path) -> None:
    code = code_of(tmp_path, {"one.py": "", "space/x.txt": "", "a/deep.py": ""})
    names = ("one", "space", "a", "deep", "lib", "mdai_deploy", "numpy", "torch", "x")
    assert [name for name in names if code.provides(name)] == ["one", "space", "a", "deep", "lib", "mdai_deploy"]


# How imports are written


@pytest.mark.parametrize(
    ("text", "guarded", "deferred"),
    [
        ("import a", False, False),
        ("class X:\n    import a", False, False),
        ("if x:\n    import a", False, False),
        ("with x:\n    import a", False, False),
        ("def f():\n    import a", False, True),
        ("class X:\n    async def f(self):\n        import a", False, True),
        ("try:\n    import a\nexcept ImportError:\n    pass", True, False),
        ("try:\n    import a\nexcept (KeyError, ModuleNotFoundError):\n    pass", True, False),
        ("try:\n    import a\nexcept:\n    pass", True, False),
        ("try:\n    x\nexcept Exception:\n    import a", True, False),
        ("try:\n    import a\nexcept KeyError:\n    pass", False, False),
        ("try:\n    import a\nfinally:\n    pass", False, False),
        ("try:\n    x\nexcept ImportError:\n    pass\nelse:\n    import a", False, False),
        ("try:\n    if x:\n        import a\nexcept ImportError:\n    pass", True, False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a", True, False),
        ("import typing\nif typing.TYPE_CHECKING:\n    pass\nelse:\n    import a", False, False),
        ("f = lambda: __import__('a')", True, True),
    ],
)
def test_whether_loading_the_model_needs_an_import(text: str, guarded: bool, deferred: bool) -> None:
    (found,) = [one for one in imports_of(text) if one.module == "a"]
    assert (found.guarded, found.deferred) == (guarded, deferred)


def test_an_import_knows_its_names_level_and_line() -> None:
    text = "import os.path, b\n\nfrom .c import (\n    d,\n    e as f,\n)\nfrom .. import g\n"
    assert imports_of(text) == [
        Import("os.path", line=1),
        Import("b", line=1),
        Import("c", ("d", "e"), line=3, level=1),
        Import("", ("g",), line=7, level=2),
    ]
    assert imports_of(text)[0].top == "os"


# What is no Python


@pytest.mark.parametrize(
    "content",
    [
        b"def broken(:\n",
        b"print 'old'\n",
        b"x = '\xff'\n",
        b"a\0b",
        b"# coding: nonsense\n",
        b"(" * 50_000,
        b"\xff\xfex\0",
    ],
)
def test_a_file_that_is_not_python_imports_nothing_and_is_there_all_the_same(tmp_path: Path, content: bytes) -> None:
    code = code_of(tmp_path, {"broken.py": content}, "import broken")
    assert [file.shown for file in code.reachable] == [".mdai/mdai_deploy.py", "broken.py"]
    assert code.reachable[1].tree is None
    assert code.reachable[1].imports == ()


def test_syntax_is_read_as_the_models_python_reads_it(tmp_path: Path) -> None:
    code = code_of(tmp_path, {}, "match = (x := 1)")
    assert isinstance(code.deploy.parse((3, 8)), ast.Module)
    with pytest.raises(SyntaxError):
        code.deploy.parse((3, 7))


def test_doubtful_escapes_in_strings_are_no_warning_of_ours(tmp_path: Path) -> None:
    assert code_of(tmp_path, {}, r"pattern = '\d'").deploy.tree is not None


def test_a_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    assert SourceFile(tmp_path / "nowhere.py", "nowhere.py").content == b""


def test_nothing_of_the_package_runs(tmp_path: Path) -> None:
    code = code_of(tmp_path, {"one.py": "raise SystemExit('it ran')"}, "import one\nraise SystemExit('it ran')")
    assert len(code.reachable) == 2


def test_python_itself_imports_the_same_files(tmp_path: Path) -> None:
    """The same search path, the same imports: what an interpreter loads is what was reached."""
    files: dict[str, str | bytes] = {
        "one.py": "from pack import inner",
        "pack/__init__.py": "from . import other",
        "pack/inner.py": "import tool",
        "pack/other.py": "",
        "space/inside.py": "",
        "tools/tool.py": "import space.inside",
        "unused.py": "",
    }
    code = code_of(tmp_path, files, "import one")
    search = [str(folder) for folder in code.search_path]
    program = (
        f"import sys; sys.path[:0] = {search[:2]!r}; sys.path += {search[2:]!r}; import mdai_deploy\n"
        "files = [getattr(module, '__file__', None) or '' for module in sys.modules.values()]\n"
        f"print(*sorted(file for file in files if file.startswith({search[0]!r})), sep='\\n')"
    )
    told = subprocess.run([sys.executable, "-IB", "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == sorted(str(file.path) for file in code.reachable)


# Which imports the model cannot do without


@pytest.mark.parametrize(
    ("code", "guarded"),
    [
        ("import x", False),
        ("with open('f'):\n    import x", False),
        ("if True:\n    import x", False),
        ("with contextlib.suppress(ImportError):\n    import x", True),
        ("if sys.version_info < (3, 8):\n    import x", True),
        ("if sys.version_info < (3, 8):\n    pass\nelse:\n    import x", True),
        ("if __name__ == '__main__':\n    import x", True),
    ],
)
def test_an_import_that_is_not_needed_everywhere_is_guarded(tmp_path: Path, code: str, guarded: bool) -> None:
    package = open_with(tmp_path / "model")
    (package.mdai / "mdai_deploy.py").write_text(f"{code}\n")
    assert [one.guarded for one in read_source_code(package).deploy.imports] == [guarded]


def test_a_compiled_module_is_provided_and_a_folder_may_be(tmp_path: Path) -> None:
    package = open_with(tmp_path / "model")
    (package.root / "fast.cpython-38-x86_64-linux-gnu.so").write_bytes(b"")
    (package.root / "torch").mkdir()
    code = read_source_code(package)
    assert [code.provides(name) for name in ("fast", "slow", "torch", "lib")] == [True, False, True, True]
    assert [code.is_bare_folder(name) for name in ("torch", "fast", "mdai_deploy")] == [True, False, False]
