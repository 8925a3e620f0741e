"""Where a build of torch is found again that a lock names.

``torch==2.1.0+cpu`` in a lock may have come from torch's own index, which no configuration names. The local version
says which one of uv's torch backends leads there, on whatever device the lock is installed.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from model_loader.torch_backend import UNREACHED, VARIABLE
from model_loader.uv_process import Progress, UvFailed

_LOCKED_BUILD = re.compile(r"torch==[\w.]+\+(?P<build>cpu|cu\d+)\b")
_INDEX = re.compile(r"^ +# from (\S+)$", re.MULTILINE)


def with_locked_build(run: Callable[[Mapping[str, str]], str], lines: Sequence[str], progress: Progress) -> str:
    """Call ``run`` for exact requirements; where that fails, again with torch's own index for the build they name.

    Parameters:
        run: gets variables for uv

    Raises:
        UvFailed: with what the configured indexes led to, and what torch's own.
    """
    try:
        return run({})
    except UvFailed as error:
        variables = _locked_build(lines)
        if not variables:
            raise
        progress(f"The configured indexes lack something; torch's own index is tried for {variables[VARIABLE]}.")
        try:
            return run(variables)
        except UvFailed as second:
            if any(sign in second.output for sign in UNREACHED):
                raise UvFailed(f"{error.output}\n\nNor was torch's own index reached:\n\n{second.output}") from second
            raise UvFailed(second.output) from error


def locked_source(compile_lines: Callable[[Mapping[str, str]], str], lines: Sequence[str]) -> tuple[str, ...]:
    """Return options for pip that lead to the build of torch in exact requirements; none where it needs no help.

    Parameters:
        compile_lines: gets variables for uv, and returns what it said with the index of each package

    Raises:
        UvFailed: it is to be had nowhere.
    """
    variables = _locked_build(lines)
    if not variables:
        return ()
    try:
        compile_lines({})
    except UvFailed:
        found = _INDEX.search(compile_lines(variables))
        return (f"--extra-index-url {found[1]}",) if found else ()
    return ()


def _locked_build(lines: Sequence[str]) -> dict[str, str]:
    """What is locked says itself which of torch's indexes it may come from."""
    found = (_LOCKED_BUILD.match(line) for line in lines)
    return next(({VARIABLE: match["build"]} for match in found if match), {})
