"""Paths of another machine (M009), files opened by their bare name (M018), files written beside the code (M020)."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

from app.doctor.code.script import Script, guards
from app.doctor.code.syntax_tree import dotted, keyword, mentions, text_of
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.wording import quoted, visible

OTHER_MACHINE = Code("M009", Severity.WARNING, "a path of another machine")
BARE_NAME = Code("M018", Severity.ERROR, "opens a file of the package by its bare name")
WRITES_BESIDE = Code("M020", Severity.WARNING, "writes beside its code")
CODES = (OTHER_MACHINE, BARE_NAME, WRITES_BESIDE)

#: Folders that are somebody's own wherever they stand; and those that are so only where a path is meant.
_PRIVATE = re.compile(
    r"(/home/|/Users/|/content/drive|/kaggle/|/workspace/|/gdrive/)[\w./ @+-]*|[A-Za-z]:[\\/](?!/)[\w.\\/ @+-]+"
)
_LIKELY = re.compile(r"/(data|mnt|media|scratch|app|src|models?|weights|root|workspace|storage|nfs)\d*(/[\w. @+-]+)*/?")
_NAMED_AS_PATH = re.compile(r"path|dir$|_dir_|folder|file(name)?s?$|root|weights?$|checkpoint|ckpt", re.IGNORECASE)
#: The last part of the name of what reads a file; the first argument is its path.
_READERS = {
    *("open", "load", "load_model", "load_weights", "load_checkpoint", "imread", "read_csv", "read_excel", "read_json"),
    *("read_pickle", "loadtxt", "genfromtxt", "File", "InferenceSession", "CascadeClassifier", "ZipFile", "Path"),
    *("dcmread", "listdir", "read_text", "read_bytes", "readNet"),
}
#: Functions of paths: an absolute one that they are given is meant as a path.
_PATH_FUNCTIONS = _READERS | {"join", "makedirs", "mkdir", "imwrite", "save", "savez", "chdir", "glob"}
_SYS_PATH = ("sys.path.append", "sys.path.insert")
_WRITERS = {"imwrite": 0, "save": 0, "savez": 0, "savetxt": 0, "makedirs": 0, "mkdir": 0, "to_csv": 0}
_SAVES_SECOND = frozenset(("torch.save", "joblib.dump", "nibabel.save"))
_EXISTENCE = ("exists", "isfile", "isdir", "is_file", "is_dir")
_SHOWS = frozenset(("print", "info", "debug", "warning", "error", "ArgumentParser", "add_argument", "getenv"))


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at everything that runs when the model loads and predicts."""
    scripts = subject.own_scripts
    for script in scripts:
        for node in script.nodes:
            path = text_of(node)
            if path and isinstance(node, ast.Constant) and _is_private(script, node, path):
                yield _other_machine(subject, script, node, path)
    if not any(mentions(node, "chdir") for script in scripts for node in script.nodes if isinstance(node, ast.Call)):
        for script in scripts:
            yield from _bare_names(subject, script)
    for script in scripts:
        yield from _writes(subject, script)


def _is_private(script: Script, node: ast.Constant, path: str) -> bool:
    if not (_PRIVATE.fullmatch(path) or (_LIKELY.fullmatch(path) and _is_meant_as_path(script, node))):
        return False
    above = script.parents.get(node)
    if isinstance(above, ast.Expr):  # a docstring
        return False
    if any(mentions(test, *_EXISTENCE) for test in guards(script, node)) or _is_looked_for(script, above):
        return False
    for holder in script.above(node):
        if isinstance(holder, ast.Call):
            name = holder.func.attr if isinstance(holder.func, ast.Attribute) else dotted(holder.func)
            is_default = dotted(holder.func) in ("os.environ.get", "environ.get", "os.getenv")
            if (
                name in _SHOWS
                or is_default
                or name in ("startswith", "endswith", "replace", "exists", "isdir", "isfile")
            ):
                return False
        elif isinstance(holder, ast.Raise | ast.Compare | ast.JoinedStr):
            return False
        elif isinstance(holder, ast.stmt):
            break
    return True


def _is_looked_for(script: Script, above: ast.AST | None) -> bool:
    """Whether the file asks, of the name that the path is given, if there is such a place."""
    names = [dotted(target) for target in above.targets] if isinstance(above, ast.Assign) else []
    asked = [call for call, name in script.calls if name.rpartition(".")[2] in _EXISTENCE]
    return any(dotted(node) in names for call in asked for node in ast.walk(call) if dotted(node))


def _is_meant_as_path(script: Script, node: ast.Constant) -> bool:
    match script.parents.get(node):
        case ast.Call(func=function, args=[*_]):
            name = dotted(function)
            return name in _SYS_PATH or name.rpartition(".")[2] in _PATH_FUNCTIONS
        case ast.Assign(targets=[target]):
            name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
            return bool(_NAMED_AS_PATH.search(name))
        case ast.keyword(arg=str(name)):
            return bool(_NAMED_AS_PATH.search(name))
    return False


