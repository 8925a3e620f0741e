"""What is surely a mistake in an output that is passed on all the same.

The texts quote numbers and the names of keys, never text that a model put into a value: they are logged.
"""

from collections.abc import Iterator
from typing import Any

from app.interface import geometry
from app.interface.findings import Doubt
from app.interface.models import DATA_FORMS, FORM_KEYS, FORM_NAMES, OUTPUT_KEYS, form_of
from app.interface.skeleton import Summary
from app.interface.wording import nearest, number, quoted

_UIDS = ("study_uid", "series_uid", "instance_uid")
_FRAMES = ("frame_number", "video_frame_number")
_NUMBERS = {name: tuple(model.model_fields) for name, model in DATA_FORMS.items()}
_DATA_KEYS = frozenset[str]().union(*FORM_KEYS.values())
_NUMBER = int | float
#: Elements of a list that are looked at: what is wrong with a list of advice is wrong from the start.
_MOST_ELEMENTS = 1000
_LONGEST_UID = 64  # DICOM's limit, PS3.5 section 9.1


def doubts(output: dict[Any, Any]) -> Iterator[Doubt]:
    """The doubts about one output that the models accepted, in the plain view."""
    if not output.keys() <= OUTPUT_KEYS:
        yield from _unknown_keys(output, OUTPUT_KEYS, "it has ")
    yield from _identifiers(output)
    index = output.get("class_index")
    if index is not None and index < 0:
        yield Doubt("class_index", "class_index is negative", number(index))
    probability = output.get("probability")
    if probability is not None:
        yield from _probability(probability)
    data = output.get("data")
    if data:
        yield from _data(data)
    explanations = output.get("explanations")
    if explanations is not None:
        yield from _explanations(explanations)


def _identifiers(output: dict[Any, Any]) -> Iterator[Doubt]:
    for key in _UIDS:
        uid = output.get(key)
        if uid is None:
            continue
        if not uid.strip():
            yield Doubt((key, "empty"), f"{key} is empty", fix="give the UID, or leave the key out")
        elif len(uid) > _LONGEST_UID:
            yield Doubt((key, "long"), f"{key} is longer than the 64 characters of a DICOM UID")
    for key in _FRAMES:
        frame = output.get(key)
        if frame is not None and frame < 0:
            yield Doubt(key, f"{key} is negative", number(frame), "count frames from zero")


def _unknown_keys(
    mapping: dict[Any, Any], known: frozenset[str], where: str, *, among: frozenset[str] = OUTPUT_KEYS
) -> Iterator[Doubt]:
    """A doubt per key that is not `known`; the one that was meant may be any `among` others."""
    for key in [key for key in mapping if key not in known][:_MOST_ELEMENTS]:
        near = nearest(key, among - {key})
        fix = f"did you mean {near!r}?" if near else "it is passed on, but the interface does not have it there"
        yield Doubt((where, "unknown", key), f"{where}an unknown key, {quoted(key)}", fix=fix)


def _probability(probability: Any) -> Iterator[Doubt]:
    if isinstance(probability, list):
        for element in probability[:_MOST_ELEMENTS]:
            yield from _class_probability(element)
    elif isinstance(probability, Summary):
        if probability.length:
            text = "probability is a list without {'class_index', 'probability'} in it"
            yield Doubt("probability list", text, fix="give one number, or one such dict per class")
    elif not 0 <= probability <= 1:
        yield Doubt("probability", "probability is not between 0 and 1", number(probability))


def _class_probability(element: Any) -> Iterator[Doubt]:
    if not isinstance(element, dict):
        yield Doubt("probability element", "probability holds something that is no dict")
        return
    chance, index = element.get("probability"), element.get("class_index")
    if not isinstance(chance, _NUMBER) or isinstance(chance, bool):
        yield Doubt("probability of", "probability holds a dict in which 'probability' is no number")
    elif not 0 <= chance <= 1:
        yield Doubt("probability of", "probability holds one that is not between 0 and 1", number(chance))
    if not isinstance(index, int) or isinstance(index, bool):
        yield Doubt("probability index", "probability holds a dict in which 'class_index' is no int")


def _data(data: dict[Any, Any]) -> Iterator[Doubt]:
    form = form_of(data)
    if form is None:
        return
    known = FORM_KEYS[form]
    if not data.keys() <= known:
        yield from _unknown_keys(data, known, f"data holds {FORM_NAMES[form]} and ", among=_DATA_KEYS)
    if form == "mask" or form == "vertices":
        facts = geometry.as_summary(data[form])
        if facts is not None:
            yield from geometry.mask_doubts(facts) if form == "mask" else geometry.vertices_doubts(facts)
        return
    for key in _NUMBERS[form]:
        value = data[key]
        if value is True or value is False:
            yield Doubt(("data", key, "bool"), f"data.{key} is a bool", fix="give a number")
        elif value - value != 0:  # NaN and the infinities
            yield Doubt(("data", key, "nan"), f"data.{key} is not a finite number", number(value))
    if form == "box":
        yield from _box(data)
    elif form == "video interval":
        yield from _interval(data)


def _box(data: dict[Any, Any]) -> Iterator[Doubt]:
    for key in ("width", "height"):
        if data[key] < 0:
            fix = "x and y are the upper left corner, width and height reach right and down"
            yield Doubt(("data", key), f"data.{key} is negative", number(data[key]), fix)


def _interval(data: dict[Any, Any]) -> Iterator[Doubt]:
    first, last = data["start_frame_number"], data["end_frame_number"]
    if first < 0 or last < 0:
        yield Doubt("interval", "data holds a negative frame number", fix="count frames from zero")
    if last < first:
        yield Doubt("interval order", "data.end_frame_number lies before data.start_frame_number")


def _explanations(explanations: Any) -> Iterator[Doubt]:
    if isinstance(explanations, Summary):
        if explanations.length:
            yield Doubt("explanations", "explanations is a list without dicts in it", fix="give one dict per picture")
        return
    for element in explanations[:_MOST_ELEMENTS]:
        if not isinstance(element, dict):
            yield Doubt("explanation", "explanations holds something that is no dict", fix="give one dict per picture")
            continue
        for key in ("name", "content", "content_type"):
            if key not in element:
                yield Doubt(("explanation", key), f"explanations holds a dict without {key!r}")
        content = element.get("content")
        is_bytes = isinstance(content, bytes) or (isinstance(content, Summary) and content.type == "bytes")
        if content is not None and not is_bytes:
            yield Doubt(
                "explanation content",
                "explanations holds a 'content' that is no bytes",
                fix="give the file's bytes",
            )
