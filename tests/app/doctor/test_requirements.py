"""What the doctor says about requirements.txt and its lock, and what it leaves alone."""

import shutil
import sys
from pathlib import Path

import pytest

from app.doctor import requirements
from app.doctor.finding import Finding
from app.doctor.subject import Subject
from model_loader.environment import EnvironmentRequest
from model_loader.errors import InstallFailed, InterpreterNotFound
from model_loader.lock_file import requirements_digest
from tests.building import OWN, build, write_wheel
from tests.doctoring import SILENT, subject_of, write_model

pytest_plugins = ("tests.building_places",)

REPOSITORY = Path(__file__).resolve().parents[3]
GUI = "import cv2\ncv2.imshow('x', 1)\n" + SILENT


def subject(folder: Path, text: str, python: str = "3.8", **files: str | bytes) -> Subject:
    named = {name.replace("__", "/"): content for name, content in files.items()}
    return subject_of(write_model(folder / "model", {".mdai/requirements.txt": text, **named}), python)


def found(examined: Subject) -> list[tuple[str, int | None]]:
    return [(one.code.name, one.place.line) for one in requirements.examine(examined)]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("R001", "numpy"),
        ("R001", "numpy>=1.19"),
        ("R001", "numpy!=1.5"),
        ("R002", "sklearn"),
        ("R002", "PIL==1.0"),
        ("R002", "json"),
        ("R002", "tensorflow-gpu"),
        ("R002", "tensorflow-gpu==2.12.0"),
        ("R003", "pathlib"),
        ("R003", "enum34==1.1"),
        ("R004", "numpy=1.19"),
        ("R004", "numpy=1.19.2=py37_0"),
        ("R004", "_libgcc_mutex=0.1=main"),
        ("R004", "pip install numpy==1.19"),
        ("R004", "numpy 1.19"),
        ("R004", "- numpy"),
        ("R004", "numpy,scipy"),
        ("R004", "numpy==1.x"),
        ("R004", "torch==1.7.1+cu110 -f https://a.invalid/torch.html"),
        ("R005", "numpy @ file:///tmp/build/80754af9/numpy_1634095647912/work"),
        ("R005", "./x-1.0-py3-none-any.whl"),
        ("R005", "-e ../nowhere"),
        ("R005", "-r more.txt"),
        ("R005", "C:\\wheels\\x-1.0-py3-none-any.whl"),
        ("R005", "file:///C:/wheels/x-1.0-py3-none-any.whl"),
        ("R006", "../../outside"),
        ("R007", "git+https://a.invalid/x/y"),
        ("R007", "-e git+https://a.invalid/x/y@main#egg=y"),
        ("R007", "y @ git+ssh://git@a.invalid/x/y.git@v1.0"),
        ("R007", "https://a.invalid/x/y/archive/master.zip"),
        ("R008", "opencv-python==4.2.0.32"),
        ("R008", "opencv_contrib_python<5"),
        ("R013", "https://a.invalid/x-1.0-cp37-cp37m-manylinux1_x86_64.whl"),
        ("R013", "https://a.invalid/x-1.0-cp39-abi3-manylinux1_x86_64.whl"),
        ("R013", "https://a.invalid/x-1.0-cp38-cp38-win_amd64.whl"),
        ("R013", "https://a.invalid/x-1.0-py2-none-any.whl"),
    ],
)
def test_a_line_is_reported_where_it_stands(tmp_path: Path, code: str, line: str) -> None:
    (tmp_path / "outside").mkdir()
    assert found(subject(tmp_path, f"# first\n\nscipy==1.5\n{line}  # said\n")) == [(code, 4)]


@pytest.mark.parametrize(
    "line",
    [
        "numpy==1.19",
        "numpy===1.19",
        "numpy~=1.19",
        "numpy>=1,<2",
        "numpy==1.*",
        "Scikit_Learn[a,b] == 1.2 ; python_version > '3'",
        "sklearn; python_version < '3'",
        "dataclasses; python_version < '3.7'",
        "typing-extensions==4",
        "tensorflow-gpu==2.2.0",
        "tensorflow-gpu<2.12",
        "torch @ https://a.invalid/torch-1.0-cp38-cp38-linux_x86_64.whl",
        "https://a.invalid/x-1.0-cp36-abi3-manylinux1_x86_64.whl",
        "https://a.invalid/x-1.0-py2.py3-none-any.whl",
        "https://a.invalid/x/y/archive/v1.0.zip",
        "git+https://a.invalid/x/y@0123456",
        "-e git+https://git@a.invalid/x/y@0123456789012345678901234567890123456789#egg=y",
        "./x.whl ; sys_platform == 'win32'",
        "./src",
        "-e ./src",
        "opencv-python-headless==4.2.0.34",
        "--extra-index-url https://a.invalid/simple",
        "numpy \\\n  ==1.19 \\\n  --hash=sha256:00",
    ],
)
def test_a_good_line_is_left_alone(tmp_path: Path, line: str) -> None:
    examined = subject(tmp_path, f"{line}\n", **{".mdai__src__x.py": ""})
    assert found(examined) == []


