"""What the doctor examines: a package as it was given, and as much of it as could be opened."""

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.doctor.code.script import Script, scripts_of
from app.doctor.finding import Place
from model_loader.package import ModelPackage
from model_loader.requirements_file import Requirements, read_requirements
from model_loader.source_code import SourceCode, read_source_code


@dataclass(frozen=True)
class Subject:
    """A package that opens. `source` is what was given: a folder, or an archive that `package` was unpacked from."""

    source: Path
    package: ModelPackage
    python: str
    """The version that the model would run on, as "3.7": the operator's choice, else base_image."""

    @property
    def is_archive(self) -> bool:
        """An archive is looked at and never changed."""
        return not self.source.is_dir()

    @property
    def is_changeable(self) -> bool:
        """Whether the files are the author's own: those of an archive were unpacked for this look only."""
        return not self.is_archive and self.package.root.is_relative_to(self.source.resolve())

    @property
    def python_version(self) -> tuple[int, int]:
        """`python` to compare with, as (3, 7)."""
        major, minor, *_ = self.python.split(".")
        return int(major), int(minor)

    @property
    def is_read_as_the_model_would(self) -> bool:
        """Whether this Python can tell what the model's takes for syntax: it knows its own and older ones'."""
        return self.python_version <= sys.version_info[:2]

    @cached_property
    def code(self) -> SourceCode:
        """Its Python files."""
        return read_source_code(self.package)

    @cached_property
    def scripts(self) -> tuple[Script, ...]:
        """What of the code runs when the model is loaded and predicts, mdai_deploy.py first; none that is no Python."""
        return scripts_of(self.code)

    @property
    def own_scripts(self) -> tuple[Script, ...]:
        """The same without the libraries that the package brings along."""
        return tuple(script for script in self.scripts if not script.is_library)

    @cached_property
    def requirements(self) -> Requirements:
        """What .mdai/requirements.txt asks for; nothing where there is none."""
        return read_requirements(self.package.requirements)

    def place(self, path: Path, line: int | None = None) -> Place:
        """Where a file of the package lies, as findings name it."""
        root = self.package.root
        return Place(path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path), line)