def _other_machine(subject: Subject, script: Script, node: ast.Constant, path: str) -> Finding:
    reason = (
        f"{quoted(path)} lies on the machine that this was written on; where the model runs, there is no such place."
    )
    name = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
    near = next((one for one in (subject.package.root, subject.package.mdai) if (one / name).is_file()), None)
    if near is not None:
        fix = f"The package has a {name}: write {_below_file(script, near / name)}."
    else:
        fix = (
            "Put the file into the package and write its path relative to the code, such as "
            'os.path.join(os.path.dirname(__file__), "…"); for files of the moment, take tempfile.'
        )
    return Finding(OTHER_MACHINE, subject.place(script.file.path, node.lineno), reason, fix)


def _bare_names(subject: Subject, script: Script) -> Iterator[Finding]:
    own = {function.name for one in subject.scripts for function in one.functions}  # may add a folder of their own
    for call, name in script.calls:
        if name.rpartition(".")[2] not in _READERS - own or not call.args or _writing_mode(call):
            continue
        path = _relative(script, call.args[0])
        found = _in_package(subject, path) if path else None
        if path is None or found is None:
            continue
        reason = (
            f"`{visible(ast.unparse(call))}` looks for {quoted(path)} in the working directory, which is a private "
            f"folder and not the package: the file {subject.place(found)} is not found."
        )
        instead = f"./lib/{os.path.relpath(found, subject.package.root)}"
        fix = f"Write {_below_file(script, found)}, or {quoted(instead)}: there, lib is the model root."
        yield Finding(BARE_NAME, subject.place(script.file.path, call.lineno), reason, fix)


def _relative(script: Script, node: ast.expr) -> str | None:
    """The relative path that an expression gives, where it can be told."""
    node = script.resolved(node)
    match node:
        case ast.Constant(value=str(path)):
            pass
        case ast.Call(args=[*parts]) if script.full_name(node.func) == "os.path.join" and parts and not node.keywords:
            texts = [text_of(script.resolved(part)) for part in parts]
            path = os.path.join(*(text for text in texts if text)) if all(texts) else ""  # noqa: PTH118
        case ast.Call(args=[ast.expr() as inner]) if script.full_name(node.func) in ("str", "pathlib.Path"):
            return _relative(script, inner)
        case _:
            return None
    is_relative = bool(path) and len(path) < 200 and not path.startswith(("/", "~", "\\")) and ":" not in path
    return path if is_relative and "\0" not in path and not re.match(r"(\./)?lib/", path) else None


def _in_package(subject: Subject, path: str) -> Path | None:
    """The file that is meant, where the path is one from the model root or from `.mdai`."""
    package = subject.package
    for folder in (package.root, package.mdai):
        found = Path(os.path.normpath(folder / path))
        if found.is_file() and found.is_relative_to(package.root):
            return found
    return None


def _below_file(script: Script, target: Path) -> str:
    parts = Path(os.path.relpath(target, script.file.path.parent)).parts
    quoted_parts = ", ".join(f'"{part}"' for part in parts)
    return f"os.path.join(os.path.dirname(__file__), {quoted_parts})"


def _writing_mode(call: ast.Call) -> bool:
    mode = keyword(call, "mode") or (call.args[1] if len(call.args) > 1 else None)
    return bool(re.match(r"[wax]|r\+|rb\+|r\+b", text_of(mode) or ""))


def _writes(subject: Subject, script: Script) -> Iterator[Finding]:
    for call, name in script.calls:
        last = name.rpartition(".")[2]
        if name in _SAVES_SECOND:
            position = 1
        elif (last == "open" and _writing_mode(call)) or last in _WRITERS:
            position = 0
        else:
            continue
        if len(call.args) <= position or not _is_beside_code(script, call.args[position]):
            continue
        reason = (
            f"`{visible(ast.unparse(call))}` writes beside the model's code. The package in an image cannot be written "
            "to, and several workers that serve one folder meet each other's files."
        )
        fix = "Write to a folder of tempfile.mkdtemp(), or keep it in memory with io.BytesIO."
        yield Finding(WRITES_BESIDE, subject.place(script.file.path, call.lineno), reason, fix)


def _is_beside_code(script: Script, node: ast.expr, depth: int = 4) -> bool:
    """Whether a path begins with `__file__`, directly or by way of names."""
    node = script.resolved(node)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id == "__file__":
            return True
        if depth and isinstance(inner, ast.Name | ast.Attribute) and inner is not node:
            value = script.resolved(inner)
            if value is not inner and _is_beside_code(script, value, depth - 1):
                return True
    return False
