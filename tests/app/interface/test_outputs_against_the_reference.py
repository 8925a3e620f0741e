"""The judge against a restatement of the reference server's rules, on random outputs made of plain values."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.interface.errors import InvalidOutput
from app.interface.outputs import judge

NOTHING = type(None)
REQUIRED = {
    "NONE": {"study_uid"},
    "TEXT": {"study_uid"},
    "ANNOTATION": {"study_uid", "class_index"},
    "IMAGE": {"study_uid", "class_index", "images"},
    "DICOM": {"study_uid", "class_index", "images"},
}
EXACT_TYPES: dict[str, set[type]] = {
    **{key: {str} for key in ("type", "study_uid")},
    **{key: {str, NOTHING} for key in ("series_uid", "instance_uid")},
    **{key: {int, NOTHING} for key in ("frame_number", "video_frame_number")},
    "class_index": {int},
    "probability": {float, list, NOTHING},
    **{key: {dict, NOTHING} for key in ("data", "image_output_tags")},
    **{key: {list, NOTHING} for key in ("explanations", "images")},
    "note": {str, dict, NOTHING},
}
TEXT_KEYS = {
    "note": {"input", "output"},
    "image_output_tags": {"PatientID", "StudyInstanceUID", "SeriesInstanceUID"},
}
INT_FORMS = ({"x", "y"}, {"x", "y", "width", "height"}, {"start_frame_number", "end_frame_number"})


def reference_accepts(outputs: Any) -> bool:
    """The reference server's verdict."""
    return isinstance(outputs, list) and all(map(_accepts_output, outputs))


def _accepts_output(output: Any) -> bool:
    if not isinstance(output, dict) or not isinstance(output.get("type"), str) or output["type"] not in REQUIRED:
        return False
    if not output.keys() >= REQUIRED[output["type"]]:
        return False
    if any(type(value) not in EXACT_TYPES.get(key, ()) for key, value in output.items()):
        return False
    return _accepts_data(output.get("data")) and all(_accepts_texts(output.get(key), key) for key in TEXT_KEYS)


def _accepts_texts(value: Any, key: str) -> bool:
    if not isinstance(value, dict):
        return True
    return value.keys() <= TEXT_KEYS[key] and all(isinstance(text, str) for text in value.values())


def _accepts_data(data: Any) -> bool:
    if data is None:
        return True
    if data.keys() == {"mask"}:
        return _begins_with_numbers(data["mask"], look_at=1)
    if data.keys() == {"vertices"}:
        return _begins_with_numbers(data["vertices"], look_at=2, length=2)
    return data.keys() in INT_FORMS and all(isinstance(value, int) for value in data.values())


def _begins_with_numbers(rows: Any, look_at: int, length: int | None = None) -> bool:
    """Only the first values of the first row count."""
    if not isinstance(rows, list) or not rows:
        return isinstance(rows, list)
    first = rows[0]
    if not isinstance(first, list) or (length is not None and len(first) != length):
        return False
    return all(type(value) in (int, float) for value in first[:look_at])


def cannot_be_drawn(outputs: Any) -> bool:
    """Whether there is anything but a number in a mask or in vertices, which is refused here and not there."""
    for output in outputs if isinstance(outputs, list) else ():
        data = output.get("data") if isinstance(output, dict) else None
        for key in ("mask", "vertices"):
            if isinstance(data, dict) and isinstance(data.get(key), list) and _holds_another(data[key]):
                return True
    return False


def _holds_another(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_another, value))
    return not isinstance(value, int | float)


def hides_a_bool(result: Any) -> bool:
    """Whether a bool is the y of a first vertex: a skeleton shows the first value of a list alone, not the second."""
    for output in result if isinstance(result, list) else ():
        data = output.get("data") if isinstance(output, dict) else None
        points = data.get("vertices") if isinstance(data, dict) else None
        if isinstance(points, list) and points and isinstance(points[0], list) and isinstance(points[0][-1:], list):
            return any(isinstance(value, bool) for value in points[0][1:])
    return False


integers = st.integers(-(2**63), 2**64 - 1)
scalars = st.none() | st.booleans() | integers | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
numbers = st.integers(-3, 3) | st.floats(0, 3) | st.booleans()
leaves = numbers | st.sampled_from([None, "x", b"x", []])
rows = st.lists(leaves, max_size=3) | leaves | st.lists(st.lists(numbers, max_size=2), max_size=2)
grids = st.lists(rows, max_size=4)
pairs = st.lists(st.tuples(numbers, numbers).map(list), max_size=4)
data = st.one_of(
    st.none(),
    st.fixed_dictionaries({"mask": grids | anything}, optional={"extra": scalars}),
    st.fixed_dictionaries({"vertices": pairs | grids | anything}, optional={"x": scalars}),
    st.fixed_dictionaries({"x": numbers, "y": numbers}, optional={"width": numbers, "height": numbers}),
    st.fixed_dictionaries({"start_frame_number": numbers}, optional={"end_frame_number": numbers}),
    anything,
)
values: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("study_uid", "series_uid", "instance_uid"), st.sampled_from(["1.2", "", None, 3])),
    **dict.fromkeys(("frame_number", "video_frame_number"), st.sampled_from([0, -1, None, True, 1.0, "1"])),
    "class_index": st.sampled_from([0, 7, -1, None, 1.0, 1.5, True, "1"]),
    "probability": st.sampled_from([0.5, 1.7, None, 1, True, "x"]) | st.lists(anything, max_size=2),
    "data": data,
    "explanations": st.none() | st.lists(anything, max_size=2) | anything,
    "note": st.none() | st.text(max_size=3) | st.dictionaries(st.sampled_from(["input", "output", "x"]), scalars),
    "images": st.none() | st.lists(anything, max_size=2) | anything,
    "image_output_tags": st.none() | st.dictionaries(st.sampled_from(["PatientID", "x"]), scalars),
    "more": anything,
}
types = st.sampled_from([*REQUIRED, "none", None])


@st.composite
def outputs(draw: st.DrawFn) -> Any:
    """An output that is good but for a few keys."""
    output: dict[str, Any] = {"type": draw(types), "study_uid": "1.2", "class_index": 0}
    for key in draw(st.lists(st.sampled_from(sorted(values)), max_size=3, unique=True)):
        output[key] = draw(values[key])
    for key in draw(st.sets(st.sampled_from(["class_index", "study_uid"]), max_size=1)):
        if draw(st.integers(0, 3)) == 0:
            del output[key]
    return output


results = st.lists(outputs(), max_size=3) | anything


def accepts(skeleton: bytes, *, strict: bool) -> bool:
    try:
        judge(skeleton, strict=strict)
    except InvalidOutput as error:
        assert error.text
        return False
    return True


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(result=results.filter(lambda result: not hides_a_bool(result)))
@example(result=[{"type": "ANNOTATION", "study_uid": "", "class_index": 0, "data": {"mask": [[], [[1]]]}}])
def test_the_judge_accepts_what_the_reference_does_and_when_strict_nothing_else(
    skeleton_of: Callable[[Any], bytes], result: Any
) -> None:
    """Strict if and only if the reference accepts; not strict, at least that; but never what cannot be drawn."""
    skeleton = skeleton_of(result)
    expected = reference_accepts(result) and not cannot_be_drawn(result)
    assert accepts(skeleton, strict=True) == expected
    if expected:
        assert accepts(skeleton, strict=False)
