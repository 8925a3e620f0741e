"""What runs on newer Pythons only although older ones can read it, or would with other names: told from the tree."""

import ast
import io
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.doctor.code.script import Script, checks_version, is_tried
from app.doctor.code.syntax_tree import is_function, keyword

Version = tuple[int, int]


@dataclass(frozen=True)
class Newer:
    """A line, what it uses, the first Python that has it ("3.9"; "" where that is not known), and the way around."""

    line: int
    what: str
    since: str
    instead: str = "write it as older Pythons read it"


_BUILTINS = frozenset(("list", "dict", "tuple", "set", "frozenset", "type"))
_TYPES = _BUILTINS | {"int", "str", "float", "bytes", "bool"}
#: Names of the standard library by the Python that brought them; whole modules are an affair of imports.
_SINCE: dict[Version, tuple[str, ...]] = {
    (3, 8): (
        *("math.prod", "math.dist", "math.isqrt", "math.comb", "math.perm", "statistics.fmean", "shlex.join"),
        *("functools.cached_property", "functools.singledispatchmethod"),
        *("typing.Literal", "typing.Final", "typing.Protocol", "typing.TypedDict", "typing.final"),
    ),
    (3, 9): ("math.lcm", "math.nextafter", "math.ulp", "functools.cache", "typing.Annotated", "ast.unparse"),
    (3, 10): (
        *("itertools.pairwise", "dataclasses.KW_ONLY", "inspect.get_annotations", "types.NoneType", "types.UnionType"),
        *("typing.TypeAlias", "typing.ParamSpec", "typing.Concatenate", "typing.TypeGuard"),
    ),
    (3, 11): (
        *("enum.StrEnum", "contextlib.chdir", "datetime.UTC", "math.cbrt", "math.exp2", "asyncio.TaskGroup"),
        *("typing.Self", "typing.Never", "typing.Required", "typing.NotRequired", "typing.LiteralString"),
    ),
    (3, 12): ("itertools.batched", "typing.override", "typing.TypeAliasType", "math.sumprod"),
    (3, 13): ("copy.replace", "warnings.deprecated", "typing.ReadOnly", "typing.TypeIs"),
}
#: Methods of texts.
_METHODS = frozenset(("removeprefix", "removesuffix"))
_KEYWORDS: dict[tuple[str, str], Version] = {
    ("zip", "strict"): (3, 10),
    ("dataclass", "slots"): (3, 10),
    ("dataclass", "kw_only"): (3, 10),
    ("dataclasses.dataclass", "slots"): (3, 10),
    ("dataclasses.dataclass", "kw_only"): (3, 10),
}


def newer_than(version: Version, script: Script) -> Iterator[Newer]:
    """Everything in the running code of `script` that Pythons of `version` do not have, by line."""
    found: dict[tuple[int, str], Newer] = {}
    for rule in _RULES:
        for node, newer in rule(version, script):
            if not checks_version(script, node) and not is_tried(script, node):
                found.setdefault((newer.line, newer.what), newer)
    if version < (3, 12):
        for newer in _nested_quotes(script.file.content):
            found.setdefault((newer.line, newer.what), newer)
    yield from sorted(found.values(), key=lambda newer: newer.line)


Found = Iterator[tuple[ast.AST, Newer]]


def _names(version: Version, script: Script) -> Found:
    lacking = {name: since for since, names in _SINCE.items() if since > version for name in names}
    last = {name.rpartition(".")[2] for name in lacking}
    for node in script.nodes:
        if isinstance(node, ast.ImportFrom) and not node.level:
            used = [f"{node.module}.{one.name}" for one in node.names]
        elif isinstance(node, ast.Attribute) and node.attr in last:
            used = [script.full_name(node)]
        else:
            continue
        for name in [name for name in used if name in lacking]:
            yield node, _newer(node, f"`{name}`", lacking[name])


def _generics(version: Version, script: Script) -> Found:
    """`list[int]` where it is evaluated: not in the annotations of a function's own variables."""
    if version >= (3, 9):
        return
    for node in _evaluated(script):
        match node:
            case ast.Subscript(value=ast.Name(id=name)) if name in _BUILTINS and not _is_own(script, name):
                instead = f"take `typing.{name.title()}`, or begin the file with `from __future__ import annotations`"
                instead = instead if name != "frozenset" else "take `typing.FrozenSet`"
                yield node, _newer(node, f"`{ast.unparse(node)}` as a type", (3, 9), instead)


