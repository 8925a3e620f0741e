"""Looks at lines of requirements.txt that name a place: files, folders, addresses, wheels, branches in git."""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from model_loader.member_paths import printable
from model_loader.requirement_line import RequirementLine

NOT_THERE = Code("R005", Severity.ERROR, "a requirement that lies on another machine")
OUTSIDE = Code("R006", Severity.WARNING, "a requirement from outside the package")
MOVING = Code("R007", Severity.WARNING, "a requirement without a commit")
WRONG_WHEEL = Code("R013", Severity.ERROR, "a wheel for another Python or system")
CODES = (NOT_THERE, OUTSIDE, MOVING, WRONG_WHEEL)

_REMOTE = re.compile(r"[a-z][a-z+]+://", re.I)
_WINDOWS_PATH = re.compile(r"(file:/*)?[A-Za-z]:[\\/]")
_WHEEL = re.compile(r"([^-]+)-([^-]+)(-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl", re.I)
_COMMIT = re.compile(r"[0-9a-f]{7,40}", re.I)
_BRANCH_ARCHIVE = re.compile(
    r"/(?:archive|zipball|tarball)/(?:refs/heads/)?(master|main|develop|HEAD)(\.|$)|/refs/heads/"
)
_SYSTEMS = {"linux": ("linux", "manylinux", "musllinux"), "darwin": ("macosx",)}


def examine(subject: Subject, lines: Sequence[RequirementLine]) -> Iterator[Finding]:
    """Find places that are not there or not the package's, and wheels that do not fit. `lines` as they count here."""
    for line in lines:
        wheel = _wrong_wheel(subject, line)
        yield from wheel
        if not wheel:
            yield from _places(subject, line)


def moving(subject: Subject, lines: Sequence[RequirementLine]) -> Iterator[Finding]:
    """Find what is installed from a branch: it changes without a change of the package."""
    for line in lines:
        address = line.address or ""
        if address.startswith("git+"):
            revision = _path(address.partition("#")[0]).rpartition("@")
            if revision[1] and _COMMIT.fullmatch(revision[2]):
                continue
            what = f"the branch or tag {revision[2]}" if revision[1] else "whatever its default branch holds"
            base = address.partition("#")[0]
            base = base.removesuffix(f"@{revision[2]}") if revision[1] else base
            fix = f"Write the commit behind it: `{base}@…`, with the 40 digits that `git rev-parse HEAD` prints."
        elif _REMOTE.match(address) and _BRANCH_ARCHIVE.search(address):
            what, fix = "an archive of a branch", "Write the address of a commit's archive, or of a release's wheel."
        else:
            continue
        yield Finding(
            MOVING,
            subject.place(line.file, line.number),
            f"`{line.shown}` takes {what}: the environment changes with every push to it, and is gone where it is "
            "deleted.",
            f"{fix} `mdai-model env PACKAGE --lock` keeps commits as well.",
        )


def _path(address: str) -> str:
    try:
        return urlsplit(address).path
    except ValueError:  # no address: the installer says so better
        return ""


def _places(subject: Subject, line: RequirementLine) -> Iterator[Finding]:
    named = _local_path(line)
    if named is None:
        return
    option = line.option[0] if line.option else None
    start = line.file.parent if option in ("requirement", "constraint") else subject.package.mdai
    place, text = subject.place(line.file, line.number), line.shown
    path = None if _WINDOWS_PATH.match(named) or "\\" in named else start / named
    if path is None or not _exists(path):
        is_own = path is not None and not Path(named).is_absolute()
        what = "a file or folder that is not there" if is_own else "a place on the machine where this file was written"
        yield Finding(
            NOT_THERE,
            place,
            f"`{text}` names {what}. The installer refuses the whole file because of it.",
            _instead(line, named),
        )
    elif not path.resolve().is_relative_to(subject.package.root.resolve()):
        yield Finding(
            OUTSIDE,
            place,
            f"`{text}` is installed from {path}, which is no part of the package: on another machine it is not there.",
            "Put it into .mdai and name it relative to that, as `./name.whl`.",
        )
    elif Path(named).is_absolute():
        yield Finding(
            OUTSIDE,
            place,
            f"`{text}` names a file of the package by its path on this machine; elsewhere the package lies elsewhere.",
            "Write the path relative to .mdai, as `./name.whl`.",
        )


def _local_path(line: RequirementLine) -> str | None:
    """The path that a line names, as written; None where it names none, or one that is known only later."""
    named = line.address
    if line.option is not None and line.option[0] in ("requirement", "constraint", "find-links"):
        named = line.option[1]
    if named is None or "$" in named:
        return None
    if _WINDOWS_PATH.match(named):
        return named
    if named.lower().startswith("file:"):
        named = unquote(re.sub(r"^file:(//(localhost)?(?=/))?", "", named, flags=re.I))
    elif _REMOTE.match(named):
        return None
    return re.sub(r"(?<=.)[#?].*$|\[[^]]*\]$", "", named).strip() or None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _instead(line: RequirementLine, named: str) -> str:
    if line.option is not None and line.option[0] in ("requirement", "constraint", "find-links"):
        return "Put what it names into .mdai and name it relative to this file, or delete the line."
    wheel = _WHEEL.fullmatch(re.split(r"[\\/]", named)[-1])
    if wheel and line.project:
        return f"Write `{line.project}=={wheel[2]}`."
    if line.project:
        return (
            f"Write `{line.project}==` and the version. `pip freeze` writes such lines in conda environments; "
            "`pip list --format=freeze` writes versions there."
        )
    return "Put the wheel into .mdai and write `./name.whl`, or name the project and its version instead."


def _wrong_wheel(subject: Subject, line: RequirementLine) -> list[Finding]:
    address = re.sub(r"[#?].*$", "", line.address or "")
    wheel = _WHEEL.fullmatch(unquote(re.split(r"[\\/]", address)[-1]))
    if wheel is None:
        return []
    pythons, abis, systems = (part.lower().split(".") for part in wheel.group(4, 5, 6))
    found = []
    if not any(_fits(python, abi, subject.python_version) for python in pythons for abi in abis):
        found.append(f"Python {', '.join(pythons)}, and the model runs on {subject.python}")
    known = _SYSTEMS.get(sys.platform, ())
    if not any(system == "any" or system.startswith(known) for system in systems):
        found.append(f"{', '.join(systems)}, and this is {sys.platform}")
    return [
        Finding(
            WRONG_WHEEL,
            subject.place(line.file, line.number),
            f"{printable(wheel[0])} is made for {what}: the installer refuses it.",
            f"Take the wheel of {wheel[1]} for Python {subject.python} and {sys.platform}, or choose the Python that "
            "the wheel is for with base_image in .mdai/config.yaml.",
        )
        for what in found[:1]
    ]


def _fits(python: str, abi: str, wanted: tuple[int, int]) -> bool:
    """Whether one pair of a wheel's tags fits, such as `cp37` and `cp37m`, on CPython."""
    tag = re.fullmatch(r"(py|cp)(\d)(\d*)", python)
    if tag is None or int(tag[2]) != wanted[0]:
        return False
    minor = int(tag[3]) if tag[3] else None
    if tag[1] == "py" or abi == "abi3":
        return minor is None or minor <= wanted[1]
    return minor is None or minor == wanted[1]
