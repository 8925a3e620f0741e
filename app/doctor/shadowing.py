"""Looks at modules of the package whose names others have too: which of them is imported, and who misses the other."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from app.doctor.finding import Code, Finding, Severity
from app.doctor.own_modules import bindings, used_of
from app.doctor.subject import Subject
from model_loader.baseline import baseline
from model_loader.requirement_line import normalized
from model_loader.source_code import PRELOADED, Import, SourceFile
from model_loader.worker.mdai_guest.hints import DISTRIBUTIONS

HIDES_LISTED = Code("I004", Severity.WARNING, "a module in front of a listed library")
HIDES_LIBRARY = Code("I005", Severity.ERROR, "a file in front of a library")
NEVER_IMPORTED = Code("I006", Severity.ERROR, "a module of Python's in front of the package's")
OTHER_TWIN = Code("I007", Severity.WARNING, "one name in two folders")
HIDES_PART_OF_PYTHON = Code("I013", Severity.WARNING, "a module in front of one that a library needs")
CODES = (HIDES_LISTED, HIDES_LIBRARY, NEVER_IMPORTED, OTHER_TWIN, HIDES_PART_OF_PYTHON)

#: Folders of modules that other libraries import: one file cannot stand in for them.
_NEVER_ONE_FILE = {
    *("numpy", "pydicom", "pylibjpeg", "google", "torch", "torchvision", "tensorflow", "keras", "scipy", "skimage"),
    *("sklearn", "pandas", "matplotlib", "PIL", "cv2", "nibabel", "SimpleITK", "monai", "yaml"),
    *("libjpeg", "openjpeg", "rle"),  # pylibjpeg asks each of these for its functions when it is imported
}
#: Measured on 3.7 or 3.11 with an empty file in their place: libraries that then fail to import, by part of Python.
_NEEDED = {
    "argparse": ("scipy", "sklearn"),
    "difflib": ("sklearn",),
    "gzip": ("nibabel",),
    "mmap": ("nibabel", "pandas", "sklearn"),
    "pkgutil": ("sklearn",),
    "pprint": ("scipy", "sklearn"),
    "pydoc": ("sklearn",),
    "timeit": ("matplotlib", "sklearn"),
    "unittest": ("matplotlib", "scipy", "skimage", "sklearn"),
    "xml": ("matplotlib", "nibabel"),
}


def examine(subject: Subject) -> Iterator[Finding]:
    """Find modules of the package that hide others, or are hidden by them."""
    yield from _hides_libraries(subject)
    yield from _hides_parts_of_python(subject)
    yield from _never_imported(subject)
    yield from _twins(subject)


def _module(folder: Path, name: str) -> Path | None:
    """The file that `import name` runs, where `folder` is on `sys.path`; folders without `__init__.py` give way."""
    for path in (folder / name / "__init__.py", folder / f"{name}.py"):
        if path.is_file():
            return path
    return None


def _hides_libraries(subject: Subject) -> Iterator[Finding]:
    always = {normalized(requirement.partition("<")[0]) for requirement in baseline(subject.python_version)}
    listed = subject.requirements.names
    modules = {name.replace("-", "_"): name for name in always | listed}
    modules |= {module: name for module, name in DISTRIBUTIONS.items() if name in always | listed}
    modules["google"] = "protobuf"
    for folder in subject.code.search_path[:2]:
        for module, distribution in sorted(modules.items()):
            path = _module(folder, module)
            if path is None:
                continue
            place = subject.place(path)
            is_library = module in _NEVER_ONE_FILE and path.name != "__init__.py"
            what = "listed in requirements.txt" if distribution in listed else "there for every model"
            yield Finding(
                HIDES_LIBRARY if is_library else HIDES_LISTED,
                place,
                f"`import {module}` finds {place}, because the package comes first on `sys.path`, and not "
                f"{distribution}, which is {what}."
                + (" Libraries that need it get this file, and fail." if is_library else ""),
                f"Give {place} another name, such as `{module}_own`, and change its imports."
                if distribution not in listed or is_library
                else f"Delete whichever of the two is not meant: the line in requirements.txt, or {place}.",
            )


def _hides_parts_of_python(subject: Subject) -> Iterator[Finding]:
    imported = {one.top: (file, one) for file in subject.code.reachable for one in file.imports if not one.level}
    for name, libraries in sorted(_NEEDED.items()):
        path = next((found for folder in subject.code.search_path[:2] if (found := _module(folder, name))), None)
        library = next((each for each in libraries if each in imported), None)
        if path is not None and library is not None:
            yield Finding(
                HIDES_PART_OF_PYTHON,
                subject.place(path),
                f"`import {name}` finds this file before Python's own {name}, in libraries too; {library} needs that, "
                "in some releases at least.",
                f"Give it another name, such as `{name}_own.py`, and change its imports.",
            )
    if "gdcm" in imported or subject.requirements.names & {"gdcm", "python-gdcm"}:
        for folder in subject.code.search_path:
            if (folder / "dl").is_dir():
                yield Finding(
                    HIDES_PART_OF_PYTHON,
                    subject.place(folder / "dl"),
                    "A folder named dl stands for the module dl, which gdcm tries to import from old Pythons: gdcm "
                    "finds it, uses what it does not have, and fails to import.",
                    "Give the folder another name, and change its imports.",
                )


def _never_imported(subject: Subject) -> Iterator[Finding]:
    """Modules of the package whose names were loaded before the model is, where its code wants the package's."""
    for file in subject.code.reachable:
        for one in file.imports:
            if one.level or one.guarded or one.module not in PRELOADED or one.module not in sys.stdlib_module_names:
                continue
            own = next((found for folder in subject.code.search_path if (found := _module(folder, one.module))), None)
            wanted = None if own is None else _wanted_of(file, one, SourceFile(own, own.name))
            if own is not None and wanted is not None:
                place = subject.place(own)
                yield Finding(
                    NEVER_IMPORTED,
                    subject.place(file.path, one.line),
                    f"{wanted} is in {place}, but `{one.module}` is always Python's own module, which is loaded before "
                    "the model is, here and on the platform.",
                    f"Give {place} another name, such as `{one.module}_own.py`, and import that.",
                )


