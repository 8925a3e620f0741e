"""Every example, and what `init` writes, is a package that the loader takes without a word."""

from pathlib import Path

import pytest

from app.scaffold import write_package
from model_loader.package import open_package

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PACKAGES = sorted(folder.parent for folder in EXAMPLES.glob("*/.mdai"))


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_an_example_is_a_package(folder: Path, tmp_path: Path) -> None:
    package = open_package(folder, scratch=tmp_path)
    assert package.root == folder
    assert package.requirements == folder / ".mdai" / "requirements.txt"
    assert (package.config.base_image, package.warnings) == ("py311", ())


def test_what_init_writes_is_a_package(tmp_path: Path) -> None:
    write_package(tmp_path / "model")
    package = open_package(tmp_path / "model", scratch=tmp_path)
    assert (package.config.base_image, package.warnings) == ("py311", ())
    assert package.config.env == {"BRIGHT_FRACTION": "0.6"}
