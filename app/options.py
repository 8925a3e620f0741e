"""Options that several commands of the command line share, each with its one help text.

Their values are text, which `Settings` reads; where an option is not given, the environment or the default counts.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

_WHAT_A_PACKAGE_IS = "A .zip, a .tar.gz or a folder with .mdai/ in it, or a platform export."

_PACKAGE = typer.Argument(metavar="PACKAGE", help=_WHAT_A_PACKAGE_IS, show_default=False)
Package = Annotated[Path, _PACKAGE]
PackageIfAny = Annotated[Path | None, _PACKAGE]


def option(name: str, help_text: str, metavar: str) -> Any:
    """An option whose text `Settings` reads; without it, MDAI_MODEL_<NAME> in the environment or the default count."""
    return typer.Option(name, help=help_text, metavar=metavar, show_default=False)


def flag(name: str, help_text: str) -> Any:
    """An option without a value."""
    return typer.Option(name, help=help_text, show_default=False)


Text = str | None
EnvironmentOption = Annotated[
    Text,
    option(
        "--environment",
        "auto builds what the package asks for (default); current takes the server's own Python; or a venv, a conda"
        " environment or an interpreter of yours.",
        "auto|current|PATH",
    ),
]
PythonOption = Annotated[
    Text, option("--python", "Python for the model instead of the one that base_image asks for.", "X.Y")
]
ExcludeNewerOption = Annotated[
    Text,
    option(
        "--exclude-newer",
        "Install nothing that was published after this day (or time, as 2023-01-31T12:00:00Z): old requirements"
        " without upper bounds then give what they gave that day.",
        "DATE",
    ),
]
TorchOption = Annotated[
    Text,
    option(
        "--torch-backend",
        "Which build of torch: auto goes by the device and cuda_version (default); cpu; a CUDA version's, as cu118;"
        " none takes what the configured indexes give.",
        "auto|cpu|cu118|...|none",
    ),
]
OfflineOption = Annotated[
    bool | None,
    flag("--offline", "Use no network: install from --wheelhouse and from uv's cache only."),
]
ModelRootOption = Annotated[
    Text, option("--model-root", "Folder inside the package that holds .mdai, where there are several.", "PATH")
]
ModelVersionOption = Annotated[
    Text, option("--model-version", "Version of a platform export, N of source/vN.zip (default: the highest).", "N")
]
CacheOption = Annotated[
    Text, option("--cache-dir", "Where environments are kept (default: mdai-model in the user's cache).", "PATH")
]
WheelhouseOption = Annotated[
    Text, option("--wheelhouse", "Install from this folder of wheels and from nothing else.", "DIR")
]
DeviceOption = Annotated[
    Text,
    option("--device", "auto does as config.yaml says; gpu refuses to start without one.", "auto|cpu|gpu"),
]
StartupTimeoutOption = Annotated[
    Text, option("--startup-timeout", "A worker must be ready within this (default 10m).", "DURATION")
]
PredictTimeoutOption = Annotated[
    Text, option("--predict-timeout", "A predict that takes longer is killed (default 10m).", "DURATION")
]
Scope = Literal["INSTANCE", "SERIES", "STUDY"]