def _wanted_of(file: SourceFile, one: Import, own: SourceFile) -> str | None:
    """A name that the file takes out of a module of Python's and only `own` has."""
    only_own = set(bindings(own)) - set(dir(importlib.import_module(one.module)))
    return next((name for name in used_of(file, one) if name in only_own), None)


def _twins(subject: Subject) -> Iterator[Finding]:
    """Imports by a bare name that two folders have: the one beside the importing file is not the one that comes."""
    path = subject.code.search_path
    for file in subject.code.reachable:
        if file.path.parent in path[:2]:
            continue
        for one in file.imports:
            beside = None if one.level or not one.top or one.top in PRELOADED else _module(file.path.parent, one.top)
            taken = next(
                (found for folder in subject.code.locate(one.top) if (found := _module(folder, one.top))), None
            )
            if beside is None or taken is None or not _is_doubtful(file, one, beside, taken):
                continue
            package = file.path.parent.relative_to(subject.package.root).as_posix().replace("/", ".")
            yield Finding(
                OTHER_TWIN,
                subject.place(file.path, one.line),
                f"`{one.top}` is {subject.place(taken)}, which comes first on `sys.path`, and not "
                f"{subject.place(beside)} beside this file.",
                f"Write `from {package.removeprefix('.mdai.')} import {one.top}` where the one beside it is meant, or "
                "give one of the two another name.",
            )


def _is_doubtful(file: SourceFile, one: Import, beside: Path, taken: Path) -> bool:
    """Whether the file may mean the module beside it, and would see the difference."""
    if beside == taken or beside.read_bytes() == taken.read_bytes():
        return False
    if "." in one.module:  # a part of a package, not judged here
        return False
    held = bindings(SourceFile(beside, beside.name))
    return "*" in held or set(used_of(file, one)) <= set(held)
