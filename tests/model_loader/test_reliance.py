"""What a package's code needs of an environment without listing it."""

import sys
from pathlib import Path

import pytest

from model_loader.environment import EnvironmentRequest, ModelEnvironment
from model_loader.errors import EnvironmentBuildError
from model_loader.reliance import ask, unlisted
from model_loader.requirements_file import Requirements, read_requirements
from model_loader.source_code import read_source_code
from tests.building import OWN, build, open_with, write_wheel

pytest_plugins = ("tests.building_places",)


def relied_on(
    folder: Path, cache: Path, environ: dict[str, str], code: str, listed: str
) -> list[tuple[str, str, bool]]:
    """Distribution, module, and whether it is the baseline's."""
    package = open_with(folder, listed)
    (package.mdai / "mdai_deploy.py").write_text(f"{code}\nclass MDAIModel:\n    pass\n")
    preinstalled = ("numpy", "pylibjpeg", "pylibjpeg-rle")
    environment = build(package, cache, environ, EnvironmentRequest(python=OWN, preinstalled=preinstalled))
    listing = Requirements() if package.requirements is None else read_requirements(package.requirements)
    found = unlisted(read_source_code(package), listing, environment)
    return [(one.distribution, one.module, one.is_baseline) for one in found]


@pytest.fixture
def wheels(tmp_path: Path, local: dict[str, str]) -> dict[str, str]:
    for name, module in [("numpy", None), ("pylibjpeg", None), ("pylibjpeg_rle", "rle"), ("brought", None)]:
        write_wheel(tmp_path / "wheels", name, "1.0", module=module)
    write_wheel(tmp_path / "wheels", "tiny", "1.0", requires=["brought"])
    return local


@pytest.mark.parametrize(
    ("code", "listed", "expected"),
    [
        ("import numpy, os", "tiny\n", [("numpy", "numpy", True)]),
        ("import numpy.linalg, tiny", "tiny\nNumPy\n", []),
        ("import tiny, brought", "tiny\n", [("brought", "brought", False)]),
        ("import rle, tiny", "tiny\n", [("pylibjpeg-rle", "rle", True)]),
        ("try:\n    import numpy\nexcept ImportError:\n    numpy = None", "tiny\n", []),
        ("import own\nx = own.y.pixel_array", "pillow_like\n", None),
    ],
)
def test_what_is_imported_and_not_listed(
    tmp_path: Path,
    cache: Path,
    wheels: dict[str, str],
    code: str,
    listed: str,
    expected: list[tuple[str, str, bool]] | None,
) -> None:
    if expected is None:
        write_wheel(tmp_path / "wheels", "pillow_like", "1.0")
        expected = [("pylibjpeg", "pixel_array", True), ("pylibjpeg-rle", "pixel_array", True)]
    assert relied_on(tmp_path / "model", cache, wheels, code, listed) == expected


def test_a_decoder_that_is_listed_is_enough(tmp_path: Path, cache: Path, wheels: dict[str, str]) -> None:
    code = "def f(d):\n    return d.pixel_array"
    assert relied_on(tmp_path / "model", cache, wheels, code, "pylibjpeg\n") == []


def test_what_comes_from_a_file_of_the_packages_is_listed(tmp_path: Path, cache: Path, wheels: dict[str, str]) -> None:
    write_wheel(tmp_path / "model/.mdai", "mine", "1.0")
    listed = "./mine-1.0-py3-none-any.whl\n"
    assert relied_on(tmp_path / "model", cache, wheels, "import mine", listed) == []


def test_an_interpreter_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(EnvironmentBuildError, match="cannot be asked what is installed"):
        ask(ModelEnvironment(Path("/bin/false"), None, (), "", "3.8.0"), ["numpy"])


def test_names_of_the_servers_are_not_there_for_a_package() -> None:
    environment = ModelEnvironment(Path(sys.executable), None, (Path("/x"),), "", OWN)
    answers = ask(environment, ["app", "model_loader", "numpy", "sys", "__main__", "no.such"])
    assert [answer.is_found for answer in answers.values()] == [False, False, True, True, True, False]
