"""`.mdai/config.yaml`: which Python, which device and which environment variables a model asks for.

========== ================================================ ======= ==========================================
key        values                                           default note
========== ================================================ ======= ==========================================
base_image py37 … py313                                     py37    ``custom`` and ``nvidia`` are refused
device_type cpu, gpu                                        cpu     a wish, not a demand
cuda_version 10.0 10.1 11.0 11.3 11.8 12.1 12.2 12.3 12.4   11.0    number or text; read for gpu only
env        mapping                                          none    each value becomes ``str(value)``
========== ================================================ ======= ==========================================

The file is optional, may be empty, and `config.yaml` wins over `config.yml`. Case and stray spaces do not
matter in the first three. A key without a value counts as absent; unknown keys are ignored with a warning.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from model_loader.config_yaml import YamlMapping, read_mapping
from model_loader.errors import ConfigError
from model_loader.package_warning import PackageWarning, place

BASE_IMAGES = ("py37", "py38", "py39", "py310", "py311", "py312", "py313")
CUDA_VERSIONS = ("10.0", "10.1", "11.0", "11.3", "11.8", "12.1", "12.2", "12.3", "12.4")

_FILE_NAMES = ("config.yaml", "config.yml")
_PLATFORM_ONLY = {"clara_version": "It belongs to NVIDIA Clara images, which this server does not run."}


class ModelConfig(BaseModel):
    """What a package asks for. Every value has been checked; see the module for the keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base_image: str = "py37"
    device_type: Literal["cpu", "gpu"] = "cpu"
    cuda_version: str = "11.0"
    env: dict[str, str] = Field(default_factory=dict)

    @property
    def python_version(self) -> str:
        """The Python that `base_image` stands for, as "3.7"."""
        return f"3.{self.base_image.removeprefix('py3')}"

    @field_validator("base_image", mode="before")
    @classmethod
    def _known_base_image(cls, value: object) -> str:
        name = str(value).strip().lower()
        if name in BASE_IMAGES:
            return name
        allowed = f"Allowed: {', '.join(BASE_IMAGES)}; `--python X.Y` chooses another Python all the same."
        if name in ("custom", "nvidia"):
            needs = "a Dockerfile of the package's own" if name == "custom" else "an NVIDIA Clara image"
            raise ValueError(
                f"base_image is '{name}', which needs {needs}; this server builds Python environments only. "
                "Set base_image to the Python that the model needs and list its libraries in "
                f"requirements.txt. {allowed}"
            )
        hint = re.fullmatch(r"(?:py|python)?[ _-]?3\.?(7|8|9|10|11|12|13)(?:\.\d+)?", name)
        meant = f" Write py3{hint[1]}." if hint else ""
        if name == "3.1":
            meant = " YAML reads 3.10 as that number: write py310."
        raise ValueError(f"base_image is {_shown(value)}, which is not known.{meant} {allowed}")

    @field_validator("device_type", mode="before")
    @classmethod
    def _known_device_type(cls, value: object) -> str:
        name = str(value).strip().lower()
        if name not in ("cpu", "gpu"):
            raise ValueError(f"device_type is {_shown(value)}, which is not known. Allowed: cpu, gpu.")
        return name

    @field_validator("cuda_version", mode="before")
    @classmethod
    def _known_cuda_version(cls, value: object, info: ValidationInfo) -> str:
        if info.data.get("device_type") != "gpu":
            return "11.0"
        version = str(value).strip()
        if version.isdecimal():
            version += ".0"
        if version not in CUDA_VERSIONS:
            allowed = ", ".join(CUDA_VERSIONS)
            raise ValueError(f"cuda_version is {_shown(value)}, which is not known. Allowed: {allowed}.")
        return version

    @field_validator("env", mode="before")
    @classmethod
    def _environment(cls, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValueError(
                f"env is {_shown(value)}, not a mapping. Write one `NAME: value` a line below `env:`, indented."
            )
        variables: dict[str, str] = {}
        for key, given in value.items():
            name, text = _as_text(key, "a name"), _as_text(given, f"env.{_shown(key)}")
            if not name or "=" in name or "\0" in name:
                raise ValueError(f"env has the name {name!r}. A name is not empty and holds neither '=' nor NUL.")
            if "\0" in text:
                raise ValueError(f"env.{name} holds a NUL character, which no environment variable can. Remove it.")
            variables[name] = text
        return variables


def config_file(mdai_folder: Path) -> Path | None:
    """The file that is read; None where there is none."""
    return next((path for name in _FILE_NAMES if (path := mdai_folder / name).exists()), None)


def load_config(mdai_folder: Path, *, is_python_chosen: bool = False) -> tuple[ModelConfig, tuple[PackageWarning, ...]]:
    """Read the configuration in `mdai_folder` and return it with warnings, which are whole sentences.

    Where the operator has chosen the Python, a base_image that has no meaning here is one of the warnings.
    Raises ConfigError, naming the file, the line, what was found and what is allowed.
    """
    file = config_file(mdai_folder)
    if file is None:
        return ModelConfig(), _misnamed(mdai_folder)
    shown = f"{mdai_folder.name}/{file.name}"
    warnings = []
    if all((mdai_folder / name).exists() for name in _FILE_NAMES):
        text = f"{mdai_folder.name} holds config.yaml and config.yml; only config.yaml is read."
        warnings.append(PackageWarning(text, kind="two configs", file=f"{mdai_folder.name}/{_FILE_NAMES[1]}"))
    document = read_mapping(file, shown)
    warnings += document.warnings
    warnings += _unknown_keys(document, shown)
    given = {key: value for key, value in document.values.items() if isinstance(key, str) and value is not None}
    try:
        config = ModelConfig.model_validate(given)
    except ValidationError as error:
        faults = _faults(error, document)
        if not is_python_chosen or [key for key, _, _ in faults] != ["base_image"]:
            text = " ".join(f"{place(shown, line)}: {reason}" for _, line, reason in faults)
            raise ConfigError(text, file=shown, line=faults[0][1]) from None
        _, line, reason = faults[0]
        said = f"{reason} The Python that was chosen for this start is taken."
        warnings.append(PackageWarning.at(shown, line, said, kind="base image", key="base_image"))
        config = ModelConfig.model_validate({key: given[key] for key in given if key != "base_image"})
    warnings += _doubtful_variables(document, shown)
    return config, tuple(warnings)


def _misnamed(mdai_folder: Path) -> tuple[PackageWarning, ...]:
    try:
        names = sorted(path.name for path in mdai_folder.iterdir())
    except OSError:
        return ()
    return tuple(
        PackageWarning(
            f"{mdai_folder.name}/{name} is not read: the name must be config.yaml, in lower case.",
            kind="misnamed config",
            file=f"{mdai_folder.name}/{name}",
        )
        for name in names
        if name.lower() in _FILE_NAMES
    )


def near_keys(name: str) -> list[str]:
    """The known keys that `name` may stand for, the nearest first."""
    return difflib.get_close_matches(name.strip().lower(), tuple(ModelConfig.model_fields))


def _unknown_keys(document: YamlMapping, shown: str) -> list[PackageWarning]:
    warnings = []
    for key in document.values:
        if key in ModelConfig.model_fields:
            continue
        name = str(key)
        near = near_keys(name)
        advice = _PLATFORM_ONLY.get(name) or (f"Did you mean {near[0]!r}?" if near else "")
        said = f"{_shown(name)} is not a known key and is ignored. {advice}".rstrip()
        warnings.append(PackageWarning.at(shown, document.lines.get((name,)), said, kind="unknown key", key=name))
    return warnings


def _doubtful_variables(document: YamlMapping, shown: str) -> Iterator[PackageWarning]:
    env = document.values.get("env")
    for name, value in env.items() if isinstance(env, dict) else ():
        if value is None:
            doubt = "has no value, so the model sees the text 'None'. Write \"\" for an empty text."
        elif str(name).startswith("PYTHON"):
            doubt = "does not reach the model's own interpreter, only Python programs that the model starts."
        elif "$" in str(value):
            doubt = "holds a $, and the model sees it as it stands: variables are not expanded here."
        else:
            continue
        line = document.lines.get(("env", str(name)))
        yield PackageWarning.at(shown, line, f"env.{name} {doubt}", kind="env", key=str(name))


def _faults(error: ValidationError, document: YamlMapping) -> list[tuple[str, int | None, str]]:
    """Of each key that has no meaning: its name, its line and the reason."""
    faults = []
    for problem in error.errors():
        key = str(problem["loc"][0])
        reason = problem.get("ctx", {}).get("error", problem["msg"])
        faults.append((key, document.lines.get((key,)), str(reason)))
    return faults


def _as_text(value: object, what: str) -> str:
    try:
        text = str(value)
        text.encode()
    except ValueError:
        raise ValueError(f"{what} cannot be written as text. Put it in quotes, in plain UTF-8.") from None
    return text


def _shown(value: object) -> str:
    """A value as people who write YAML know it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, int | float):
        return f"the number {str(value)[:40]}"
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")
