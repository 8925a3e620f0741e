"""Opening a package: where the model root is, what it holds, and the sentence when there is none."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model_loader.archive import ArchiveLimits
from model_loader.errors import ArchiveError, ConfigError, LayoutError, PackageError
from model_loader.package import ModelPackage, open_package

DEPLOY = "class MDAIModel:\n    def predict(self, data):\n        return []\n"

Tree = dict[str, str]
Packer = Callable[[Path, Path], Path]


def write(folder: Path, files: Tree) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def as_folder(folder: Path, _: Path) -> Path:
    return folder


def as_zip(folder: Path, packed: Path) -> Path:
    with zipfile.ZipFile(packed / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return packed / "packed.zip"


def as_tar_gz(folder: Path, packed: Path) -> Path:
    with tarfile.open(packed / "packed.tar.gz", "w:gz") as archive:
        archive.add(folder, ".")
    return packed / "packed.tar.gz"


every_form = pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar_gz])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that holds `source` (the package), `packed` (its archive) and `scratch`."""
    for name in ("source", "packed", "scratch"):
        (tmp_path / name).mkdir()
    return tmp_path


def opened(place: Path, files: Tree, pack: Packer = as_folder, model_root: str | None = None) -> ModelPackage:
    source = pack(write(place / "source", files), place / "packed")
    return open_package(source, scratch=place / "scratch", model_root=model_root)


def refusal(
    place: Path, files: Tree, pack: Packer = as_folder, *, model_root: str | None = None, error: type = LayoutError
) -> str:
    with pytest.raises(PackageError) as caught:
        opened(place, files, pack, model_root)
    assert type(caught.value) is error
    assert list((place / "scratch").iterdir()) == []
    assert caught.value.text.endswith(".")
    return caught.value.text


def imported(package: ModelPackage) -> list[str]:
    return [path.relative_to(package.root).as_posix() for path in package.import_folders]


# Where the model root is


@every_form
@pytest.mark.parametrize("root", [".", "model", "a/b/model", "with space/模型"])
def test_mdai_is_found_at_any_depth(place: Path, pack: Packer, root: str) -> None:
    files = {f"{root}/.mdai/mdai_deploy.py": DEPLOY, f"{root}/.mdai/config.yaml": "base_image: py311", "README": "x"}
    package = opened(place, files, pack)
    assert package.root.is_absolute()
    assert package.root.as_posix().endswith(root.lstrip("."))
    assert package.mdai == package.root / ".mdai"
    assert (package.mdai / "mdai_deploy.py").read_text() == DEPLOY
    assert package.config.base_image == "py311"
    assert package.warnings == ()
    assert package.requirements is None


@every_form
def test_the_shallowest_wins_and_other_files_of_that_name_do_not_count(place: Path, pack: Packer) -> None:
    files = {
        "mdai_deploy.py": "legacy",
        "old/mdai_deploy.py": "legacy",
        "model/.mdai/mdai_deploy.py": DEPLOY,
        "a/deep/.mdai/mdai_deploy.py": "deeper",
        "__MACOSX/.mdai/mdai_deploy.py": "junk",
    }
    assert opened(place, files, pack).root.name == "model"


@every_form
def test_two_at_the_same_depth_are_listed_with_the_option_that_chooses(place: Path, pack: Packer) -> None:
    files = {f"x/{name}/.mdai/mdai_deploy.py": DEPLOY for name in ("one", "two")}
    assert (
        "holds 2 models at the same depth: x/one/.mdai, x/two/.mdai. Choose one, for example with `--model-root x/one`."
    ) in refusal(place, files, pack)


@pytest.mark.parametrize("model_root", ["x/two", "x/two/", "./x/two", "x/two/.mdai"])
@every_form
def test_model_root_chooses(place: Path, pack: Packer, model_root: str) -> None:
    files = {f"x/{name}/.mdai/mdai_deploy.py": DEPLOY for name in ("one", "two")}
    assert opened(place, files, pack, model_root).root.name == "two"


@pytest.mark.parametrize(
    ("model_root", "expected"),
    [
        ("three", "has no three/.mdai/mdai_deploy.py"),
        ("../source", "must be a path inside"),
        ("/", "must be a path inside"),
        ("one\0", "has no "),
    ],
)
def test_a_model_root_that_chooses_nothing_is_refused(place: Path, model_root: str, expected: str) -> None:
    text = refusal(place, {"one/.mdai/mdai_deploy.py": DEPLOY}, model_root=model_root)
    assert text.startswith("--model-root is ")
    assert expected in text


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("lungs.zip", "lungs"),
        ("lungs-v1.2.tar.gz", "lungs-v1.2"),
        ("Lungs.TGZ", "Lungs"),
        ("lungs.model", "lungs.model"),
    ],
)
def test_the_name_is_the_archives_without_its_suffix(place: Path, file_name: str, name: str) -> None:
    archive = as_zip(write(place / "source", {".mdai/mdai_deploy.py": DEPLOY}), place / "packed")
    assert open_package(archive.rename(place / file_name), scratch=place / "scratch").name == name


