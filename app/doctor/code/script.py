"""The code that runs when a model is loaded and asked to predict, as far as can be seen without running it.

A package brings more than that: training, evaluation, `if __name__ == "__main__":`. What nothing mentions on the way
from mdai_deploy.py does not count. Names decide, so the walk goes too far rather than not far enough.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

from app.doctor.code.bindings import assigned, names_bound
from app.doctor.code.syntax_tree import (
    Function,
    Scope,
    ancestors,
    dotted,
    is_function,
    is_main_guard,
    mentioned,
    mentions,
    walk_scope,
)
from model_loader.source_code import SourceCode, SourceFile

#: Called by their frameworks, by no name of theirs.
_IMPLICIT = frozenset(("forward", "call"))
_MODEL = ("MDAIModel", "predict", "predict_batch")
_MOST_STEPS = 4


@dataclass(frozen=True, eq=False)
class Script:
    """One file that the model imports. `nodes` is what of it runs."""

    file: SourceFile
    tree: ast.Module
    is_library: bool
    """Whether the file belongs to a project of its own inside the package, of which the model uses a part only."""
    reached: set[Function] = field(default_factory=set)

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Everything that runs, in the order of its lines."""
        bodies = [self.tree.body, *(function.body for function in self.reached)]
        found = [node for body in bodies for node in walk_scope(body)]
        return tuple(sorted(found, key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))))

    @cached_property
    def calls(self) -> tuple[tuple[ast.Call, str], ...]:
        """Every call that runs, with the full name of what is called."""
        return tuple((node, self.full_name(node.func)) for node in self.nodes if isinstance(node, ast.Call))

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        """Every function that the file defines."""
        return tuple(node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    @cached_property
    def imported(self) -> dict[str, str]:
        """What names stand for that imports have bound: `np` for `numpy`, `load` for `torch.load`."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {one.asname: one.name for one in node.names if one.asname}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        return found

    def full_name(self, node: ast.AST) -> str:
        """The dotted name of what is called, `torch.load`, whatever it was imported as."""
        first, dot, rest = dotted(node).partition(".")
        return self.imported.get(first, first) + dot + rest

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        return ancestors(node, self.parents)

    def scope_of(self, node: ast.AST) -> Scope:
        """The function that `node` runs in, or the module."""
        child = node
        for above in self.above(node):
            if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef) and child not in above.decorator_list:
                return above
            child = above
        return self.tree

    def resolved(self, node: ast.expr, *, through_loops: bool = False) -> ast.expr:
        """The expression that a name stands for, where it is bound once; `node` itself otherwise.

        With `through_loops` a loop's variable stands for an element: `for p in found` makes p `found[None]`.
        """
        for _ in range(_MOST_STEPS):
            value = self._value(node)
            if value is None or (not through_loops and not hasattr(value, "lineno")):
                break
            node = value
        return node

    def bindings(self, scope: Scope) -> dict[str, list[ast.expr | None]]:
        """What each name is bound to in a function or in the module; None for what is no plain assignment."""
        found = self._bindings.get(scope)
        if found is None:
            found = self._bindings[scope] = names_bound(scope)
        return found

    @cached_property
    def _bindings(self) -> dict[Scope, dict[str, list[ast.expr | None]]]:
        return {}

    @cached_property
    def _attributes(self) -> dict[str, list[ast.expr | None]]:
        """The same for `self.name`, over all of the file."""
        found = defaultdict(list)
        for node in ast.walk(self.tree):
            for target, value in assigned(node):
                if isinstance(target, ast.Attribute):
                    found[dotted(target)].append(value)
        return found

    def _value(self, node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.Attribute):
            values = self._attributes.get(dotted(node), [])
            return values[0] if len(values) == 1 and dotted(node).startswith("self.") else None
        if not isinstance(node, ast.Name):
            return None
        scope = self.scope_of(node) if node in self.parents else self.tree
        while True:
            values = self.bindings(scope).get(node.id, [])
            if values or scope is self.tree:
                return values[0] if len(values) == 1 else None
            scope = self.scope_of(scope)


def scripts_of(code: SourceCode) -> tuple[Script, ...]:
    """mdai_deploy.py and what it imports of the package, with what of each runs."""
    scripts = tuple(
        Script(file, file.tree, _is_in_project(file, code)) for file in code.reachable if file.tree is not None
    )
    functions = defaultdict(list)
    for script in scripts:
        for function in script.functions:
            functions[function.name].append((script, function))
    classes = [(script, node) for script in scripts for node in ast.walk(script.tree) if isinstance(node, ast.ClassDef)]
    renamed = {
        one.asname: one.name
        for script in scripts
        for node in ast.walk(script.tree)
        if isinstance(node, ast.ImportFrom)
        for one in node.names
        if one.asname
    }
    known = set(_MODEL)
    for script in scripts:
        known.update(mentioned(walk_scope(script.tree.body)))
    waiting = set(known)
    while waiting:
        waiting |= {renamed[name] for name in waiting if name in renamed}
        known |= waiting
        new: list[ast.AST] = []
        for script, function in [one for name in waiting for one in functions[name]]:
            new += _enter(script, function)
        for script, node in classes:
            if node.name in known or node.decorator_list:
                for method in node.body:
                    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and _is_implicit(method):
                        new += _enter(script, method)
        waiting = set(mentioned(new)) - known
    return scripts


def _is_in_project(file: SourceFile, code: SourceCode) -> bool:
    folders = takewhile(lambda folder: folder != code.package.root, file.path.parents)
    return any((folder / name).is_file() for folder in folders for name in ("setup.py", "pyproject.toml"))


def _is_implicit(function: Function) -> bool:
    return function.name in _IMPLICIT or (function.name.startswith("__") and function.name.endswith("__"))


def _enter(script: Script, function: Function) -> list[ast.AST]:
    """What runs in a function that had not been reached."""
    if function in script.reached or any(is_main_guard(node) for node in script.above(function)):
        return []
    script.reached.add(function)
    return list(walk_scope(function.body))


def guards(script: Script, node: ast.AST) -> Iterator[ast.expr]:
    """The conditions under which `node` runs, as far as they are written around it, from the inside out."""
    child = node
    for above in script.above(node):
        match above:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if child is not test:
                yield test
            case ast.BoolOp(values=[*values]) if child in values:
                yield from values[: values.index(child)]
            case ast.comprehension(ifs=tests):
                yield from tests
        child = above


def is_tried(script: Script, node: ast.AST) -> bool:
    """Whether a `try` around `node` catches something."""
    child = node
    for above in script.above(node):
        if is_function(above):
            return False
        if isinstance(above, ast.Try) and above.handlers and child in above.body:
            return True
        child = above
    return False


def checks_version(script: Script, node: ast.AST) -> bool:
    """Whether the code around `node` asks first which Python, or which version of something, it runs with."""
    asked = ("version_info", "hasattr", "__version__", "TYPE_CHECKING")
    return any(mentions(test, *asked) for test in guards(script, node))
