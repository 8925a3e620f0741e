"""Numbers and arrays of numpy's in outputs (M012): this server converts them, MD.ai's refuses them.

Only what is numpy's (or torch's) for sure by the way it is made: `np.argmax(…)`, `scores.argmax()`, an element of what
`model.predict(…)` gives. What `int(…)`, `float(…)`, `.item()` or `.tolist()` are put around is plain.
"""

import ast
from collections.abc import Iterator
from enum import Enum

from app.doctor.code.model_class import model_class
from app.doctor.code.output_dicts import WrittenDict, data_written, outputs_written, written_dict
from app.doctor.code.script import Script
from app.doctor.code.syntax_tree import Function, dotted, walk_scope
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.models import FORM_KEYS
from app.interface.wording import quoted, visible

NUMPY_TYPE = Code("M012", Severity.WARNING, "an output of a type that MD.ai refuses")
CODES = (NUMPY_TYPE,)


class Kind(Enum):
    """What an expression gives, where that can be told."""

    INTEGER = "a whole number of numpy's"
    NUMBER = "a number of numpy's"
    ARRAY = "an array"


_INTEGERS = frozenset(
    ("argmax", "argmin", "count_nonzero", "int8", "int16", "int32", "int64", "uint8", "uint16", "searchsorted")
)
#: Of an array, these may be a number or an array again, by their axis.
_NUMBERS = frozenset(
    ("max", "min", "amax", "amin", "mean", "sum", "median", "std", "percentile", "float16", "float32", "dot")
)
_ARRAYS = frozenset(
    (
        "array",
        "asarray",
        "zeros",
        "zeros_like",
        "ones",
        "ones_like",
        "stack",
        "concatenate",
        "expand_dims",
        "squeeze",
        "rot90",
    )
)
_ARRAYS |= {
    "transpose",
    "moveaxis",
    "flip",
    "where",
    "nonzero",
    "argwhere",
    "unique",
    "argsort",
    "ascontiguousarray",
    "clip",
}
_SAME_ARRAY = frozenset(
    ("astype", "reshape", "squeeze", "copy", "flatten", "ravel", "transpose", "clip", "round", "numpy")
)
_PREDICTS = frozenset(("predict", "predict_proba", "predict_on_batch"))
#: The keys that hold one number, and how it is made plain.
_INT_KEYS = (
    frozenset(("class_index", "frame_number", "video_frame_number")) | FORM_KEYS["box"] | FORM_KEYS["video interval"]
)
_ROWS = frozenset(("mask", "vertices"))


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at the outputs written in everything that runs when the model predicts, and at predict itself."""
    model = model_class(subject)
    predict = model.method("predict") if model is not None else None
    if model is not None and predict is not None and _is_generator(predict):
        place = subject.place(model.script.file.path, predict.lineno)
        reason = "predict is a generator (it says `yield`). This server makes a list of it; MD.ai's refuses the answer."
        yield Finding(NUMPY_TYPE, place, reason, "Collect the outputs in a list, and return that.")
    for script in subject.own_scripts:
        for output in outputs_written(script):
            for key, value in _values(script, output):
                kind = _kind(script, value)
                finding = _finding(subject, script, key, value, kind) if kind is not None else None
                if finding is not None:
                    yield finding


def _is_generator(function: Function) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in walk_scope(function.body))


def _values(script: Script, output: WrittenDict) -> Iterator[tuple[str, ast.expr]]:
    """Every key that holds a number or rows of them: of the output, of its data, of the dicts in its probability."""
    for key in ("class_index", "probability", "frame_number", "video_frame_number"):
        if key in output.values:
            yield key, output.values[key]
    data = data_written(script, output)
    if data is not None:
        yield from data.values.items()
    chances = output.values.get("probability")
    match chances:
        case ast.List(elts=elements):
            inner = [written_dict(one) for one in elements]
        case ast.ListComp(elt=element):
            inner = [written_dict(element)]
        case _:
            return
    for one in inner:
        if one is not None:
            yield from ((key, one.values[key]) for key in ("class_index", "probability") if key in one.values)


def _finding(subject: Subject, script: Script, key: str, value: ast.expr, kind: Kind) -> Finding | None:
    written = visible(ast.unparse(value))
    if key in _ROWS:
        # Rows are no single number: an element of an array is an array here.
        what, fix = Kind.ARRAY.value, f"Write `{quoted(key)}: {written}.tolist()`."
    elif key in _INT_KEYS:
        what, fix = kind.value, f"Write `{quoted(key)}: int({written})`."
    elif key == "probability":
        what, fix = kind.value, f"Write `{quoted(key)}: float({written})`."
        if kind is Kind.ARRAY:
            fix = f"Give one number, `float({written}[…])`, or a list of {{'class_index': …, 'probability': …}}."
    else:
        return None
    made = script.resolved(value, through_loops=True)
    how = f", made by `{visible(ast.unparse(made))}`" if made is not value and hasattr(made, "lineno") else ""
    reason = f"{quoted(key)} is {what} (`{written}`{how}). This server converts it; MD.ai's refuses the whole answer."
    if kind is Kind.NUMBER and key == "probability":
        reason = reason.replace("MD.ai's refuses", "MD.ai's, unless it is a float64, refuses")
    return Finding(NUMPY_TYPE, subject.place(script.file.path, value.lineno), reason, fix)


def _kind(script: Script, node: ast.expr, depth: int = 8) -> Kind | None:
    """What an expression gives; None where that is plain, or cannot be told."""
    node = script.resolved(node, through_loops=True)
    if not depth:
        return None
    match node:
        case ast.Call():
            return _kind_of_call(script, node, depth - 1)
        case ast.Subscript(value=value, slice=index):
            return _kind_of_element(script, value, index, depth - 1)
        case ast.BinOp(left=left, right=right):
            kinds = {_kind(script, left, depth - 1), _kind(script, right, depth - 1)}
            return next((kind for kind in (Kind.ARRAY, Kind.NUMBER, Kind.INTEGER) if kind in kinds), None)
        case ast.IfExp(body=then, orelse=otherwise):
            kind = _kind(script, then, depth - 1)
            return kind if kind is _kind(script, otherwise, depth - 1) else None
        case ast.UnaryOp(operand=operand) | ast.Compare(left=operand):
            return _kind(script, operand, depth - 1)
    return None


def _kind_of_call(script: Script, call: ast.Call, depth: int) -> Kind | None:
    name = script.full_name(call.func)
    last = name.rpartition(".")[2] or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
    has_axis = len(call.args) > 1 or any(one.arg in ("axis", "dim") for one in call.keywords)
    if name.startswith("numpy."):
        return _made_by_numpy(script, call, last, has_axis=has_axis, depth=depth)
    if not isinstance(call.func, ast.Attribute):
        return None
    owner = call.func.value
    if last in ("argmax", "argmin"):
        return Kind.ARRAY if call.args or has_axis else Kind.INTEGER
    if last in _PREDICTS and dotted(owner) != "self":
        return Kind.ARRAY
    if last == "numpy":
        return Kind.ARRAY
    if last in _SAME_ARRAY:
        return _kind(script, owner, depth)
    if last in _NUMBERS and not call.args and not has_axis and _kind(script, owner, depth) is Kind.ARRAY:
        return Kind.NUMBER
    return None


def _made_by_numpy(script: Script, call: ast.Call, last: str, *, has_axis: bool, depth: int) -> Kind | None:
    if last in _INTEGERS:
        return Kind.ARRAY if has_axis else Kind.INTEGER
    if last in _ARRAYS:
        return Kind.ARRAY
    if last in _NUMBERS and not has_axis and call.args:
        return Kind.NUMBER
    return None


def _kind_of_element(script: Script, value: ast.expr, index: ast.expr, depth: int) -> Kind | None:
    """An element of an array is a number or an array, by its dimensions, which only the first are known of."""
    if _kind(script, value, depth) is None:
        return None
    several = index.elts if isinstance(index, ast.Tuple) else [index]
    if any(isinstance(one, ast.Slice) for one in several):
        return Kind.ARRAY
    return Kind.ARRAY if _is_tuple_of_arrays(script, value) else Kind.NUMBER


def _is_tuple_of_arrays(script: Script, node: ast.expr) -> bool:
    """`np.where(…)` and `np.nonzero(…)` give a tuple of arrays."""
    node = script.resolved(node, through_loops=True)
    return isinstance(node, ast.Call) and script.full_name(node.func) in ("numpy.where", "numpy.nonzero")
