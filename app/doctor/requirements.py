"""Looks at requirements.txt and requirements.lock, without a network: what will not install, or not the same twice."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.doctor import requirement_places, requirement_projects
from app.doctor.finding import Code, Finding, Place, Severity
from app.doctor.subject import Subject
from model_loader.errors import EnvironmentBuildError, InstallFailed
from model_loader.lock_file import LOCK, Lock, lock_faults, lock_warnings, package_lock
from model_loader.requirement_line import RequirementLine
from model_loader.requirements_file import numbered_lines
from model_loader.uv_process import UvFailed

UNPINNED = Code("R001", Severity.WARNING, "no version that it stays at")
UNREADABLE = Code("R004", Severity.ERROR, "a line that is no requirement")
CONTRADICTION = Code("R010", Severity.ERROR, "one project at two versions")
STALE_LOCK = Code("R011", Severity.WARNING, "the lock does not go with requirements.txt")
UNUSABLE_LOCK = Code("R012", Severity.ERROR, "a lock that cannot be installed here")
UNRESOLVABLE = Code("R014", Severity.ERROR, "the requirements cannot be installed")
NO_ENVIRONMENT = Code("R015", Severity.ERROR, "the environment cannot be made")
#: Gone once the package carries a lock of what can be installed.
MENDED_BY_A_LOCK = frozenset({UNPINNED, STALE_LOCK, UNUSABLE_LOCK})

CODES = (
    UNPINNED,
    UNREADABLE,
    CONTRADICTION,
    STALE_LOCK,
    UNUSABLE_LOCK,
    UNRESOLVABLE,
    NO_ENVIRONMENT,
    *requirement_projects.CODES,
    *requirement_places.CODES,
)

_LOCK_FILE = f".mdai/{LOCK}"
_LOCK_AGAIN = f"Make it anew with `mdai-model env PACKAGE --lock`, or delete {_LOCK_FILE}."
_PINNING = ("==", "===")
_BOUNDING = ("<", "<=", "~=", "==", "===")


def examine(subject: Subject) -> Iterator[Finding]:
    """Find faults in what the package asks for, as far as they show without an index."""
    said = subject.requirements.lines
    lines = [line for line in said if not line.is_constraint and line.applies(subject.python_version)]
    yield from _unreadable(subject, [line for line in said if not line.is_understood])
    yield from _contradictions(subject, lines)
    projects = list(requirement_projects.examine(subject, lines))
    yield from projects
    yield from requirement_places.examine(subject, lines)
    lock, findings = _lock(subject)
    yield from findings
    if lock is None or findings:
        yield from requirement_places.moving(subject, lines)
        # Whatever is to be deleted or called otherwise needs no version.
        wrong = {each.place for each in projects if each.code in requirement_projects.WRONG_NAMES}
        yield from _unpinned(subject, [line for line in lines if _at(subject, line) not in wrong])


def unresolvable(error: InstallFailed, subject: Subject) -> Finding:
    """Say that the environment could not be built because of what the package asks for, in uv's own words."""
    said = error.__cause__.output if isinstance(error.__cause__, UvFailed) else error.text
    python = f"Python {subject.python}"
    if package_has_lock(subject):
        locked = _blamed(said, _lock_lines(subject))
        place = Place(_LOCK_FILE, locked.number if locked else None)
        reason = f"{_LOCK_FILE} cannot be installed on {python}. The installer says:\n\n{said}"
        return Finding(UNRESOLVABLE, place, reason, _LOCK_AGAIN)
    line = _blamed(said, [line for line in subject.requirements.lines if not line.is_constraint])
    reason = f"What requirements.txt asks for cannot be installed on {python}. The installer says:\n\n{said}"
    what = f"`{line.shown}`" if line else "what requirements.txt asks for"
    return Finding(
        UNRESOLVABLE,
        _at(subject, line) if line else Place(".mdai/requirements.txt" if subject.requirements.files else ""),
        reason,
        f"Change {what} to something that exists for {python} and goes with the rest, until `mdai-model env PACKAGE` "
        "builds; or have the model run on another Python: base_image in .mdai/config.yaml.",
    )


def unbuildable(error: EnvironmentBuildError, subject: Subject) -> Finding:
    """Say that the environment could not be built for a reason outside the requirements, such as a missing Python."""
    return Finding(
        NO_ENVIRONMENT,
        Place(),
        error.text,
        f"See that Python {subject.python} is here and the cache folder can be written, or look at the package without "
        "an environment of its own: `mdai-model check PACKAGE --environment current`.",
    )


def package_has_lock(subject: Subject) -> bool:
    """Whether the environment comes from a lock of the package's."""
    return (subject.package.mdai / LOCK).is_file()


def _at(subject: Subject, line: RequirementLine) -> Place:
    return subject.place(line.file, line.number)


def _unpinned(subject: Subject, lines: list[RequirementLine]) -> Iterator[Finding]:
    limits = [line for line in subject.requirements.lines if line.is_constraint]
    bounded = {line.name for line in limits if any(compare in _BOUNDING for compare, _ in line.clauses)}
    for line in lines:
        is_bounded = any(compare in _BOUNDING for compare, _ in line.clauses)
        if line.project is None or line.address or line.has_hash or is_bounded or line.name in bounded:
            continue
        found = f"`{line.specifier}` has no upper end" if line.specifier else "no version is given"
        yield Finding(
            UNPINNED,
            _at(subject, line),
            f"{line.project}: {found}, so a new environment takes whatever is newest by then.",
            "Write the version that the model was made with, as `numpy==1.26.4`, or keep all that is taken now with "
            "`mdai-model env PACKAGE --lock`: one day the newest does not go with this code.",
        )


