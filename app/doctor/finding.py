"""What the doctor says: a finding, with its code, its place, a reason and a fix.

A code is defined by the module that finds it, in a constant, and has a page `docs/checks/<code>.md`. The letter says
what it is about: L layout, C config, R requirements, M model code, I imports, W weights, D device, P predictions.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field


class Severity(enum.StrEnum):
    """How bad it is, worst first."""

    ERROR = "error"
    """The package does not load, or its answers are refused or wrong."""
    WARNING = "warning"
    """It works by luck, or not everywhere."""
    NOTE = "note"
    """Worth knowing; nothing has to be done."""


@dataclass(frozen=True)
class Code:
    """One kind of finding: `M003`, how bad it is, and a title of a few words."""

    name: str
    severity: Severity
    title: str


@dataclass(frozen=True, order=True)
class Place:
    """Where: a file, relative to the model root (an archive: as in the archive), and a line from 1.

    An empty file stands for the package as a whole; of what `predict` did, `file` names the input.
    """

    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line is not None else self.file


@dataclass(frozen=True)
class Repair:
    """What `--fix` does about a finding: a sentence in the past tense ("deleted …"), and the deed.

    The deed changes files of a package that is a folder, and raises OSError where it cannot.
    """

    done: str
    apply: Callable[[], None]


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor found. `reason` and `fix` are whole sentences."""

    code: Code
    place: Place
    reason: str
    fix: str
    repair: Repair | None = field(default=None, compare=False)
