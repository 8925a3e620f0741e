"""What is doubtful about `.mdai/config.yaml`: what it says in vain, and what MD.ai's own platform reads otherwise.

The platform's side is its public image builder's, `mdai/model-deploy`, `build/helper.py`: it compares values as text in
lower case, fails on a key without a value, knows py37 to py310 for every CUDA version, and writes `env` into a
Dockerfile as `ENV NAME=value`. What is wrong altogether, so that the package does not open, is C001, which
`layout.refusal` says.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.doctor.finding import Code, Finding, Place, Repair, Severity
from app.doctor.repairs import moving
from app.doctor.subject import Subject
from model_loader.config import BASE_IMAGES, ModelConfig, config_file, near_keys
from model_loader.config_yaml import YamlMapping, read_mapping
from model_loader.errors import ConfigError
from model_loader.package_warning import PackageWarning

NO_MEANING = Code("C001", Severity.ERROR, "config.yaml has no meaning")
UNKNOWN_KEY = Code("C002", Severity.WARNING, "unknown key in config.yaml")
REPEATED_KEY = Code("C003", Severity.WARNING, "key twice in config.yaml")
TWO_CONFIGS = Code("C004", Severity.WARNING, "config.yml beside config.yaml")
MISNAMED = Code("C005", Severity.WARNING, "config.yaml under another name")
ABSENT = Code("C006", Severity.NOTE, "no config.yaml")
UNSUPPORTED_PAIR = Code("C007", Severity.WARNING, "no framework for this Python and CUDA version")
ONLY_HERE = Code("C008", Severity.NOTE, "base_image that MD.ai does not have")
CUDA_UNUSED = Code("C009", Severity.NOTE, "cuda_version without a GPU")
DOUBTFUL_VARIABLE = Code("C010", Severity.WARNING, "variable that is not what it seems")
UNPORTABLE_VARIABLE = Code("C011", Severity.WARNING, "variable that MD.ai cannot build")
READ_OTHERWISE = Code("C012", Severity.WARNING, "value that MD.ai reads otherwise")
BASE_IMAGE_OVERRULED = Code("C013", Severity.WARNING, "base_image has no meaning")

CODES = (
    NO_MEANING,
    UNKNOWN_KEY,
    REPEATED_KEY,
    TWO_CONFIGS,
    MISNAMED,
    ABSENT,
    UNSUPPORTED_PAIR,
    ONLY_HERE,
    CUDA_UNUSED,
    DOUBTFUL_VARIABLE,
    UNPORTABLE_VARIABLE,
    READ_OTHERWISE,
    BASE_IMAGE_OVERRULED,
)

_ON_THE_PLATFORM = ("py37", "py38", "py39", "py310")
#: By CUDA version, the newest Python for which TensorFlow or PyTorch was ever built with it, and the oldest one.
_NEWEST_PYTHON = {"10.0": 8, "10.1": 9}
_OLDEST_PYTHON = dict.fromkeys(("11.8", "12.1", "12.2", "12.3", "12.4"), 8)
_TENSORFLOW = {"tensorflow", "tensorflow-gpu"}
_FIXES = {
    "repeated key": (REPEATED_KEY, "Delete the line that is not meant."),
    "two configs": (TWO_CONFIGS, "Delete config.yml, after taking over what config.yaml lacks."),
    "base image": (BASE_IMAGE_OVERRULED, "Set base_image to the Python that the package is meant for."),
    "env": (DOUBTFUL_VARIABLE, "Write the value out as the model is to see it, or set it in the model's own code."),
}


@dataclass(frozen=True)
class _Text:
    """The file that is read, and what it says."""

    shown: str
    document: YamlMapping

    def place(self, *key: str) -> Place:
        return Place(self.shown, self.document.lines.get(key))


def examine(subject: Subject) -> Iterator[Finding]:
    """Everything that config.yaml says in vain or differently than it seems."""
    warnings = [warning for warning in subject.package.warnings if isinstance(warning, PackageWarning)]
    for warning in warnings:
        yield from _warned(subject, warning)
    file = config_file(subject.package.mdai)
    if file is None:
        if not any(warning.kind == "misnamed config" for warning in warnings):
            yield _absent(subject)
        return
    shown = subject.place(file).file
    try:
        document = read_mapping(file, shown)
    except ConfigError:  # it was changed since the package was opened
        return
    text = _Text(shown, document)
    yield from _doubts(subject, text)
    yield from _unportable_variables(text)


def _warned(subject: Subject, warning: PackageWarning) -> Iterator[Finding]:
    place = Place(warning.file, warning.line)
    match warning.kind:
        case "unknown key":
            yield _unknown_key(subject, warning, place)
        case "misnamed config":
            path = subject.package.root / warning.file
            name = path.name.lower()
            repair = Repair(f"renamed {warning.file} to {name}", moving(path, path.with_name(name)))
            yield Finding(
                MISNAMED, place, warning.said, f"Rename it to {name}.", repair if subject.is_changeable else None
            )
        case "repeated key" | "two configs" | "base image" | "env" as kind:
            code, fix = _FIXES[kind]
            yield Finding(code, place, warning.said, fix)


def _unknown_key(subject: Subject, warning: PackageWarning, place: Place) -> Finding:
    if not (near := near_keys(warning.key)):
        fix = "Delete it; the keys are base_image, device_type, cuda_version and env. Variables belong below env."
        return Finding(UNKNOWN_KEY, place, warning.said, fix)
    repair = _key_repair(subject.package.root / warning.file, place, warning.key, near)
    reason = f"{warning.key!r} is not a known key and is ignored."
    return Finding(UNKNOWN_KEY, place, reason, f"Write {near[0]}.", repair if subject.is_changeable else None)


def _key_repair(file: Path, place: Place, key: str, near: list[str]) -> Repair | None:
    """Renames the key in the text, where there is no doubt about what is meant and its value has a meaning then."""
    if len(near) != 1 or place.line is None:
        return None
    right, line = near[0].encode(), place.line
    pattern = re.compile(rb"""(\xef\xbb\xbf)?(["']?)""" + re.escape(key.encode()) + rb"""\2(?=\s*:)""")
    try:
        values = read_mapping(file, place.file).values
        ModelConfig.model_validate({near[0]: values[key]})
        found = pattern.match(file.read_bytes().split(b"\n")[line - 1])
    except (ConfigError, ValidationError, LookupError, OSError):
        return None
    if not found or [other for other in values if near_keys(str(other))[:1] == near] != [key]:
        return None

    def apply() -> None:
        lines = file.read_bytes().split(b"\n")
        lines[line - 1] = pattern.sub(rb"\g<1>" + right, lines[line - 1], count=1)
        file.write_bytes(b"\n".join(lines))

    return Repair(f"renamed the key {key} to {near[0]} in {place}", apply)


def _absent(subject: Subject) -> Finding:
    config = subject.package.config
    chosen = f"py{subject.python.replace('.', '')}"
    image = chosen if chosen in BASE_IMAGES else config.base_image
    file = subject.package.mdai / "config.yaml"
    shown = subject.place(file).file

    def apply() -> None:
        with file.open("x") as out:
            out.write(f"base_image: {image}\ndevice_type: {config.device_type}\n")

    reason = (
        f"There is no {shown}, so the model runs on Python 3.7 without a GPU, which is seldom what a new package wants."
        if image == "py37"
        else f"There is no {shown}: wherever no other Python is chosen, the model runs on Python 3.7 without a GPU."
    )
    fix = f"Write {shown}: `base_image: {image}` and `device_type: {config.device_type}`, a line each."
    repair = Repair(f"wrote {shown} with base_image: {image}", apply)
    return Finding(ABSENT, Place(shown), reason, fix, repair if subject.is_changeable else None)


def _doubts(subject: Subject, text: _Text) -> Iterator[Finding]:
    config, values = subject.package.config, text.document.values
    if not values:
        reason = "The file says nothing. Here the defaults hold; MD.ai's image builder fails on an empty file."
        fix = f"Write `base_image: {config.base_image}`, or delete the file."
        yield Finding(READ_OTHERWISE, Place(text.shown), reason, fix)
        return
    yield from _read_otherwise(text, "base_image", config.base_image)
    yield from _read_otherwise(text, "device_type", config.device_type)
    if config.base_image not in _ON_THE_PLATFORM and values.get("base_image") is not None:
        there = ", ".join(_ON_THE_PLATFORM)
        reason = f"{config.base_image} is known to this server; MD.ai itself has {there} only."
        fix = "Nothing has to be done to serve it here; to upload it to MD.ai, choose one of those."
        yield Finding(ONLY_HERE, text.place("base_image"), reason, fix)
    if config.device_type == "gpu":
        yield from _read_otherwise(text, "cuda_version", config.cuda_version)
        yield from _unsupported_pair(subject, text)
    elif values.get("cuda_version") is not None:
        reason = "cuda_version is read for device_type gpu only, and this package says cpu."
        fix = "Write `device_type: gpu` if a GPU is meant, else delete the line."
        yield Finding(CUDA_UNUSED, text.place("cuda_version"), reason, fix)


def _read_otherwise(text: _Text, key: str, effective: str) -> Iterator[Finding]:
    if key not in text.document.values:
        return
    value = text.document.values[key]
    given = str(value)
    if value is None:
        reason = f"{key} has no value. Here it is {effective}, as without the line; MD.ai's image builder fails."
        fix = f"Write `{key}: {effective}`, or delete the line."
        yield Finding(READ_OTHERWISE, text.place(key), reason, fix)
    elif given != given.strip() or (key == "cuda_version" and given != effective):
        reason = f"{key} is taken as {effective} here; MD.ai compares the text {given!r}, which it does not know."
        yield Finding(READ_OTHERWISE, text.place(key), reason, f"Write `{key}: {effective}`.")


def _unsupported_pair(subject: Subject, text: _Text) -> Iterator[Finding]:
    config, wanted = subject.package.config, subject.requirements.names
    if "torch" in wanted and not wanted & _TENSORFLOW:  # its wheels bring the CUDA libraries that they need
        return
    minor, cuda = int(config.python_version.removeprefix("3.")), config.cuda_version
    oldest, newest = _OLDEST_PYTHON.get(cuda, minor), _NEWEST_PYTHON.get(cuda, minor)
    if minor < oldest:
        bound, fix = f"before 3.{oldest}", f"Choose base_image py3{oldest} or newer, or cuda_version 11.3 or older."
    elif minor > newest:
        bound, fix = f"after 3.{newest}", f"Choose base_image py3{newest} or older, or cuda_version 11.0 or newer."
    else:
        return
    reason = (
        f"No TensorFlow or PyTorch was built with CUDA {cuda} for a Python {bound}, and base_image is "
        f"{config.base_image}: TensorFlow then finds no GPU and runs on the CPU."
    )
    yield Finding(UNSUPPORTED_PAIR, text.place("cuda_version"), reason, fix)


def _unportable_variables(text: _Text) -> Iterator[Finding]:
    env = text.document.values.get("env")
    for name, value in env.items() if isinstance(env, dict) else ():
        if re.search(r"\s", str(value)) and not re.search(r"[\"'\\]", str(value)):
            reason = (
                f"env.{name} holds a space or a line break. Here the model gets it as it stands; MD.ai writes it into "
                "a Dockerfile without quotes, where what follows the space is a syntax error."
            )
            fix = "Use a value without spaces, or set the variable in the model's own code."
            yield Finding(UNPORTABLE_VARIABLE, text.place("env", str(name)), reason, fix)
