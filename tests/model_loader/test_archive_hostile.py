"""The extractor against archives that nobody sane would make: all or nothing, and never outside."""

import gzip
import io
import os
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from model_loader.archive import ArchiveLimits, extract
from model_loader.errors import ArchiveError

LIMITS = ArchiveLimits(members=40, member_bytes=5000, total_bytes=20_000, ratio_floor=30_000, depth=20)
quietly = settings(max_examples=250, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Entry:
    name: str
    kind: bytes
    mode: int
    link: str
    content: bytes


parts = st.sampled_from(
    ["a", "A", "b", "b/", "é", "e\u0301", "..", ".", "", "C:", "\\", "\0", "\n", "__MACOSX", "._x", ".mdai", "n" * 256]
) | st.text(max_size=4)
names = st.lists(parts, min_size=1, max_size=5).map("/".join)
entries = st.builds(
    Entry,
    name=names,
    kind=st.sampled_from([b"0"] * 9 + [b"5", b"2"] * 2 + [b"1", b"\0", b"3", b"4", b"6", b"7", b"S", b"g", b"A"]),
    mode=st.integers(0, 0o177777),
    link=names | st.sampled_from(["/etc/passwd", "../../../../canary", "../a", "a", "b"]),
    content=st.binary(max_size=600),
)  # fmt: skip


def tar_bytes(entries: list[Entry]) -> bytes:
    """A tar, GNU long names and all, written without the checks of `tarfile`."""
    out = bytearray()
    for entry in entries:
        for flag, text in ((b"L", entry.name), (b"K", entry.link)):
            raw = text.encode("utf-8", "surrogatepass")
            out += header(b"long", flag, 0o644, len(raw), b"") + raw + bytes(-len(raw) % 512)
        holds = entry.content if entry.kind in b"0\x007S" else b""
        name, link = entry.name.encode("utf-8", "replace")[:100], entry.link.encode("utf-8", "replace")[:100]
        out += header(name, entry.kind, entry.mode, len(holds), link) + holds + bytes(-len(holds) % 512)
    return bytes(out + bytes(1024))


def header(name: bytes, kind: bytes, mode: int, size: int, link: bytes) -> bytes:
    fields = [
        name.ljust(100, b"\0"), b"%07o\0" % mode, bytes(16), b"%011o\0" % size, bytes(12), b" " * 8, kind,
        link.ljust(100, b"\0"), b"ustar  \0",
    ]  # fmt: skip
    block = b"".join(fields).ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def zip_bytes(entries: list[Entry]) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore", UserWarning)
        for entry in entries:
            info = zipfile.ZipInfo("x")
            info.filename = entry.name.encode("utf-8", "replace").decode()
            info.external_attr = entry.mode << 16
            info.create_system = entry.kind[0] % 4
            link = stat.S_ISLNK(entry.mode)
            archive.writestr(info, entry.link.encode("utf-8", "replace") if link else entry.content)
    return out.getvalue()


def check_all_or_nothing(data: bytes) -> None:
    """Unpack `data` deep inside a folder with a canary: below the target or nowhere, files and folders only."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        inner = top / "one/two/three"
        inner.mkdir(parents=True)
        archive, canary, target = top / "archive", top / "canary", inner / "target"
        archive.write_bytes(data)
        canary.write_text("alive")
        before = list(paths(top))
        try:
            extract(archive, target, LIMITS)
        except ArchiveError as error:
            assert error.text.endswith("Nothing was kept.")
            error.text.encode()
        else:
            check_unpacked(target)
            before.append(target)
        assert sorted(path for path in paths(top) if target not in path.parents) == sorted(before)
        assert canary.read_text() == "alive"
        assert canary.stat().st_nlink == 1


def check_unpacked(target: Path) -> None:
    written = list(paths(target))
    assert 0 < len(written) <= LIMITS.members
    total = 0
    for path in written:
        status = path.lstat()
        assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        assert not status.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX)
        assert os.access(path, os.R_OK | os.W_OK)
        assert path.resolve().is_relative_to(target.resolve())
        total += status.st_size // status.st_nlink if path.is_file() else 0
    assert total <= LIMITS.total_bytes


def paths(top: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(top):
        yield from (Path(folder) / name for name in subfolders + files)


@quietly
@given(members=st.lists(entries, max_size=6))
def test_hostile_tars_are_unpacked_inside_or_refused_without_a_trace(members: list[Entry]) -> None:
    check_all_or_nothing(tar_bytes(members))


@quietly
@given(members=st.lists(entries, max_size=6))
def test_hostile_zips_are_unpacked_inside_or_refused_without_a_trace(members: list[Entry]) -> None:
    check_all_or_nothing(zip_bytes(members))


plain = [
    Entry("model/.mdai/mdai_deploy.py", b"0", 0o100644, "", b"class MDAIModel: ..."),
    Entry("model/weights", b"0", 0o100755, "", b"weights" * 60),
]
samples = st.sampled_from([tar_bytes(plain), gzip.compress(tar_bytes(plain), mtime=0), zip_bytes(plain)])
changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=8)


@quietly
@given(sample=samples, changes=changes)
def test_damaged_archives_are_unpacked_inside_or_refused_without_a_trace(
    sample: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(sample)
    for position, value in changes:
        data[position % len(data)] = value
    check_all_or_nothing(bytes(data))


@quietly
@given(
    start=st.sampled_from([b"", b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08\0", header(b"x", b"x", 0, 512, b"")]),
    rest=st.binary(),
)
def test_any_bytes_are_unpacked_inside_or_refused_without_a_trace(start: bytes, rest: bytes) -> None:
    check_all_or_nothing(start + rest)
