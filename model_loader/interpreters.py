"""The Python interpreters of this machine, found by absolute path.

A bare name such as ``python3.7`` may be a pyenv shim that only prints an error, so nothing is believed before
it has run and told its version. Looked at, in this order: pyenv's folder, the interpreters that uv manages,
``PATH``, and the interpreter that runs this server. The newest patch release wins, the order breaks a tie.
"""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from model_loader.errors import EnvironmentBuildError, InterpreterNotFound
from model_loader.known_pythons import NOTHING_KNOWN, KnownPythons

OLDEST_SUPPORTED = (3, 7)
OLDEST_DOWNLOAD = (3, 8)
"""uv has no build of an older CPython to download."""

PROBE_SECONDS = 10.0

_PROBE = """
import json, os, sys
try:
    with open("/proc/self/maps") as maps:
        libraries = sorted({line.split(None, 5)[5].strip() for line in maps if "/libpython" in line})
except OSError:
    libraries = []
print(json.dumps({
    "version": sys.version.split()[0].rstrip("+"),
    "release": list(sys.version_info[:3]),
    "final": sys.version_info[3] == "final",
    "implementation": sys.implementation.name,
    "executable": sys.executable,
    "virtual": sys.prefix != sys.base_prefix,
    "rests_on": [os.__file__, *libraries],
    "tag": "-".join([sys.implementation.cache_tag + getattr(sys, "abiflags", ""), sys.platform,
                     os.uname().machine, "64" if sys.maxsize > 2**32 else "32"]),
}))
"""

_VERSION = re.compile(r"\d+(\.\d+){1,2}")
_PYENV_FOLDER = re.compile(r"(\d+)\.(\d+)\.\d+")
_UV_FOLDER = re.compile(r"cpython-(\d+)\.(\d+)\.\d+-.*")
_ON_PATH = re.compile(r"python(\d+)\.(\d+)")


@dataclass(frozen=True)
class Interpreter:
    """A Python that ran and told what it is."""

    path: Path
    """Absolute."""
    version: str
    """Such as ``3.7.16``."""
    release: tuple[int, int, int]
    tag: str
    """Names everything a compiled extension depends on, such as ``cpython-37m-linux-x86_64-64``."""
    rests_on: tuple[Path, ...] = field(default=(), repr=False, compare=False)
    """Files beside its own without which it would not run, or be another: its library, its standard library."""

    @property
    def series(self) -> str:
        """Such as ``3.7``."""
        return f"{self.release[0]}.{self.release[1]}"

    def __str__(self) -> str:
        return f"Python {self.version} ({self.path})"


@dataclass(frozen=True)
class _Candidate:
    path: Path
    series: tuple[int, int]


def find_interpreter(
    wanted: str,
    *,
    environ: Mapping[str, str],
    own: Path = Path(sys.executable),
    download: Callable[[str], None] | None = None,
    known: KnownPythons = NOTHING_KNOWN,
) -> Interpreter:
    """Return the interpreter for ``wanted``: ``X.Y``, ``X.Y.Z``, a path or the name of a command.

    Where this machine has none, ``download(wanted)`` is asked to get one, and the search repeated. What is ``known`` is
    not asked again.

    Raises:
        InterpreterNotFound: neither here nor to be downloaded; the text lists the interpreters that are here.
    """
    if not _VERSION.fullmatch(wanted):
        return named_interpreter(wanted, environ=environ, known=known)
    parts = tuple(int(part) for part in wanted.split("."))
    if parts[:2] < OLDEST_SUPPORTED:
        raise InterpreterNotFound(
            f"Python {wanted} is too old: models run on Python {_dotted(OLDEST_SUPPORTED)} or newer. "
            + _way_out(parts, environ, own)
        )
    found = _newest(parts, environ, own, known)
    obstacle = ""
    if found is None and download is not None and parts[:2] >= OLDEST_DOWNLOAD:
        try:
            download(wanted)
        except EnvironmentBuildError as error:
            obstacle = f" Downloading it failed:\n\n{error.text.strip()}\n\n"
        found = _newest(parts, environ, own, known)
    if found is None:
        raise InterpreterNotFound(_missing(wanted, parts, obstacle, environ, own))
    return found


