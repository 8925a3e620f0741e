"""What a server with all its processes takes of the machine, as the kernel counts it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def tree(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Seconds of any core that the threads which the tree has now have worked, to the nanosecond."""
    total = 0
    for process in tree(pid):
        with suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                with suppress(OSError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory(pid: int) -> int:
    """Bytes that the tree holds: what is private to its processes, and what they share counted once.

    Private and file pages as proportional set size. Of shared memory whatever is larger: the pages of all memfds that
    are open in any of the processes, mapped or not, or what is mapped.
    """
    private = mapped = 0
    shared: dict[tuple[int, int], int] = {}
    for process in tree(pid):
        with suppress(OSError):
            sizes = _rollup(process)
            private += sizes["Pss_Anon"] + sizes["Pss_File"]
            mapped += sizes["Pss_Shmem"]
            for fd in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):
                    if str(fd.readlink()).startswith(("/memfd:", "/dev/shm")):
                        found = fd.stat()
                        shared[found.st_dev, found.st_ino] = found.st_blocks * 512
    return private + max(mapped, sum(shared.values()))


def _rollup(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
