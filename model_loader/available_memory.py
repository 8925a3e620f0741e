"""How much memory this process may use: the machine's, or less where a control group says so."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def available_memory(groups: Path = _GROUPS, own_groups: Path = _OWN_GROUPS) -> int:
    """Bytes: the machine's memory, or the lowest limit of the control groups that this process is in."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(groups, own_groups)])


def _limits(groups: Path, own_groups: Path) -> Iterator[int]:
    """The limits that are set, of version 2 (`0::/path`) and 1 (`4:memory:/path`).

    In a container the path may lead nowhere, and the limit lies at the top.
    """
    for line in _read(own_groups).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        top = groups / "memory" if controllers else groups
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        inner = top / path.lstrip("/")
        for folder in (inner, *inner.parents):
            limit = _read(folder / name).strip()
            if limit.isdigit():  # else "max", or no such group
                yield int(limit)
            if folder == top:
                break


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""
