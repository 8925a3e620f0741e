"""Every option of the service, and the only place that reads options from the process environment.

An option comes from the command line or, as `MDAI_MODEL_<NAME>`, from the environment; the command line wins,
and a variable that is set to nothing counts as not set. Sizes are written `5MB` (millions of bytes) or `2GiB`
(powers of 1024), durations `30` (seconds), `90s`, `10m`, `1h`.
"""

import contextlib
import difflib
import math
import os
import re
import tempfile
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.body_budget import default_budget
from model_loader.interpreters import OLDEST_SUPPORTED

ENV_PREFIX = "MDAI_MODEL_"
DEFAULT_PORT = 6324

_SIZE_UNITS = {"": 1, "b": 1} | {
    letter + suffix: step**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, step in (("b", 1000), ("ib", 1024), ("", 1000))
}
_DURATION_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

# Kubernetes gives every container such variables for a Service named `mdai-model`; they are not options.
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")
_SERVICE_LINK_NAME = re.compile(r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")


class SettingsError(Exception):
    """An option has no meaning; the text names each one, by the name under which it was given."""


def parse_size(value: object) -> object:
    """Bytes in `5MB`, `2GiB`, `1048576`; what is not text is left to pydantic. Raises ValueError."""
    if not isinstance(value, str):
        return value
    number, unit = _number_and_unit(value)
    if number is None or unit not in _SIZE_UNITS:
        raise ValueError(f"{value!r} is not a size; write bytes as 5MB, 2GiB or 1048576")
    return int(number * _SIZE_UNITS[unit])


def parse_duration(value: object) -> object:
    """Seconds in `30`, `90s`, `10m`, `1h`; what is not text is left to pydantic. Raises ValueError."""
    if not isinstance(value, str):
        return value
    number, unit = _number_and_unit(value)
    if number is None or unit not in _DURATION_UNITS:
        raise ValueError(f"{value!r} is not a duration; write 30 (seconds), 90s, 10m or 1h")
    return number * _DURATION_UNITS[unit]


def parse_age(text: str) -> float:
    """Seconds in `30d`, `12h` or any other duration. Raises ValueError."""
    number, unit = _number_and_unit(text)
    seconds = _DURATION_UNITS.get(unit, 86400.0 if unit == "d" else None)
    if number is None or seconds is None:
        raise ValueError(f"{text!r} is not an age; write 30d (days), 12h or 0d")
    return number * seconds


def _number_and_unit(text: str) -> tuple[float | None, str]:
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)\s*", text.lower(), re.ASCII)
    return (float(match[1]), match[2]) if match else (None, "")


def _ignore_service_link(value: object) -> object:
    if isinstance(value, str) and _SERVICE_LINK_VALUE.match(value):
        return DEFAULT_PORT
    return value


def _default_cache_dir() -> Path:
    configured = Path(os.environ.get("XDG_CACHE_HOME") or "")
    try:
        folder = configured if configured.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a container whose user id has neither HOME nor an entry in passwd
        folder = Path(tempfile.gettempdir())
    return folder / "mdai-model"


def _python_version(value: object) -> object:
    found = re.fullmatch(r"(\d)\.(\d{1,2})(\.\d{1,2})?", value, re.ASCII) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not a Python version; write 3.8 or 3.11.4")
    if (int(found[1]), int(found[2])) < OLDEST_SUPPORTED:
        raise ValueError(f"Python {value} is too old; models run on Python 3.7 or newer")
    return value


def _model_version(value: object) -> object:
    """`3`, or `v3` as the archive is called; what is not text is left to pydantic. Raises ValueError."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*v?(\d{1,9})\s*", value, re.ASCII | re.IGNORECASE)
    if found is None:
        raise ValueError(f"{value!r} is not a version of an export; write 3 for source/v3.zip")
    return int(found[1])


def _moment(value: object) -> object:
    """A day, or a time with its offset from UTC; kept as it was written. Raises ValueError."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            if re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
                date.fromisoformat(value)
                return value
            if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value, re.ASCII) and datetime.fromisoformat(value).tzinfo:
                return value
    raise ValueError(f"{value!r} is neither a date nor a time; write 2023-01-31 or 2023-01-31T12:00:00Z")


