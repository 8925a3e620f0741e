"""A package's Python files: which there are, which of them the model imports, and what these import in turn.

Nothing is executed. A module is looked for where the worker looks for it: in the model root, in `.mdai`, under `lib`
(which is the root again), among the interpreter's own, and last in the package's other folders with Python files.
"""

import ast
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model_loader.layout import DEPLOY
from model_loader.package import ModelPackage
from model_loader.worker.mdai_guest.visibility import STANDARD_LIBRARY

#: Longer files hold data, not code.
LARGEST_SOURCE = 4 << 20
#: Loaded before the model is: a package's own modules of these names are never imported.
PRELOADED = frozenset(name.partition(".")[0] for name in STANDARD_LIBRARY) | set(sys.builtin_module_names)
_CATCHING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True)
class Import:
    """One import: `module` is what stands behind `import` or `from`, `names` what `from` takes out of it.

    `level` counts leading dots. `guarded`: something catches it where it fails, or it is for type checkers, for a
    shell, for some Pythons or systems only.
    `deferred`: it stands in a function, so that loading the model does not need it.
    """

    module: str
    names: tuple[str, ...] = ()
    line: int = 0
    level: int = 0
    guarded: bool = False
    deferred: bool = False

    @property
    def top(self) -> str:
        """The first part of `module`, for which an installed distribution may stand."""
        return self.module.partition(".")[0]


@dataclass(frozen=True)
class SourceFile:
    """One Python file of a package. `shown` is its path below the model root, with slashes."""

    path: Path
    shown: str

    @cached_property
    def content(self) -> bytes:
        """Its bytes; none where it cannot be read."""
        try:
            with self.path.open("rb") as file:
                return file.read(LARGEST_SOURCE)
        except OSError:
            return b""

    def parse(self, feature_version: tuple[int, int] | None = None) -> ast.Module:
        """The syntax tree, as a Python of that version reads it. Raises SyntaxError (or ValueError, for NUL bytes)."""
        with warnings.catch_warnings(action="ignore"):  # about escapes in strings that are not ours
            return ast.parse(self.content, filename=self.shown, feature_version=feature_version)

    @cached_property
    def tree(self) -> ast.Module | None:
        """The syntax tree as the newest Python reads it; None where this file is not Python."""
        try:
            return self.parse()
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import in the file, in the order of its lines."""
        if self.tree is None:
            return ()
        found = _imports(self.tree.body, guarded=False, deferred=False)
        return tuple(sorted(found, key=lambda one: one.line))


@dataclass(frozen=True)
class SourceCode:
    """The Python files that count of one package: `deploy` is mdai_deploy.py, `files` are all, sorted by path."""

    package: ModelPackage
    deploy: SourceFile
    files: tuple[SourceFile, ...]

    @cached_property
    def reachable(self) -> tuple[SourceFile, ...]:
        """mdai_deploy.py and what it imports of the package, directly or by way of others, in the order it is met."""
        met: dict[Path, SourceFile] = {}
        waiting = [self.deploy]
        while waiting:
            file = waiting.pop(0)
            if file.path in met:
                continue
            met[file.path] = file
            waiting += self.imported_by(file)
        return tuple(met.values())

    def provides(self, name: str) -> bool:
        """Whether `import name`, a top-level name, finds something in the package itself."""
        if name == "lib" or self.locate(name):
            return True
        compiled = (f"{name}.so", f"{name}.*.so", f"{name}.pyc")
        return any(next(folder.glob(pattern), None) for folder in self.search_path for pattern in compiled)

    def is_bare_folder(self, name: str) -> bool:
        """Whether the package has a folder of that name and no module: `import name` prefers an installed library."""
        found = self.locate(name)
        modules = (path for folder in found for path in (folder / f"{name}.py", folder / name / "__init__.py"))
        return bool(found) and not any(path.is_file() for path in modules)

    @cached_property
    def search_path(self) -> tuple[Path, ...]:
        """The package's folders on `sys.path`, in their order; the interpreter's own come behind the first two."""
        return (self.package.root, self.package.mdai, *self.package.import_folders)

    def imported_by(self, file: SourceFile) -> Iterator[SourceFile]:
        """The package's files that the imports in `file` run, in the order of its lines."""
        for one in file.imports:
            yield from self.targets(file, one)

    def targets(self, file: SourceFile, one: Import) -> Iterator[SourceFile]:
        """The package's files that an import in `file` runs; none where it is about something else."""
        for path in self._targets(file, one):
            yield self._by_path.get(path) or SourceFile(path, _shown(path, self.package.root))

    @cached_property
    def _by_path(self) -> dict[Path, SourceFile]:
        return {file.path: file for file in self.files}

    def _targets(self, file: SourceFile, one: Import) -> Iterator[Path]:
        if one.level:
            folder = file.path.parent
            for _ in range(one.level - 1):
                folder = folder.parent
            if not folder.is_relative_to(self.package.root):
                return
            yield from _modules([folder], [part for part in one.module.split(".") if part], one.names)
            return
        parts = one.module.split(".")
        folders = self.locate(parts[0])
        if parts[0] == "lib" and not folders:
            folders, parts = [self.package.root], parts[1:]
        yield from _modules(folders, parts, one.names)

    def locate(self, top: str) -> list[Path]:
        """The folders in which `import top` finds a module; several where it is a folder without `__init__.py`."""
        if top in PRELOADED:
            return []
        first, last = self.search_path[:2], self.search_path[2:]
        for folders in (first, () if top in sys.stdlib_module_names else last):
            for folder in folders:
                if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
                    return [folder]
            holding = [folder for folder in folders if (folder / top).is_dir()]
            if holding:
                return holding
        return []