def test_the_name_is_the_folders_even_when_given_as_a_dot(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place / "source", {".mdai/mdai_deploy.py": DEPLOY})
    monkeypatch.chdir(place / "source")
    assert open_package(Path(), scratch=place / "scratch").name == "source"


def test_a_name_can_always_be_printed(place: Path) -> None:
    archive = as_zip(write(place / "source", {".mdai/mdai_deploy.py": DEPLOY}), place / "packed")
    package = open_package(archive.rename(place / os.fsdecode(b"l\xff\x1bngs.zip")), scratch=place / "scratch")
    assert package.name == "l\ufffd\ufffdngs"


def test_a_folder_is_served_where_it_lies_and_nothing_is_written(place: Path) -> None:
    package = opened(place, {".mdai/mdai_deploy.py": DEPLOY, "lib/x.py": ""})
    assert package.root == place / "source"
    assert package.digest
    assert package.import_folders
    assert list((place / "scratch").iterdir()) == []
    assert sorted(path.name for path in (place / "source").rglob("*")) == [".mdai", "lib", "mdai_deploy.py", "x.py"]


def test_two_archives_can_share_a_scratch_folder_that_is_made_when_missing(place: Path) -> None:
    archive = as_zip(write(place / "source", {".mdai/mdai_deploy.py": DEPLOY}), place / "packed")
    roots = {open_package(archive, scratch=place / "scratch/a/b").root for _ in range(2)}
    assert len(roots) == 2


def test_requirements_are_found(place: Path) -> None:
    package = opened(place, {".mdai/mdai_deploy.py": DEPLOY, ".mdai/requirements.txt": "numpy"})
    assert package.requirements == package.mdai / "requirements.txt"


# Why there is none


LOST = {"README.md": "x", "lib/net.py": "x"}


@pytest.mark.parametrize("pack", [as_zip, as_tar_gz])
def test_a_hidden_folder_lost_while_zipping_is_explained(place: Path, pack: Packer) -> None:
    text = refusal(place, LOST, pack)
    assert "has no folder named .mdai." in text
    assert "`zip -r model.zip *` leaves hidden folders out" in text
    assert "type `zip -r ../model.zip .` instead" in text


def test_a_hidden_folder_lost_while_copying_is_explained(place: Path) -> None:
    text = refusal(place, LOST)
    assert "has no folder named .mdai." in text
    assert "`cp -r model/* COPY` leaves hidden folders out" in text


@every_form
def test_a_deploy_file_outside_of_mdai_is_named(place: Path, pack: Packer) -> None:
    text = refusal(place, {**LOST, "src/mdai_deploy.py": DEPLOY}, pack)
    assert "src/mdai_deploy.py is there, but only .mdai/mdai_deploy.py is read" in text


def test_a_deploy_file_outside_of_mdai_is_told_where_it_belongs(place: Path) -> None:
    assert "Give its folder the name .mdai, with the dot." in refusal(place, {"m/mdai/mdai_deploy.py": DEPLOY})
    (place / "source/m/mdai/mdai_deploy.py").rename(place / "source/mdai_deploy.py")
    assert "Make a folder .mdai beside it and move it there." in refusal(place, {})


@pytest.mark.parametrize(
    ("path", "warning"),
    [
        ("requirements.txt", "requirements.txt lies in the model root and is not read there: move it to .mdai/"),
        (".mdai/requirement.txt", ".mdai/requirement.txt is not read: the name must be requirements.txt."),
        (".mdai/Requirements.txt", ".mdai/Requirements.txt is not read: the name must be requirements.txt."),
    ],
)
def test_requirements_that_are_not_read_are_a_warning(place: Path, path: str, warning: str) -> None:
    files = {".mdai/mdai_deploy.py": DEPLOY, path: "numpy\n"}
    assert [text[: len(warning)] for text in opened(place, files).warnings] == [warning]
    write(place / "source", {".mdai/requirements.txt": "numpy\n"})
    assert opened(place, files).warnings == ()


