"""Questions to ask of Python's syntax trees. Nothing here knows of packages or models."""

import ast
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Scope: TypeAlias = Function | ast.Module
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def is_function(node: ast.AST | None) -> bool:
    return isinstance(node, _FUNCTIONS)


def dotted(node: ast.AST) -> str:
    """`a.b.c` as it is written; "" for anything but names and their attributes."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            before = dotted(value)
            return f"{before}.{name}" if before else ""
    return ""


def text_of(node: ast.AST | None) -> str | None:
    """The text that a literal holds; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """What is passed as `name=…`."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def passes_unknown(call: ast.Call) -> bool:
    """Whether `*…` or `**…` passes arguments that cannot be seen."""
    return any(one.arg is None for one in call.keywords) or any(isinstance(one, ast.Starred) for one in call.args)


def is_main_guard(node: ast.AST) -> bool:
    """Whether this is `if __name__ == "__main__":`, whose body runs for nobody who imports the file."""
    match node:
        case ast.If(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
            return {dotted(left), dotted(right)} >= {"__name__"} and "__main__" in (text_of(left), text_of(right))
    return False


def walk_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Everything that runs when `nodes` do: nested functions are yielded, and not what they hold."""
    for node in nodes:
        yield node
        if is_main_guard(node):
            continue
        if isinstance(node, _FUNCTIONS):
            yield from walk_scope([*node.decorator_list, node.args, *filter(None, [node.returns])])
        else:
            yield from walk_scope(ast.iter_child_nodes(node))


def ancestors(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    """What `node` lies in, from the inside out."""
    while (above := parents.get(node)) is not None:
        yield above
        node = above


def mentioned(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Every name and every name of an attribute among `nodes`."""
    for node in nodes:
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def mentions(node: ast.AST, *names: str) -> bool:
    return not set(names).isdisjoint(mentioned(ast.walk(node)))


def parameters(function: Function) -> list[ast.arg]:
    """Those that take positional arguments, `self` included."""
    return [*function.args.posonlyargs, *function.args.args]


def decorators(node: Function | ast.ClassDef) -> list[str]:
    """Their dotted names; "" for one that has none."""
    return [dotted(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list]


def falls_through(body: list[ast.stmt]) -> bool:
    """Whether running `body` can come to its end. Loops are believed to end, calls to come back."""
    return not any(_stops(statement) for statement in body)


_ENDS = {"sys.exit", "exit", "quit", "os._exit", "os.abort"}


def _stops(statement: ast.stmt) -> bool:
    match statement:
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
            return True
        case ast.Expr(value=ast.Call(func=function)):
            return dotted(function) in _ENDS
        case ast.Assert(test=ast.Constant(value=False)):
            return True
        case ast.If(body=then, orelse=otherwise):
            return bool(otherwise) and not falls_through(then) and not falls_through(otherwise)
        case ast.While(test=ast.Constant(value=value), body=body) if value:
            return not any(isinstance(node, ast.Break) for node in _own_jumps(body))
        case ast.For(orelse=otherwise, body=body):
            breaks = any(isinstance(node, ast.Break) for node in _own_jumps(body))
            return bool(otherwise) and not breaks and not falls_through(otherwise)
        case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
            return not falls_through(body) and not any(mentions(item, "suppress", "ExitStack") for item in items)
        case ast.Try(body=tried, handlers=handlers, orelse=otherwise, finalbody=finally_):
            ways = [[*tried, *otherwise], *(handler.body for handler in handlers)]
            return not falls_through(finally_) or not any(map(falls_through, ways))
        case ast.Match(cases=cases):
            last = cases[-1]
            takes_all = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None
            return takes_all and not any(falls_through(case.body) for case in cases)
    return False


def _own_jumps(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Everything in a loop's body that its `break` could stand in: not what inner loops and functions hold."""
    for node in body:
        yield node
        if not isinstance(node, ast.For | ast.While | ast.AsyncFor | ast.ClassDef) and not is_function(node):
            yield from _own_jumps(ast.iter_child_nodes(node))
