"""The memory that this process may use is the machine's, or what the tightest control group leaves of it."""

import os
from pathlib import Path

import pytest

from model_loader.available_memory import available_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
UNLIMITED_IN_VERSION_1 = str(2**63 - 4096)


@pytest.mark.parametrize(
    ("own", "files", "found"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "1000000\n"}, 1_000_000),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "2000000\n"}, 2_000_000),
        ("0::/a/b\n", {"a/b/memory.max": "3000000\n", "a/memory.max": "2000000\n"}, 2_000_000),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("0::/../../elsewhere\n", {"memory.max": "4000000\n"}, 4_000_000),
        ("4:cpu:/x\n3:hugetlb,memory:/docker/7\n", {"memory/memory.limit_in_bytes": "5000000\n"}, 5_000_000),
        ("3:memory:/docker/7\n", {"memory/docker/7/memory.limit_in_bytes": UNLIMITED_IN_VERSION_1}, MACHINE),
        ("3:memory:/m\n0::/\n", {"memory/m/memory.limit_in_bytes": "6000000"}, 6_000_000),
        ("nonsense\n::\n", {}, MACHINE),
        (None, {}, MACHINE),
    ],
)
def test_the_lowest_limit_counts(tmp_path: Path, own: str | None, files: dict[str, str], found: int) -> None:
    groups = tmp_path / "groups"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert available_memory(groups, tmp_path / "own") == found


def test_there_is_memory_here() -> None:
    assert 0 < available_memory() <= MACHINE