def test_an_opencv_that_opens_windows_is_left_alone(tmp_path: Path) -> None:
    examined = subject(tmp_path, "opencv-python==4.2.0.32\n", **{".mdai__mdai_deploy.py": GUI})
    assert found(examined) == []


def test_the_headless_opencv_is_told_by_the_numbers_that_both_have(tmp_path: Path) -> None:
    (one,) = requirements.examine(subject(tmp_path, "opencv-python==4.2.0.32\n"))
    assert "`opencv-python-headless==4.2.0.*`" in one.fix


def test_two_opencvs_are_one_too_many(tmp_path: Path) -> None:
    assert found(subject(tmp_path, "opencv-python==4.5.1.48\nopencv-python-headless==4.5.1.48\n")) == [("R009", 2)]


def test_one_project_at_two_versions_is_a_contradiction(tmp_path: Path) -> None:
    assert found(subject(tmp_path, "numpy==1.19\nscipy==1\nNumPy==1.20\n")) == [("R010", 3)]
    either = "numpy==1.19; python_version<'3.9'\nnumpy==1.20; python_version>='3.9'\nsix==1\nsix<2\n"
    assert found(subject(tmp_path, either)) == []
    assert found(subject(tmp_path, "numpy==1.19\nnumpy==1.19.0\n")) == []


@pytest.mark.parametrize(
    ("lines", "is_found"),
    [
        ("tensorflow==2.2.0\nprotobuf==4.21.0\n", True),
        ("tensorflow-cpu<2.12\nprotobuf>=3.21,<5\n", True),
        ("tensorflow==2.2.0\nprotobuf==3.20.1\n", False),
        ("tensorflow==2.2.0\nprotobuf<5\n", False),
        ("tensorflow==2.12.0\nprotobuf==4.21.0\n", False),
        ("protobuf==4.21.0\n", False),
    ],
)
def test_a_protobuf_that_an_old_tensorflow_cannot_import(tmp_path: Path, lines: str, is_found: bool) -> None:
    assert found(subject(tmp_path, lines)) == [("R016", 2)] * is_found


def test_constraints_pin_what_requirements_name(tmp_path: Path) -> None:
    examined = subject(tmp_path, "-c limits.txt\nnumpy\nscipy\n", **{".mdai__limits.txt": "numpy==1.19\nsklearn\n"})
    assert found(examined) == [("R001", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "./\0\n" + "x" * 5000 + ".whl\n",
        "git+https://[::1\nhttps://[bad/x.whl\ngit+\nfile:\n@\n;x\nx @\nnumpy ; ;\n",
        "-r requirements.txt\n-r\n-e\n-c\n-f\n-\n--\n",
        "tensorflow~=2\nprotobuf~=4\ntensorflow-gpu~=2\ntensorflow===abc\nprotobuf===abc\n",
        "\x1b[31mnumpy\n<html>\n",
    ],
)
def test_odd_lines_are_looked_at_and_told_in_printable_words(tmp_path: Path, text: str) -> None:
    for one in requirements.examine(subject(tmp_path, text)):
        assert (one.reason + one.fix).isprintable() and len(one.reason) < 600


def test_an_included_file_is_named(tmp_path: Path) -> None:
    examined = subject(tmp_path, "-r more.txt\n", **{".mdai__more.txt": "# more\nnumpy\n"})
    (one,) = requirements.examine(examined)
    assert str(one.place) == ".mdai/more.txt:2"


