"""The extractor, archive by archive: what is kept, what is refused, and each refusal's sentence."""

import gzip
import io
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from model_loader.archive import DEFAULT_LIMITS, ArchiveLimits, extract
from model_loader.errors import ArchiveError

Builder = Callable[[Path, dict[str, bytes]], Path]


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zip_entry(name), content)
    return path


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            archive.addfile(tar_entry(name, size=len(content)), io.BytesIO(content))
    return path


def make_tar_gz(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(gzip.compress(make_tar(path, files).read_bytes()))
    return path


def zip_entry(name: str, mode: int = 0o644, kind: int = stat.S_IFREG, system: int = 3) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("x")
    entry.filename = name
    entry.create_system = system
    entry.external_attr = (kind | mode) << 16 if system == 3 else 0x20
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def tar_entry(name: str, *, size: int = 0, mode: int = 0o644, kind: bytes = b"0", link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type, entry.linkname = size, mode, kind, link
    return entry


def tar_of(path: Path, *entries: tarfile.TarInfo) -> Path:
    """A tar whose members are all empty."""
    with tarfile.open(path, "w") as archive:
        for entry in entries:
            archive.addfile(entry)
    return path


def zip_of(path: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def unpack(archive: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Path:
    target = archive.parent / "unpacked"
    extract(archive, target, limits)
    assert sorted(path.name for path in archive.parent.iterdir()) == sorted([archive.name, "unpacked"])
    return target


def refusal(archive: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> str:
    """The sentence of a refusal, after which nothing but the archive is there."""
    with pytest.raises(ArchiveError) as caught:
        extract(archive, archive.parent / "unpacked", limits)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    sentence = caught.value.text
    assert sentence.startswith(f"{archive.name} cannot be unpacked: ")
    assert sentence.endswith(" Nothing was kept.")
    return sentence


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


every_format = pytest.mark.parametrize("build", [make_zip, make_tar, make_tar_gz])


# What is kept


@every_format
def test_every_file_arrives_whatever_the_archive_is_called(tmp_path: Path, build: Builder) -> None:
    files = {
        "model/.mdai/mdai_deploy.py": b"x = 1\n",
        "model/weights.bin": os.urandom(3_000_000),
        "empty": b"",
    }
    assert content(unpack(build(tmp_path / "model.download", files))) == files


@every_format
def test_names_beyond_ascii_and_beyond_a_hundred_bytes_arrive(tmp_path: Path, build: Builder) -> None:
    files = {"Größe/肺/x y.py": b"1", "long/" + "n" * 200: b"2", "d/" * 50 + "deep": b"3"}
    assert content(unpack(build(tmp_path / "a", files))) == files


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_is_read(tmp_path: Path, form: int) -> None:
    name = "/".join(["folder" * 5] * 5) + "/file.py"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        archive.addfile(tar_entry(name, size=5), io.BytesIO(b"hello"))
        archive.addfile(tar_entry("second", size=3), io.BytesIO(b"two"))
    assert content(unpack(tmp_path / "a.tar")) == {name: b"hello", "second": b"two"}


@pytest.mark.parametrize(("mode", "kept"), [(0o755, 0o755), (0o6755, 0o755), (0o1777, 0o777), (0o000, 0o600)])
def test_permissions_are_kept_and_privileges_are_not(tmp_path: Path, mode: int, kept: int) -> None:
    zipped = zip_of(tmp_path / "a.zip", (zip_entry("bin/x", mode), b"#!/bin/sh\n"))
    assert stat.S_IMODE((unpack(zipped) / "bin/x").stat().st_mode) == kept
    shutil.rmtree(tmp_path / "unpacked")
    zipped.unlink()
    tarred = tar_of(tmp_path / "a.tar", tar_entry("bin/x", mode=mode))
    assert stat.S_IMODE((unpack(tarred) / "bin/x").stat().st_mode) == kept


def test_an_executable_runs_after_unpacking(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", (zip_entry("bin/x", 0o755), b"#!/bin/sh\necho ran\n"))
    assert subprocess.run([unpack(archive) / "bin/x"], capture_output=True, check=True).stdout == b"ran\n"


def test_a_folder_without_rights_can_still_be_filled_and_deleted(tmp_path: Path) -> None:
    entries = tar_entry("locked", mode=0, kind=b"5"), tar_entry("locked/file")
    folder = unpack(tar_of(tmp_path / "a.tar", *entries)) / "locked"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_zip_without_unix_attributes_gets_ordinary_permissions(tmp_path: Path) -> None:
    target = unpack(zip_of(tmp_path / "a.zip", (zip_entry("dir/file", system=0), b"")))
    assert stat.S_IMODE((target / "dir/file").stat().st_mode) == 0o644
    assert stat.S_IMODE((target / "dir").stat().st_mode) == 0o755


def test_backslashes_from_windows_are_separators(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", (zip_entry("model\\.mdai\\x.py", system=0), b"1"))
    assert content(unpack(archive)) == {"model/.mdai/x.py": b"1"}


@every_format
def test_what_macos_leaves_behind_is_skipped(tmp_path: Path, build: Builder) -> None:
    junk = {"__MACOSX/model/._x.py": b"j", "model/._x.py": b"j", "model/.DS_Store": b"j"}
    assert content(unpack(build(tmp_path / "a", {"model/x.py": b"1", **junk}))) == {"model/x.py": b"1"}


@every_format
def test_dots_and_doubled_slashes_in_names_vanish(tmp_path: Path, build: Builder) -> None:
    assert content(unpack(build(tmp_path / "a", {"./model/.//x.py": b"1"}))) == {"model/x.py": b"1"}


def test_a_folder_may_be_listed_twice_and_after_its_files(tmp_path: Path) -> None:
    folder = tar_entry("d", mode=0o750, kind=b"5")
    target = unpack(tar_of(tmp_path / "a.tar", tar_entry("./", kind=b"5"), tar_entry("d/f"), folder, folder))
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o750


def test_links_to_files_of_the_archive_become_those_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tar_entry("lib/latest", kind=b"2", link="current"))
        archive.addfile(tar_entry("lib/current", kind=b"2", link="../store/./v2"))
        archive.addfile(tar_entry("store/v2", size=2, mode=0o755), io.BytesIO(b"v2"))
        archive.addfile(tar_entry("hard", kind=b"1", link="store/v2"))
    target = unpack(tmp_path / "a.tar")
    assert content(target) == dict.fromkeys(["lib/latest", "lib/current", "store/v2", "hard"], b"v2")
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert os.access(target / "lib/latest", os.X_OK)


def test_a_link_in_a_zip_becomes_the_file_it_leads_to(tmp_path: Path) -> None:
    link = zip_entry("a/link", kind=stat.S_IFLNK)
    target = unpack(zip_of(tmp_path / "a.zip", (link, b"../file"), (zip_entry("file"), b"content")))
    assert content(target) == {"a/link": b"content", "file": b"content"}


def test_a_zip_behind_other_bytes_is_read(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"x": b"1"})
    archive.write_bytes(b"#!/bin/sh\n" + archive.read_bytes())
    assert content(unpack(archive)) == {"x": b"1"}


def test_a_small_file_may_compress_as_well_as_it_likes(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"zeros": bytes(10 << 20)})
    assert archive.stat().st_size * 500 < 10 << 20
    assert (unpack(archive) / "zeros").stat().st_size == 10 << 20


def test_global_headers_as_git_archive_writes_them_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", pax_headers={"comment": "0" * 40}) as archive:
        archive.addfile(tar_entry("x"))
    assert content(unpack(tmp_path / "a.tar")) == {"x": b""}


# What is refused


UNSAFE_NAMES = [
    ("/etc/x", "'/etc/x' is an absolute path"),
    ("//host/x", "is an absolute path"),
    ("../x", "leads out of its folder with `..`"),
    ("a/../../x", "leads out of its folder with `..`"),
    ("a/..", "leads out of its folder with `..`"),
    ("C:/x", "starts with a drive letter"),
    ("./c:x", "starts with a drive letter"),
    ("a\\..\\x", "holds a backslash"),
    ("\\\\host\\x", "holds a backslash"),
    ("d/" * 65 + "x", "lies more than 64 folders deep"),
    ("n" * 256, "is too long"),
    (("d" * 200 + "/") * 6 + "x", "is too long"),
]


@every_format
@pytest.mark.parametrize(("name", "expected"), UNSAFE_NAMES)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, build: Builder, name: str, expected: str) -> None:
    assert expected in refusal(build(tmp_path / "a", {"good": b"1", name: b"2"}))


def test_backslashes_from_windows_do_not_lead_out_either(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", (zip_entry("..\\..\\x", system=0), b"1"))
    assert "leads out of its folder" in refusal(archive)


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"nameX.py": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"nameX.py", b"name\0.py"))
    assert "'name\\x00.py' holds a NUL character" in refusal(archive)


COLLISIONS = [
    (["x.py", "x.py"], "'x.py' is there twice"),
    (["x.py", "./x.py"], "'x.py' is there twice"),
    (["Model/x.py", "model/x.py"], "'Model' and 'model' differ only in upper and lower case"),
    (["d/A.py", "d/a.py"], "'d/A.py' and 'd/a.py' differ only"),
    (["caf\u00e9", "cafe\u0301"], "encoding of a letter"),
    (["STRASSE", "straße"], "differ only"),
    (["x", "x/y"], "'x' is both a file and a folder"),
    (["x/y", "x"], "'x' is both a file and a folder"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize(("names", "expected"), COLLISIONS)
def test_names_that_would_meet_on_some_disk_are_refused(
    tmp_path: Path, form: str, names: list[str], expected: str
) -> None:
    if form == "zip":
        archive = zip_of(tmp_path / "a", *((zip_entry(name), b"") for name in names))
    else:
        archive = tar_of(tmp_path / "a", *map(tar_entry, names))
    assert expected in refusal(archive)


BAD_LINKS = [
    ("/etc/passwd", "points to the absolute path '/etc/passwd'"),
    ("../../secret", "points out of the archive, to '../../secret'"),
    ("../a/../../secret", "points out of the archive"),
    ("nowhere", "points to nothing in the archive"),
    ("../a", "points to a folder, 'a'"),
    ("..", "points to a folder, '.'"),
    ("link", "leads back to itself"),
    ("x" * 5000, "target"),
]


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize(("target", "expected"), BAD_LINKS)
def test_a_link_to_anything_but_a_file_of_the_archive_is_refused(
    tmp_path: Path, form: str, target: str, expected: str
) -> None:
    if form == "zip":
        link = zip_entry("a/link", kind=stat.S_IFLNK), target.encode()
        archive = zip_of(tmp_path / "a", (zip_entry("a/file"), b""), link)
    else:
        archive = tar_of(tmp_path / "a", tar_entry("a/file"), tar_entry("a/link", kind=b"2", link=target))
    sentence = refusal(archive)
    assert expected in sentence
    assert "'a/link'" in sentence


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "box").mkdir()
    archive = tar_of(tmp_path / "box/a.tar", tar_entry("way", kind=b"2", link=str(outside)), tar_entry("way/planted"))
    refusal(archive)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("link", ["/etc/passwd", "../x", "C:/x"])
def test_a_hard_link_out_of_the_archive_is_refused(tmp_path: Path, link: str) -> None:
    assert "the link 'h' is unsafe" in refusal(tar_of(tmp_path / "a", tar_entry("h", kind=b"1", link=link)))


@pytest.mark.parametrize("kind", [b"3", b"4", b"6"])
def test_devices_and_pipes_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    assert "'dev' is a device or a pipe" in refusal(tar_of(tmp_path / "a", tar_entry("dev", kind=kind)))


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, 0o150000])
def test_special_files_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    archive = zip_of(tmp_path / "a", (zip_entry("dev", kind=kind), b""))
    assert "'dev' is a device or another special file" in refusal(archive)


@pytest.mark.parametrize(("kind", "expected"), [(b"S", "sparse"), (b"M", "unknown type"), (b"Q", "unknown type")])
def test_kinds_of_tar_members_that_are_not_read_are_refused(tmp_path: Path, kind: bytes, expected: str) -> None:
    block = bytearray(tar_entry("x").tobuf(tarfile.GNU_FORMAT))
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "a").write_bytes(bytes(block) + bytes(1024))
    assert expected in refusal(tmp_path / "a")


