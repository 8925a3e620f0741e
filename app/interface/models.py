"""What a model may return, as pydantic models: one per output type, one per form of `data`.

They judge the plain view of a skeleton (see `app.interface.skeleton`), so a list of numbers may stand there as a
`Summary`, and they are the published schema of the response. Whatever the reference server accepts, they accept; see
`app.interface.outputs` for what they accept beyond that. Values are never changed here: the response's bytes were
written by the worker.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    InstanceOf,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from app.interface import geometry
from app.interface.schema_notes import BASE64, NUMBER, DocumentedAs, DocumentedMask, DocumentedVertices, without
from app.interface.skeleton import Summary


class Wanted(NamedTuple):
    """What a key should hold and what to do when it holds something else, for error texts."""

    what: str
    fix: str


def _is_list(value: Any) -> Any:
    if isinstance(value, Summary) and not value.is_list:
        raise PydanticCustomError("not_a_list", "not a list")
    return value


def _checked_by(find_error: Callable[[Summary], str | None]) -> AfterValidator:
    def check(value: list[Any] | Summary) -> list[Any] | Summary:
        facts = geometry.as_summary(value)
        error = find_error(facts) if facts else None
        if error:
            raise PydanticCustomError("shape", "{text}", {"text": error})
        return value

    return AfterValidator(check)


Number: TypeAlias = Annotated[float | bool, WithJsonSchema(NUMBER)]
Pixels = Annotated[Number, Wanted("a number", "give pixels as int or float")]
Frame = Annotated[
    int | bool, WithJsonSchema({"type": ["integer", "boolean"]}), Wanted("an int", "count frames with int(…)")
]
Listed = Annotated[list[Any] | InstanceOf[Summary], AfterValidator(_is_list)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class Mask(_Part):
    """A segmentation: rows of numbers, indexed [row][column]. Any value above 0 is foreground."""

    mask: Annotated[
        Listed,
        _checked_by(geometry.mask_error),
        DocumentedMask(),
        Wanted("a list of rows", "give the mask as rows of numbers; an array is welcome as it is"),
    ] = Field(examples=[[[0, 1, 1], [0, 1, 0]]])


class Vertices(_Part):
    """A freeform, a polygon or a line: [x, y] pairs in pixels of the image."""

    model_config = ConfigDict(json_schema_extra=without("mask"))

    vertices: Annotated[
        Listed,
        _checked_by(geometry.vertices_error),
        DocumentedVertices(),
        Wanted("a list of [x, y] pairs", "give the outline as [[x, y], …]; an array is welcome as it is"),
    ] = Field(examples=[[[10, 20], [30, 20], [20, 40]]])


class Box(_Part):
    """A bounding box in pixels of the image: its upper left corner and its size."""

    model_config = ConfigDict(json_schema_extra=without("mask", "vertices"))

    x: Pixels
    y: Pixels
    width: Pixels
    height: Pixels


class Location(_Part):
    """A point in pixels of the image."""

    model_config = ConfigDict(json_schema_extra=without("mask", "vertices", "width", "height"))

    x: Pixels
    y: Pixels


class VideoInterval(_Part):
    """A stretch of frames in a video."""

    model_config = ConfigDict(json_schema_extra=without("mask", "vertices"))

    start_frame_number: Frame
    end_frame_number: Frame


#: The forms of `data`; where the keys fit more than one, the first counts.
DATA_FORMS: dict[str, type[_Part]] = {
    "mask": Mask,
    "vertices": Vertices,
    "box": Box,
    "location": Location,
    "video interval": VideoInterval,
}
FORM_NAMES = {name: name if name == "vertices" else f"a {name}" for name in DATA_FORMS}
FORM_KEYS = {name: frozenset(model.model_fields) for name, model in DATA_FORMS.items()}


def form_of(data: Any) -> str | None:
    """The name of the form that the keys of `data` make, or come nearest to; None where no key is known."""
    return _form_of_keys(frozenset(data)) if isinstance(data, dict) else None


@lru_cache(maxsize=256)
def _form_of_keys(keys: frozenset[Any]) -> str | None:
    for name, needed in FORM_KEYS.items():
        if needed <= keys:
            return "box" if name == "location" and ("width" in keys or "height" in keys) else name
    shared, _, name = max((len(needed & keys), -len(needed), name) for name, needed in FORM_KEYS.items())
    return name if shared else None


def _nothing_when_empty(data: Any) -> Any:
    return None if isinstance(data, dict) and not data else data


Data = Annotated[
    Annotated[Mask, Tag("mask")]
    | Annotated[Vertices, Tag("vertices")]
    | Annotated[Box, Tag("box")]
    | Annotated[Location, Tag("location")]
    | Annotated[VideoInterval, Tag("video interval")],
    Discriminator(form_of),
]


class NoteParts(BaseModel):
    """A note in two parts: the text that went into a language model, and what came out."""

    model_config = ConfigDict(strict=True, extra="forbid")
    input: Annotated[str, Wanted("a str", "give text")] = ""
    output: Annotated[str, Wanted("a str", "give text")] = ""


class ImageOutputTags(BaseModel):
    """DICOM tags for the images that the output brings."""

    model_config = ConfigDict(strict=True, extra="forbid")
    PatientID: Annotated[str, Wanted("a str", "give text")] = ""
    StudyInstanceUID: Annotated[str, Wanted("a str", "give the UID as text")] = ""
    SeriesInstanceUID: Annotated[str, Wanted("a str", "give the UID as text")] = ""


#: What stands beside a form that is only advised.
Advised = Annotated[Any, WithJsonSchema({"description": "Anything else is passed on with a warning."})]


class ClassProbability(BaseModel):
    """The probability of one class."""

    class_index: int
    probability: float


class Explanation(BaseModel):
    """A picture that explains the result, for example a saliency map."""

    name: str
    description: str | None = None
    content: Annotated[bytes, WithJsonSchema(BASE64)]
    content_type: str = Field(examples=["image/png"])


def _note_form(note: Any) -> str:
    return "parts" if isinstance(note, dict) else "text"


_COUNT_FRAMES = Wanted("an int", "count frames from zero with int(…), or leave the key out")
ClassIndex = Annotated[
    int | Annotated[float, Field(multiple_of=1, allow_inf_nan=False)],
    WithJsonSchema({"type": "integer", "description": "The class of the label, as in the request's label_classes."}),
]
_CLASS_INDEX = Wanted("an int", "give the number of the class, as in the request's label_classes, e.g. int(index)")
RequiredIndex = Annotated[ClassIndex, _CLASS_INDEX]
OptionalIndex = Annotated[ClassIndex | None, _CLASS_INDEX]
_IMAGES = Wanted("a list", "give a list of images, or None")
Images = Annotated[Listed | None, WithJsonSchema({"type": ["array", "null"], "items": {}}), _IMAGES]


class _Output(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    study_uid: Annotated[str, Wanted("a str", "give the study's UID as text, e.g. str(ds.StudyInstanceUID)")]
    series_uid: Annotated[
        str | None, Wanted("a str", "give the series' UID as text, e.g. str(ds.SeriesInstanceUID)")
    ] = None
    instance_uid: Annotated[
        str | None, Wanted("a str", "give the instance's UID as text, e.g. str(ds.SOPInstanceUID)")
    ] = None
    frame_number: Annotated[int | None, _COUNT_FRAMES] = Field(
        default=None, description="Zero-based frame of a multi-frame instance."
    )
    video_frame_number: Annotated[int | None, _COUNT_FRAMES] = Field(
        default=None, description="Zero-based frame of a video."
    )
    probability: Annotated[
        float | Listed | None,
        DocumentedAs(float | list[ClassProbability | Advised] | None),
        Wanted("a float", "give one number from 0 to 1, or a list of {'class_index': …, 'probability': …}"),
    ] = Field(default=None, description="From 0 to 1: of the class of this output, or of several classes.")
    data: Annotated[
        Data | None,
        BeforeValidator(_nothing_when_empty),
        DocumentedAs(Mask | Vertices | Box | Location | VideoInterval | None),
        Wanted("a dict", "give one of the forms of data, or leave the key out"),
    ] = Field(default=None, description="Where it is: what a local label draws.")
    explanations: Annotated[
        Listed | None,
        DocumentedAs(list[Explanation | Advised] | None),
        Wanted(
            "a list",
            "give a list of {'name', 'description', 'content', 'content_type'}, or leave the key out",
        ),
    ] = None
    note: Annotated[
        Annotated[Annotated[str, Tag("text")] | Annotated[NoteParts, Tag("parts")], Discriminator(_note_form)] | None,
        Wanted("a str", "give text, or {'input': text, 'output': text}"),
    ] = Field(default=None, description="Text to show with the result.")
    image_output_tags: Annotated[
        ImageOutputTags | None,
        Wanted("a dict", "give {'PatientID', 'StudyInstanceUID', 'SeriesInstanceUID'} as text"),
    ] = None


class NoneOutput(_Output):
    """Nothing was found."""

    type: Literal["NONE"]
    class_index: OptionalIndex = None
    images: Images = None


class AnnotationOutput(_Output):
    """A label on a study, a series or an instance, with `data` where the label is local."""

    type: Literal["ANNOTATION"]
    class_index: RequiredIndex
    images: Images = None


class ImageOutput(_Output):
    """Pictures that the model made."""

    type: Literal["IMAGE"]
    class_index: RequiredIndex
    images: Images


class DicomOutput(_Output):
    """DICOM files that the model made."""

    type: Literal["DICOM"]
    class_index: RequiredIndex
    images: Images


class TextOutput(_Output):
    """Text that the model wrote, in `note`."""

    type: Literal["TEXT"]
    class_index: OptionalIndex = None
    images: Images = None


OUTPUT_TYPES: dict[str, type[_Output]] = {
    "NONE": NoneOutput,
    "ANNOTATION": AnnotationOutput,
    "IMAGE": ImageOutput,
    "DICOM": DicomOutput,
    "TEXT": TextOutput,
}
OUTPUT_KEYS = frozenset(AnnotationOutput.model_fields)

Output = Annotated[NoneOutput | AnnotationOutput | ImageOutput | DicomOutput | TextOutput, Field(discriminator="type")]
OUTPUT: TypeAdapter[Output] = TypeAdapter(Output)
