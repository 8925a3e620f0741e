"""What in `predict` stands for which part of the request: `data`, `data["files"]`, one file, one annotation …

Names are followed through assignments, loops and calls of the model's own functions, as long as there is no doubt:
a name that is bound to something else as well, or a dict that some other code may have changed, is left alone.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from app.doctor.code.model_class import ModelClass
from app.doctor.code.script import Script
from app.doctor.code.syntax_tree import Function, dotted, is_function, parameters, passes_unknown, text_of, walk_scope
from app.interface.labels import Label, LabelClass

#: The keys of each part of the request, and the part that each leads to; None where it is a value.
CONTRACT: dict[str, dict[str, str | None]] = {
    "data": {
        "files": "files",
        "annotations": "annotations",
        "label_classes": "label_classes",
        "args": "args",
        "input_data_source": None,
        "instances": "instances",
    },
    "file": {
        **dict.fromkeys(("content", "content_type", "content_path", "dicom_tags")),
        "annotations": "annotations",
        "label_classes": "label_classes",
    },
    "annotation": dict.fromkeys(
        ("id", "label_id", "study_uid", "series_uid", "instance_uid", "frame_number", "data", "parent_id")
    ),
    "label_class": {key: "label" if key == "label" else None for key in LabelClass.__struct_fields__},
    "label": dict.fromkeys(Label.__struct_fields__),
    # Version 0.1 of the interface; `tags` holds what DICOM does.
    "instance": {"file": None, "tags": None},
}
#: What the lists hold.
ELEMENTS = {"files": "file", "annotations": "annotation", "label_classes": "label_class", "instances": "instance"}
#: Functions that change nothing in what they are given.
_HARMLESS = frozenset(("print", "len", "list", "sorted", "enumerate", "zip", "isinstance", "reversed", "tuple", "str"))
_HARMLESS |= {"bool", "type", "id", "any", "all", "iter", "next", "repr", "set", "range", "max", "min", "tqdm", "dict"}
_HARMLESS |= {
    "info",
    "debug",
    "warning",
    "error",
    "log",
    "dumps",
    "pformat",
    "pprint",
    "keys",
    "get",
    "values",
    "items",
}
#: Of these, the result stands for what the first argument does.
_SAME = frozenset(("list", "sorted", "reversed", "tuple", "tqdm", "copy", "deepcopy"))
_MOST_FUNCTIONS = 20


@dataclass(frozen=True)
class Read:
    """One place where `key` of a part of the request is read; `is_guarded`: only after it was found to be there."""

    node: ast.expr
    part: str
    key: str
    has_default: bool
    is_guarded: bool


@dataclass(eq=False)
class _Bound:
    """A name is bound from `line` on. Within a loop that binds it anew, it is in doubt from the loop's beginning."""

    part: str | None
    line: int
    doubted_from: int


