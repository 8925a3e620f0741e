"""Looks at which projects requirements.txt names: dead ones, parts of Python, OpenCVs, TensorFlow's protobuf."""

import ast
import re
import sys
from collections.abc import Iterator, Sequence

from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from model_loader.requirement_line import RequirementLine

DEAD_NAME = Code("R002", Severity.ERROR, "a name that does not install")
PART_OF_PYTHON = Code("R003", Severity.WARNING, "a part of Python listed as a requirement")
NOT_HEADLESS = Code("R008", Severity.WARNING, "OpenCV with windows")
TWO_OPENCVS = Code("R009", Severity.WARNING, "OpenCV twice")
TOO_NEW_PROTOBUF = Code("R016", Severity.ERROR, "a protobuf that this TensorFlow cannot import")
CODES = (DEAD_NAME, PART_OF_PYTHON, NOT_HEADLESS, TWO_OPENCVS, TOO_NEW_PROTOBUF)
WRONG_NAMES = (DEAD_NAME, PART_OF_PYTHON)

#: Tried on Python 3.7 and 3.12: a name that people write, what they mean, and what the index has under that name.
_DEAD = {
    "cv2": ("opencv-python-headless", "is a module's name, and no project has it"),
    "opencv": ("opencv-python-headless", "is no project"),
    "python-opencv": ("opencv-python-headless", "is no project"),
    "opencv-headless": ("opencv-python-headless", "is no project"),
    "pil": ("pillow", "is a module's name, and the project of that name is gone"),
    "pytorch": ("torch", "is a project that only says that it is the wrong one"),
    "skimage": ("scikit-image", "is a project that only says that it is the wrong one"),
    "sklearn": ("scikit-learn", "is a project that only says that it is the wrong one"),
    "yaml": ("pyyaml", "is a module's name, and no project has it"),
}
#: Parts of Python for which the index has nothing, or nothing that installs.
_NOWHERE = {"glob", "json", "logging", "multiprocessing", "os", "pickle", "random", "re", "subprocess", "sys", "time"}
#: Installs, once was a stand-in for a part of Python, and is not looked at.
_BACKPORTS = {"enum34": "enum"}
_OPENCV = {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"}
_WINDOWS = {"createTrackbar", "destroyAllWindows", "destroyWindow", "imshow", "namedWindow", "selectROI", "waitKey"}
_TENSORFLOW = {"tensorflow", "tensorflow-cpu", "tensorflow-gpu"}


def examine(subject: Subject, lines: Sequence[RequirementLine]) -> Iterator[Finding]:
    """Find what the names say. `lines` are those of requirements.txt that count on this Python."""
    by_index = [line for line in lines if line.project and not line.address]
    yield from _dead_names(subject, by_index)
    yield from _parts_of_python(subject, by_index)
    yield from _opencv(subject, by_index)
    yield from _protobuf(subject, by_index)


def _dead_names(subject: Subject, lines: Sequence[RequirementLine]) -> Iterator[Finding]:
    for line in lines:
        place = subject.place(line.file, line.number)
        name = line.name or ""
        if name in _DEAD:
            wanted, what = _DEAD[name]
            listed = wanted in subject.requirements.names
            yield Finding(
                DEAD_NAME,
                place,
                f"{line.project} {what}, so that nothing of this file is installed.",
                f"Delete the line: {wanted} is listed already." if listed else f"Write `{wanted}` instead.",
            )
        elif name in _NOWHERE:
            yield Finding(
                DEAD_NAME,
                place,
                f"{line.project} is a part of Python and no index has it, so that nothing of this file is installed.",
                "Delete the line.",
            )
        elif name == "tensorflow-gpu" and not _ends_before(line, (2, 12)):
            yield Finding(
                DEAD_NAME,
                place,
                "tensorflow-gpu ended with TensorFlow 2.11: what is newer under that name is an error message.",
                "Write `tensorflow`, which uses GPUs itself, or pin the version that the model was trained with.",
            )


def _parts_of_python(subject: Subject, lines: Sequence[RequirementLine]) -> Iterator[Finding]:
    for line in lines:
        module = _BACKPORTS.get(line.name or "", (line.name or "").replace("-", "_"))
        if module not in sys.stdlib_module_names or line.name in _NOWHERE or line.marker:
            continue
        if subject.python_version < (3, 9) and module in ("zoneinfo", "graphlib"):
            continue
        yield Finding(
            PART_OF_PYTHON,
            subject.place(line.file, line.number),
            f"`import {module}` is answered by Python itself. What an index has as {line.project} is for Pythons long "
            "gone, or somebody else's.",
            "Delete the line.",
        )


def _opencv(subject: Subject, lines: Sequence[RequirementLine]) -> Iterator[Finding]:
    variants = [line for line in lines if line.name in _OPENCV]
    names = {line.name for line in variants}
    if len(names) > 1:
        last = next(line for line in variants if line.name != variants[0].name)
        yield Finding(
            TWO_OPENCVS,
            subject.place(last.file, last.number),
            f"{variants[0].project} and {last.project} are both listed. Each installs the module cv2, over the "
            "other's files: which of them is imported is chance, and some of it may be missing.",
            f"Keep one, best `{'opencv-contrib-python' if _with_contrib(names) else 'opencv-python'}-headless`.",
        )
        return
    for line in variants:
        if (line.name or "").endswith("-headless") or _opens_windows(subject):
            continue
        yield Finding(
            NOT_HEADLESS,
            subject.place(line.file, line.number),
            f"{line.project} is made for programs with windows and loads graphics libraries for that. Slim container "
            "images have none, and `import cv2` then fails with libGL.so.1. Nothing here opens a window.",
            f"Write `{line.name}-headless{_of_same_opencv(line.specifier)}`: the same module cv2.",
        )


def _with_contrib(names: set[str | None]) -> bool:
    return any("contrib" in (name or "") for name in names)


def _of_same_opencv(specifier: str) -> str:
    """The last of four numbers counts builds, and differs between the variants: 4.2.0.32 here is 4.2.0.34 there."""
    exact = re.fullmatch(r"==(\d+\.\d+\.\d+)\.\d+", specifier)
    return f"=={exact[1]}.*" if exact else specifier


def _opens_windows(subject: Subject) -> bool:
    trees = [file.tree for file in subject.code.reachable if file.tree is not None]
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return any(
        node.attr in _WINDOWS and isinstance(node.value, ast.Name) and "cv" in node.value.id.lower() for node in nodes
    )


def _protobuf(subject: Subject, lines: Sequence[RequirementLine]) -> Iterator[Finding]:
    tensorflow = next((line for line in lines if line.name in _TENSORFLOW and _ends_before(line, (2, 12))), None)
    if tensorflow is None or "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION" in subject.package.config.env:
        return
    for line in lines:
        least = (_numbers(version) for compare, version in line.clauses if compare in ("==", "===", "~=", ">=", ">"))
        if line.name == "protobuf" and max(least, default=(0,)) >= (3, 21):
            yield Finding(
                TOO_NEW_PROTOBUF,
                subject.place(line.file, line.number),
                f"`{line.shown}` goes against `{tensorflow.shown}`: TensorFlow before 2.12 cannot import a protobuf "
                "from 3.21 on, even where its metadata allows it.",
                "Write `protobuf<3.21`, or delete the line: 3.20 is installed when nothing says otherwise.",
            )


def _ends_before(line: RequirementLine, release: tuple[int, ...]) -> bool:
    """Whether only versions before the release will do."""
    for compare, version in line.clauses:
        numbers = _numbers(version)
        if compare == "~=":  # 2.1 means before 3, and 2.1.0 before 2.2
            numbers = (*numbers[:-2], numbers[-2] + 1) if len(numbers) > 1 else ()
        is_upper = compare in ("==", "===", "<=", "<", "~=")
        if is_upper and numbers and (numbers < release or (compare in ("<", "~=") and numbers == release)):
            return True
    return False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