def _unions(version: Version, script: Script) -> Found:
    """`int | None` in annotations that are evaluated, and types joined by `|` anywhere."""
    if version >= (3, 10):
        return
    annotations = {id(node) for one in _annotations(script) for node in ast.walk(one)}
    for node in _evaluated(script):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = (node.left, node.right)
            if id(node) in annotations or all(isinstance(one, ast.Name) and one.id in _TYPES for one in sides):
                instead = "take `typing.Optional` or `typing.Union`"
                yield node, _newer(node, f"`{ast.unparse(node)}` as a type", (3, 10), instead)


def _methods(version: Version, script: Script) -> Found:
    if version >= (3, 9):
        return
    own = {function.name for function in script.functions}
    for node in script.nodes:
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=name), args=[_], keywords=[]):
                is_pandas = isinstance(value, ast.Attribute) and value.attr == "str"
                if name in _METHODS and name not in own and not is_pandas:
                    yield node, _newer(node, f"`str.{name}`", (3, 9), "cut the text with a slice")


def _dicts(version: Version, script: Script) -> Found:
    if version >= (3, 9):
        return
    for node in script.nodes:
        match node:
            case ast.BinOp(op=ast.BitOr(), left=left, right=right):
                sides = [left, right]
            case ast.AugAssign(op=ast.BitOr(), value=value):
                sides = [value]
            case _:
                continue
        if any(isinstance(side, ast.Dict | ast.DictComp) for side in sides):
            yield node, _newer(node, "`|` between dicts", (3, 9), "write `{**first, **second}`")


def _keywords(version: Version, script: Script) -> Found:
    for call, name in script.calls:
        for (function, argument), since in _KEYWORDS.items():
            if name == function and since > version and keyword(call, argument) is not None:
                yield call, _newer(call, f"`{function}({argument}=…)`", since, f"leave `{argument}` out")


_RULES: tuple[Callable[[Version, Script], Found], ...] = (
    _names,
    _generics,
    _unions,
    _methods,
    _dicts,
    _keywords,
)


def _newer(node: ast.AST, what: str, since: Version, instead: str = "write it as older Pythons have it") -> Newer:
    return Newer(getattr(node, "lineno", 1), what, f"{since[0]}.{since[1]}", instead)


def _evaluated(script: Script) -> Iterator[ast.AST]:
    """The nodes that run, less annotations that nobody evaluates."""
    passed_over = {id(node) for one in _silent_annotations(script) for node in ast.walk(one)}
    yield from (node for node in script.nodes if id(node) not in passed_over)


def _is_lazy(script: Script) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(n.name == "annotations" for n in node.names)
        for node in script.tree.body
    )


def _annotations(script: Script) -> Iterator[ast.expr]:
    for node in script.nodes:
        match node:
            case ast.AnnAssign(annotation=annotation) | ast.arg(annotation=annotation):
                pass
            case ast.FunctionDef(returns=annotation) | ast.AsyncFunctionDef(returns=annotation):
                pass
            case _:
                continue
        if annotation is not None:
            yield annotation


def _silent_annotations(script: Script) -> Iterator[ast.expr]:
    if _is_lazy(script):
        yield from _annotations(script)
        return
    for node in script.nodes:
        if isinstance(node, ast.AnnAssign):
            around = (one for one in script.above(node) if isinstance(one, ast.ClassDef) or is_function(one))
            if is_function(next(around, None)):
                yield node.annotation


def _is_own(script: Script, name: str) -> bool:
    """Whether the file gives `name` a meaning of its own, somewhere."""
    return any(
        (isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load))
        or (isinstance(node, ast.arg) and node.arg == name)
        for node in ast.walk(script.tree)
    )


def _nested_quotes(content: bytes) -> Iterator[Newer]:
    """f-strings with their own quotes inside, which Pythons before 3.12 end there; this one tells if it is newer."""
    start, end = getattr(tokenize, "FSTRING_START", None), getattr(tokenize, "FSTRING_END", None)
    if start is None or end is None:
        return
    open_quotes: list[str] = []
    try:
        for token in tokenize.tokenize(io.BytesIO(content).readline):
            quote = token.string.lstrip("rRbBuUfF")[:3]
            quote = quote if quote in ('"""', "'''") else quote[:1]
            if token.type in (start, tokenize.STRING):
                if quote in open_quotes:
                    yield Newer(
                        token.start[0], "the f-string's own quotes inside it", "3.12", "use the other quotes inside"
                    )
                if token.type == start:
                    open_quotes.append(quote)
            elif token.type == end and open_quotes:
                open_quotes.pop()
    except (tokenize.TokenError, SyntaxError):
        return