@dataclass
class RequestFlow:
    """The functions of the model that see the request, `predict` first."""

    script: Script
    functions: list[Function] = field(default_factory=list)
    _bound: dict[Function, dict[str, list[_Bound]]] = field(default_factory=dict)

    def part(self, node: ast.expr | None, function: Function) -> str | None:
        """Which part of the request an expression in `function` stands for."""
        match node:
            case ast.Name(id=name):
                return self._part_of_name(node, name, function)
            case ast.Subscript(value=value, slice=index):
                return self._part_below(self.part(value, function), index)
            case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant() as key, *_]):
                return self._part_below(self.part(value, function), key)
            case ast.Call(func=called, args=[first, *_]) if dotted(called).rpartition(".")[2] in _SAME:
                return self.part(first, function)
            case ast.Call(func=ast.Attribute(value=value, attr="copy"), args=[]):
                return self.part(value, function)
            case ast.BoolOp(op=ast.Or(), values=[first, *_]) | ast.IfExp(body=first):
                return self.part(first, function)
            case ast.NamedExpr(value=value):
                return self.part(value, function)
        return None

    def element(self, iterated: ast.expr, target: ast.expr, function: Function) -> Iterator[tuple[str, str | None]]:
        """The names that a loop binds, and what each stands for."""
        match iterated, target:
            case ast.Call(func=ast.Name(id="enumerate"), args=[listed, *_]), ast.Tuple(elts=[index, inner]):
                yield from ((node.id, None) for node in ast.walk(index) if isinstance(node, ast.Name))
                yield from self.element(listed, inner, function)
            case _, ast.Name(id=name):
                yield name, ELEMENTS.get(self.part(iterated, function) or "")
            case _:
                yield from ((node.id, None) for node in ast.walk(target) if isinstance(node, ast.Name))

    def reads(self) -> Iterator[Read]:
        """Every key that is read of a part of the request."""
        for function in self.functions:
            asked = _keys_asked_for(function)
            for node in ast.walk(function):
                match node:
                    case ast.Subscript(value=value, slice=ast.Constant(value=str(key)), ctx=ast.Load()):
                        has_default = False
                    case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str(key)), *_]):
                        has_default = True
                    case _:
                        continue
                part = self.part(value, function)
                if part in CONTRACT:
                    yield Read(node, part, key, has_default, key in asked)

    def changed(self) -> set[tuple[str, str]]:
        """(part, key) that the code sets itself; the key is "*" where it cannot be told which."""
        return {change for function in self.functions for change in self._changes(function)}

    def _part_of_name(self, node: ast.expr, name: str, function: Function) -> str | None:
        bound = self._bound.get(function, {}).get(name, [])
        if not bound:
            return None
        if all(one.part == bound[0].part for one in bound):
            return bound[0].part
        others = [one.doubted_from for one in bound if one.part != bound[0].part]
        return bound[0].part if getattr(node, "lineno", 0) <= min(others) else None

    def _part_below(self, part: str | None, index: ast.expr) -> str | None:
        if part in ELEMENTS:
            return part if isinstance(index, ast.Slice) else ELEMENTS[part]
        return CONTRACT.get(part or "", {}).get(text_of(index) or "")

    def _changes(self, function: Function) -> Iterator[tuple[str, str]]:
        for node in ast.walk(function):
            match node:
                case ast.Subscript(value=value, slice=index, ctx=ast.Store()):
                    part = self.part(value, function)
                    if part:
                        yield part, text_of(index) or "*"
                case ast.Call(func=ast.Attribute(value=value, attr="setdefault"), args=[key, *_]):
                    yield self.part(value, function) or "", text_of(key) or "*"
                case ast.Call(func=ast.Attribute(value=value, attr="update" | "__setitem__")):
                    yield self.part(value, function) or "", "*"
                case ast.Call() if not self._is_followed(node):
                    given = [*node.args, *(one.value for one in node.keywords)]
                    if dotted(node.func).rpartition(".")[2] not in _HARMLESS and not _is_method_of_list(node):
                        for argument in given:
                            yield from _all_below(self.part(argument, function))

    def _is_followed(self, call: ast.Call) -> bool:
        called = _called(call, self.script)
        return called is not None and called in self.functions

    def _enter(self, function: Function, given: dict[str, str]) -> None:
        """Find out what the names of `function` stand for, given some of its parameters."""
        self.functions.append(function)
        bound: dict[str, list[_Bound]] = defaultdict(list)
        self._bound[function] = bound
        arguments = function.args
        for parameter in [*parameters(function), *arguments.kwonlyargs]:
            bound[parameter.arg].append(_Bound(given.get(parameter.arg), function.lineno, function.lineno))
        nodes = sorted(ast.walk(function), key=_line)
        for node in [one for one in nodes if one is not function]:
            for name, part in self._binds(node, function):
                bound[name].append(_Bound(part, _line(node), self._doubted_from(node)))

    def _doubted_from(self, node: ast.AST) -> int:
        if isinstance(
            node, ast.arg | ast.comprehension
        ):  # names of a scope inside, which this pass does not tell apart
            return 0
        line = _line(node, is_end=not isinstance(node, ast.For | ast.AsyncFor))
        for above in self.script.above(node):
            if is_function(above):
                break
            if isinstance(above, ast.For | ast.While | ast.AsyncFor):
                line = above.lineno
        return line

    def _binds(self, node: ast.AST, function: Function) -> Iterator[tuple[str, str | None]]:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                yield name, self.part(value, function)
            case ast.For(target=target, iter=iterated) | ast.comprehension(target=target, iter=iterated):
                yield from self.element(iterated, target, function)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if not self._is_seen(node):
                yield name, None
            case ast.arg(arg=name) if self.script.parents.get(self.script.parents[node]) is not function:
                yield name, None

    def _is_seen(self, node: ast.Name) -> bool:
        """Whether another case of `_binds` tells what this name is bound to."""
        above: ast.AST = node
        for above in self.script.above(node):
            if not isinstance(above, ast.Tuple | ast.List | ast.Starred):
                break
        simple = isinstance(above, ast.Assign) and above.targets == [node]
        return simple or isinstance(above, ast.For | ast.comprehension | ast.NamedExpr)

    def _calls(self) -> Iterator[tuple[Function, dict[str, str | None]]]:
        """Calls of the file's own functions, and which part of the request each parameter is given."""
        for function in self.functions:
            for call in [node for node in ast.walk(function) if isinstance(node, ast.Call)]:
                called = _called(call, self.script)
                if called is None or called in self.functions or passes_unknown(call):
                    continue
                names = [one.arg for one in parameters(called)]
                if isinstance(call.func, ast.Attribute) and "staticmethod" not in map(dotted, called.decorator_list):
                    names = names[1:]
                given = {name: self.part(value, function) for name, value in zip(names, call.args, strict=False)}
                given |= {one.arg: self.part(one.value, function) for one in call.keywords if one.arg}
                if any(given.values()):
                    yield called, given


