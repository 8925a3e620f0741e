"""What names are bound to, function by function."""

import ast
from collections import defaultdict
from collections.abc import Iterator

from app.doctor.code.syntax_tree import Scope, walk_scope


def names_bound(scope: Scope) -> dict[str, list[ast.expr | None]]:
    """What each name is bound to in a function or in a module; None for what is no plain assignment."""
    found: dict[str, list[ast.expr | None]] = defaultdict(list)
    if not isinstance(scope, ast.Module):
        given = scope.args
        several = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]
        for parameter in several:
            found[parameter.arg].append(None)
    for node in walk_scope(scope.body):
        for target, value in assigned(node):
            if isinstance(target, ast.Name):
                found[target.id].append(value)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name].append(None)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for one in node.names:
                found[one.asname or one.name.partition(".")[0]].append(None)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found[node.name].append(None)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            for name in node.names:
                found[name] += [None, None]
    return found


def assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Each target that `node` binds, and the expression that it is bound to where there is one."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _unpacked(target, value)
        case ast.AnnAssign(target=target, value=value) if value is not None:
            yield target, value
        case ast.NamedExpr(target=target, value=value):
            yield target, value
        case ast.AugAssign(target=target):
            yield target, None
        case ast.For(target=target, iter=iterated) | ast.AsyncFor(target=target, iter=iterated):
            yield from _looped(target, iterated)
        case ast.comprehension(target=target, iter=iterated):
            yield from _looped(target, iterated)
        case ast.withitem(optional_vars=target) if target is not None:
            yield from _unpacked(target, None)
        case ast.Delete(targets=targets):
            for target in targets:
                yield target, None


def _unpacked(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    match target:
        case ast.Starred(value=inner):
            yield from _unpacked(inner, None)
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            same = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(targets)
            plain = same and not any(isinstance(one, ast.Starred) for one in targets)
            values = value.elts if plain and isinstance(value, ast.Tuple | ast.List) else [None] * len(targets)
            for inner, one in zip(targets, values, strict=True):
                yield from _unpacked(inner, one)
        case _:
            yield target, value


def _looped(target: ast.expr, iterated: ast.expr) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """A loop's variable stands for `iterated[None]`, an expression that has no place in the file."""
    match target, iterated:
        case ast.Tuple(elts=[index, inner]), ast.Call(func=ast.Name(id="enumerate"), args=[ast.expr() as listed, *_]):
            yield from _unpacked(index, None)
            yield from _looped(inner, listed)
        case ast.Tuple(elts=targets), ast.Call(func=ast.Name(id="zip"), args=lists) if len(targets) == len(lists):
            for inner, listed in zip(targets, lists, strict=True):
                yield from _looped(inner, listed)
        case ast.Name(), _:
            yield target, ast.Subscript(value=iterated, slice=ast.Constant(value=None), ctx=ast.Load())
        case _:
            yield from _unpacked(target, None)