def _unreadable(subject: Subject, lines: list[RequirementLine]) -> Iterator[Finding]:
    for line in lines:
        reason, fix = _what_it_may_mean(line.text)
        reason = f"`{line.shown}` is no requirement: {reason}. The installer refuses the whole file because of it."
        yield Finding(UNREADABLE, _at(subject, line), reason, fix)


def _what_it_may_mean(text: str) -> tuple[str, str]:
    words = text.split()
    name, *rest = text.split("=")
    if words[:2] == ["pip", "install"] or words[:1] in (["conda"], ["!pip"], ["python"]):
        wanted = " ".join(word for word in words[2:] if not word.startswith("-"))
        return "it is a command", f"Leave the command out: write only `{wanted or '…'}`, one requirement on each line."
    if rest and all(rest) and len(rest) <= 2 and " " not in text.strip() and not set(name) & set("<>!~"):
        if name.startswith("_") or name in ("python", "libgcc-ng", "openssl", "ca-certificates", "mkl"):
            return "it is a package of conda's, which no Python index has", "Delete the line."
        fix = f"Write `{name}=={rest[0]}`, with two equals signs."
        return "a version stands behind two equals signs, `==`" + (", and conda's build nowhere" * (len(rest) - 1)), fix
    if words[:1] == ["-"]:
        return (
            "it is written as in an environment file of conda's",
            f"Write `{' '.join(words[1:]).replace('=', '==')}`.",
        )
    if len(words) > 2 and any(word.startswith("-") for word in words[1:]):
        option = next(number for number, word in enumerate(words) if number and word.startswith("-"))
        return "an option stands behind the requirement", (
            f"Write `{' '.join(words[:option])}`, and `{' '.join(words[option:])}` on a line of its own above it."
        )
    if len(words) == 2 and words[1][:1].isdigit():
        return "`==` is missing before the version", f"Write `{words[0]}=={words[1]}`."
    if "," in text and not set(text) & set("<>=!~ "):
        return "it names several at once", "Write one requirement on each line."
    return (
        "it is neither a name with versions, nor an address, nor a file",
        "Write it as `name==1.2`, put `#` before it if it is a remark, or delete it.",
    )


def _contradictions(subject: Subject, lines: list[RequirementLine]) -> Iterator[Finding]:
    by_name = sorted((line for line in lines if line.project and not line.marker), key=lambda line: line.name or "")
    for _, group in itertools.groupby(by_name, key=lambda line: line.name):
        pinned = [line for line in group if _pin(line)]
        for line in pinned[1:]:
            if _pin(line) != _pin(pinned[0]):
                yield Finding(
                    CONTRADICTION,
                    _at(subject, line),
                    f"`{line.shown}` stands here, and `{pinned[0].shown}` in {_at(subject, pinned[0])}: there is one "
                    "version of a project in an environment, and the installer refuses both.",
                    "Delete the one that the model does not need.",
                )


def _pin(line: RequirementLine) -> str | None:
    exact = (version for compare, version in line.clauses if compare in _PINNING and not version.endswith("*"))
    version = next(exact, None)
    return version and re.sub(r"^v|(\.0)+$", "", version)


def _lock(subject: Subject) -> tuple[Lock | None, list[Finding]]:
    """Return the package's lock, and what is wrong with it."""
    try:
        lock = package_lock(subject.package)
    except EnvironmentBuildError as error:
        return None, [Finding(UNUSABLE_LOCK, Place(_LOCK_FILE), error.text, _LOCK_AGAIN)]
    if lock is None:
        return None, []
    for fault in lock_faults(lock, subject.python, subject.package):
        number = next((line.number for line in _lock_lines(subject) if fault.endswith(f": {line.text}.")), 1)
        reason = f"{fault} So the environment is not built."
        return lock, [Finding(UNUSABLE_LOCK, Place(_LOCK_FILE, number), reason, _LOCK_AGAIN)]
    said = lock_warnings(replace(lock, advice=""), subject.requirements)
    return lock, [Finding(STALE_LOCK, Place(_LOCK_FILE, 1), text.strip(), _LOCK_AGAIN) for text in said]


def _lock_lines(subject: Subject) -> list[RequirementLine]:
    file = subject.package.mdai / LOCK
    return [RequirementLine(file, number, text) for number, text in numbered_lines(file.read_bytes())]


def _blamed(said: str, lines: Sequence[RequirementLine]) -> RequirementLine | None:
    """Return the line that the installer's words are about, as far as they tell."""
    place = re.search(r"\brequirements\.txt:(\d+):\d+", said)
    if place:
        return next((line for line in lines if line.number == int(place[1])), None)
    wholly = [line for line in lines if re.search(rf"^\s*{re.escape(line.text)}\s*$", said, re.MULTILINE)]
    named = sorted(
        ((match.group(1) is None, match.start(), number) for number, line in enumerate(lines) if line.name
         for match in re.finditer(rf"(you require )?(?<![\w.-]){_as_written(line.name)}(?![\w-]|\.\w)", said, re.I)),
    )  # fmt: skip
    return next(iter([*wholly, *(lines[number] for _, _, number in named)]), None)


def _as_written(name: str) -> str:
    return "[-_.]+".join(map(re.escape, name.split("-")))
