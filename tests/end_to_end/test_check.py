"""`mdai-model check` from outside."""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from tests.building import OWN, write_files, write_wheel
from tests.doctoring import DEPLOY, SILENT
from tests.end_to_end.conftest import COMMAND
from tests.end_to_end.test_env import BASELINE
from tests.exports import export_files
from tests.hosting import PACKAGES

pytest_plugins = ("tests.building_places",)

TINY = "import numpy, pydicom, tiny\n\n\n" + SILENT
Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs the command; the model runs on the server's own Python unless a test says otherwise."""
    others = ("MDAI_MODEL_", "PIP_", "UV_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    places = {"TMPDIR": str(tmp_path), "MDAI_MODEL_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        settings = environ | places | {"MDAI_MODEL_ENVIRONMENT": "current"} | variables
        return subprocess.run([COMMAND, "check", *map(str, arguments)], env=settings, capture_output=True, text=True)

    return run


@pytest.fixture
def machine(tmp_path: Path, cache: Path, local: dict[str, str]) -> dict[str, str]:
    """Builds environments, and takes everything from a folder, where little lies."""
    for name in (*BASELINE, "setuptools", "tiny"):
        write_wheel(tmp_path / "wheels", name, "1.0")
    return {
        "PIP_CONFIG_FILE": local["PIP_CONFIG_FILE"],
        "MDAI_MODEL_CACHE_DIR": str(cache),
        "MDAI_MODEL_ENVIRONMENT": "auto",
        "MDAI_MODEL_PYTHON": OWN,
    }


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON, and that the exit code goes with it."""
    answer: dict[str, Any] = json.loads(done.stdout)
    met = {finding["severity"] for finding in answer["findings"]}
    assert done.returncode == (2 if "error" in met else 1 if "warning" in met else 0), done.stderr
    return answer


def codes(done: subprocess.CompletedProcess[str]) -> list[str]:
    return sorted({finding["code"] for finding in told(done)["findings"]})


@pytest.mark.parametrize(
    ("package", "by_reading", "by_running"),
    [("early_return", "M011", "P008"), ("box_from_wrong_indices", "M015", "P009"), ("legacy_keys", "M006", None)],
)
def test_the_faults_of_public_models_are_found(
    check: Check, package: str, by_reading: str, by_running: str | None
) -> None:
    done = check(PACKAGES / package, "--json")
    assert by_reading in codes(done)
    run = [code for code in codes(done) if code.startswith("P")]
    assert run == ([by_running] if by_running else [])
    assert told(done)["ran"] is True


def test_a_package_from_the_template_is_sound(check: Check, tmp_path: Path) -> None:
    subprocess.run([COMMAND, "init", tmp_path / "model"], check=True, capture_output=True)
    done = check(tmp_path / "model")
    assert done.returncode == 0, done.stdout
    assert "predict: a made-up CT slice" in done.stderr


def test_findings_are_told_for_people(check: Check) -> None:
    done = check(PACKAGES / "early_return", "--no-run")
    assert done.returncode == 2
    assert done.stdout.startswith(
        "M011 error: answers for the first file only\n  .mdai/mdai_deploy.py:33\n    `return outputs` stands inside"
    )
    assert "\n1 error, 1 warning, 1 note.\n" in done.stdout
    assert (
        "The model was not run: --no-run was given.\nMore about a code: mdai-model check --explain M011" in done.stdout
    )
    assert done.stderr == ""


def test_a_given_file_is_predicted_on_and_named(check: Check) -> None:
    image = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
    done = check(PACKAGES / "box_from_wrong_indices", "--input", image, "--json")
    reasons = [finding["reason"] for finding in told(done)["findings"] if finding["code"] == "P009"]
    assert any("CT_small.dcm" in reason for reason in reasons)
    assert f"predict: {image}" in done.stderr


def test_an_input_that_is_no_image_ends_with_a_sentence(check: Check, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    done = check(PACKAGES / "early_return", "--input", tmp_path / "notes.txt")
    assert done.returncode == 2
    assert done.stderr.startswith("mdai-model: --input: ") and "is not DICOM, JPEG, PNG or MP4" in done.stderr


def test_label_classes_are_sent_and_compared_with(check: Check, tmp_path: Path) -> None:
    classes = [{"class_index": 7, "label": {"id": "L", "name": "lung", "scope": "INSTANCE", "annotation_mode": "bbox"}}]
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    package = PACKAGES / "early_return"
    assert "P011" in codes(check(package, "--json", "--label-classes", tmp_path / "classes.json"))
    assert "P011" not in codes(check(package, "--json"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ("3", "not a map"),
        ('{"model": 3}', "not a map"),
        ('[{"class_index": "x"}]', "class_index is str, not int"),
    ],
)
def test_label_classes_that_are_none_end_with_a_sentence(
    check: Check, tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "classes.json").write_text(text)
    done = check(PACKAGES / "early_return", "--label-classes", tmp_path / "classes.json")
    assert done.returncode == 2 and done.stderr.startswith("mdai-model: --label-classes: ")
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_a_package_without_its_hidden_folder_is_told_how_to_zip(check: Check, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("mdai/mdai_deploy.py", SILENT)
    done = check(tmp_path / "model.zip")
    assert done.returncode == 2 and done.stdout.startswith("L002 error: ")
    assert "zip -r ../model.zip ." in " ".join(done.stdout.split())
    assert "The model was not run: the package cannot be opened." in done.stdout


def test_what_cannot_be_loaded_is_not_built(check: Check, tmp_path: Path) -> None:
    package = write_files(tmp_path / "model", {".mdai/mdai_deploy.py": "class MdaiModel:\n    pass\n"})
    done = check(package, MDAI_MODEL_ENVIRONMENT="auto")
    assert done.returncode == 2 and "M003 error" in done.stdout
    assert "The model was not run: it cannot be loaded with M003." in done.stdout
    assert done.stderr == ""


def test_requirements_that_cannot_be_installed_are_a_finding(
    check: Check, tmp_path: Path, machine: dict[str, str]
) -> None:
    package = write_files(tmp_path / "model", {".mdai/mdai_deploy.py": SILENT, ".mdai/requirements.txt": "tiny==9\n"})
    done = check(package, "--json", **machine)
    (finding,) = [finding for finding in told(done)["findings"] if finding["code"] == "R014"]
    assert (finding["file"], finding["line"]) == (".mdai/requirements.txt", 1)
    assert "tiny==9" in finding["reason"] and told(done)["not_run_because"] == "its environment cannot be built."


def test_what_is_safe_is_fixed(check: Check, tmp_path: Path, machine: dict[str, str]) -> None:
    """A key, a name, junk and a lock; afterwards there is nothing left to say of them."""
    package = write_files(
        tmp_path / "model",
        {
            ".mdai/mdai_deploy.py": TINY,
            ".mdai/Config.yaml": "base_imge: py311\n",
            ".mdai/requirements.txt": "numpy\npydicom\ntiny\n",
            ".mdai/.DS_Store": b"\0\0\0\1Bud1",
            "__MACOSX/._x": b"\0\5\x16\7\0\2\0\0",
        },
    )
    before = set(codes(check(package, "--json", "--no-run", **machine)))
    done = check(package, "--fix", "--json", **machine)
    left = set(codes(done))
    assert {"R001", "L006"} <= before and not {"R001", "L006"} & left
    assert (package / ".mdai/config.yaml").read_text() == "base_image: py311\n"
    assert "tiny==1.0" in (package / ".mdai/requirements.lock").read_text()
    assert not list(package.rglob(".DS_Store")) and not (package / "__MACOSX").exists()
    assert any("requirements.lock" in deed for deed in told(done)["fixed"])
    assert told(check(package, "--fix", "--json", **machine))["fixed"] == []


def test_a_version_of_an_export_gets_no_lock_that_nobody_would_find(
    check: Check, tmp_path: Path, machine: dict[str, str]
) -> None:
    """In a folder, too, a version is an archive."""
    files = {DEPLOY: TINY, ".mdai/requirements.txt": "numpy\npydicom\ntiny\n"}
    export = write_files(tmp_path / "export", export_files("", {2: files}))
    done = check(export, "--fix", "--json", **machine)
    assert told(done)["fixed"] == [] and "R001" in codes(done)


def test_an_archive_is_not_changed(check: Check, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "zip", PACKAGES / "early_return"))
    before = archive.read_bytes()
    done = check(archive, "--fix")
    assert done.returncode == 2 and "is an archive, which --fix does not change: unpack it" in done.stderr
    assert check(archive, "--no-run").returncode == 2
    assert archive.read_bytes() == before


def test_a_code_is_explained(check: Check) -> None:
    assert check("--explain", "m011").stdout.startswith("# M011: answers for the first file only\n")
    unknown = check("--explain", "M999")
    assert unknown.returncode == 2 and "'M999' is no code of a finding" in unknown.stderr


def test_a_package_has_to_be_named(check: Check) -> None:
    done = check()
    assert done.returncode == 2 and "which package?" in done.stderr


def test_nothing_is_left_behind(check: Check, tmp_path: Path) -> None:
    assert check(PACKAGES / "early_return").returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("mdai-model")) == []
