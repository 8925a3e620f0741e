"""What has to be known about a requirements.txt before uv gets it, verbatim.

uv takes no ``--pre`` or ``--trusted-host`` from a file, lets a configured index override the file's own (pip
does it the other way round), and keeps no record of the files that a line refers to. The file's syntax is
pip's: https://pip.pypa.io/en/stable/reference/requirements-file-format/.
"""

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_loader.requirement_line import ARCHIVES, RequirementLine, normalized

__all__ = ["Requirements", "normalized", "numbered_lines", "read_requirements", "stated_lines"]

_SOURCES = ("index-url", "extra-index-url", "find-links", "no-index", "no-binary", "only-binary")


@dataclass(frozen=True)
class Requirements:
    """A requirements file and those that it includes.

    ``files`` were read, each once, the first one first. ``lines`` are what they say. ``local_files`` and
    ``local_folders`` are what their lines name: wheels, source trees, folders of wheels. ``names`` are the projects
    that they list, in lower case with hyphens. ``sources`` are its options that say where packages come from, one a
    line. A file
    of comments asks for nothing.
    """

    files: tuple[Path, ...] = ()
    lines: tuple[RequirementLine, ...] = ()
    local_files: tuple[Path, ...] = ()
    local_folders: tuple[Path, ...] = ()
    names: frozenset[str] = frozenset()
    sources: tuple[str, ...] = ()
    own_index: bool = False
    prereleases: bool = False
    trusted_hosts: tuple[str, ...] = ()
    asks_for_something: bool = False


def read_requirements(file: Path | None) -> Requirements:
    """Read a requirements file; relative paths in it start from its folder. What is no path is left to uv.

    Where there is none, nothing is asked for.
    """
    if file is None:
        return Requirements()
    files: list[Path] = []
    lines: list[RequirementLine] = []
    local: list[Path] = []
    options: dict[str, list[str]] = {}
    _read(file, file.parent, files, lines, local, options, is_constraint=False)
    local = list(dict.fromkeys(local))
    return Requirements(
        files=tuple(files),
        lines=tuple(lines),
        local_files=tuple(path for path in local if path.is_file()),
        local_folders=tuple(path for path in local if path.is_dir()),
        names=frozenset(line.name for line in lines if line.name and not line.is_constraint),
        sources=tuple(f"--{kind} {value}" for kind in _SOURCES for value in options.get(kind, ())),
        own_index="index-url" in options,
        prereleases="pre" in options,
        trusted_hosts=tuple(options.get("trusted-host", ())),
        asks_for_something=bool(lines),
    )


def _read(
    file: Path,
    folder: Path,
    files: list[Path],
    lines: list[RequirementLine],
    local: list[Path],
    options: dict[str, list[str]],
    *,
    is_constraint: bool,
) -> None:
    file = Path(os.path.normpath(file))
    if file in files:
        return
    try:
        content = file.read_bytes()
    except (OSError, ValueError):  # an address, or nothing that can be read: uv says so better
        return
    files.append(file)
    for number, text in numbered_lines(content):
        line = RequirementLine(file, number, text, is_constraint)
        lines.append(line)
        if line.option is None:
            path = _local_path(text, folder)
            local += [path] if path is not None else []
            continue
        kind, value = line.option
        if kind in ("requirement", "constraint"):
            limits = is_constraint or kind == "constraint"
            _read(file.parent / value, folder, files, lines, local, options, is_constraint=limits)
        elif kind in ("editable", "find-links"):
            path = _local_path(value, folder, anything=True)
            local += [path] if path is not None else []
            if kind == "find-links":
                options.setdefault(kind, []).append(str(path.absolute()) if path is not None else value)
        else:
            options.setdefault(kind, []).append(value)


def stated_lines(content: bytes) -> Iterator[str]:
    """Yield the lines that say something, continued ones joined, without comments."""
    for _, text in numbered_lines(content):
        yield text


def numbered_lines(content: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, each with the number, from 1, of the line that it begins on."""
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if utf_16 else "utf-8-sig", errors="replace")
    begun, joined = 1, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        begun = begun if joined else number
        joined += line
        if line.endswith("\\"):
            joined = joined[:-1] or " "
            continue
        said = re.sub(r"(^|\s)#.*$", "", joined).strip()
        joined = ""
        if said:
            yield begun, said


def _local_path(line: str, folder: Path, *, anything: bool = False) -> Path | None:
    """Return the file or folder that a line names: ``./x.whl``, ``x @ file:x.whl``, ``../src[extra]``."""
    word = re.split(r"\s*;\s|\s+--", line, maxsplit=1)[0]
    word = re.sub(r"^[\w.-]+\s*(\[[^]]*\])?\s*@\s*", "", word).strip()
    word = re.sub(r"^file:(//)?", "", word)
    word = re.sub(r"#.*$|\[[^]]*\]$", "", word)
    looks_local = anything or "/" in word or word.startswith(".") or word.endswith(ARCHIVES)
    if not looks_local or "://" in word:
        return None
    try:
        path = folder / word
        return path if path.exists() else None
    except (OSError, ValueError):  # too long or with a null byte: no path, whatever it is
        return None
