"""What is doubtful about config.yaml, each with its line, and what is repaired."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.doctor import config
from app.doctor.finding import Finding
from app.doctor.subject import Subject
from app.scaffold import write_package as write_template
from model_loader.package import open_package
from tests.building import write_files
from tests.doctoring import subject_of

REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOY = "class MDAIModel:\n    pass\n"


def packaged(tmp_path: Path, text: str | bytes | None, name: str = "config.yaml", requirements: str = "") -> Path:
    files: dict[str, str | bytes] = {".mdai/mdai_deploy.py": DEPLOY, ".mdai/requirements.txt": requirements}
    return write_files(tmp_path / "m", files | ({} if text is None else {f".mdai/{name}": text}))


def found(folder: Path, python: str | None = None) -> list[Finding]:
    return list(config.examine(subject_of(folder, python)))


def told(folder: Path) -> list[str]:
    return [f"{finding.code.name} {finding.place}" for finding in found(folder)]


def repaired(folder: Path, python: str | None = None) -> str:
    (finding,) = [finding for finding in found(folder, python) if finding.repair]
    assert finding.repair
    finding.repair.apply()
    return (folder / ".mdai/config.yaml").read_bytes().decode()


@pytest.mark.parametrize(
    "text",
    [
        "base_image: py37\n",
        "base_image: PY310  # any case\ndevice_type: GPU\ncuda_version: 11.8\nenv:\n  A: 1\n  B: ''\n  C: [1, 'a']\n",
        "device_type: gpu\n",
        "device_type: gpu\nbase_image: py310\ncuda_version: '12.4'\n",
        "base_image: py38\ndevice_type: gpu\ncuda_version: 10.0\n",
        "env:\n",
    ],
)
def test_what_is_read_everywhere_is_silent(tmp_path: Path, text: str) -> None:
    assert told(packaged(tmp_path, text)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("base_image: py39\ncolour: red\n", "C002 .mdai/config.yaml:2"),
        ("base_image: py39\nclara_version: 4.1.0\n", "C002 .mdai/config.yaml:2"),
        ("base_image: py38\nenv:\nbase_image: py39\n", "C003 .mdai/config.yaml:3"),
        ("env: {A: 1,\n A: 2}\n", "C003 .mdai/config.yaml:2"),
        ("base_image: py311\n", "C008 .mdai/config.yaml:1"),
        ("base_image: py39\ncuda_version: 11.0\n", "C009 .mdai/config.yaml:2"),
        ("env:\n  A:\n", "C010 .mdai/config.yaml:2"),
        ("env:\n  A: $HOME/x\n", "C010 .mdai/config.yaml:2"),
        ("env:\n  PYTHONPATH: lib\n", "C010 .mdai/config.yaml:2"),
        ("env:\n  A: x\n  B: a b\n", "C011 .mdai/config.yaml:3"),
        ("# nothing\n", "C012 .mdai/config.yaml"),
        ("device_type: cpu\nbase_image:\n", "C012 .mdai/config.yaml:2"),
        ('base_image: " py39"\n', "C012 .mdai/config.yaml:1"),
        ("device_type: gpu\ncuda_version: 11\n", "C012 .mdai/config.yaml:2"),
    ],
)
def test_each_doubt_has_its_code_and_its_line(tmp_path: Path, text: str, expected: str) -> None:
    folder = packaged(tmp_path, text)
    assert told(folder) == [expected]
    (finding,) = found(folder)
    assert finding.reason.endswith(".") and finding.fix.endswith(".")


def test_every_warning_of_the_package_is_a_finding(tmp_path: Path) -> None:
    """Whatever `serve` warns about at its start, `check` says too, with a place."""
    text = "base_imgae: py39\ndevice_type: cpu\ndevice_type: cpu\nenv:\n  A:\n  PYTHONX: 1\n  C: $\nx: 1\n"
    folder = packaged(tmp_path, text)
    write_files(folder, {".mdai/config.yml": ""})
    warnings = subject_of(folder).package.warnings
    findings = found(folder)
    assert len(warnings) == 7
    assert [str(finding.place) for finding in findings] == [
        ".mdai/config.yml",
        ".mdai/config.yaml:3",
        ".mdai/config.yaml:1",
        ".mdai/config.yaml:8",
        ".mdai/config.yaml:5",
        ".mdai/config.yaml:6",
        ".mdai/config.yaml:7",
    ]


def test_a_base_image_that_is_overruled_is_told(tmp_path: Path) -> None:
    folder = packaged(tmp_path, "base_image: custom\n")
    package = open_package(folder, scratch=tmp_path, is_python_chosen=True)
    (finding,) = config.examine(Subject(folder, package, "3.9"))
    assert (finding.code.name, str(finding.place)) == ("C013", ".mdai/config.yaml:1")


@pytest.mark.parametrize(
    ("image", "cuda", "requirements", "expected"),
    [
        ("py310", "10.1", "tensorflow==2.8\n", "C007"),
        ("py39", "10.0", "", "C007"),
        ("py37", "11.8", "tensorflow\ntorch\n", "C007"),
        ("py37", "12.1", "", "C007"),
        ("py37", "12.1", "torch==1.13\n", None),
        ("py37", "11.3", "tensorflow\n", None),
        ("py38", "12.4", "", None),
        ("py39", "10.1", "", None),
        ("py310", "11.0", "tensorflow\n", None),
    ],
)
def test_a_pair_that_no_framework_was_built_for(
    tmp_path: Path, image: str, cuda: str, requirements: str, expected: str | None
) -> None:
    """PyTorch's wheels bring their own CUDA, so that a package of PyTorch alone is not told."""
    folder = packaged(
        tmp_path, f"base_image: {image}\ndevice_type: gpu\ncuda_version: {cuda}\n", "config.yaml", requirements
    )
    assert [finding.code.name for finding in found(folder)] == ([expected] if expected else [])