def test_pax_sparse_files_are_refused(tmp_path: Path) -> None:
    entry = tar_entry("x")
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 50)}
    assert "sparse" in refusal(tar_of(tmp_path / "a", entry))


def test_a_file_without_a_name_is_refused(tmp_path: Path) -> None:
    assert "names a folder" in refusal(tar_of(tmp_path / "a", tar_entry(".")))


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"x": b"secret"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert "'x' is encrypted. Pack the folder again without a password." in refusal(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_could_fill_the_memory_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("x", b"1")
    assert f"'x' is compressed by method {method}" in refusal(tmp_path / "a.zip")


# What is over a limit


SMALL = ArchiveLimits(members=5, member_bytes=1000, total_bytes=2000, ratio=10, ratio_floor=5000)


@every_format
def test_the_limits_themselves_are_allowed(tmp_path: Path, build: Builder) -> None:
    files = {"a": os.urandom(1000), "b": os.urandom(500), "c": os.urandom(500), "d/e": b""}
    assert content(unpack(build(tmp_path / "a", files), SMALL)) == files


@every_format
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({str(n): b"" for n in range(6)}, "holds more than 5 files and folders"),
        ({"a/b/c/d/e/f": b""}, "holds more than 5 files and folders"),
        ({"good": b"", "a": bytes(range(256)) * 4}, "'a' is larger than 1000 bytes"),
        ({"a": bytes(900), "b": bytes(900), "c": bytes(201)}, "it unpacks to more than 1.953 KiB"),
    ],
)
def test_one_more_than_a_limit_is_refused(
    tmp_path: Path, build: Builder, files: dict[str, bytes], expected: str
) -> None:
    sentence = refusal(build(tmp_path / "a", files), SMALL)
    assert expected in sentence
    assert "serve the folder" in sentence


