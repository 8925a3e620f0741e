"""The class MDAIModel: whether it is there (M003), and whether the server can build it and call predict (M004)."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from app.doctor.code.script import Script
from app.doctor.code.syntax_tree import Function, decorators, dotted, is_main_guard, mentions, parameters
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.wording import all_of, nearest

NO_CLASS = Code("M003", Severity.ERROR, "no class MDAIModel")
WRONG_SIGNATURE = Code("M004", Severity.ERROR, "MDAIModel cannot be built or called")
CODES = (NO_CLASS, WRONG_SIGNATURE)

NAME = "MDAIModel"
_WRITE_INIT = "write `def __init__(self):`"
_WRITE_PREDICT = "Write `def predict(self, data):` that returns a list of outputs."
#: Around `predict`, these leave its parameters as they are.
TRANSPARENT = frozenset(
    (
        "torch.no_grad",
        "torch.inference_mode",
        "no_grad",
        "inference_mode",
        "tf.function",
        "classmethod",
        "torch.autocast",
    )
)
_NEARLY_INIT = frozenset(("_init_", "__init", "init__", "__int__", "_init__", "__init_", "___init___", "__inti__"))


@dataclass(frozen=True)
class ModelClass:
    """The class that the server builds, and the file that defines it."""

    script: Script
    node: ast.ClassDef

    def method(self, name: str) -> Function | None:
        """The method as it is defined in the class itself, last definition first."""
        found = [one for one in _methods(self.node.body) if one.name == name]
        return found[-1] if found else None

    @property
    def has_bases(self) -> bool:
        return any(dotted(base) != "object" for base in self.node.bases) or bool(self.node.keywords)


def model_class(subject: Subject) -> ModelClass | None:
    """MDAIModel where the package defines it as a class that can be seen: in mdai_deploy.py, or imported by it."""
    scripts = subject.scripts
    if not scripts or scripts[0].file is not subject.code.deploy:
        return None
    name, script = NAME, scripts[0]
    for _ in range(3):
        bound = script.bindings(script.tree).get(name, [])
        found = [node for node in script.tree.body if isinstance(node, ast.ClassDef) and node.name == name]
        if found:
            return ModelClass(script, found[-1])
        if len(bound) == 1 and isinstance(bound[0], ast.Name):
            name = bound[0].id
        elif name in script.imported:
            name = script.imported[name].rpartition(".")[2]
            homes = [
                one for one in scripts if one is not script and any(_defines(node, name) for node in one.tree.body)
            ]
            if len(homes) != 1:
                return None
            script = homes[0]
        else:
            return None
    return None


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at mdai_deploy.py, and at the class wherever it is defined."""
    tree = subject.code.deploy.tree
    if tree is None or not subject.scripts:
        return
    script = subject.scripts[0]
    if NAME not in script.bindings(tree) and not _binds_unseen(tree):
        yield _missing(subject, tree)
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == NAME), None)
    if function is not None:
        place = subject.place(subject.code.deploy.path, function.lineno)
        reason = f"{NAME} is a function, and the server looks for a class of this name."
        yield Finding(NO_CLASS, place, reason, f"Write `class {NAME}:` with __init__(self) and predict(self, data).")
    model = model_class(subject)
    if model is not None:
        path = model.script.file.path
        for line, reason, fix in (*_init_faults(model), *_predict_faults(model)):
            yield Finding(WRONG_SIGNATURE, subject.place(path, line), reason, fix)