# Repairs


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"base_imgae: py39\n", "base_image: py39\n"),
        (b"# a\r\nBASE_IMAGE : py39 # b\r\nenv: {}\r\n", "# a\r\nbase_image : py39 # b\r\nenv: {}\r\n"),
        (b"'device-type': gpu\nbase_image: py39", "device_type: gpu\nbase_image: py39"),
        (b"\xef\xbb\xbfcudaversion: 11.3\ndevice_type: gpu\n", "\ufeffcuda_version: 11.3\ndevice_type: gpu\n"),
    ],
)
def test_a_key_with_one_near_match_is_renamed_in_the_text(tmp_path: Path, before: bytes, after: str) -> None:
    folder = packaged(tmp_path, before)
    assert repaired(folder) == after
    assert told(folder) == []


@pytest.mark.parametrize(
    "text",
    [
        "base_imgae: py39\nbase_image: py38\n",
        "base_imgae: py39\nbase-image: py38\n",
        "{base_imgae: py39}\n",
        "? base_imgae\n: py39\n",
        "base_imgae: py27\n",
        "x: 1\n",
        "base: &b {base_imgae: py39}\n<<: *b\n",
        "base_imgae: py39\n".encode("utf-16"),
    ],
)
def test_a_key_in_doubt_is_not_renamed(tmp_path: Path, text: str | bytes) -> None:
    findings = found(packaged(tmp_path, text))
    assert "C002" in [finding.code.name for finding in findings]
    assert [finding for finding in findings if finding.repair] == []


def test_a_config_in_another_case_is_renamed(tmp_path: Path) -> None:
    folder = packaged(tmp_path, "base_image: py39\n", "Config.YAML")
    assert told(folder) == ["C005 .mdai/Config.YAML"]
    assert repaired(folder) == "base_image: py39\n"
    assert told(folder) == []


@pytest.mark.parametrize(("python", "image"), [(None, "py37"), ("3.10", "py310"), ("3.14", "py37")])
def test_without_a_config_one_is_written_that_says_what_is_in_force(
    tmp_path: Path, python: str | None, image: str
) -> None:
    folder = packaged(tmp_path, None)
    assert told(folder) == ["C006 .mdai/config.yaml"]
    assert repaired(folder, python) == f"base_image: {image}\ndevice_type: cpu\n"
    assert told(folder) == []


def test_a_config_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    folder = packaged(tmp_path, None)
    (finding,) = found(folder)
    packaged(tmp_path, "base_image: py39\n")
    assert finding.repair
    with pytest.raises(FileExistsError):
        finding.repair.apply()


@pytest.mark.parametrize(("text", "name"), [(None, ""), ("base_imgae: py39\n", "config.yaml"), ("", "Config.yml")])
def test_nothing_is_repaired_in_what_was_unpacked(tmp_path: Path, text: str | None, name: str) -> None:
    folder = packaged(tmp_path, text, name)
    subject = replace(subject_of(folder), source=tmp_path / "m.zip")
    assert [finding.repair for finding in config.examine(subject)] == [None]


@pytest.mark.parametrize("name", ["lung-finder", "tissue-segmentation"])
def test_the_examples_say_only_that_mdai_lacks_their_python(name: str) -> None:
    assert told(REPOSITORY / "examples" / name) == ["C008 .mdai/config.yaml:2"]


def test_the_template_says_only_that_mdai_lacks_its_python(tmp_path: Path) -> None:
    write_template(tmp_path / "new")
    assert [line.partition(" ")[0] for line in told(tmp_path / "new")] == ["C008"]
