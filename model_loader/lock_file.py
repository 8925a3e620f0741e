"""`.mdai/requirements.lock`: everything that an environment holds, with exact versions and hashes.

A package that carries one is installed from it and from nothing else, the baseline included. It is in the format
of requirements files and names no index: where packages come from is what this machine and the options in
requirements.txt say. The first line tells what it was made for::

    # Made by `mdai-model env --lock` for Python 3.8 from requirements.txt sha256:0123456789abcdef as of 2023-01-01

What cannot have a hash is pinned as well as can be: what comes from git by its commit, a folder of the package's
by being there.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from model_loader.errors import EnvironmentBuildError, InstallFailed
from model_loader.installer import RESOLVING, Installer
from model_loader.interpreters import Interpreter
from model_loader.locked_torch import with_locked_build
from model_loader.package import ModelPackage
from model_loader.requirements_file import Requirements, stated_lines
from model_loader.uv_process import Uv, UvFailed

LOCK = "requirements.lock"

_HEADING = re.compile(
    r"# Made by `mdai-model env --lock` for Python (?P<python>\d+\.\d+) "
    r"from requirements\.txt sha256:(?P<requirements>[0-9a-f]+)"
)
_NOTICE = "# Installed instead of requirements.txt: make it anew whenever that changes."
_COMMIT = re.compile(r"@ git\+\S+@[0-9a-f]{40}\b")
_IN_THE_FILE_SYSTEM = re.compile(r"^\S+ @ file://(?P<path>[^\s#]+)(#\S*)?")


@dataclass(frozen=True)
class Lock:
    """The text of a lock; ``name`` is how people are told of it, ``advice`` what they do about a wrong one.

    ``python`` and ``requirements`` are what it was made for; None where its first line does not tell.
    """

    text: str
    name: str = f".mdai/{LOCK}"
    advice: str = f"Make .mdai/{LOCK} anew with `mdai-model env PACKAGE --lock`, or delete it."

    @property
    def python(self) -> str | None:
        heading = _HEADING.match(self.text)
        return heading and heading["python"]

    @property
    def requirements(self) -> str | None:
        heading = _HEADING.match(self.text)
        return heading and heading["requirements"]

    @property
    def lines(self) -> list[str]:
        """What it asks for, each requirement with its hashes on one line."""
        return list(stated_lines(self.text.encode()))


def package_lock(package: ModelPackage) -> Lock | None:
    """Return the lock that the package carries.

    Raises:
        EnvironmentBuildError: it is there and cannot be read.
    """
    try:
        return Lock((package.mdai / LOCK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentBuildError(f".mdai/{LOCK} cannot be read: {error}. Correct or delete it.") from error


def lock_warnings(lock: Lock, requirements: Requirements) -> Iterator[str]:
    """Yield a sentence where the lock no longer goes with requirements.txt."""
    if lock.requirements is not None and lock.requirements != requirements_digest(requirements):
        yield (
            f"requirements.txt has changed since {lock.name} was made, and is not looked at: what the lock says is "
            f"installed. {lock.advice}"
        )


def requirements_digest(requirements: Requirements) -> str:
    """Return 16 hexadecimal digits for the content of requirements.txt and the files that it includes."""
    total = hashlib.sha256()
    for file in requirements.files:
        content = file.read_bytes().replace(b"\r\n", b"\n")
        total.update(b"%d:%b" % (len(content), content))
    return total.hexdigest()[:16]


def frozen(uv: Uv, python: Path, package: ModelPackage) -> list[str]:
    """Return what the environment holds, one requirement a line; what lies in the package by its path from .mdai."""
    said = uv.run("pip", "freeze", "--python", python, quiet=True)
    return [_from_mdai(line, package) for line in said.splitlines() if re.match(r"[\w.-]+(==| @ )", line)]


def make_lock(
    frozen: Sequence[str],
    *,
    python: Path,
    version: str,
    package: ModelPackage,
    requirements: Requirements,
    exclude_newer: str | None,
    folder: Path,
    installer: Installer,
) -> Lock:
    """Return a lock of what ``frozen`` said.

    Parameters:
        version: of ``python``, such as ``3.8.18``
        folder: empty, for this to work in

    Raises:
        InstallFailed: a package is not to be had any more, so it has no hash; uv's words are in the text.
    """
    wanted, sources = folder / "frozen.txt", folder / "sources.txt"
    wanted.write_text("".join(f"{line}\n" for line in frozen))
    sources.write_text("".join(f"{line}\n" for line in requirements.sources))
    uv = installer.uv(folder)
    locked = folder / LOCK

    def compile_frozen(variables: Mapping[str, str]) -> str:
        return uv.run(
            # uv computes a hash that the index does not tell where it follows dependencies, and not with --no-deps.
            # As overrides the same lines decide all of them, also where two packages contradict each other.
            *("pip", "compile", "--python", python, "--generate-hashes", "--override", wanted),
            *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *installer.arguments,
            *("--output-file", locked, wanted, sources),
            cwd=package.mdai,
            environ=package.config.env | dict(variables),
            without=unwanted(installer, requirements),
            quiet=True,
        )

    try:
        with_locked_build(compile_frozen, frozen, installer.progress)
    except UvFailed as error:
        raise InstallFailed(f"The environment of {package.name} cannot be locked:\n\n{error.output}") from error
    kept = _without_additions([_from_mdai(line, package) for line in locked.read_text().splitlines()], frozen)
    heading = (
        f"# Made by `mdai-model env --lock` for Python {'.'.join(version.split('.')[:2])} from requirements.txt "
        f"sha256:{requirements_digest(requirements)}" + (f" as of {exclude_newer}" if exclude_newer else "")
    )
    return Lock("\n".join((heading, _NOTICE, *kept)) + "\n")


def check_lock(lock: Lock, interpreter: Interpreter, package: ModelPackage) -> None:
    """Raise EnvironmentBuildError where the lock is another Python's or leaves something open."""
    for fault in lock_faults(lock, interpreter.series, package):
        raise EnvironmentBuildError(f"{fault} {lock.advice}")