@pytest.mark.parametrize("build", [make_zip, make_tar_gz])
def test_a_bomb_of_50_kb_that_makes_50_mb_is_refused(tmp_path: Path, build: Builder) -> None:
    archive = build(tmp_path / "a", {"bomb": bytes(50 << 20)})
    assert archive.stat().st_size < 55_000
    assert "more than 200 times its own size" in refusal(archive)


def test_a_bomb_in_skipped_members_and_behind_the_end_stops_as_well(tmp_path: Path) -> None:
    archive = make_tar_gz(tmp_path / "a", {"x": b"1", "._junk": bytes(50 << 20)})
    assert "more than 200 times" in refusal(archive)
    archive.write_bytes(gzip.compress(make_tar(archive, {"x": b"1"}).read_bytes() + bytes(50 << 20)))
    assert "more than 200 times" in refusal(archive)


def test_a_bomb_that_lies_about_its_size_is_stopped_by_what_is_written(tmp_path: Path) -> None:
    """A deflated member that says 100 bytes in every header and holds 50 MB."""
    archive = make_zip(tmp_path / "a", {"bomb": bytes(50 << 20)})
    said, says = struct.pack("<L", 50 << 20), struct.pack("<L", 100)
    archive.write_bytes(archive.read_bytes().replace(said, says))
    assert "'bomb' is damaged" in refusal(archive)


