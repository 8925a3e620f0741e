"""A model that takes more memory than its server's control group has: the kernel ends the worker, not the server."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.hosting import await_true

_MOUNTS = Path("/sys/fs/cgroup")
_LIMIT = 300 << 20
HUNGRY = """
class MDAIModel:
    def predict(self, data):
        hoard = []
        for _ in range(int(data["args"]["megabytes"])):
            hoard.append(b"x" * (1 << 20))
        return [{"type": "NONE", "study_uid": "1.2", "note": str(len(hoard))}]
"""


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """A control group, version 1 or 2, whose processes may have 300 MiB together; it is gone afterwards."""
    obstacles = []
    for parent, limit, swap in _places():
        group = parent / f"mdai-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError as error:
            obstacles.append(f"{parent}: {error.strerror}")
            continue
        try:
            (group / limit).write_text(str(_LIMIT))
            with suppress(OSError):  # no swap is counted here
                (group / swap).write_text(str(0 if swap == "memory.swap.max" else _LIMIT))
        except OSError as error:
            obstacles.append(f"{group / limit}: {error.strerror}")
            group.rmdir()
            continue
        yield group
        processes = group / "cgroup.procs"
        await_true(lambda processes=processes: not processes.read_text(), "no process is left in the group")  # type: ignore[misc]
        group.rmdir()
        return
    pytest.skip(f"no control group with a limit of memory can be made here ({'; '.join(obstacles) or 'no cgroups'})")


def _places() -> Iterator[tuple[Path, str, str]]:
    """Where a group could be made, and its files with the limits of memory, and of memory with swap or swap."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            mount, limits = _MOUNTS / "memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        elif not controllers:
            mount, limits = _MOUNTS, ("memory.max", "memory.swap.max")
        else:
            continue
        own = mount / path.lstrip("/")
        for parent in dict.fromkeys((own, own.parent)):
            if parent.is_relative_to(mount) and (parent / "cgroup.procs").exists():
                yield parent, *limits


def test_who_exceeds_the_memory_of_the_control_group_is_told_so_and_the_next_is_answered(
    limited_group: Path, serve: Callable[..., Any], package: Callable[..., Path]
) -> None:
    """The kernel chooses the worker, not the server, and its count of kills tells this death from others."""
    joins = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(limited_group / "cgroup.procs"))
    service = serve(package(HUNGRY), "--environment", "current", within=joins).wait_until_ready()

    def asked(megabytes: int) -> Any:
        request = {"files": [], "args": {"megabytes": str(megabytes)}}
        return service.post(content=msgpack.packb(request), headers={"Content-Type": "application/msgpack"})

    assert asked(10).status_code == 200
    died = asked(1000)
    assert died.status_code == 500
    assert "SIGKILL) from the kernel because memory ran out while it predicted. Give this machine" in died.text
    assert service.process.poll() is None
    service.wait_for_line(r"worker 2 is ready")
    assert service.get("/info").json()["restarts_by_cause"] == {"oom": 1}
    answered = asked(10)
    assert (answered.status_code, msgpack.unpackb(answered.content)[0]["note"]) == (200, "10")
    assert service.stop() == 0