def test_a_file_of_windows_is_read_like_any_other(tmp_path: Path) -> None:
    written = "numpy==1.19\r\nsklearn\r\n"
    assert found(subject(tmp_path, written)) == [("R002", 2)]
    (tmp_path / "model/.mdai/requirements.txt").write_bytes(written.encode("utf-16"))
    assert found(subject_of(tmp_path / "model")) == [("R002", 2)]


def locked(examined: Subject, python: str = "3.8", line: str = "numpy==1.19 --hash=sha256:00") -> Subject:
    digest = requirements_digest(examined.requirements)
    heading = f"# Made by `mdai-model env --lock` for Python {python} from requirements.txt sha256:{digest}\n"
    (examined.package.mdai / "requirements.lock").write_text(f"{heading}{line}\n")
    return examined


def test_with_a_lock_nothing_has_to_be_pinned(tmp_path: Path) -> None:
    assert found(locked(subject(tmp_path, "numpy\ngit+https://a.invalid/x/y\n"))) == []


def test_a_stale_lock_is_told_and_pins_nothing(tmp_path: Path) -> None:
    examined = locked(subject(tmp_path, "numpy\n"))
    (examined.package.mdai / "requirements.txt").write_text("numpy\nscipy==1\n")
    assert found(subject_of(examined.package.root, "3.8")) == [("R011", 1), ("R001", 1)]


@pytest.mark.parametrize(
    ("python", "line", "number"), [("3.9", "numpy==1 --hash=sha256:00", 1), ("3.8", "numpy==1", 2)]
)
def test_a_lock_that_cannot_be_installed_is_told(tmp_path: Path, python: str, line: str, number: int) -> None:
    assert found(locked(subject(tmp_path, "numpy==1\n"), python, line)) == [("R012", number)]


def test_an_unreadable_lock_is_told(tmp_path: Path) -> None:
    examined = subject(tmp_path, "numpy==1\n", **{".mdai__requirements.lock": b"\xff\xfe\xff"})
    assert [code for code, _ in found(examined)] == ["R012"]


def unresolvable(tmp_path: Path, text: str, cache: Path, local: dict[str, str]) -> Finding:
    examined = subject(tmp_path, text, OWN)
    with pytest.raises(InstallFailed) as refused:
        build(examined.package, cache, local, EnvironmentRequest(python=OWN, preinstalled=()))
    return requirements.unresolvable(refused.value, examined)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("tiny==1.0\n\nmissing-thing==99\n", 3, "missing-thing"),
        ("tiny==1.0\ntiny==2.0\n", 1, "tiny==1.0 and tiny==2.0"),
        ("tiny==1.0\ntiny2=1\n", 2, "no such comparison operator"),
        ("tiny==1.0\n- tiny\n", 2, "Unexpected '-'"),
        ("tiny\nTiny_Second>=3\n", 2, "tiny-second"),
    ],
)
def test_what_cannot_be_installed_is_told_in_the_installers_words_at_its_line(
    tmp_path: Path, cache: Path, local: dict[str, str], text: str, line: int, words: str
) -> None:
    for name, version in [("tiny", "1.0"), ("tiny", "2.0"), ("tiny_second", "1.0")]:
        write_wheel(tmp_path / "wheels", name, version)
    one = unresolvable(tmp_path, text, cache, local)
    assert (one.code.name, str(one.place)) == ("R014", f".mdai/requirements.txt:{line}")
    assert words in one.reason


def test_an_environment_that_cannot_be_made_has_a_code_of_its_own(tmp_path: Path) -> None:
    one = requirements.unbuildable(InterpreterNotFound("There is no Python 3.8 here."), subject(tmp_path, ""))
    assert (one.code.name, one.reason) == ("R015", "There is no Python 3.8 here.")


def test_every_code_has_a_page_that_begins_with_it() -> None:
    for code in requirements.CODES:
        page = (REPOSITORY / f"docs/checks/{code.name}.md").read_text()
        assert page.startswith(f"# {code.name}: {code.title}\n")


def test_the_examples_and_the_template_have_nothing_to_mend(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "app/template/mdai", tmp_path / "template/.mdai")
    examples = REPOSITORY / "examples"
    assert found(subject_of(tmp_path / "template")) == []
    assert found(subject_of(examples / "lung-finder")) == []
    assert found(subject_of(examples / "tissue-segmentation")) == []


def test_nothing_is_said_of_a_package_without_requirements(tmp_path: Path) -> None:
    assert found(subject_of(write_model(tmp_path / "model", {}), f"3.{sys.version_info[1]}")) == []