@every_form
def test_mdai_without_a_deploy_file_says_what_it_holds(place: Path, pack: Packer) -> None:
    text = refusal(place, {"m/.mdai/config.yaml": "", "m/.mdai/deploy.py": DEPLOY}, pack)
    assert "has the folder m/.mdai, but no mdai_deploy.py in it (it holds config.yaml, deploy.py)" in text


def test_the_mdai_folder_itself_is_told_to_step_back(place: Path) -> None:
    write(place / "source", {".mdai/mdai_deploy.py": DEPLOY})
    with pytest.raises(LayoutError, match=r"is a \.mdai folder itself\. Serve the folder that holds it, `.*/source`\."):
        open_package(place / "source/.mdai", scratch=place / "scratch")


def test_a_package_packed_twice_is_told_to_be_unpacked(place: Path) -> None:
    inner = as_zip(write(place / "inner", {"model/.mdai/mdai_deploy.py": DEPLOY}), place / "packed")
    (place / "source/model.zip").write_bytes(inner.read_bytes())
    text = refusal(place, {"README": "x"}, as_zip)
    assert "has no folder named .mdai, but an archive that holds a package, model.zip. Unpack it and serve" in text


def test_an_empty_folder_holds_no_files(place: Path) -> None:
    (place / "source/empty/folders").mkdir(parents=True)
    assert "holds no files. A package is a folder with .mdai/mdai_deploy.py in it." in refusal(place, {})


def test_a_model_json_of_something_else_is_no_export(place: Path) -> None:
    assert "export" not in refusal(place, {"model.json": "{}", "weights.bin": "x"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere.zip", "cannot be opened: No such file or directory. Check the path."),
        ("file/below", "cannot be opened: Not a directory. Check the path."),
        ("n" * 300, "cannot be opened: File name too long."),
        ("nul\0", "is not a path."),
        ("pipe", "is neither a file nor a folder."),
        ("loop", "cannot be opened: "),
    ],
)
def test_a_path_that_leads_to_no_package_is_refused(place: Path, name: str, expected: str) -> None:
    (place / "file").touch()
    os.mkfifo(place / "pipe")
    (place / "loop").symlink_to("loop")
    with pytest.raises(LayoutError) as caught:
        open_package(place / name, scratch=place / "scratch")
    assert expected in caught.value.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(place: Path) -> None:
    archive = as_zip(write(place / "source", {".mdai/mdai_deploy.py": DEPLOY}), place / "packed")
    archive.chmod(0)
    with pytest.raises(ArchiveError, match="Permission denied"):
        open_package(archive, scratch=place / "scratch")
    (place / "source").chmod(0)
    with pytest.raises(LayoutError, match="cannot be read: permission denied"):
        open_package(place / "source", scratch=place / "scratch")
    (place / "source").chmod(0o700)


def test_one_file_of_a_package_is_told_to_serve_the_folder(place: Path) -> None:
    write(place / "source", {".mdai/mdai_deploy.py": DEPLOY})
    with pytest.raises(ArchiveError, match=r"is one file of a package\. Serve the folder that holds \.mdai\."):
        open_package(place / "source/.mdai/mdai_deploy.py", scratch=place / "scratch")


@every_form
def test_a_bad_configuration_leaves_nothing_behind(place: Path, pack: Packer) -> None:
    files = {"m/.mdai/mdai_deploy.py": DEPLOY, "m/.mdai/config.yaml": "- x"}
    assert refusal(place, files, pack, error=ConfigError).startswith(".mdai/config.yaml, line 1: found a list")


def test_the_limits_reach_the_extractor(place: Path) -> None:
    archive = as_zip(write(place / "source", {".mdai/mdai_deploy.py": DEPLOY}), place / "packed")
    with pytest.raises(ArchiveError, match="more than 1 files"):
        open_package(archive, scratch=place / "scratch", limits=ArchiveLimits(members=1))
    assert list((place / "scratch").iterdir()) == []


def test_links_in_a_folder_lead_no_search_in_circles(place: Path) -> None:
    write(place / "source", {"a/b/c": "x"})
    (place / "source/a/b/up").symlink_to("../..")
    (place / "source/a/b/root").symlink_to("/")
    (place / "source/a/b/self").symlink_to("self")
    (place / "source/a/b/same").symlink_to("../b")
    assert "has no folder named .mdai" in refusal(place, {})


# What it holds


