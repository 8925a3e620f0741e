"""Looks at what the package's code imports: without an environment its own modules, with one where the rest is."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from app.doctor import import_sources, shadowing
from app.doctor.finding import Code, Finding, Place, Severity
from app.doctor.own_modules import bindings, lacking, nearest
from app.doctor.subject import Subject
from model_loader.environment import ModelEnvironment
from model_loader.layout import folders
from model_loader.requirement_line import normalized
from model_loader.source_code import Import, SourceFile
from model_loader.worker.mdai_guest.hints import DISTRIBUTIONS

NOT_IN_PACKAGE = Code("I003", Severity.ERROR, "a module that the package does not have")
SITE_FILE = Code("I008", Severity.WARNING, "a file that Python runs at its start elsewhere")
CIRCULAR = Code("I009", Severity.ERROR, "mdai_deploy imported before it is ready")
RELATIVE = Code("I012", Severity.ERROR, "a relative import in mdai_deploy.py")
CODES = (NOT_IN_PACKAGE, SITE_FILE, CIRCULAR, RELATIVE, *shadowing.CODES, *import_sources.CODES)

_SITE_MODULES = ("sitecustomize.py", "usercustomize.py")
_LONGEST_PTH = 1 << 16


def examine(subject: Subject) -> Iterator[Finding]:
    """Find faults in imports of the package's own modules, and modules of its own that stand in the way of others."""
    yield from _relative(subject)
    yield from _missing(subject)
    yield from _circular(subject)
    yield from shadowing.examine(subject)
    yield from _site_files(subject)


def examine_with(subject: Subject, environment: ModelEnvironment) -> Iterator[Finding]:
    """Find what the environment has to provide and does not, or only by chance.

    Raises:
        EnvironmentBuildError: the environment's interpreter does not answer.
    """
    yield from import_sources.examine_with(subject, environment)


def _relative(subject: Subject) -> Iterator[Finding]:
    deploy = subject.code.deploy
    for one in deploy.imports:
        if one.level and not one.guarded:
            what = one.module or ", ".join(one.names)
            yield Finding(
                RELATIVE,
                subject.place(deploy.path, one.line),
                "mdai_deploy.py is imported as the module mdai_deploy and is in no package, so `from "
                f"{'.' * one.level}{one.module} import …` has nothing that it could be relative to.",
                f"Leave the dots out: .mdai is on `sys.path`, and so `from {what} import …` finds {what}.py beside it."
                if one.module
                else "Leave the dots out: .mdai is on `sys.path`, and `import NAME` finds NAME.py beside it.",
            )


def _missing(subject: Subject) -> Iterator[Finding]:
    """Imports that begin in the package, and then name something that is not there."""
    for file in subject.code.reachable:
        for one in file.imports:
            absent = _lacking(subject, one)
            if absent is None:
                continue
            near = nearest(subject.code, one.module)
            yield Finding(
                NOT_IN_PACKAGE,
                subject.place(file.path, one.line),
                f"`{one.module}` is looked for in the package, because `{absent.rpartition('.')[0]}` is there; but "
                f"that has no `{absent.rpartition('.')[2]}`.",
                f"Did you mean `{near}`?" if near else f"Add it, or correct the name. {_whereabouts(subject, absent)}",
            )


def _lacking(subject: Subject, one: Import) -> str | None:
    if one.guarded or one.level or not one.top:
        return None
    if subject.code.is_bare_folder(one.top) and one.top != "lib":
        # An installed library of that name would be preferred.
        is_known = normalized(one.top) in subject.requirements.names or one.top in DISTRIBUTIONS
        if is_known or not _holds_python(subject, one.top):
            return None
    return lacking(subject.code, one)


def _holds_python(subject: Subject, folder: str) -> bool:
    return any(folder in file.path.parent.parts for file in subject.code.files)


def _whereabouts(subject: Subject, module: str) -> str:
    name = module.rpartition(".")[2]
    found = [file.shown for file in subject.code.files if file.path.name == f"{name}.py"]
    return f"The package has {found[0]}." if found else "Check that it was packed: .gitignore may have left it out."


def _circular(subject: Subject) -> Iterator[Finding]:
    """Modules that take something out of mdai_deploy, which is not there yet when it imports them."""
    deploy, code = subject.code.deploy, subject.code
    bound = bindings(deploy)
    met: set[SourceFile] = set()
    for first in (one for one in deploy.imports if not one.deferred):
        waiting = [(file, first.line) for file in code.targets(deploy, first)]
        while waiting:
            file, line = waiting.pop()
            if file in met or file == deploy:
                continue
            met.add(file)
            for one in (one for one in file.imports if not one.deferred):
                yield from _taken_too_early(subject, file, one, line, bound)
                waiting += [(further, line) for further in code.targets(file, one)]


def _taken_too_early(
    subject: Subject, file: SourceFile, one: Import, line: int, bound: dict[str, int]
) -> Iterator[Finding]:
    if one.module != "mdai_deploy" or one.level or one.guarded:
        return
    late = [name for name in one.names if bound.get(name, 0) > line]
    if late:
        yield Finding(
            CIRCULAR,
            subject.place(file.path, one.line),
            f"mdai_deploy.py imports this module in line {line}, and this module takes {late[0]} out of mdai_deploy, "
            f"which has it only from line {bound[late[0]]} on: the import fails.",
            f"Move {late[0]} into a module of its own that both import.",
        )


def _site_files(subject: Subject) -> Iterator[Finding]:
    root = subject.package.root
    for folder in itertools.islice(folders(root), 20_000):
        for name in folder.files:
            path = folder.path / name
            if name in _SITE_MODULES or (name.endswith(".pth") and _is_list_of_paths(path)):
                shown = subject.place(path)
                yield Finding(
                    SITE_FILE,
                    Place(shown.file),
                    f"{shown} is a file that Python looks for in its own folders and runs at every start. From a "
                    "package it is not run, neither here nor on the platform: what it is for does not happen.",
                    "Delete it; put what it does at the top of mdai_deploy.py if the model needs it.",
                )


def _is_list_of_paths(path: Path) -> bool:
    """Whether a .pth is Python's kind: PyTorch's weights have that ending too, and so have git's pointers to these."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_PTH + 1)
        lines = content.decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    if len(content) > _LONGEST_PTH or b"\0" in content or content.startswith(b"version https://git-lfs"):
        return False
    return any(line.startswith(("import ", "import\t", "/", "./", "../")) for line in lines)
