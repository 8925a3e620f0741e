"""What the package's own modules are called and hold, as its imports need to know."""

import ast
import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeGuard

from model_loader.source_code import Import, SourceCode, SourceFile


def lacking(code: SourceCode, one: Import) -> str | None:
    """Return the part of an import's module that is not there, where the package has what stands before it.

    `lib.netwrok` of `import lib.netwrok.layers`, where there is lib; None where nothing is amiss, or the module
    is not the package's.
    """
    parts = one.module.split(".")
    places = code.locate(parts[0])
    inner = [folder / parts[0] for folder in places if (folder / parts[0]).is_dir()]
    if parts[0] == "lib":
        inner.append(code.package.root)  # as which the model's working directory has it
    elif not places:
        return None
    files = _files(places, parts[0])
    for number, part in enumerate(parts[1:], 2):
        if not inner or _moves(path for path in (folder / "__init__.py" for folder in inner) if path.is_file()):
            return ".".join(parts[:number]) if not inner and files and not _moves(files) else None
        files = _files(inner, part)
        inner = [folder / part for folder in inner if (folder / part).is_dir()]
        if not inner and not files:
            return ".".join(parts[:number])
    return None


def _files(folders: Iterable[Path], name: str) -> list[Path]:
    """The modules of that name in these folders, compiled ones too."""
    return [
        path for folder in folders for path in (folder / f"{name}.py", *folder.glob(f"{name}.*so")) if path.is_file()
    ]


def _moves(modules: Iterable[Path]) -> bool:
    """Whether one of these modules says itself where its submodules are."""
    contents = (path.read_bytes() for path in modules)
    return any(b"__path__" in content or b"sys.modules" in content for content in contents)


def nearest(code: SourceCode, module: str) -> str | None:
    """Return the module of the package whose full name is most like this one; None where none is."""
    names = [file.shown.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in code.files]
    known = {name.removeprefix(".mdai.") for name in names} | {f"lib.{name}" for name in names}
    return next(iter(difflib.get_close_matches(module, sorted(known), 1, cutoff=0.8)), None)


def bindings(file: SourceFile) -> dict[str, int]:
    """Return the names that a module's top level gives a value to, with the line where each is there first."""
    found: dict[str, int] = {}
    for statement in file.tree.body if file.tree is not None else ():
        for name in _bound(statement):
            found.setdefault(name, statement.lineno)
    return found


def used_of(file: SourceFile, one: Import) -> tuple[str, ...]:
    """Return the names that a file takes out of a module by an import, or by dots behind it."""
    if one.names:
        return tuple(name for name in one.names if name != "*")
    nodes = ast.walk(file.tree) if file.tree is not None else ()
    return tuple(
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == one.module
    )


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement of a module's top level binds, not those inside of functions and classes."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
        case _:
            for node in ast.iter_child_nodes(statement):
                if isinstance(node, ast.stmt):
                    yield from _bound(node)
                else:
                    yield from (one.id for one in ast.walk(node) if _is_target(one))


def _is_target(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
