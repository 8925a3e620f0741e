"""A platform export: `model.json` beside `source/vN.zip`, each of which is one version of a package.

::

    NAME/
    ├── model.json      {"model": {"id", "scope", "labelClasses": [{"labelId", "classIndex"}]},
    │                    "labels": [{"id", "name", "scope", "type", "annotationMode", …}]}
    └── source/
        ├── v1.zip
        └── v2.zip      or a folder v2, which MD.ai's own client makes of it and then prefers

What the labels and classes need is checked; any other key may be missing or hold anything.
"""

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, BeforeValidator, Field, StrictInt, StrictStr, ValidationError
from pydantic_core import from_json

from model_loader.errors import ConfigError
from model_loader.member_paths import printable

MODEL_JSON = "model.json"
SOURCE = "source"

#: An export of thousands of labels has one megabyte.
_LARGEST_FILE = 16 << 20
#: Bytes of label classes, packed: they travel to the worker in one frame, and outputs are judged by as many.
LARGEST_LABEL_CLASSES = 1 << 18
_LONGEST_NAME = 80
_MOST_FAULTS = 3
_EXPORT_AGAIN = "Export the model again, or mend the file."
#: What pydantic's complaints mean to people who know JSON.
_EXPECTED = {
    "int_type": "not a whole number",
    "string_type": "not a text",
    "list_type": "not a list",
    "model_type": "not a map",
}

_VERSION = re.compile(r"v(0|[1-9][0-9]{0,8})(\.zip)?")


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


LenientText = Annotated[str | None, BeforeValidator(_text_or_none)]


class _LabelClass(BaseModel):
    class_index: Annotated[StrictInt, Field(alias="classIndex", ge=0, lt=1 << 31)]
    label_id: Annotated[StrictStr, Field(alias="labelId")]


class _Label(BaseModel):
    id: StrictStr
    name: LenientText = None
    type: LenientText = None
    scope: LenientText = None
    annotation_mode: LenientText = Field(None, alias="annotationMode")
    short_name: LenientText = Field(None, alias="shortName")
    description: LenientText = None
    parent_id: LenientText = Field(None, alias="parentId")

    def as_requested(self) -> dict[str, str | None]:
        """The label as a request carries it, with every key that a model may index; exports have lower case, too."""
        label: dict[str, str | None] = self.model_dump()
        return label | {"type": _upper(self.type), "scope": _upper(self.scope)}


class _Model(BaseModel):
    name: LenientText = None
    scope: LenientText = None
    label_classes: list[_LabelClass] | None = Field(None, alias="labelClasses")


class _Document(BaseModel):
    model: _Model
    labels: list[_Label] | None = None


@dataclass(frozen=True)
class ExportFacts:
    """What model.json says, checked.

    `label_classes` have the form of a request's: `{"class_index": int, "label": {"id", "name", …}}`. `warnings` are
    whole sentences.
    """

    name: str | None
    scope: str | None
    label_classes: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Export:
    """A folder with model.json and at least one version. `versions` are archives, or folders unpacked from them."""

    folder: Path
    versions: Mapping[int, Path]

    @property
    def model_json(self) -> Path:
        return self.folder / MODEL_JSON

    @property
    def source(self) -> Path:
        return self.folder / SOURCE

    @property
    def newest(self) -> int:
        return max(self.versions)

    @cached_property
    def is_described(self) -> bool:
        """Whether model.json is an export's: a package of another kind may have a file of that name."""
        return is_described(self.folder)

    def facts(self, shown: str) -> ExportFacts:
        """Read model.json, which messages call `shown`. Raises ConfigError."""
        facts = read_model_json(self.model_json, shown)
        strays = _listed(misnamed_versions(self.source))
        if not strays:
            return facts
        told = f"{strays} in {SOURCE} is no version: a version is named vN.zip, such as v3.zip."
        return replace(facts, warnings=(*facts.warnings, told))


def read_model_json(file: Path, shown: str) -> ExportFacts:
    """What an export's model.json says; messages call it `shown`. Raises ConfigError."""
    try:
        document = _Document.model_validate(_json(file, shown))
    except ValidationError as error:
        raise ConfigError(f"{shown}: {'; '.join(_faults(error))}. {_EXPORT_AGAIN}") from None
    name = printable((document.model.name or "").strip())[:_LONGEST_NAME]
    classes, warnings = _classes(document, shown)
    return ExportFacts(name or None, _upper(document.model.scope), classes, tuple(warnings))