def _torch_build(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"auto|none|cpu|cu\d{2,3}", value, re.ASCII):
        return value
    raise ValueError(f"{value!r} is no build of torch; write auto, none, cpu, or a CUDA version's as cu118 or cu121")


Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, lt=math.inf)]
Moment = Annotated[str, BeforeValidator(_moment)]
PythonVersion = Annotated[str, BeforeValidator(_python_version)]
ModelVersion = Annotated[int, BeforeValidator(_model_version)]
TorchBackend = Annotated[str, BeforeValidator(_torch_build)]
Port = Annotated[int, BeforeValidator(_ignore_service_link), Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """The options of `serve`; durations in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_ignore_empty=True, validate_default=False
    )

    host: str = Field("0.0.0.0", min_length=1, description="address to listen on")
    port: Port = Field(DEFAULT_PORT, description="port to listen on; 0 takes a free one")
    workers: int | None = Field(None, ge=1, le=256, description="model processes; default: one per GPU, else 1")
    spare_workers: int = Field(0, ge=0, le=256, description="loaded workers that wait to replace one that ends")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="gpu refuses to start without a GPU")
    environment: str = Field("auto", min_length=1, description="auto, current, or a venv or interpreter")
    python: PythonVersion | None = Field(None, description="overrides the package's base_image")
    exclude_newer: Moment | None = Field(None, description="nothing published later is installed")
    offline: bool = Field(False, description="use no network to build the environment")
    worker_user: str | None = Field(None, min_length=1, description="user whom workers become, by name or number")
    wheelhouse: Path | None = Field(None, description="folder of wheels to install from, and from nothing else")
    torch_backend: TorchBackend = Field("auto", description="build of torch: auto, cpu, cu118 and so on, or none")
    startup_timeout: Duration = Field(600.0, description="a worker must be ready within this time")
    predict_timeout: Duration = Field(600.0, description="a longer predict is killed")
    max_requests_per_worker: int | None = Field(None, ge=1, description="a worker is replaced after so many")
    worker_memory: Size | None = Field(None, description="a worker that holds more between requests is replaced")
    read_timeout: Duration = Field(30.0, description="a client may pause this long while it sends or receives")
    min_upload_rate: Size = Field(1000, description="bytes a second that an upload must bring")
    on_disconnect: Literal["finish", "kill"] = Field("finish", description="a predict whose client has left")
    grace: Duration = Field(30.0, description="time that running predictions get when the service stops")
    max_body: Size = Field(2 * 1024**3, description="largest request body")
    load_files_quota: Size = Field(4 * 1024**3, description="files that may be loaded ahead of their requests")
    load_files_age: Duration = Field(3600.0, description="files that no request has used by then are deleted")
    max_response: Size = Field(2 * 1024**3, description="largest answer of the model")
    max_queue: int = Field(64, ge=0, le=100_000, description="requests that may wait, for each worker")
    max_queue_bytes: Size = Field(default_factory=default_budget, description="bodies in memory at once")
    hide_tracebacks: bool = Field(False, description="answer with an error id instead of the model's own words")
    api_key_file: Path | None = Field(None, description="file of API keys, one a line, of which requests need one")
    api_keys: SecretStr | None = Field(None, description="such keys, with spaces or commas; from the environment only")
    tls_cert: Path | None = Field(None, description="certificate chain in PEM, to speak HTTPS")
    tls_key: Path | None = Field(None, description="private key of the certificate; default: in its file")
    strict: bool = Field(False, description="judge outputs exactly as the reference server does")
    reload: bool = Field(False, description="start the model anew when the package's files change")
    model_root: str | None = Field(None, min_length=1, description="folder inside the package that holds .mdai")
    model_version: ModelVersion | None = Field(None, ge=0, description="version of a platform export; default: newest")
    cache_dir: Path = Field(default_factory=_default_cache_dir, description="built environments and model homes")
    model_output: Literal["log", "off"] = Field("log", description="whether the log has what the model prints")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"


def load_settings(options: Mapping[str, Any] | None = None) -> Settings:
    """The settings from `options` (command line; None means not given) over the environment.

    Raises SettingsError with one line for each option that has no meaning.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentences(error, given))) from None


def stray_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """A warning for each `MDAI_MODEL_*` variable that is no option (a typo is otherwise silently ignored)."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    warnings = []
    for name in sorted(environ):
        option = name.upper()
        if not option.startswith(ENV_PREFIX) or option in known:
            continue
        if _SERVICE_LINK_NAME.fullmatch(option.removeprefix(ENV_PREFIX)):
            continue
        near = difflib.get_close_matches(option, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        warnings.append(f"The environment variable {name} is not an option of this service and is ignored{hint}")
    return warnings


def _sentences(error: ValidationError, given: Mapping[str, Any]) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else "options"
        source = f"--{name.replace('_', '-')}" if name in given else ENV_PREFIX + name.upper()
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] != "value_error":
            text = f"{problem['input']!r} is not accepted: {text[:1].lower()}{text[1:]}"
        lines.append(f"{source}: {text}")
    return lines