def named_interpreter(name: str, *, environ: Mapping[str, str], known: KnownPythons = NOTHING_KNOWN) -> Interpreter:
    """Return the interpreter at a path or behind a command's name, as it is: a venv stays a venv.

    Raises:
        InterpreterNotFound: nothing is there, it does not run, or it is older than Python 3.7.
    """
    path = Path(name).expanduser()
    paths = [path.absolute()]
    if path.parent == Path() and not path.exists():
        paths = [folder / name for folder in _path_folders(environ) if (folder / name).is_file()] or paths
    facts = None
    for path in paths:
        facts = _facts(path, environ, known)
        if facts is not None:
            break
    if facts is None:
        path = paths[0]
        if not path.is_file():
            raise InterpreterNotFound(f"There is no Python interpreter at {path}.")
        raise InterpreterNotFound(
            f"{path} does not run as a Python {_dotted(OLDEST_SUPPORTED)} or newer. "
            f"Try `{path} --version`, and name an interpreter that works."
        )
    if facts.release < OLDEST_SUPPORTED:
        raise InterpreterNotFound(
            f"{path} is Python {facts.version}; models run on Python {_dotted(OLDEST_SUPPORTED)} or newer."
        )
    return Interpreter(path, facts.version, facts.release, facts.tag, facts.rests_on)


def available_interpreters(*, environ: Mapping[str, str], own: Path = Path(sys.executable)) -> list[Interpreter]:
    """Return every CPython from 3.7 on that is here and runs, newest first, each once."""
    supported = (found for found in _candidates(environ, own) if found.series >= OLDEST_SUPPORTED)
    return _inspected(supported, environ, NOTHING_KNOWN)


def python_runs(python: Path, *arguments: str) -> bool:
    """Whether ``PYTHON -I -S ARGUMENTS`` succeeds.

    True as well where this machine is too busy or too full to tell: nothing is to be thrown away for that.
    """
    return _tried(python, *arguments) is not False


def known_to_run(known: KnownPythons, question: str, python: Path, *arguments: str, rests_on: Iterable[Path]) -> bool:
    """The same; not tried again where the answer to `question`, which rests on these files, is known."""
    if known.recall(question):
        return True
    is_running = _tried(python, *arguments)
    if is_running:
        known.note(question, True, rests_on)
    return is_running is not False


