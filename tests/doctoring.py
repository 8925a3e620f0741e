"""Packages for the doctor: written in a test, opened, and examined."""

from pathlib import Path

from app.doctor.subject import Subject
from model_loader.package import open_package

DEPLOY = "class MDAIModel:\n    def predict(self, data):\n        return []\n"


def write_package(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write the files into `folder`, their names relative to it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_model(folder: Path, files: dict[str, str | bytes]) -> Path:
    """`write_package`, with a mdai_deploy.py that answers nothing where `files` have none."""
    return write_package(folder, {".mdai/mdai_deploy.py": DEPLOY, **files})


def subject_of(folder: Path, python: str | None = None) -> Subject:
    """The package in `folder`, for the Python that it asks for or for another one."""
    package = open_package(folder, scratch=folder.parent / "scratch", is_python_chosen=python is not None)
    return Subject(folder, package, python or package.config.python_version)