MODEL = {
    ".mdai/mdai_deploy.py": DEPLOY,
    ".mdai/helpers/h.py": "",
    ".mdai/.hidden/h.py": "",
    "root.py": "",
    "zeta/z.py": "",
    "lib/net/model.py": "",
    "lib/data/weights.txt": "",
    "lib-extra/e.py": "",
    "__pycache__/c.py": "",
    "lib/__pycache__/c.py": "",
    ".git/hooks/h.py": "",
    ".ipynb_checkpoints/i.py": "",
    "__MACOSX/lib/m.py": "",
    "mac/._m.py": "",
    "venv/pyvenv.cfg": "",
    "venv/lib/python3.9/os.py": "",
    "conda/lib/site-packages/pkg/p.py": "",
    "web/node_modules/gyp/g.py": "",
}


def test_import_folders_are_those_with_python_files_in_sorted_order(place: Path) -> None:
    """Not the root, not .mdai, nothing hidden, generated or installed; yes to folders inside .mdai."""
    assert imported(opened(place, MODEL)) == [".mdai/helpers", "lib/net", "lib-extra", "zeta"]


@every_form
def test_import_folders_lie_below_the_model_root(place: Path, pack: Packer) -> None:
    files = {"m/.mdai/mdai_deploy.py": DEPLOY, "m/src/x.py": "", "beside/y.py": ""}
    assert imported(opened(place, files, pack)) == ["src"]


def test_a_linked_folder_of_python_files_counts_once(place: Path) -> None:
    write(place / "shared", {"code/s.py": ""})
    write(place / "source", {".mdai/mdai_deploy.py": DEPLOY})
    (place / "source/linked").symlink_to(place / "shared/code")
    (place / "source/linked-again").symlink_to(place / "shared/code")
    (place / "source/loop").symlink_to(".")
    assert imported(opened(place, {})) == ["linked"]


# The digest


def digest(place: Path, files: Tree, pack: Packer = as_folder) -> str:
    return opened(place, files, pack).digest


def test_the_digest_is_the_same_for_folder_zip_and_tar(place: Path) -> None:
    write(place / "source", {**MODEL, "m/Größe": "x", "bin/run": "#!/bin/sh"})
    (place / "source/bin/run").chmod(0o755)
    (place / "source/bin/latest").symlink_to("run")
    digests = {digest(place, {}, pack) for pack in (as_folder, as_zip, as_tar_gz)}
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def test_the_digest_covers_the_model_root_wherever_it_lies(tmp_path: Path) -> None:
    flat = write(tmp_path / "flat", {".mdai/mdai_deploy.py": DEPLOY})
    deep = write(tmp_path / "deep", {"a/b/.mdai/mdai_deploy.py": DEPLOY, "a/other": "x"})
    digests = {open_package(source, scratch=tmp_path / "s").digest for source in (flat, deep)}
    assert len(digests) == 1


@pytest.mark.parametrize("junk", ["__pycache__/x.pyc", ".git/HEAD", ".DS_Store", "lib/._x.py", "__MACOSX/x"])
def test_the_digest_ignores_what_tools_leave_behind(place: Path, junk: str) -> None:
    before = digest(place, {".mdai/mdai_deploy.py": DEPLOY})
    assert digest(place, {junk: "x"}) == before


@pytest.mark.parametrize("change", ["content", "name", "mode", "split", "new"])
def test_the_digest_changes_with_what_matters(place: Path, change: str) -> None:
    before = digest(place, {".mdai/mdai_deploy.py": DEPLOY, "ab": "c"})
    file = place / "source/ab"
    if change == "content":
        file.write_text("d")
    elif change == "name":
        file.rename(place / "source/ac")
    elif change == "mode":
        file.chmod(0o755)
    elif change == "split":
        file.unlink()
        (place / "source/a").write_text("bc")
    else:
        (place / "source/empty").touch()
    assert digest(place, {}) != before


def test_the_digest_survives_what_cannot_be_read(place: Path) -> None:
    write(place / "source", {".mdai/mdai_deploy.py": DEPLOY})
    (place / "source/broken").symlink_to("nowhere")
    (place / "source/away").symlink_to("/")
    os.mkfifo(place / "source/pipe")
    assert len(digest(place, {})) == 64


def test_opening_reads_no_weights(place: Path) -> None:
    """A sparse file of 1 TB beside the model: its digest would take a quarter of an hour."""
    with (write(place / "source", {".mdai/mdai_deploy.py": DEPLOY}) / "weights").open("wb") as file:
        file.truncate(1 << 40)
    assert opened(place, {}).root == place / "source"


def test_packages_are_opened_without_the_server(place: Path) -> None:
    code = (
        "import sys, model_loader.package; print(sorted(m for m in sys.modules if m in ('fastapi', 'uvicorn', 'app')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
