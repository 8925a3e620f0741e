"""The worker's source keeps to what the oldest interpreter has, and says what the server understands."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import model_loader.worker
from model_loader import process
from model_loader.worker.mdai_guest import visibility, wire

WORKER = Path(model_loader.worker.__file__).parent
SOURCES = sorted(WORKER.rglob("*.py"))
#: Modules of the standard library that came after Python 3.7; a dotted one came to a package that was there before.
YOUNGER = {"annotationlib", "compression", "graphlib", "string.templatelib", "tomllib", "zoneinfo"} | {
    "importlib.metadata",
    "importlib.resources.abc",
    "multiprocessing.shared_memory",
    "multiprocessing.resource_tracker",
    "unittest.async_case",
}
#: What the guest may import of the package's own, in a function: models that ask for `instances` read DICOM.
OF_THE_PACKAGE = {("request.py", "pydicom")}

each_source = pytest.mark.parametrize("source", SOURCES, ids=[str(path.relative_to(WORKER)) for path in SOURCES])


def test_there_is_a_worker() -> None:
    assert {"__main__.py", "hosting.py", "wire.py"} <= {path.name for path in SOURCES}


@each_source
def test_the_syntax_is_python_3_7_s(source: Path) -> None:
    ast.parse(source.read_text(encoding="utf-8"), str(source), feature_version=(3, 7))


@each_source
def test_only_the_standard_library_of_3_7_msgpack_and_its_own_are_imported(source: Path) -> None:
    for module in imported(source):
        if (source.name, module) in OF_THE_PACKAGE:
            continue
        top = module.partition(".")[0]
        assert top in sys.stdlib_module_names | {"msgpack", "mdai_guest"}, f"{module} is not in the standard library"
        assert not {top, module} & YOUNGER, f"{module} came after Python 3.7"
        assert top == "__future__" or not top.startswith("_"), f"{module} is private to one Python"


def imported(source: Path) -> Iterator[str]:
    """The modules that `source` imports by an absolute name, anywhere in it."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", ["wire.py", "__init__.py"])
def test_what_both_sides_import_needs_no_msgpack(module: str) -> None:
    """And nothing of the guest's that would."""
    names = set(imported(WORKER / "mdai_guest" / module))
    assert "msgpack" not in names
    relative = [
        node
        for node in ast.walk(ast.parse((WORKER / "mdai_guest" / module).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_every_kind_of_failure_that_crosses_the_wire_is_an_error_of_the_server_s() -> None:
    kinds = {name: value for name, value in vars(wire).items() if name.startswith(("FAILED_", "ERROR_"))}
    at_load = {value for name, value in kinds.items() if name.startswith("FAILED_")}
    at_predict = {value for name, value in kinds.items() if name.startswith("ERROR_")}
    assert len(at_load) + len(at_predict) == len(kinds) > 0
    assert set(process._LOAD_ERRORS) == at_load
    assert set(process._PREDICT_ERRORS) == at_predict
    for errors in (process._LOAD_ERRORS, process._PREDICT_ERRORS):
        assert len(set(errors.values())) == len(errors), "each kind has an error of its own"


def test_what_is_loaded_ahead_of_the_package_is_the_standard_library_s_and_written_down_in_order() -> None:
    names = visibility.STANDARD_LIBRARY
    assert names == sorted(set(names))
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)
