"""What a server with all its processes takes of the machine, as the kernel counts it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

Sample = TypeVar("Sample")


@contextmanager
def sampled(sample: Callable[[], Sample], every: float) -> Iterator[list[Sample]]:
    """What `sample` gives, at first and then every so many seconds for as long as the `with` block lasts."""
    samples = [sample()]
    done = threading.Event()

    def run() -> None:
        while not done.wait(every):
            samples.append(sample())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


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
            shared |= shared_memory(process)
    return private + max(mapped, sum(shared.values()))


def shared_memory(pid: int) -> dict[tuple[int, int], int]:
    """Of each file in shared memory that a process has open, mapped or not, however often: the bytes of its pages."""
    found = {}
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if str(fd.readlink()).startswith(("/memfd:", "/dev/shm")):
                status = fd.stat()
                found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return found


def _rollup(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
