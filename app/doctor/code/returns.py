"""How `predict` ends: inside its loop over the files (M011), or without a list of outputs (M013)."""

import ast
from collections.abc import Iterator

from app.doctor.code.model_class import TRANSPARENT, ModelClass, model_class
from app.doctor.code.request_flow import RequestFlow, request_flow
from app.doctor.code.syntax_tree import Function, decorators, falls_through, text_of, walk_scope
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.wording import visible

RETURNS_IN_LOOP = Code("M011", Severity.ERROR, "answers for the first file only")
NO_LIST = Code("M013", Severity.ERROR, "predict may return no list")
CODES = (RETURNS_IN_LOOP, NO_LIST)

_RETURN_LIST = "return a list of outputs; [] says that nothing was found"
_MUTATING = frozenset(("append", "extend", "insert"))
#: What calls of these names give, for sure.
_RESULTS = {"json.dumps": "text", "str": "text", "dict": "a dict", "jsonify": "a response"}


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at MDAIModel.predict, wherever the class is defined."""
    model = model_class(subject)
    predict = model.method("predict") if model is not None else None
    if model is None or not isinstance(predict, ast.FunctionDef):
        return
    if not set(decorators(predict)) <= TRANSPARENT | {"staticmethod"}:
        return
    path = model.script.file.path
    flow = request_flow(model)
    loops = list(_loops_that_return(flow, predict)) if flow is not None else []
    for loop, returned in loops:
        yield _in_loop(subject, model, predict, loop, returned)
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in walk_scope(predict.body)):
        return
    for line, reason, fix in _without_list(model, predict, is_cut_short=bool(loops)):
        yield Finding(NO_LIST, subject.place(path, line), reason, fix)


def _loops_that_return(flow: RequestFlow, predict: Function) -> Iterator[tuple[ast.For, ast.Return]]:
    """Loops over the request's files that return at their own level, whatever the file is."""
    for node in walk_scope(predict.body):
        if isinstance(node, ast.For) and _loops_over_files(flow, node, predict):
            returned = _unconditional(node.body)
            if returned is not None:
                yield node, returned


def _loops_over_files(flow: RequestFlow, loop: ast.For, predict: Function) -> bool:
    match loop.iter:
        case ast.Call(func=ast.Name(id="range"), args=[*_, ast.Call(func=ast.Name(id="len"), args=[counted])]):
            return flow.part(counted, predict) in ("files", "instances")
        case ast.Call(func=ast.Name(id="enumerate"), args=[listed, *_]):
            return flow.part(listed, predict) in ("files", "instances")
    return flow.part(loop.iter, predict) in ("files", "instances")


def _unconditional(body: list[ast.stmt]) -> ast.Return | None:
    """A `return` of something that nothing but `continue` can keep from running."""
    for statement in body:
        match statement:
            case ast.Return(value=value) if value is not None:
                return statement
            case ast.With(body=inner) | ast.Try(body=inner, handlers=[]):
                returned = _unconditional(inner)
                if returned is not None:
                    return returned
            case ast.Return() | ast.Raise() | ast.Break():
                return None
    return None


def _in_loop(
    subject: Subject, model: ModelClass, predict: ast.FunctionDef, loop: ast.For, returned: ast.Return
) -> Finding:
    written = visible(ast.unparse(returned))
    place = subject.place(model.script.file.path, returned.lineno)
    reason = (
        f"`{written}` stands inside the loop over the files of line {loop.lineno}, so predict ends with the first file "
        "that is not skipped, and nobody answers for the others."
    )
    if falls_through(predict.body):
        reason += " Without such a file it returns None, which is refused."
    if _is_collected(loop, returned):
        levels = returned.col_offset - loop.col_offset
        fix = f"Move `{written}` out of the loop: {levels} columns to the left, under its `for`."
    else:
        fix = "Collect the outputs in a list, and return that behind the loop, at the level of its `for`."
    return Finding(RETURNS_IN_LOOP, place, reason, fix)


def _is_collected(loop: ast.For, returned: ast.Return) -> bool:
    """Whether what is returned is a list that the loop adds to."""
    if not isinstance(returned.value, ast.Name):
        return False
    name = returned.value.id
    for node in ast.walk(loop):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=used), attr=method)):
                if used == name and method in _MUTATING:
                    return True
            case ast.AugAssign(target=ast.Name(id=used)) if used == name:
                return True
    return False


Fault = tuple[int, str, str]


def _without_list(model: ModelClass, predict: ast.FunctionDef, *, is_cut_short: bool) -> Iterator[Fault]:
    returns = [node for node in walk_scope(predict.body) if isinstance(node, ast.Return)]
    for node in returns:
        what = _no_list(model, node)
        if what is not None:
            reason = f"`{visible(ast.unparse(node))}` returns {what} where the server expects a list of outputs."
            wrap = what == "a dict" and isinstance(node.value, ast.Name | ast.Dict)
            shown = f"`return [{visible(ast.unparse(node.value))}]`" if wrap and node.value is not None else ""
            yield node.lineno, reason, f"Write {shown}." if shown else f"Here, too, {_RETURN_LIST}."
    if not falls_through(predict.body) or is_cut_short:
        return
    if any(node.value is not None for node in returns):
        reason = "There is a way through predict that meets no `return`: then it returns None, which is refused."
    else:
        reason = "predict has no `return`, so it returns None, which is refused."
    yield predict.lineno, reason, f"At the end of predict, {_RETURN_LIST}."


def _no_list(model: ModelClass, node: ast.Return) -> str | None:
    """What is returned, where that is certainly no list."""
    value = node.value
    if isinstance(value, ast.Name):
        bound = model.script.bindings(model.script.scope_of(node)).get(value.id, [])
        is_dict = bool(bound) and all(isinstance(one, ast.Dict) for one in bound)
        return "a dict" if is_dict else None
    match value:
        case None | ast.Constant(value=None):
            return "None"
        case ast.Dict() | ast.DictComp():
            return "a dict"
        case ast.JoinedStr():
            return "text"
        case ast.Constant():
            return "text" if text_of(value) is not None else f"`{visible(ast.unparse(value))}`"
        case ast.Call():
            return _RESULTS.get(model.script.full_name(value.func))
    return None