def request_flow(model: ModelClass) -> RequestFlow | None:
    """Follow the request through the model's own functions; None where there is no predict to begin with."""
    predict = model.method("predict")
    if predict is None:
        return None
    given = parameters(predict)
    is_static = "staticmethod" in map(dotted, predict.decorator_list)
    if len(given) < (1 if is_static else 2):
        return None
    flow = RequestFlow(model.script)
    flow._enter(predict, {given[0 if is_static else 1].arg: "data"})
    while len(flow.functions) < _MOST_FUNCTIONS:
        calls: dict[Function, list[dict[str, str | None]]] = defaultdict(list)
        for called, parts in flow._calls():
            calls[called].append(parts)
        if not calls:
            break
        for called, several in calls.items():
            known = {
                name: part for name, part in several[0].items() if part and all(s.get(name) == part for s in several)
            }
            # Somebody else may call it with other things.
            flow._enter(called, known if _count_calls(model.script, called) == len(several) else {})
    return flow


def _called(call: ast.Call, script: Script) -> Function | None:
    """The one function of the file that `self.name(…)` or `name(…)` calls."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="self"), attr=name) | ast.Name(id=name):
            found = [function for function in script.functions if function.name == name]
            return found[0] if len(found) == 1 else None
    return None


def _count_calls(script: Script, function: Function) -> int:
    return sum(
        isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == function.name for node in script.nodes
    )


def _keys_asked_for(function: Function) -> set[str]:
    """Keys about which the function asks whether they are there, or whose absence it catches."""
    asked = set()
    for node in walk_scope(function.body):
        if isinstance(node, ast.Compare) and any(isinstance(one, ast.In | ast.NotIn) for one in node.ops):
            asked.add(text_of(node.left) or "")
        elif isinstance(node, ast.Try) and node.handlers:
            read = (
                text_of(one.slice) for each in node.body for one in ast.walk(each) if isinstance(one, ast.Subscript)
            )
            caught = {dotted(one) for handler in node.handlers for one in _types(handler)}
            if caught & {"KeyError", "LookupError"}:
                asked.update(key for key in read if key)
    return asked


def _types(handler: ast.ExceptHandler) -> Iterable[ast.expr]:
    if handler.type is None:
        return []
    return handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]


def _all_below(part: str | None) -> Iterator[tuple[str, str]]:
    """Whoever is given a part may change it, and what lies in it."""
    if part is None:
        return
    yield part, "*"
    for below in (ELEMENTS.get(part), *CONTRACT.get(part, {}).values()):
        if below is not None:
            yield from _all_below(below)


def _is_method_of_list(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in ("append", "extend", "insert", "index", "join")


def _line(node: ast.AST, *, is_end: bool = False) -> int:
    place: ast.AST = node.target if isinstance(node, ast.comprehension) else node
    return int(getattr(place, "end_lineno" if is_end else "lineno", 0) or 0)