def _defines(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == name


def _binds_unseen(tree: ast.Module) -> bool:
    """Whether names come into the module in ways that the tree does not show."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(one.name == "*" for one in node.names):
            return True
        if isinstance(node, ast.Name) and node.id in ("globals", "exec", "setattr", "vars"):
            return True
    return False


def _missing(subject: Subject, tree: ast.Module) -> Finding:
    path = subject.code.deploy.path
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    hidden = next((node for node in classes if node.name == NAME), None)
    if hidden is not None:
        place = subject.place(path, hidden.lineno)
        is_guarded = any(is_main_guard(node) and hidden in ast.walk(node) for node in tree.body)
        where = (
            'below `if __name__ == "__main__":`, which does not run for the server'
            if is_guarded
            else "in another block"
        )
        reason = f"The class {NAME} stands {where}, so the module has no such class when it is imported."
        return Finding(NO_CLASS, place, reason, f"Move `class {NAME}:` to the first level of the file.")
    names = [node.name for node in classes]
    near = next((name for name in names if name.lower() == NAME.lower()), None) or nearest(NAME, names)
    with_predict = [node.name for node in classes if any(one.name == "predict" for one in _methods(node.body))]
    meant = near or (with_predict[0] if len(with_predict) == 1 else None)
    here = f"it defines {all_of(names[:8])}" if names else "it defines no class"
    reason = f"mdai_deploy.py has no class {NAME}, the one that the server builds: {here}."
    if meant:
        line = next(node.lineno for node in classes if node.name == meant)
        return Finding(NO_CLASS, subject.place(path, line), reason, f"Rename {meant} to {NAME}.")
    return Finding(
        NO_CLASS, subject.place(path), reason, f"Add `class {NAME}:` with __init__(self) and predict(self, data)."
    )


def _methods(body: list[ast.stmt]) -> Iterator[Function]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If):
            yield from _methods([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _methods([*node.body, *node.orelse, *(one for each in node.handlers for one in each.body)])


Fault = tuple[int, str, str]


def _init_faults(model: ModelClass) -> Iterator[Fault]:
    if model.node.decorator_list:
        return
    init = model.method("__init__")
    if init is None:
        if not model.has_bases:
            for method in _methods(model.node.body):
                if method.name in _NEARLY_INIT:
                    reason = f"Nothing calls {method.name}: Python builds a class with __init__, so it is never set up."
                    yield method.lineno, reason, f"Rename it: {_WRITE_INIT}."
        return
    if init.decorator_list:
        return
    if isinstance(init, ast.AsyncFunctionDef):
        reason = "__init__ is `async def`, so building the model fails: __init__ must return None, not a coroutine."
        yield init.lineno, reason, f"Instead, {_WRITE_INIT}, with asyncio.run(…) inside where it has to wait."
    elif not parameters(init) and init.args.vararg is None:
        yield init.lineno, "__init__ takes no self, so building the model fails.", f"Instead, {_WRITE_INIT}."
    elif needed := _needed(init)[0 if _is_static(init) else 1 :]:
        reason = f"The server builds {NAME}() without arguments, and __init__ needs {all_of(needed)}."
        yield init.lineno, reason, f"Give {all_of(needed)} a default, or set it inside: {_WRITE_INIT}."


def _predict_faults(model: ModelClass) -> Iterator[Fault]:
    predict = model.method("predict")
    if predict is None and model.method("predict_batch") is not None:
        return  # the server calls that instead, with groups of files
    if predict is None:
        if not model.has_bases and not model.node.decorator_list and not _sets_predict(model.node):
            yield _no_predict(model.node)
        return
    names = decorators(predict)
    if not set(names) <= TRANSPARENT | {"staticmethod"}:
        return
    if isinstance(predict, ast.AsyncFunctionDef):
        reason = "predict is `async def`, and the server calls it plainly: it would get a coroutine, not outputs."
        yield (
            predict.lineno,
            reason,
            f"{_WRITE_PREDICT} Where it has to wait for something, call asyncio.run(…) inside.",
        )
        return
    is_static = "staticmethod" in names
    given = parameters(predict)
    wanted = 1 if is_static else 2
    takes_more = predict.args.vararg is not None
    needed = _needed(predict)
    extra = needed[wanted:] if len(needed) > wanted else []
    extra += [name for name in needed if name in {one.arg for one in predict.args.kwonlyargs} and name not in extra]
    shown = f"`def predict({ast.unparse(predict.args)})`"
    if len(given) < wanted and not takes_more:
        lacks = "the request" if is_static or (given and given[0].arg in ("self", "cls")) else "self"
        lacks = lacks if given else ("the request" if is_static else "self and the request")
        reason = f"{shown} does not take {lacks}, so calling predict(data) fails."
        yield predict.lineno, reason, _WRITE_PREDICT
    elif is_static and given and given[0].arg == "self" and len(needed) > 1:
        reason = f"{shown} is a staticmethod, so nobody passes self, and calling predict(data) fails."
        yield predict.lineno, reason, "Remove @staticmethod."
    elif extra:
        reason = f"{shown} needs {all_of(extra)}, and the server calls predict with one argument, the request."
        yield predict.lineno, reason, f"{_WRITE_PREDICT} What a user may set comes in data['args'], as text."


def _needed(function: Function) -> list[str]:
    """Parameters without a default: positional ones first, `self` included."""
    given = parameters(function)
    optional = len(function.args.defaults)
    keywords = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return [one.arg for one in given[: len(given) - optional]] + [one.arg for one, value in keywords if value is None]


def _is_static(function: Function) -> bool:
    return "staticmethod" in decorators(function)


def _sets_predict(node: ast.ClassDef) -> bool:
    """Whether the class gets its predict in another way: `self.predict = …`, `predict = …`, `__getattr__`."""
    for inner in ast.walk(node):
        if (
            isinstance(inner, ast.Name | ast.Attribute)
            and isinstance(inner.ctx, ast.Store)
            and mentions(inner, "predict")
        ):
            return True
        if isinstance(inner, ast.FunctionDef) and inner.name in ("__getattr__", "__getattribute__"):
            return True
        if isinstance(inner, ast.Call) and dotted(inner.func) == "setattr":
            return True
    return False


def _no_predict(node: ast.ClassDef) -> Fault:
    names = [one.name for one in _methods(node.body) if not one.name.startswith("__")]
    meant = nearest("predict", names) or next(
        (name for name in names if name in ("forward", "infer", "inference")), None
    )
    reason = f"{NAME} has no method predict, the one that the server calls for every request."
    if meant:
        line = next(one.lineno for one in _methods(node.body) if one.name == meant)
        return line, reason, f"Rename {meant} to predict, if that is what it does. {_WRITE_PREDICT}"
    return node.lineno, reason, f"Add one. {_WRITE_PREDICT}"
