"""The request and the response of `POST /predict` as JSON schema, for the service's OpenAPI document.

References point to `#/components/schemas/`, where the definitions in `COMPONENTS` belong. Bytes are `bin` in msgpack
and base64 text in JSON. What is published is what is checked: the response schema comes from the models that judge
outputs, the request's label classes from the classes they are read into.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from pydantic import TypeAdapter

from app.interface.labels import LabelClass
from app.interface.models import Output
from model_loader.worker.mdai_guest.content_path import LONGEST_PATH

_REFERENCE = "#/components/schemas/"


class File(msgspec.Struct):
    """One file: a DICOM instance, an image or a video. Further keys reach the model unchanged."""

    content: Annotated[
        bytes | None,
        Meta(
            description="The file's bytes: bin in msgpack. Null for a file that was loaded ahead; any other null is "
            "passed on with a warning."
        ),
    ]
    content_type: Annotated[
        str,
        Meta(
            description="Media type. A file without one is passed on with a warning.",
            examples=["application/dicom", "image/jpeg", "image/png", "video/mp4"],
        ),
    ]
    dicom_tags: Annotated[dict[str, Any] | None, Meta(description="By keyword; sent with images and videos.")] = None
    content_path: Annotated[
        str | None, Meta(description="Of a file that was loaded ahead with /load-files; the model gets it absolute.")
    ] = None


class Annotation(msgspec.Struct):
    """A label that somebody has put on the files' study. It reaches the model unchanged and is not checked."""

    id: str | None = None
    label_id: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    frame_number: int | None = None
    data: Any = None
    parent_id: str | None = None


class PredictionRequest(msgspec.Struct):
    """The files of one instance, series or study, by the scope of the model. Further keys reach it unchanged."""

    files: Annotated[
        list[File | list[File]],
        Meta(description="Files, or for a batch groups of files; not both at once."),
    ]
    annotations: list[Annotation] | None = None
    label_classes: list[LabelClass] | None = None
    args: Annotated[
        dict[str, Any] | None,
        Meta(description="Arguments of this run; the platform sends text.", examples=[{"threshold": "0.5"}]),
    ] = None


class FileToLoad(msgspec.Struct):
    """One file that a later request names by its path."""

    content: Annotated[bytes, Meta(description="The file's bytes: bin in msgpack.")]
    content_path: Annotated[
        str,
        Meta(
            description="Relative; slashes in front do not count, and `..` may not lead out.",
            min_length=1,
            max_length=LONGEST_PATH,
            examples=["1.2.3/4.5.6/image.dcm"],
        ),
    ]


def _request() -> tuple[dict[str, Any], dict[str, Any]]:
    (reference, _), definitions = msgspec.json.schema_components(
        [PredictionRequest, FileToLoad], ref_template=_REFERENCE + "{name}"
    )
    return reference, definitions


def _response() -> tuple[dict[str, Any], dict[str, Any]]:
    schema = TypeAdapter(list[Output]).json_schema(ref_template=_REFERENCE + "{model}")
    definitions = schema.pop("$defs")
    schema["title"] = "Outputs"
    schema["description"] = (
        "The model's list as it returned it: exactly its keys, in its order. In JSON, NaN and the infinities are null."
    )
    return schema, {name: _tidy(definition) for name, definition in definitions.items()}


def _tidy(definition: dict[str, Any]) -> dict[str, Any]:
    """Without the defaults, which a response never shows, and the titles, which repeat the keys."""
    for field in definition.get("properties", {}).values():
        field.pop("default", None)
        field.pop("title", None)
    return definition


REQUEST_SCHEMA, _REQUEST_COMPONENTS = _request()
LOADING_SCHEMA: dict[str, Any] = {"type": "array", "items": {"$ref": _REFERENCE + "FileToLoad"}}
OUTPUT_SCHEMA, _OUTPUT_COMPONENTS = _response()
#: Everything that the two schemas refer to, by name.
COMPONENTS: dict[str, Any] = {**_REQUEST_COMPONENTS, **_OUTPUT_COMPONENTS}

REQUEST_EXAMPLE: dict[str, Any] = {
    "files": [{"content": "<the file's bytes>", "content_type": "application/dicom"}],
    "annotations": [],
    "label_classes": [
        {
            "class_index": 0,
            "label": {
                "id": "L_1",
                "name": "Nodule",
                "type": "LOCAL",
                "scope": "INSTANCE",
                "annotation_mode": "bbox",
            },
        }
    ],
    "args": {"threshold": "0.5"},
}
OUTPUT_EXAMPLE: list[dict[str, Any]] = [
    {
        "type": "ANNOTATION",
        "study_uid": "1.2.826.0.1.3680043.8.498.1",
        "series_uid": "1.2.826.0.1.3680043.8.498.2",
        "instance_uid": "1.2.826.0.1.3680043.8.498.3",
        "class_index": 0,
        "probability": 0.93,
        "data": {"x": 120, "y": 80, "width": 64, "height": 48},
    }
]