def lock_faults(lock: Lock, series: str, package: ModelPackage) -> Iterator[str]:
    """Yield a sentence for each reason why nothing is installed from the lock for a Python such as ``3.8``.

    Another Python's would install, and then lack what only this one needs: nobody who locks wants that.
    """
    if lock.python not in (None, series):
        yield f"{lock.name} was made for Python {lock.python}, and the model is to run on Python {series}."
    for line in lock.lines:
        if not line.startswith("-") and "--hash=" not in line and not _is_pinned_otherwise(line, package):
            yield f"{lock.name} has a line without a hash: {line}."


def write_lock(lock: Lock, package: ModelPackage) -> Path:
    """Put the lock into a package that is a folder, whole or not at all; returns its path. Raises OSError."""
    path = package.mdai / LOCK
    unfinished = path.with_name(f"{LOCK}.new")
    unfinished.write_text(lock.text, encoding="utf-8")
    return unfinished.replace(path)


def install_lock(
    uv: Uv,
    python: Path,
    lock: Lock,
    *,
    package: ModelPackage,
    requirements: Requirements,
    folder: Path,
    installer: Installer,
) -> None:
    """Install what the lock says into the environment of ``python``.

    Parameters:
        requirements: whose options say where packages come from
        folder: to write the lock to

    Raises:
        InstallFailed: something is not to be had, or is not what the lock's hash says.
    """
    file = folder / LOCK
    sources = requirements.sources if installer.wheelhouse is None else ()
    file.write_text("\n".join((*sources, lock.text)))
    # Where a line cannot have a hash, uv still checks those of the others; `check_lock` has seen that they have one.
    everything_hashed = all("--hash=" in line for line in lock.lines if not line.startswith("-"))

    def install(variables: Mapping[str, str]) -> str:
        return uv.run(
            *("pip", "install", "--python", python, "--no-deps"),
            *(["--require-hashes"] if everything_hashed else []),
            *installer.arguments,
            *("-r", file),
            cwd=package.mdai,
            environ=package.config.env | dict(variables),
            without=unwanted(installer, requirements),
        )

    if installer.wheelhouse is not None:
        install({})
    else:
        with_locked_build(install, lock.lines, installer.progress)


def unwanted(installer: Installer, requirements: Requirements) -> tuple[str, ...]:
    """Return uv's variables that have no say where everything is exact."""
    return (*RESOLVING, *(["UV_DEFAULT_INDEX"] if installer.overrules_index(requirements) else []))


def _from_mdai(line: str, package: ModelPackage) -> str:
    """Write a place inside the package as it is written in requirements.txt: it may be unpacked elsewhere next time."""
    found = _IN_THE_FILE_SYSTEM.match(line)
    if found is None:
        return line
    path = Path(unquote(found["path"]))
    if not path.is_relative_to(package.root):
        return line
    return f"./{os.path.relpath(path, package.mdai)}{line[found.end() :]}"


def _without_additions(lines: Sequence[str], frozen: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a compiled file that are about what is frozen: dependencies that were left out stay out."""
    names = {line.split("==")[0] for line in frozen}
    is_kept = False
    for line in lines:
        if not line.startswith((" ", "#")):
            is_kept = not line.startswith("--") and ("==" not in line or line.split("==")[0] in names)
        if is_kept:
            yield line


def _is_pinned_otherwise(line: str, package: ModelPackage) -> bool:
    return bool(_COMMIT.search(line)) or (line.startswith("./") and (package.mdai / line).is_dir())