def read_source_code(package: ModelPackage) -> SourceCode:
    """The package's Python files: those directly in the model root, in `.mdai`, and in its import folders."""
    folders = (package.root, package.mdai, *package.import_folders)
    paths = sorted({path for folder in folders for path in folder.glob("*.py") if path.is_file()})
    files = tuple(SourceFile(path, _shown(path, package.root)) for path in paths if not path.name.startswith("._"))
    deploy = package.mdai / DEPLOY
    return SourceCode(package, next(file for file in files if file.path == deploy), files)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _modules(folders: Iterable[Path], parts: list[str], names: tuple[str, ...]) -> Iterator[Path]:
    """The files that run when `parts` is imported from one of `folders` and `names` are taken out of it."""
    places = list(folders)
    for number, part in enumerate(parts):
        module = next((folder / f"{part}.py" for folder in places if (folder / f"{part}.py").is_file()), None)
        packages = [folder / part for folder in places if (folder / part).is_dir()]
        initial = next((path / "__init__.py" for path in packages if (path / "__init__.py").is_file()), None)
        if initial is not None:
            yield initial
            packages = [initial.parent]
        elif module is not None:
            if number == len(parts) - 1:
                yield module
            return
        places = packages
    for name in names:
        yield from _modules(places, [name], ()) if name != "*" else ()


def _imports(body: Iterable[ast.AST], *, guarded: bool, deferred: bool) -> Iterator[Import]:
    for node in body:
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    yield Import(alias.name, line=node.lineno, guarded=guarded, deferred=deferred)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                names = tuple(alias.name for alias in aliases)
                yield Import(module or "", names, node.lineno, level, guarded, deferred)
            case ast.Try(body=tried):
                caught = guarded or any(_catches(handler) for handler in node.handlers)
                # What handlers import instead is needed only where the first choice is not there.
                yield from _imports([*tried, *node.handlers], guarded=caught, deferred=deferred)
                yield from _imports([*node.orelse, *node.finalbody], guarded=guarded, deferred=deferred)
            case ast.With(items=items, body=then) if any(_suppresses(item.context_expr) for item in items):
                yield from _imports(then, guarded=True, deferred=deferred)
            case ast.If(test=test, body=then, orelse=otherwise) if _is_about_this_machine(test):
                yield from _imports([*then, *otherwise], guarded=True, deferred=deferred)
            case ast.If(test=test, body=then, orelse=otherwise) if _is_for_others(test):
                yield from _imports(then, guarded=True, deferred=deferred)
                yield from _imports(otherwise, guarded=guarded, deferred=deferred)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _imports(ast.iter_child_nodes(node), guarded=guarded, deferred=True)
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if _is_importing(function):
                yield Import(name, line=node.lineno, guarded=True, deferred=deferred)
            case _:
                yield from _imports(ast.iter_child_nodes(node), guarded=guarded, deferred=deferred)


def _catches(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    if caught is None:
        return True
    types = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(one, ast.Name) and one.id in _CATCHING for one in types)


def _suppresses(context: ast.expr) -> bool:
    """Whether it is `contextlib.suppress(ImportError)`."""
    match context:
        case ast.Call(func=function, args=args) if ast.unparse(function).endswith("suppress"):
            return any(isinstance(one, ast.Name) and one.id in _CATCHING for one in args)
    return False


def _is_for_others(test: ast.expr) -> bool:
    """Whether only type checkers read what follows, or a shell runs it: a model is never `__main__`."""
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _is_about_this_machine(test: ast.expr) -> bool:
    return any(word in ast.unparse(test) for word in ("version_info", "sys.platform", "os.name", "platform.system"))


def _is_importing(function: ast.expr) -> bool:
    return ast.unparse(function) in ("importlib.import_module", "import_module", "__import__")
