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

_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".tar.bz2", ".zip")
_SHORT = {"-r": "requirement", "-c": "constraint", "-e": "editable", "-f": "find-links", "-i": "index-url"}
_SOURCES = ("index-url", "extra-index-url", "find-links", "no-index", "no-binary", "only-binary")
_OPTION = re.compile(r"(--[a-z-]+|-[rcefi])(?:\s*=\s*|\s*)(.*)")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Requirements:
    """A requirements file and those that it includes.

    ``files`` were read, each once, the first one first. ``local_files`` and ``local_folders`` are what their
    lines name: wheels, source trees, folders of wheels. ``names`` are the projects that lines begin with,
    in lower case with hyphens. ``sources`` are its options that say where packages come from, one a line. A file
    of comments asks for nothing.
    """

    files: tuple[Path, ...] = ()
    local_files: tuple[Path, ...] = ()
    local_folders: tuple[Path, ...] = ()
    names: frozenset[str] = frozenset()
    sources: tuple[str, ...] = ()
    own_index: bool = False
    prereleases: bool = False
    trusted_hosts: tuple[str, ...] = ()
    asks_for_something: bool = False


def read_requirements(file: Path) -> Requirements:
    """Read a requirements file; relative paths in it start from its folder. What is no path is left to uv."""
    files: list[Path] = []
    local: list[Path] = []
    names: set[str] = set()
    options: dict[str, list[str]] = {}
    _read(file, file.parent, files, local, names, options)
    local = list(dict.fromkeys(local))
    return Requirements(
        files=tuple(files),
        local_files=tuple(path for path in local if path.is_file()),
        local_folders=tuple(path for path in local if path.is_dir()),
        names=frozenset(names),
        sources=tuple(f"--{kind} {value}" for kind in _SOURCES for value in options.get(kind, ())),
        own_index="index-url" in options,
        prereleases="pre" in options,
        trusted_hosts=tuple(options.get("trusted-host", ())),
        asks_for_something=any(any(stated_lines(file.read_bytes())) for file in files),
    )


def normalized(name: str) -> str:
    """Return a project's name as indexes compare it: lower case, single hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(
    file: Path,
    folder: Path,
    files: list[Path],
    local: list[Path],
    names: set[str],
    options: dict[str, list[str]],
) -> None:
    file = Path(os.path.normpath(file))
    if file in files:
        return
    try:
        content = file.read_bytes()
    except (OSError, ValueError):  # an address, or nothing that can be read: uv says so better
        return
    files.append(file)
    for line in stated_lines(content):
        option = _OPTION.match(line)
        if option is None:
            name = _NAME.match(line)
            path = _local_path(line, folder)
            if path is not None:
                local.append(path)
            elif name is not None:
                names.add(normalized(name[0]))
            continue
        kind, value = _SHORT.get(option[1], option[1].lstrip("-")), option[2].strip().strip("'\"")
        if kind in ("requirement", "constraint"):
            _read(file.parent / value, folder, files, local, set() if kind == "constraint" else names, options)
        elif kind in ("editable", "find-links"):
            path = _local_path(value, folder, anything=True)
            local += [path] if path is not None else []
            if kind == "find-links":
                options.setdefault(kind, []).append(str(path.absolute()) if path is not None else value)
        else:
            options.setdefault(kind, []).append(value)


def stated_lines(content: bytes) -> Iterator[str]:
    """Yield the lines that say something, continued ones joined, without comments."""
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if utf_16 else "utf-8-sig", errors="replace")
    for line in re.sub(r"\\\r?\n", "", text).splitlines():
        said = re.sub(r"(^|\s)#.*$", "", line).strip()
        if said:
            yield said


def _local_path(line: str, folder: Path, *, anything: bool = False) -> Path | None:
    """Return the file or folder that a line names: ``./x.whl``, ``x @ file:x.whl``, ``../src[extra]``."""
    word = re.split(r"\s*;\s|\s+--", line, maxsplit=1)[0]
    word = re.sub(r"^[\w.-]+\s*(\[[^]]*\])?\s*@\s*", "", word).strip()
    word = re.sub(r"^file:(//)?", "", word)
    word = re.sub(r"#.*$|\[[^]]*\]$", "", word)
    looks_local = anything or "/" in word or word.startswith(".") or word.endswith(_ARCHIVES)
    if not looks_local or "://" in word:
        return None
    try:
        path = folder / word
        return path if path.exists() else None
    except (OSError, ValueError):  # too long or with a null byte: no path, whatever it is
        return None
