"""Boxes whose width or height is made from the wrong corners (M015)."""

import ast
import re
from collections.abc import Iterator

from app.doctor.code.output_dicts import written_dict
from app.doctor.code.script import Script
from app.doctor.code.syntax_tree import dotted, text_of
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.models import Box
from app.interface.wording import visible

WRONG_CORNERS = Code("M015", Severity.ERROR, "a box from the wrong corners")
CODES = (WRONG_CORNERS,)

_KEYS = tuple(Box.model_fields)
#: Calls that change a number's type, or keep it within the image.
_AROUND = frozenset(
    (
        "int",
        "float",
        "round",
        "abs",
        "max",
        "min",
        "ceil",
        "floor",
        "rint",
        "item",
        "int32",
        "int64",
        "float32",
        "float64",
        "clip",
    )
)
_FAR_CORNER = re.compile(r"[xy]_?(2|max|end)|(right|bottom)|[xy]br|br_?[xy]|max_?[xyrc]", re.IGNORECASE)


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at every dict with x, y, width and height that is written in what runs when the model predicts."""
    for script in subject.own_scripts:
        for node in script.nodes:
            box = written_dict(node)
            if box is not None and box.values.keys() >= set(_KEYS):
                given = {key: _core(script, box.values[key]) for key in _KEYS}
                for key, reason, fix in _faults(given, box.values):
                    yield Finding(WRONG_CORNERS, subject.place(script.file.path, box.values[key].lineno), reason, fix)


def _faults(given: dict[str, ast.expr], written: dict[str, ast.expr]) -> Iterator[tuple[str, str, str]]:
    shown = {key: f'"{key}": {visible(ast.unparse(written[key]), 60)}' for key in _KEYS}
    found = list(_faults_of_sizes(given, shown))
    yield from found
    ends = [_atom(one.left) for one in (given["width"], given["height"]) if isinstance(one, ast.BinOp)]
    if not found and len(ends) == 2 and ends[0] and ends[0] == ends[1] and _atom(given["x"]) != _atom(given["y"]):
        reason = f"`{shown['width']}` and `{shown['height']}` both end at {ends[0]}: one of them is of the other axis."
        yield "height", reason, "Take the far corner's x for the width, and its y for the height."


def _faults_of_sizes(given: dict[str, ast.expr], shown: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    own = {"width": "x", "height": "y"}
    for size, start in own.items():
        first, other_first = _atom(given[start]), _atom(given["y" if start == "x" else "x"])
        match given[size]:
            case ast.BinOp(op=ast.Sub(), left=left, right=right):
                taken, end = _atom(right), _atom(left)
            case alone:
                name = _atom(alone)
                if name and first and _FAR_CORNER.fullmatch(re.split(r"[.\[\]'\"]+", name.rstrip("]'\""))[-1]):
                    reason = f"`{shown[size]}` is the far corner and not the {size}: that is the distance from {start}."
                    yield size, reason, f"Write `{name} - {first}`."
                continue
        if not first or not other_first or first == other_first:
            continue
        if taken and taken != first and (taken == other_first or _base(taken) == _base(first) != ""):
            reason = f"`{shown[size]}` does not begin where `{shown[start]}` does: it subtracts {taken}, not {first}."
            yield size, reason, f"Subtract {first}: the {size} is the far edge less `{first}`."
        elif end and end in (first, other_first) and taken != end:
            what = "negative" if end == first else "from the other axis"
            reason = f"`{shown[size]}` ends at {end}, where the box begins (`{shown[start]}`): it is {what}."
            yield size, reason, f"Write the far edge of the box less {first}."


def _core(script: Script, node: ast.expr) -> ast.expr:
    """The coordinate itself: without int(…), a factor, + 1, and behind the names that stand for it."""
    for _ in range(10):
        node = script.resolved(node)
        match node:
            case ast.Call(func=function, args=[*args]) if dotted(function).rpartition(".")[2] in _AROUND and args:
                inner = [one for one in args if not isinstance(one, ast.Constant)]
                if len(inner) != 1 and not dotted(function).endswith("clip"):
                    return node
                node = args[0] if dotted(function).endswith("clip") else inner[0]
            case ast.Call(func=ast.Attribute(value=value, attr="item" | "tolist"), args=[]):
                node = value
            case ast.BinOp(op=ast.Mult() | ast.Div() | ast.FloorDiv(), left=left):
                node = left
            case ast.BinOp(op=ast.Add() | ast.Sub(), left=left, right=ast.Constant(value=1)):
                node = left
            case ast.BinOp(op=ast.Sub(), left=left, right=right):
                return ast.BinOp(left=_core(script, left), op=ast.Sub(), right=_core(script, right))
            case _:
                return node
    return node


def _atom(node: ast.expr) -> str:
    """A coordinate as one writes it, `box[0]` or `x1`; "" for anything that is computed."""
    match node:
        case ast.Name() | ast.Attribute() if dotted(node):
            return dotted(node)
        case ast.Subscript(value=value, slice=ast.Constant(value=int() | str() as key)) if not isinstance(key, bool):
            base = _atom(value) or (dotted(value) if dotted(value) else "")
            return ast.unparse(node) if base or text_of(node.slice) is not None else ""
        case ast.Subscript(slice=ast.Tuple()):
            return ast.unparse(node)
    return ""


def _base(atom: str) -> str:
    """What an element is taken from: `box` of `box[0]`; "" where it is no numbered element."""
    found = re.fullmatch(r"(.+)\[-?\d+\]", atom)
    return found[1] if found else ""