def test_members_that_share_their_bytes_count_each_time(tmp_path: Path) -> None:
    """One deflated kernel of 1 MB that 100 entries of the table point to."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = packer.compress(bytes(1 << 20)) + packer.flush()
    sizes = struct.pack("<3L", zlib.crc32(bytes(1 << 20)), len(kernel), 1 << 20)
    body = struct.pack("<4s5H", b"PK\3\4", 20, 0, 8, 0, 0) + sizes + struct.pack("<2H", 1, 0) + b"a" + kernel
    table = b"".join(
        struct.pack("<4s6H", b"PK\1\2", 20, 20, 0, 8, 0, 0) + sizes
        + struct.pack("<5H2L", 2, 0, 0, 0, 0, 0, 0) + b"%02d" % number
        for number in range(100)
    )  # fmt: skip
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 100, 100, len(table), len(body), 0)
    (tmp_path / "a").write_bytes(body + table + end)
    assert "more than 200 times" in refusal(tmp_path / "a")


def test_a_table_of_contents_with_millions_of_entries_is_refused_unread(tmp_path: Path) -> None:
    table = struct.pack("<4s42s", b"PK\1\2", bytes(42)) * 300_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(table), 4, 0)
    (tmp_path / "a").write_bytes(b"PK\3\4" + table + end)
    assert "holds more than 100,000 files and folders" in refusal(tmp_path / "a")


def test_a_long_chain_of_links_takes_linear_time(tmp_path: Path) -> None:
    links = [tar_entry(str(n), kind=b"2", link=str(n + 1)) for n in range(3000)]
    assert len(content(unpack(tar_of(tmp_path / "a", *links, tar_entry("3000"))))) == 3001


def test_an_enormous_header_is_refused_unread(tmp_path: Path) -> None:
    block = tar_entry("x", size=8 << 30, kind=b"L").tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a").write_bytes(block)
    assert "it holds a header of 8,589,934,592 bytes" in refusal(tmp_path / "a")


# What is no archive, or a broken one


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"PK", "it is neither a zip nor a tar archive"),
        (bytes(range(256)) * 40, "it is neither a zip nor a tar archive"),
        (b"BZh91AY&SY", "it is a bzip2 file"),
        (b"\xfd7zXZ\0\0", "it is an xz file"),
        (b"7z\xbc\xaf\x27\x1c\0", "it is a 7-Zip archive"),
        (b"Rar!\x1a\x07", "it is a RAR archive"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull` first"),
        (gzip.compress(b"just text", mtime=0), "what gzip compressed here is no tar archive"),
        (gzip.compress(b"", mtime=0), "what gzip compressed here is no tar archive"),
        (b"\x1f\x8b", "it ends in the middle"),
        (b"\x1f\x8bnonsense", "it cannot be decompressed"),
        (b"PK\5\6" + bytes(18), "it holds no files"),
        (bytes(10240), "it holds no files"),
        (b"PK\3\4" + bytes(100), "its table of contents, at its end, is missing or damaged"),
    ],
)
def test_what_is_no_archive_is_told_what_it_is(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "model.zip").write_bytes(data)
    assert expected in refusal(tmp_path / "model.zip")


@every_format
def test_an_archive_of_folders_alone_holds_no_files(tmp_path: Path, build: Builder) -> None:
    assert "it holds no files" in refusal(build(tmp_path / "a", {"empty/": b"", "__MACOSX/x": b"junk"}))


@pytest.mark.parametrize("build", [make_zip, make_tar_gz])
def test_an_archive_cut_off_anywhere_is_refused(tmp_path: Path, build: Builder) -> None:
    archive = build(tmp_path / "a", {"one": os.urandom(200), "two": os.urandom(200)})
    whole = archive.read_bytes()
    for length in range(0, len(whole), 7):
        archive.write_bytes(whole[:length])
        refusal(archive)


def test_a_tar_cut_off_between_two_members_is_refused(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a", {"one": bytes(512), "two": bytes(512)})
    archive.write_bytes(archive.read_bytes()[:1024])
    assert "it ends in the middle" in refusal(archive)


def test_a_damaged_header_in_the_middle_of_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a", {"one": bytes(512), "two": bytes(512)})
    data = bytearray(archive.read_bytes())
    data[1024] ^= 1
    archive.write_bytes(data)
    assert "it is damaged" in refusal(archive)


def test_a_wrong_checksum_of_a_zip_member_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a", (zipfile.ZipInfo("x"), b"content that changes"))
    archive.write_bytes(archive.read_bytes().replace(b"changes", b"changed"))
    assert "'x' is damaged (Bad CRC-32 for file 'x'). Download or copy it again" in refusal(archive)


def test_a_wrong_checksum_of_a_gzip_stream_is_refused(tmp_path: Path) -> None:
    archive = make_tar_gz(tmp_path / "a", {"x": b"1"})
    data = bytearray(archive.read_bytes())
    data[-8] ^= 1
    archive.write_bytes(data)
    assert "it cannot be decompressed (CRC check failed" in refusal(archive)


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    class Interrupt(int):
        def __lt__(self, other: int) -> bool:
            raise KeyboardInterrupt

    archive = make_zip(tmp_path / "a", {"x": b"1"})
    with pytest.raises(KeyboardInterrupt):
        extract(archive, tmp_path / "unpacked", ArchiveLimits(depth=Interrupt()))
    assert list(tmp_path.iterdir()) == [archive]


def test_a_target_that_is_there_is_not_touched(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"x": b"1"})
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked/mine").touch()
    with pytest.raises(ArchiveError, match="Directory not empty"):
        extract(archive, tmp_path / "unpacked")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "mine", "unpacked"]


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="No such file or directory"):
        extract(tmp_path / "a.zip", tmp_path / "unpacked")
    assert list(tmp_path.iterdir()) == []
