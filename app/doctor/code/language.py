"""Files that are no Python (M001), and Python that is newer than the package's own (M002)."""

import re
import warnings
from collections.abc import Iterator

from app.doctor.code.newer_python import Newer, newer_than
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.wording import visible
from model_loader.source_code import SourceFile

SYNTAX_ERROR = Code("M001", Severity.ERROR, "a file is no Python")
NEWER_PYTHON = Code("M002", Severity.ERROR, "needs a newer Python than the package's")
CODES = (SYNTAX_ERROR, NEWER_PYTHON)

_PYTHON_2 = re.compile(r"Missing parentheses in call to '(print|exec)'|multiple exception types must be paren")
_SINCE = re.compile(r"^(.*?) (?:is|are) only supported in Python (3\.\d+)")


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at mdai_deploy.py and at what it imports of the package."""
    for file in subject.code.reachable:
        error = _error_in(file)
        if error is None:
            yield from _newer(subject, file)
        elif subject.is_read_as_the_model_would or _is_python_2(error):
            yield _broken(subject, file, error)


def _error_in(file: SourceFile) -> SyntaxError | None:
    """What the newest Python has against the file. It is compiled as well: a stray `return` is found only then."""
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(file.parse(), file.shown, "exec", dont_inherit=True)
    except SyntaxError as error:
        return error
    except ValueError as error:  # NUL characters
        return SyntaxError(str(error))
    except (RecursionError, MemoryError):  # nested too deeply for this process, perhaps not for the model's
        return None
    return None


def _is_python_2(error: SyntaxError) -> bool:
    return bool(_PYTHON_2.match(error.msg))


def _broken(subject: Subject, file: SourceFile, error: SyntaxError) -> Finding:
    line = error.lineno or None
    place = subject.place(file.path, line)
    why = "" if file is subject.code.deploy else " The model imports this file, so it does not load."
    if _is_python_2(error):
        reason = f"This is Python 2 ({error.msg.rstrip('.')}), which no base_image runs.{why}"
        fix = f"Translate it to Python {subject.python}: print(…) with parentheses, `except X as error:`, and so on."
        return Finding(SYNTAX_ERROR, place, reason, fix)
    lines = file.content.splitlines()
    shown = lines[line - 1].decode(errors="replace").strip() if line and line <= len(lines) else ""
    at = f" at `{visible(shown)}`" if shown and not isinstance(error, IndentationError) else ""
    reason = f"This is no Python: {visible(error.msg, 200)}{at}.{why}"
    fix = f"Correct the line; `python3 -m py_compile {file.shown}` shows the place."
    if isinstance(error, IndentationError):
        fix = "Indent the block with four spaces a level, never with tabs and spaces mixed."
    elif "outside function" in error.msg:
        fix = "Indent the line so that it stands in the function that it belongs to."
    elif "null bytes" in error.msg or "codec" in error.msg or "encoding" in error.msg:
        fix = "Save the file as UTF-8 text, without a special encoding."
    return Finding(SYNTAX_ERROR, place, reason, fix)


def _newer(subject: Subject, file: SourceFile) -> Iterator[Finding]:
    if not subject.is_read_as_the_model_would or file.tree is None:
        return
    version = subject.python_version
    try:
        file.parse(version)
    except SyntaxError as error:
        known = _SINCE.match(error.msg)
        what, since = (known[1], known[2]) if known else (error.msg, "")
        yield _needs(subject, file, Newer(error.lineno or 1, f"syntax: {what[:1].lower()}{what[1:]}", since))
        return
    script = next((one for one in subject.scripts if one.file is file), None)
    if script is not None:
        for newer in newer_than(version, script):
            yield _needs(subject, file, newer)


def _needs(subject: Subject, file: SourceFile, newer: Newer) -> Finding:
    since = f"which Python has only since {newer.since}" if newer.since else "which is newer"
    reason = f"The line uses {newer.what}, {since}; the package's Python is {subject.python}."
    wanted = newer.since.replace(".", "") or "311"
    fix = (
        f"Set `base_image: py{wanted}` or newer in .mdai/config.yaml if the requirements allow it, or {newer.instead}."
    )
    return Finding(NEWER_PYTHON, subject.place(file.path, newer.line), reason, fix)
