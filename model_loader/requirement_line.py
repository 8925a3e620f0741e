"""One line of a requirements.txt, taken apart: an option, a requirement by name, or a place to install from.

Nothing is judged here, and what uv makes of a line is uv's affair. The syntax is PEP 508's, with pip's additions.
"""

import operator
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model_loader.member_paths import printable

LONGEST_SHOWN = 200
ARCHIVES = (".whl", ".tar.gz", ".tgz", ".tar.bz2", ".zip")

_SHORT = {"-r": "requirement", "-c": "constraint", "-e": "editable", "-f": "find-links", "-i": "index-url"}
_OPTION = re.compile(r"(--[a-z-]+|-[rcefi])(?:\s*=\s*|\s*)(.*)")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXTRAS = r"(?:\[[^]]*\])?"
_VERSION = r"v?(?:\d+!)?\d+(?:\.\d+)*(?:[-_.]?(?:alpha|beta|preview|pre|post|rev|dev|rc|a|b|c|r)[-_.]?\d*|-\d+)*"
_CLAUSE = rf"(?:===\s*[\w.*+!-]+|(?:==|~=|!=|<=|>=|<|>)\s*{_VERSION}(?:\.\*|\+[\w.]+)?)"
_BY_NAME = re.compile(rf"({_NAME.pattern})\s*{_EXTRAS}\s*(\(?\s*(?:{_CLAUSE}(?:\s*,\s*{_CLAUSE})*\s*,?)?\s*\)?)")
_BY_ADDRESS = re.compile(rf"({_NAME.pattern})\s*{_EXTRAS}\s*@\s*(\S.*)")
_COMPARISON = re.compile(r"""\s*(\w+)\s*(==|!=|<=|>=|<|>)\s*(['"])([^'"]*)\3\s*""")
_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def normalized(name: str) -> str:
    """Return a project's name as indexes compare it: lower case, single hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class RequirementLine:
    """``text`` has no comment and continued lines joined; ``number`` is where it begins in ``file``, from 1.

    ``is_constraint``: it comes from a file that ``-c`` names, and limits what other lines ask for.
    """

    file: Path
    number: int
    text: str
    is_constraint: bool = False

    @property
    def shown(self) -> str:
        """The text for people: printable, and not too long."""
        return printable(self.text if len(self.text) <= LONGEST_SHOWN else f"{self.text[:LONGEST_SHOWN]}…")

    @cached_property
    def option(self) -> tuple[str, str] | None:
        """The option's long name, without dashes, and its value: ``-r x`` is ``("requirement", "x")``."""
        found = _OPTION.match(self.text)
        return found and (_SHORT.get(found[1], found[1].lstrip("-")), found[2].strip().strip("'\""))

    @cached_property
    def name(self) -> str | None:
        """The project that it installs, normalized: as written, or as its address tells; None where nothing does."""
        if self.project is not None:
            return normalized(self.project)
        egg = re.search(r"#(?:.*&)?egg=([\w.-]+)", self.address or "")
        file = re.sub(r"[#?].*", "", self.address or "").replace("\\", "/").rpartition("/")[2]
        told = egg[1] if egg else file.split("-")[0] if re.fullmatch(r"[^-]+(-[^-]+){4,5}\.whl", file) else ""
        return normalized(told) if _NAME.fullmatch(told) else None

    @cached_property
    def project(self) -> str | None:
        """The project that the line asks for by name, as it is written there; None where it does not."""
        found = _BY_ADDRESS.fullmatch(self._asked) or _BY_NAME.fullmatch(self._asked)
        return found[1] if found and self.option is None and self._place is None else None

    @cached_property
    def specifier(self) -> str:
        """The versions that will do, such as ``>=1.2,<2``; "" where all do or an address decides."""
        found = _BY_NAME.fullmatch(self._asked) if self.project else None
        return re.sub(r"[\s()]", "", found[2]).rstrip(",") if found else ""

    @cached_property
    def clauses(self) -> tuple[tuple[str, str], ...]:
        """The specifier's parts: ``((">=", "1.2"), ("<", "2"))``."""
        parts = [re.match(r"([=~!<>]+)(.*)", part) for part in self.specifier.split(",")]
        return tuple((part[1], part[2]) for part in parts if part)

    @cached_property
    def address(self) -> str | None:
        """The URL or path that it installs from, without extras; None where an index decides."""
        if self.option is not None:
            kind, value = self.option
            return value if kind == "editable" else None
        found = _BY_ADDRESS.fullmatch(self._asked)
        return found[2].strip() if found and self._place is None else self._place

    @cached_property
    def marker(self) -> str:
        """What stands behind the semicolon: the condition."""
        return self._halves[1]

    @property
    def is_understood(self) -> bool:
        """Whether it is an option, a requirement, an address or a path; uv refuses what is none of these."""
        return self.option is not None or self.project is not None or self.address is not None

    @property
    def has_hash(self) -> bool:
        return "--hash" in self.text

    def applies(self, python: tuple[int, int]) -> bool:
        """Whether its marker holds on that Python and this system; an unusual marker is taken to hold."""
        system = sys.platform
        known = {
            "sys_platform": system,
            "os_name": "posix",
            "platform_system": {"linux": "Linux", "darwin": "Darwin"}.get(system, system),
        }

        def holds(comparison: str) -> bool:
            found = _COMPARISON.fullmatch(comparison)
            if found is None:
                return True
            variable, compare, value = found[1], _COMPARE[found[2]], found[4]
            if variable in ("python_version", "python_full_version"):
                numbers = tuple(int(part) for part in re.findall(r"\d+", value)[:2])
                return bool(compare(python[: len(numbers)] if found[2] in ("==", "!=") else python, numbers))
            return bool(compare(known[variable], value)) if variable in known else True

        if not self.marker or "(" in self.marker:
            return True
        return any(all(map(holds, re.split(r"\band\b", one))) for one in re.split(r"\bor\b", self.marker))

    @cached_property
    def _halves(self) -> tuple[str, str]:
        said = re.split(r"\s+--[a-z]", self.text, maxsplit=1)[0]
        # In an address a semicolon may belong to it: there a space has to stand before the marker's.
        looks_like_address = "://" in said or re.match(_BY_ADDRESS, said)
        asked, _, marker = re.sub(r"\s;" if looks_like_address else ";", "\0", said, count=1).partition("\0")
        return asked.strip(), marker.strip()

    @property
    def _asked(self) -> str:
        return self._halves[0]

    @cached_property
    def _place(self) -> str | None:
        """The whole of what it asks for, where that is an address or a path."""
        asked = re.sub(r"\[[^]]*\]$", "", self._asked)
        if re.search(r"\s-[a-z]\b", asked):  # an option that wants a line of its own
            return None
        if re.match(r"[a-z+]+://|file:", asked):
            return asked
        by_name = _BY_ADDRESS.fullmatch(asked) or _BY_NAME.fullmatch(asked)
        if asked.lower().endswith(ARCHIVES) and " @ " not in asked:
            return asked
        is_path = by_name is None and " " not in asked.split("=")[0] and bool(re.search(r"[/\\]", asked))
        return asked if is_path or asked in (".", "..") else None
