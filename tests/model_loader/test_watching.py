"""What counts as a change of a package, and what does not."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from model_loader.watching import changes, look_at
from tests.hosting import within

JUNK = (
    "__pycache__/a.cpython-311.pyc",
    ".mdai/__pycache__/b.pyc",
    ".git/index",
    ".idea/workspace.xml",
    ".mdai/.mdai_deploy.py.swp",
    ".mdai/4913",
    ".mdai/mdai_deploy.py~",
    ".mdai/#mdai_deploy.py#",
    ".mdai/.#mdai_deploy.py",
    "net.py___jb_tmp___",
    ".DS_Store",
    "train.log",
    "env/lib/python3.11/site.py",
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    for name in (".mdai/mdai_deploy.py", ".mdai/config.yaml", "net.py", "weights.bin", "env/pyvenv.cfg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    return folder


def test_junk_is_no_change(package: Path) -> None:
    before = look_at(package)
    for name in JUNK:
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("junk")
    assert look_at(package) == before
    assert set(before) == {".mdai/mdai_deploy.py", ".mdai/config.yaml", "net.py", "weights.bin"}


def test_every_way_of_changing_a_file_is_told_once_with_its_name(package: Path) -> None:
    """Written in place, replaced by another of the same size and time, new, deleted; several at once together."""

    def rename_over() -> None:
        path = package / "net.py"
        status = path.stat()
        other = package / "other.tmp"
        other.write_text("2")
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(path)

    async def scenario() -> None:
        stream = changes(package, look_at(package), 0.001)
        (package / ".mdai/mdai_deploy.py").write_text("12")
        (package / "weights.bin").write_text("12")
        assert await following(stream) == (".mdai/mdai_deploy.py", "weights.bin")
        rename_over()
        assert await following(stream) == ("net.py",)
        (package / "new").mkdir()
        (package / "new/module.py").write_text("1")
        assert await following(stream) == ("new/module.py",)
        (package / "new/module.py").unlink()
        assert await following(stream) == ("new/module.py",)

    asyncio.run(scenario())


def test_an_archive_is_watched_itself_and_is_not_missed_while_it_is_replaced(tmp_path: Path) -> None:
    archive = tmp_path / "model.zip"
    archive.write_text("1")

    async def scenario() -> None:
        stream = changes(archive, look_at(archive), 0.001)
        told = asyncio.ensure_future(anext(stream))
        archive.unlink()
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not told.done()
        archive.write_text("12")
        assert await within(_awaited(told)) == ("model.zip",)

    asyncio.run(scenario())


async def following(stream: AsyncIterator[tuple[str, ...]]) -> tuple[str, ...]:
    return await within(_awaited(asyncio.ensure_future(anext(stream))))


async def _awaited(future: "asyncio.Future[tuple[str, ...]]") -> tuple[str, ...]:
    return await future