def model_json(name: str, scope: str | None, label_classes: Sequence[Mapping[str, Any]]) -> str:
    """A model.json that says this, and nothing else; the classes are those of ExportFacts."""
    labels = {one["label"]["id"]: _as_exported(one["label"]) for one in label_classes}
    classes = [{"labelId": one["label"]["id"], "classIndex": one["class_index"]} for one in label_classes]
    document = {
        "model": {"name": name, "scope": scope, "labelClasses": classes},
        "labels": list(labels.values()),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _as_exported(label: Mapping[str, Any]) -> dict[str, Any]:
    fields = _Label.model_fields.items()
    return {field.alias or name: label[name] for name, field in fields if label[name] is not None}


def export_at(folder: Path) -> Export | None:
    """The export that `folder` is: model.json and versions beside it.

    What is unpacked counts only where model.json is an export's.
    """
    if not _is_file(folder / MODEL_JSON):
        return None
    archives, unpacked = {}, {}
    for entry in _entries(folder / SOURCE):
        if version := _VERSION.fullmatch(entry.name):
            if version[2] and not entry.is_dir():
                archives[int(version[1])] = Path(entry.path)
            elif not version[2] and entry.is_dir():
                unpacked[int(version[1])] = Path(entry.path)
    if unpacked and is_described(folder):
        archives |= unpacked
    return Export(folder, archives) if archives else None


def is_described(folder: Path) -> bool:
    """Whether `folder` has a model.json that only an export has."""
    if not _is_file(folder / MODEL_JSON):
        return False
    try:
        document = _json(folder / MODEL_JSON, MODEL_JSON)
    except ConfigError:
        return False
    model = document.get("model") if isinstance(document, dict) else None
    return isinstance(model, dict) and not {"labelClasses", "scope"}.isdisjoint(model)


def misnamed_versions(source: Path) -> list[str]:
    """Names of archives in `source` that are no version's, sorted."""
    archives = [
        entry.name for entry in _entries(source) if entry.name.lower().endswith((".zip", ".gz", ".tar", ".tgz"))
    ]
    return sorted(name for name in archives if not name.startswith(".") and not _VERSION.fullmatch(name))


def _classes(document: _Document, shown: str) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    labels = {label.id: label for label in reversed(document.labels or [])}
    given = document.model.label_classes or []
    classes = tuple(
        {"class_index": one.class_index, "label": labels.get(one.label_id, _Label(id=one.label_id)).as_requested()}
        for one in given
    )
    size = len(msgspec.msgpack.encode(classes))
    if size > LARGEST_LABEL_CLASSES:
        limit = LARGEST_LABEL_CLASSES >> 10
        return (), [
            f"{shown}: the {len(classes):,} label classes take {size >> 10:,} KiB, and {limit} KiB are the most; a "
            "request without label classes gets none."
        ]
    warnings = []
    if not classes:
        warnings.append(f"{shown} has no label classes (model.labelClasses), so requests get none from it.")
    if unknown := sorted({one.label_id for one in given} - set(labels)):
        warnings.append(f"{shown}: no label has the id {_listed(unknown)}, which labelClasses name.")
    counts = Counter(one.class_index for one in given)
    if repeated := [str(index) for index, count in sorted(counts.items()) if count > 1]:
        warnings.append(
            f"{shown}: more than one of the labelClasses has the classIndex {_listed(repeated)}; "
            "outputs are judged by the first."
        )
    return classes, warnings


def _json(path: Path, shown: str) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{shown} cannot be read: {error.strerror}.") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigError(
            f"{shown} is larger than {_LARGEST_FILE >> 20} MiB, and an export's has some kilobytes. {_EXPORT_AGAIN}"
        )
    try:
        return from_json(content.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=True)
    except ValueError as error:
        raise ConfigError(f"{shown} is not JSON: {error}. {_EXPORT_AGAIN}") from None


def _faults(error: ValidationError) -> Iterator[str]:
    problems = error.errors(include_url=False)
    for problem in problems[:_MOST_FAULTS]:
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in problem["loc"]).lstrip(".")
        if problem["type"] == "missing":
            yield f"{place} is missing"
        else:
            wanted = _EXPECTED.get(problem["type"], problem["msg"].replace("Input should be", "but should be"))
            yield f"{place or 'the document'} is {_shown(problem['input'])}, {wanted}"
    if len(problems) > _MOST_FAULTS:
        yield f"and {len(problems) - _MOST_FAULTS} more"


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(names: list[str]) -> str:
    return printable(", ".join(names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _upper(text: str | None) -> str | None:
    return (text or "").strip().upper() or None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (OSError, ValueError):  # the latter for a NUL, which an option may hold
        return []


def _is_file(path: Path) -> bool:
    """Not a pipe, which would keep whoever reads it waiting."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False
