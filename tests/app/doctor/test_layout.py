"""How a package lies in its folder or archive: what the doctor says, and what it repairs."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from app.doctor import config, devices, layout, weights
from app.doctor.finding import Code, Finding
from app.doctor.subject import Subject
from app.scaffold import write_package as write_template
from model_loader.errors import PackageError
from model_loader.package import open_package
from tests.building import write_files
from tests.doctoring import subject_of

REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOY = "class MDAIModel:\n    pass\n"
WHOLE: dict[str, str | bytes] = {".mdai/mdai_deploy.py": DEPLOY, ".mdai/requirements.txt": "", ".mdai/config.yaml": "x"}
WHOLE[".mdai/config.yaml"] = "base_image: py39\n"
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "model", WHOLE)


def packed(folder: Path) -> Path:
    archive = folder.parent / "packed.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


def found(folder: Path) -> list[Finding]:
    return list(layout.examine(subject_of(folder)))


def told(folder: Path) -> list[str]:
    return [f"{finding.code.name} {finding.place}" for finding in found(folder)]


def only(folder: Path, code: str) -> Finding:
    (finding,) = [finding for finding in found(folder) if finding.code.name == code]
    assert finding.reason.endswith(".") and finding.fix.endswith((".", "`."))
    return finding


def refused(source: Path) -> Finding:
    with pytest.raises(PackageError) as caught:
        open_package(source, scratch=source.parent / "scratch")
    finding = layout.refusal(caught.value)
    assert finding.reason and finding.fix and finding.repair is None
    return finding


# What does not open


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("L001", {}),
        ("L002", {"lib/model.py": "", "README": ""}),
        ("L002", {"mdai/mdai_deploy.py": DEPLOY}),
        ("L003", {"a/.mdai/mdai_deploy.py": DEPLOY, "b/.mdai/mdai_deploy.py": DEPLOY}),
        ("L004", {".mdai/config.yaml": "", "x.py": ""}),
    ],
)
def test_each_reason_why_a_folder_does_not_open_has_its_code(
    tmp_path: Path, code: str, files: dict[str, str | bytes]
) -> None:
    (tmp_path / "model").mkdir()
    finding = refused(write_files(tmp_path / "model", files))
    assert (finding.code.name, str(finding.place)) == (code, "")


def test_a_damaged_archive_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK\x03\x04 and no more")
    finding = refused(tmp_path / "model.zip")
    assert finding.code is layout.DOES_NOT_OPEN
    assert finding.fix == "Download or copy it again, or pack the folder again."
    assert refused(tmp_path / "nowhere.zip").fix == "Check the path."


def test_the_reason_and_what_to_do_are_told_apart(tmp_path: Path) -> None:
    write_files(tmp_path / "model", {"lib/model.py": ""})
    finding = refused(packed(tmp_path / "model"))
    assert finding.reason.endswith("packed.zip has no folder named .mdai.")
    assert finding.fix.startswith("`zip -r model.zip *` leaves hidden folders out")


@pytest.mark.parametrize("name", ["inner.zip", "deep/er/inner.tar.gz"])
def test_a_package_packed_twice_is_recognised(tmp_path: Path, folder: Path, name: str) -> None:
    inner = packed(folder)
    if name.endswith("gz"):
        inner = tmp_path / "packed.tar.gz"
        with tarfile.open(inner, "w:gz") as tar:
            tar.add(folder, ".")
    around = write_files(tmp_path / "around", {name: inner.read_bytes(), "README": "", "data.zip": "no zip at all"})
    for source in (around, packed(around)):
        finding = refused(source)
        assert finding.code is layout.PACKED_TWICE
        assert name in finding.reason and name in finding.fix


def test_an_archive_of_data_makes_no_package_packed_twice(tmp_path: Path) -> None:
    data = write_files(tmp_path / "data", {"images/1.png": b"x", "mdai_deploy.py": "not in .mdai"})
    around = write_files(tmp_path / "around", {"data.zip": packed(data).read_bytes()})
    assert refused(around).code is layout.LOST_FOLDER


@pytest.mark.parametrize(
    ("config", "line", "reason", "fix"),
    [
        ("device_type: cpu\nbase_image: py27\n", 2, "base_image is 'py27', which is not known.", "Allowed: py37"),
        ("a: 1\n\tb: 2\n", 2, "a tab stands where YAML allows only spaces.", "Replace it by spaces."),
        ("- a\n", 1, "found a list where", "Correct this"),
        ("x: " + "y" * 70_000, None, ".mdai/config.yaml is larger than 64 kB.", "A configuration has"),
        ("base_image: py27\nenv: 3\n", 1, ".mdai/config.yaml, line 2: env is", "Correct each"),
    ],
)
def test_a_config_without_meaning_has_its_line(
    tmp_path: Path, config: str, line: int | None, reason: str, fix: str
) -> None:
    folder = write_files(tmp_path / "m", {".mdai/mdai_deploy.py": DEPLOY, ".mdai/config.yaml": config})
    finding = refused(folder)
    assert finding.code.name == "C001"
    assert (finding.place.file, finding.place.line) == (".mdai/config.yaml", line)
    assert reason in finding.reason and finding.fix.startswith(fix)


# What opens


def test_a_package_of_what_belongs_there_is_silent(folder: Path) -> None:
    write_files(folder, {"lib/a.py": "", "weights.pt": b"x", "data.zip": "x", ".gitignore": "", "._pth": b"no double"})
    assert told(folder) == []


@pytest.mark.parametrize("name", ["lung-finder", "tissue-segmentation"])
def test_the_examples_are_silent(name: str, tmp_path: Path) -> None:
    source = REPOSITORY / "examples" / name
    subject = Subject(source, open_package(source, scratch=tmp_path), "3.11")
    assert [finding for finding in layout.examine(subject) if "__pycache__" not in finding.place.file] == []


def test_the_template_is_silent(tmp_path: Path) -> None:
    write_template(tmp_path / "new")
    assert told(tmp_path / "new") == []


JUNK: dict[str, str | bytes] = {
    ".DS_Store": b"x",
    "lib/._a.py": APPLE_DOUBLE,
    "__MACOSX/lib/._a.py": APPLE_DOUBLE,
    "pictures/Thumbs.db": b"x",
    "lib/a.py": "",
    "lib/a.pyc": b"x",
    "lib/__pycache__/a.cpython-311.pyc": b"x" * 2000,
    ".ipynb_checkpoints/a.ipynb": "{}",
    ".git/HEAD": "ref",
    "venv/pyvenv.cfg": "home = /",
    "venv/lib/python3.9/site-packages/numpy/__pycache__/a.pyc": b"x",
    "web/node_modules/left-pad/index.js": "",
    ".idea/misc.xml": "",
}


def test_junk_is_told_once_for_each_kind(folder: Path) -> None:
    write_files(folder, JUNK)
    findings = [finding for finding in found(folder) if finding.code is layout.JUNK]
    assert {finding.place.file: finding.repair is not None for finding in findings} == {
        ".DS_Store": True,
        "pictures/Thumbs.db": True,
        "lib/a.pyc": True,
        ".ipynb_checkpoints": False,
        ".git": False,
        "venv": False,
        "web/node_modules": False,
        ".idea": False,
    }
    caches = next(finding for finding in findings if finding.place.file == "lib/a.pyc")
    assert "Here and in 1 other place: files of Python's caches, 2 in all, 2 kB." in caches.reason


def test_of_an_archive_the_members_count_that_unpacking_leaves_out(folder: Path) -> None:
    write_files(folder, JUNK)
    findings = [finding for finding in found(packed(folder)) if finding.code is layout.JUNK]
    assert len(findings) == 8
    assert all(finding.repair is None for finding in findings)
    macos = next(finding for finding in findings if "macOS" in finding.reason)
    assert "files that macOS leaves behind, 3 in all, 17 bytes." in macos.reason


def test_a_repair_deletes_caches_and_litter_and_nothing_else(folder: Path) -> None:
    write_files(folder, JUNK | {"lib/only.pyc": b"x", "lib/__pycache__/notes.txt": "mine", "__MACOSX/mine.txt": "mine"})
    before = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for finding in found(folder):
        if finding.repair:
            finding.repair.apply()
    after = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert before - after == {
        ".DS_Store",
        "lib/._a.py",
        "__MACOSX/lib/._a.py",
        "pictures/Thumbs.db",
        "lib/a.pyc",
        "lib/__pycache__/a.cpython-311.pyc",
    }


def test_a_repair_deletes_a_link_and_not_what_it_points_to(folder: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "elsewhere", {"a.pyc": b"x"})
    (folder / "lib").mkdir()
    (folder / "lib/.DS_Store").symlink_to(tmp_path / "elsewhere/a.pyc")
    (finding,) = found(folder)
    assert finding.repair
    finding.repair.apply()
    assert not (folder / "lib/.DS_Store").is_symlink()
    assert (tmp_path / "elsewhere/a.pyc").exists()


@pytest.mark.parametrize("name", ["requirements.txt", ".mdai/requirement.txt", ".mdai/Requirements.txt"])
def test_requirements_that_are_not_read_are_moved(folder: Path, name: str) -> None:
    (folder / ".mdai/requirements.txt").unlink()
    write_files(folder, {name: "numpy\n"})
    finding = only(folder, "L007")
    assert (finding.place.file, finding.repair is not None) == (name, True)
    assert finding.repair
    finding.repair.apply()
    assert (folder / ".mdai/requirements.txt").read_text() == "numpy\n"
    assert told(folder) == []


def test_of_two_candidates_none_is_moved_and_nothing_is_overwritten(folder: Path) -> None:
    (folder / ".mdai/requirements.txt").unlink()
    write_files(folder, {"requirements.txt": "a\n"})
    repair = only(folder, "L007").repair
    write_files(folder, {".mdai/requirement.txt": "b\n"})
    assert [finding.repair for finding in found(folder)] == [None, None]
    write_files(folder, {".mdai/requirements.txt": "c\n"})
    assert repair
    with pytest.raises(OSError, match="is there already"):
        repair.apply()
    assert (folder / ".mdai/requirements.txt").read_text() == "c\n"


def test_without_requirements_an_empty_file_is_written(folder: Path) -> None:
    (folder / ".mdai/requirements.txt").unlink()
    finding = only(folder, "L012")
    assert finding.repair
    finding.repair.apply()
    assert told(folder) == []
    assert not subject_of(folder).requirements.asks_for_something


def test_other_deploy_files_are_named(folder: Path) -> None:
    write_files(folder, {"mdai_deploy.py": DEPLOY, "old/model/.mdai/mdai_deploy.py": DEPLOY})
    assert told(folder) == ["L008 mdai_deploy.py", "L008 old/model/.mdai/mdai_deploy.py"]
    assert "--model-root old/model" in found(folder)[1].fix
    assert told(packed(folder)) == told(folder)


def test_the_packed_package_beside_itself_is_named(folder: Path) -> None:
    write_files(folder, {"model.zip": packed(folder).read_bytes(), "data.zip": "x"})
    assert told(folder) == ["L009 model.zip"]


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_links_in_archives_are_named(folder: Path, form: str) -> None:
    archive = packed(folder)
    if form == "zip":
        link = zipfile.ZipInfo("lib/weights.pt")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("weights.pt", b"x")
            file.writestr(link, "../weights.pt")
    else:
        archive = folder.parent / "packed.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(folder, ".")
            content = tarfile.TarInfo("weights.pt")
            content.size = 1
            tar.addfile(content, io.BytesIO(b"x"))
            link_info = tarfile.TarInfo("lib/weights.pt")
            link_info.type, link_info.linkname = tarfile.SYMTYPE, "../weights.pt"
            tar.addfile(link_info)
    assert told(archive) == ["L010 lib/weights.pt"]
    assert "a link to ../weights.pt" in only(archive, "L010").reason


def test_in_a_folder_only_links_that_lead_nowhere_are_named(folder: Path) -> None:
    (folder / "good").symlink_to(".mdai/mdai_deploy.py")
    (folder / "bad.pt").symlink_to("nowhere.pt")
    (folder / "loop").symlink_to("loop")
    (folder / ".#locked.py").symlink_to("me@here.1")
    write_files(folder, {"venv/pyvenv.cfg": "", "venv/bin/activate": ""})
    (folder / "venv/bin/python").symlink_to("/nowhere/python")
    assert told(folder) == ["L006 venv", "L010 bad.pt", "L010 loop"]


@pytest.mark.parametrize("pack", [False, True])
def test_places_are_relative_to_the_model_root(tmp_path: Path, pack: bool) -> None:
    below = {f"a/b/c/d/e/{name}": content for name, content in WHOLE.items()}
    files = below | {"a/b/c/d/e/.DS_Store": b"x", "a/mdai_deploy.py": DEPLOY}
    folder = write_files(tmp_path / "m", files)
    assert told(packed(folder) if pack else folder) == [
        "L006 .DS_Store",
        f"L008 {'a/mdai_deploy.py' if pack else '../../../../mdai_deploy.py'}",
        "L011 ",
    ]


def test_a_warning_without_a_place_is_a_finding_too(folder: Path) -> None:
    subject = subject_of(folder)
    object.__setattr__(subject.package, "warnings", ("It is doubtful. Look at it.",))
    (finding,) = layout.examine(subject)
    assert (finding.code, finding.reason, finding.fix) == (layout.SAID_WHEN_OPENED, "It is doubtful.", "Look at it.")


def test_names_that_cannot_be_printed_do_not_break_it(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9\x1b[31m")
    write_files(folder, {f"{name}/.DS_Store": b"x", f"{name}/mdai_deploy.py": DEPLOY})
    assert all(place.isprintable() for place in told(folder))


@pytest.mark.parametrize(
    "code", [*layout.CODES, *config.CODES, *weights.CODES, *devices.CODES], ids=lambda code: str(code.name)
)
def test_each_code_has_its_page(code: Code) -> None:
    text = (REPOSITORY / f"docs/checks/{code.name}.md").read_text()
    assert text.startswith(f"# {code.name}: {code.title}\n\n{code.severity.value.capitalize()}.\n")
    assert "```" in text and "`--fix`" in text