def _tried(python: Path, *arguments: str) -> bool | None:
    """None where this machine cannot tell."""
    try:
        answer = subprocess.run(
            [python, "-I", "-S", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        return None if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE) else False
    return None if answer.returncode == -signal.SIGKILL else answer.returncode == 0


def _newest(parts: tuple[int, ...], environ: Mapping[str, str], own: Path, known: KnownPythons) -> Interpreter | None:
    matching = (candidate for candidate in _candidates(environ, own) if candidate.series == parts[:2])
    inspected = _inspected(matching, environ, known)
    return next((found for found in inspected if found.release[: len(parts)] == parts), None)


def _inspected(candidates: Iterator[_Candidate], environ: Mapping[str, str], known: KnownPythons) -> list[Interpreter]:
    seen: dict[Path, Interpreter] = {}
    # The name counts too: the shims of some version tools are links to one program that looks at it.
    distinct = {(found.path.resolve(), found.path.name): found.path for found in reversed(list(candidates))}
    for path in reversed(distinct.values()):
        facts = _facts(path, environ, known)
        if facts is None or facts.implementation != "cpython" or not facts.final:
            continue
        # What a venv is made from must not go away together with somebody else's venv.
        origin = (facts.executable if facts.executable.is_file() else path).resolve()
        seen.setdefault(origin, Interpreter(origin, facts.version, facts.release, facts.tag, facts.rests_on))
    return sorted(seen.values(), key=lambda interpreter: interpreter.release, reverse=True)


def _candidates(environ: Mapping[str, str], own: Path) -> Iterator[_Candidate]:
    home = Path(environ.get("HOME") or Path.home())
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    for folder, series in _versioned(pyenv / "versions", _PYENV_FOLDER):
        yield _Candidate(folder / "bin" / "python", series)
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    managed = Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    for folder, series in _versioned(managed, _UV_FOLDER):
        yield _Candidate(folder / "bin" / "python3", series)
    for folder in _path_folders(environ):
        if folder.name == "shims" and folder.is_relative_to(pyenv):
            continue
        for path, series in _versioned(folder, _ON_PATH):
            yield _Candidate(path, series)
    yield _Candidate(own, (sys.version_info[0], sys.version_info[1]))


def _versioned(folder: Path, pattern: re.Pattern[str]) -> list[tuple[Path, tuple[int, int]]]:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
    matches = [match for name in names if (match := pattern.fullmatch(name))]
    return [(folder / match.string, (int(match[1]), int(match[2]))) for match in matches]


def _path_folders(environ: Mapping[str, str]) -> list[Path]:
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    return [Path(folder) for folder in dict.fromkeys(folders) if Path(folder).is_absolute()]


@dataclass(frozen=True)
class _Facts:
    version: str
    release: tuple[int, int, int]
    final: bool
    implementation: str
    executable: Path
    tag: str
    rests_on: tuple[Path, ...]

    @classmethod
    def of(cls, told: Any) -> Self:
        """What `_PROBE` has printed. Raises an error of Python's for anything else."""
        major, minor, micro = told["release"]
        return cls(
            version=told["version"],
            release=(major, minor, micro),
            final=told["final"],
            implementation=told["implementation"],
            executable=Path(told["executable"]),
            tag=told["tag"],
            rests_on=tuple(map(Path, told.get("rests_on", ()))),
        )


def _facts(path: Path, environ: Mapping[str, str], known: KnownPythons) -> _Facts | None:
    """What the candidate says; None when it does not run as a Python 3."""
    question = f"{path} with {environ.get('LD_LIBRARY_PATH', '')}"
    with suppress(AttributeError, TypeError, ValueError, LookupError):
        return _Facts.of(known.recall(question))
    try:
        told = json.loads(_probed(path, environ))
        told["executable"] = told["executable"] or str(path)
        facts = _Facts.of(told)
    except (OSError, AttributeError, TypeError, ValueError, LookupError, subprocess.SubprocessError):
        return None
    known.note(question, told, [path, *facts.rests_on])
    return facts


def _probed(path: Path, environ: Mapping[str, str]) -> bytes:
    return subprocess.run(
        [path, "-I", "-S", "-c", _PROBE],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PROBE_SECONDS,
        check=True,
    ).stdout


def _missing(wanted: str, parts: tuple[int, ...], obstacle: str, environ: Mapping[str, str], own: Path) -> str:
    sources = f"pyenv (`pyenv install {wanted}`), conda (`conda create -n py{wanted} python={wanted}`)"
    if parts[:2] < OLDEST_DOWNLOAD:
        advice = f"uv cannot download a Python this old: get it from {sources} or your distribution"
    else:
        advice = f"Get it with `uv python install {wanted}`, from {sources} or your distribution"
    return (
        f"Python {wanted} is needed, and this machine has none.{obstacle or ' '}{advice}; or use another one. "
        + _way_out(parts, environ, own)
    )


def _way_out(parts: tuple[int, ...], environ: Mapping[str, str], own: Path) -> str:
    here = available_interpreters(environ=environ, own=own)
    if not here:
        return "No other interpreter was found; one that lies elsewhere is chosen with `--python PATH`."
    newer = [interpreter for interpreter in here if interpreter.release >= parts]
    nearest = newer[-1] if newer else here[0]
    listed = "".join(f"\n  {interpreter}" for interpreter in here)
    return f"`--python X.Y` chooses one, such as `--python {nearest.series}`. Here are:{listed}"


def _dotted(parts: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in parts)
