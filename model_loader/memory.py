"""How much memory a worker takes: its process and all that descend from it, as far as they can be told.

What counts is resident memory, as `ps` and `top` show it. Where there are several processes, those share pages since
they were forked: then, and only where it matters, each page is counted once (Linux's PSS), which takes the kernel
milliseconds per gigabyte.
"""

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Of a worker that starts: the kernel, where memory runs out, ends it rather than the server.
_FIRST_TO_GO = "500"


def offer_first(pid: int) -> None:
    """Have the kernel choose this process, and what it forks, before others where memory runs out (Linux)."""
    with suppress(OSError):
        (_PROC / str(pid) / "oom_score_adj").write_text(_FIRST_TO_GO)


def families(leaders: Collection[int]) -> dict[int, frozenset[int]]:
    """Of each leader of a session: it and all that descend from it or belong to its session. Looks at all processes."""
    parents: dict[int, int] = {}
    heads = {pid: pid for pid in leaders}
    for pid, parent, session in _processes():
        parents[pid] = parent
        if session in heads and pid not in heads:
            heads[pid] = session
    members: dict[int, set[int]] = {leader: {leader} for leader in leaders}
    for pid in parents:
        chain = [pid]
        while chain[-1] not in heads and (parent := parents.get(chain[-1], 0)) and parent not in chain:
            chain.append(parent)
        head = heads.get(chain[-1])
        if head is not None:
            heads.update(dict.fromkeys(chain, head))
            members[head].add(pid)
    return {leader: frozenset(pids) for leader, pids in members.items()}


def footprint(pids: Collection[int], matters_above: int = 0) -> int:
    """Bytes that these processes hold; 0 where nobody can tell. At most `matters_above`, it may be over-estimated."""
    resident = sum(map(resident_bytes, pids))
    if len(pids) == 1 or resident <= matters_above:
        return resident
    return sum(map(_proportional, pids))


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; 0 where it is gone or this system has no /proc."""
    with suppress(OSError, ValueError, IndexError):
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
    return 0


def _proportional(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return resident_bytes(pid)


def _processes() -> Iterable[tuple[int, int, int]]:
    """Id, parent and session of each process; none where /proc does not tell."""
    if not _PROC.is_dir():
        return
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # The command name stands in parentheses and may hold anything.
                fields = (_PROC / entry.name / "stat").read_text(errors="replace").rpartition(")")[2].split()
                yield int(entry.name), int(fields[1]), int(fields[3])
