"""Looks at what the environment has to provide: modules that nobody has, and distributions that nobody lists."""

import difflib
import itertools
import sys
from collections.abc import Iterator

from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from model_loader.environment import ModelEnvironment
from model_loader.reliance import PIXELS, Reliance, ask, unlisted_among, wanted_modules
from model_loader.source_code import Import, SourceFile
from model_loader.worker.mdai_guest.hints import DISTRIBUTIONS

NOBODY = Code("I001", Severity.ERROR, "a module that nobody provides")
NOBODY_LATER = Code("I002", Severity.WARNING, "a module that nobody provides, imported in a function")
UNLISTED = Code("I010", Severity.NOTE, "a library that is there unasked")
BROUGHT_ALONG = Code("I011", Severity.NOTE, "a library that comes with another")
CODES = (NOBODY, NOBODY_LATER, UNLISTED, BROUGHT_ALONG)

#: Modules that Python no longer has, by the first version without.
_GONE = {
    "asynchat": (3, 12),
    "asyncore": (3, 12),
    "cgi": (3, 13),
    "distutils": (3, 12),
    "formatter": (3, 10),
    "imghdr": (3, 13),
    "imp": (3, 12),
    "parser": (3, 10),
    "pipes": (3, 13),
    "symbol": (3, 10),
}
_OF_PYTHON_2 = {"ConfigParser", "Queue", "StringIO", "cPickle", "cStringIO", "urllib2", "urlparse", "__builtin__"}


def examine_with(subject: Subject, environment: ModelEnvironment) -> Iterator[Finding]:
    """Find imports that fail in this environment, and libraries that are there without being listed.

    Raises:
        EnvironmentBuildError: the environment's interpreter does not answer.
    """
    wanted = wanted_modules(subject.code)
    answers = ask(environment, wanted)
    for module, places in wanted.items():
        is_found = answers[module].is_found or subject.code.provides(module)
        if not is_found and not _comes_by_path(subject, module):
            yield from _nobody(subject, environment, module, places)
    unlisted = unlisted_among(subject.code, subject.requirements, environment, wanted, answers)
    for _, together in itertools.groupby(unlisted, key=lambda one: (one.file.path, one.line, one.module)):
        yield _unlisted(subject, list(together))


def _nobody(
    subject: Subject, environment: ModelEnvironment, module: str, places: list[tuple[SourceFile, Import]]
) -> Iterator[Finding]:
    for file, one in places:
        when = "This fails when the function is called" if one.deferred else "The model does not load"
        yield Finding(
            NOBODY_LATER if one.deferred else NOBODY,
            subject.place(file.path, one.line),
            f"The package has no module `{module}` of its own, and its environment has none installed. {when}.",
            _advice(subject, environment, module, one),
        )


def _advice(subject: Subject, environment: ModelEnvironment, module: str, one: Import) -> str:
    python = subject.python_version
    if module in _GONE and python >= _GONE[module]:
        first = ".".join(map(str, _GONE[module]))
        return f"Python has no {module} from {first} on: choose an older base_image, or write the code without it."
    if module in _OF_PYTHON_2:
        return "It is a module of Python 2: write what Python 3 has instead."
    if module in sys.stdlib_module_names:
        return f"It is a part of newer Pythons than {subject.python}: choose a newer base_image."
    lying = [file.shown for file in subject.code.files if _is_called(file, one.top)]
    if lying:
        return f"{lying[0]} is there, in a folder that is not on `sys.path`: import it by its path from the model root."
    if module in DISTRIBUTIONS:
        return f"It comes with {DISTRIBUTIONS[module]}: name that in .mdai/requirements.txt."
    own = {file.path.stem for file in subject.code.files}
    installed = {name.replace("-", "_") for name, _ in environment.packages}
    near = difflib.get_close_matches(module, sorted(own | installed), 1, cutoff=0.8)
    if near:
        return f"Did you mean `{near[0]}`, which {'the package' if near[0] in own else 'the environment'} has?"
    likely = module.replace("_", "-").replace(".", "-").lower()
    return f"Name the distribution that has it, most likely {likely}, in .mdai/requirements.txt."


def _is_called(file: SourceFile, name: str) -> bool:
    return file.path.stem == name or (file.path.name == "__init__.py" and file.path.parent.name == name)


def _comes_by_path(subject: Subject, module: str) -> bool:
    """Whether code puts folders on `sys.path` itself, and the package has such a module somewhere."""
    if not any(b"sys.path" in file.content for file in subject.code.reachable):
        return False
    return any(_is_called(file, module) for file in subject.code.files) or any(
        module in file.path.relative_to(subject.package.root).parts for file in subject.code.files
    )


def _unlisted(subject: Subject, together: list[Reliance]) -> Finding:
    first = together[0]
    what = ", ".join(f"{one.distribution} {one.version}" for one in together)
    why = f"`{first.module}` is from {what}"
    if first.module == PIXELS:
        why = f"`pixel_array` decodes compressed images with {what}"
    how = (
        "which every environment here gets before requirements.txt, and which that does not list."
        if first.is_baseline
        else "which requirements.txt does not list: it is there because something else needs it."
    )
    lines = ", ".join(f"`{one.distribution}=={one.version}`" for one in together)
    return Finding(
        UNLISTED if first.is_baseline else BROUGHT_ALONG,
        subject.place(first.file.path, first.line),
        f"{why}, {how}",
        f"Add {lines} to .mdai/requirements.txt: the model then meets the same versions wherever it runs.",
    )
