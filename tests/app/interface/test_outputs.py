"""The judge's verdicts, row by row of the table of what models return."""

import enum
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.uid import UID

from app.interface.outputs import doubts_about, judge, plain_outputs

Judge = Callable[..., tuple[str, ...]]
Refusal = Callable[..., str]


def annotation(**more: Any) -> dict[str, Any]:
    return {"type": "ANNOTATION", "study_uid": "1.2", "class_index": 0, **more}


def mask(rows: Any) -> dict[str, Any]:
    return annotation(data={"mask": rows})


def vertices(points: Any) -> dict[str, Any]:
    return annotation(data={"vertices": points})


class Finding(enum.IntEnum):
    NODULE = 1


NAN, INF = float("nan"), float("inf")

# What the reference server lets through.
ACCEPTED_BY_THE_REFERENCE: dict[str, Any] = {
    "no outputs": [],
    "NONE with just a study": [{"type": "NONE", "study_uid": "1.2"}],
    "TEXT without a class": [{"type": "TEXT", "study_uid": "1.2", "note": "seen"}],
    "IMAGE with null images": [{"type": "IMAGE", "study_uid": "1.2", "class_index": 0, "images": None}],
    "DICOM with images": [{"type": "DICOM", "study_uid": "1.2", "class_index": 0, "images": [b"x" * 1000]}],
    "images hold anything": [annotation(images=[1, None, "x", [b""]])],
    "nulls where they may be": [
        annotation(
            series_uid=None,
            instance_uid=None,
            frame_number=None,
            video_frame_number=None,
            data=None,
            probability=None,
            explanations=None,
            note=None,
            images=None,
            image_output_tags=None,
        )
    ],
    "an output of another dict class": [OrderedDict(annotation())],
    "an empty uid": [annotation(study_uid="", instance_uid="")],
    "a very long uid": [annotation(study_uid="1" * 5000)],
    "a negative class and frame": [annotation(class_index=-1, frame_number=-1)],
    "probability beyond 1": [annotation(probability=1.7)],
    "probability NaN": [annotation(probability=NAN)],
    "probability per class": [annotation(probability=[{"class_index": 0, "probability": 0.5}])],
    "probability list of anything": [annotation(probability=[1, "x", None])],
    "probability list of odd dicts": [annotation(probability=[{"class_index": "x"}, {}])],
    "explanations of anything": [annotation(explanations=[1, "x"])],
    "explanations of odd dicts": [annotation(explanations=[{"name": 1, "content": "no bytes"}])],
    "explanation with its picture": [
        annotation(explanations=[{"name": "heat", "content": b"x" * 10, "content_type": "image/png"}])
    ],
    "a long note": [annotation(note="x" * 10_000)],
    "a note in parts": [annotation(note={"input": "a", "output": "b"})],
    "a note in no parts": [annotation(note={})],
    "tags": [annotation(image_output_tags={"PatientID": "1", "StudyInstanceUID": UID("1.2")})],
    "no tags": [annotation(image_output_tags={})],
    "a location": [annotation(data={"x": 1, "y": -2})],
    "a location of bools": [annotation(data={"x": True, "y": 2})],
    "a location of an enum": [annotation(data={"x": Finding.NODULE, "y": 2})],
    "a box": [annotation(data={"width": 3, "x": 1, "y": 2, "height": 4})],
    "a negative box": [annotation(data={"x": 1, "y": 2, "width": -3, "height": -4})],
    "a video interval": [annotation(data={"start_frame_number": 5, "end_frame_number": 1})],
    "a mask": [mask([[0, 1], [1, 0.5]])],
    "an empty mask": [mask([])],
    "a mask of empty rows": [mask([[], []])],
    "a ragged mask": [mask([[0, 1], [1]])],
    "a mask with NaN": [mask([[NAN, INF]])],
    "a mask with bools after the first value": [mask([[0, True], [False, 1]])],
    "a mask with a number for a row": [mask([[0, 1], 5])],
    "a mask that gets deeper": [mask([[0], [[1]]])],
    "a mask that starts empty and gets deeper": [mask([[], [[1]]])],
    "vertices": [vertices([[1, 2], [3.5, 4]])],
    "no vertices": [vertices([])],
    "a vertex short of y": [vertices([[1, 2], [3]])],
    "a vertex with z": [vertices([[1, 2], [3, 4, 5]])],
    "a number for a vertex": [vertices([[1, 2], 3])],
    "bools after the first vertex": [vertices([[1, 2], [True, False]])],
    "vertices at infinity": [vertices([[1, INF]])],
}

# What it refuses although nothing is lost in translation.
ACCEPTED_HERE: dict[str, Any] = {
    "a tuple of outputs": (annotation(),),
    "a generator of outputs": (annotation() for _ in range(2)),
    "an empty tuple": (),
    "an int probability": [annotation(probability=1)],
    "numpy scalars": [annotation(class_index=np.int64(1), probability=np.float32(0.5), frame_number=np.uint8(3))],
    "numpy's own float": [annotation(probability=np.float64(0.5))],
    "an array of no dimensions": [annotation(probability=np.array(0.5), class_index=np.array(2))],
    "an integral float class": [annotation(class_index=3.0)],
    "an enum class": [annotation(class_index=Finding.NODULE)],
    "a uid of pydicom's": [annotation(study_uid=UID("1.2.3"), instance_uid=UID("1.2.4"))],
    "a class of null where none is needed": [{"type": "TEXT", "study_uid": "1.2", "class_index": None}],
    "an unknown key": [annotation(probabilty=0.5)],
    "an unknown key beside a form": [annotation(data={"x": 1, "y": 2, "label": "a"})],
    "two forms at once": [annotation(data={"vertices": [[1, 2]], "x": 1, "y": 2, "width": 3, "height": 4})],
    "data of another dict class": [annotation(data=OrderedDict(x=1, y=2))],
    "empty data": [annotation(data={})],
    "a float box": [annotation(data={"x": 1.5, "y": 2.5, "width": 3.0, "height": np.float32(4)})],
    "a float location": [annotation(data={"x": 1.5, "y": NAN})],
    "a mask of bools": [mask([[True, False], [False, True]])],
    "a mask array": [mask(np.zeros((3, 4), dtype=np.uint8))],
    "a mask array of bools": [mask(np.zeros((3, 4), dtype=bool))],
    "a mask array without rows": [mask(np.zeros((0, 4)))],
    "a mask of arrays": [mask([np.zeros(3), np.ones(3)])],
    "a mask of tuples": [mask(((0, 1), (1, 0)))],
    "a mask of numpy's numbers": [mask([[np.uint8(1), np.uint8(0)]])],
    "a vertex array": [vertices(np.zeros((5, 2)))],
    "vertices of tuples": [vertices([(1, 2), (3, 4)])],
    "vertices of numpy's numbers": [vertices([[np.int32(1), np.int32(2)]])],
    "vertices on three levels": [vertices([[[1, 2], [3, 4]], [[5, 6]]])],
    "an outline as OpenCV returns it": [vertices(np.zeros((5, 1, 2), dtype=np.int32))],
    "a tuple of explanations": [annotation(explanations=({"name": "heat", "content": b"", "content_type": "x"},))],
    "a probability array": [annotation(probability=np.array([0.1, 0.9]))],
    "numpy in a probability list": [annotation(probability=[{"class_index": np.int64(1), "probability": 0.5}])],
}

FULL = "{mask}; {vertices}; {x, y, width, height}; {x, y}; {start_frame_number, end_frame_number}"
TYPES = "'NONE', 'ANNOTATION', 'IMAGE', 'DICOM' or 'TEXT'"

# What nobody accepts, and what it is told.
REFUSED: list[tuple[Any, str]] = [
    (None, "predict returned None, not a list of outputs: return a list, an empty one, [],"),
    ({}, "predict returned an empty dict, not a list of outputs: put it into one, return [output]."),
    (annotation(), "predict returned a dict with the keys 'type', 'study_uid', 'class_index', not a list"),
    ("x", "predict returned a str ('x'), not a list of outputs"),
    ({1}, "predict returned a set ({1}), not a list of outputs"),
    (np.zeros((2, 2)), "predict returned a numpy.ndarray of shape (2, 2), not a list of outputs"),
    ([None], "outputs[0] is None, not a dict: leave out of the list what was not found."),
    ([[annotation()]], "outputs[0] is a list of 1 element, not a dict"),
    ([annotation(), 3], "outputs[1] is an int (3), not a dict"),
    ([{}], f"outputs[0].type is missing: give one of {TYPES}."),
    ([{"Type": "NONE"}], "outputs[0].type is missing (there is 'Type')"),
    ([{"type": "none"}], f"outputs[0].type is a str ('none'): give one of {TYPES}. Did you mean 'NONE'?"),
    ([{"type": None}], "outputs[0].type is None: give one of"),
    ([{"type": ["NONE"]}], "outputs[0].type is a list of 1 element: give one of"),
    ([{"type": "NONE"}], "outputs[0].study_uid is missing: give the study's UID as text"),
    ([{"type": "NONE", "studyUid": "1"}], "outputs[0].study_uid is missing (there is 'studyUid')"),
    ([annotation(study_uid=None)], "outputs[0].study_uid is None, not a str"),
    ([annotation(study_uid=b"1.2")], "outputs[0].study_uid is 3 bytes, not a str"),
    ([annotation(series_uid=5)], "outputs[0].series_uid is an int (5), not a str: give the series' UID as text"),
    ([annotation(frame_number="1")], "outputs[0].frame_number is a str ('1'), not an int: count frames from zero"),
    ([annotation(frame_number=1.0)], "outputs[0].frame_number is a float (1.0), not an int"),
    ([annotation(video_frame_number=True)], "outputs[0].video_frame_number is a bool (True), not an int"),
    ([{"type": "ANNOTATION", "study_uid": "1"}], "outputs[0].class_index is missing: give the number of the class"),
    ([annotation(class_index=None)], "outputs[0].class_index is None, not an int"),
    ([annotation(class_index="1")], "outputs[0].class_index is a str ('1'), not an int"),
    ([annotation(class_index=1.5)], "outputs[0].class_index is a float (1.5), not an int"),
    ([annotation(class_index=NAN)], "outputs[0].class_index is a float (nan), not an int"),
    ([annotation(class_index=True)], "outputs[0].class_index is a bool (True), not an int"),
    ([annotation(class_index=np.array([1]))], "outputs[0].class_index is a numpy.ndarray of shape (1,), not an int"),
    ([annotation(probability="0.5")], "outputs[0].probability is a str ('0.5'), not a float: give one number"),
    ([annotation(probability=np.bool_(True))], "(True), not a float"),
    ([annotation(probability={"a": 1})], "outputs[0].probability is a dict with the key 'a', not a float"),
    ([annotation(explanations={})], "outputs[0].explanations is an empty dict, not a list: give a list of"),
    ([annotation(explanations="x" * 5000)], "outputs[0].explanations is a str of 5000 characters, not a list"),
    ([annotation(note=5)], "outputs[0].note is an int (5), not a str: give text, or {'input'"),
    ([annotation(note={"inputs": "a"})], "outputs[0].note.inputs is no known key: did you mean 'input'?"),
    ([annotation(note={"input": None})], "outputs[0].note.input is None, not a str: give text."),
    ([annotation(images=b"x")], "outputs[0].images is 1 byte, not a list: give a list of images, or None."),
    ([{"type": "DICOM", "study_uid": "1", "class_index": 0}], "outputs[0].images is missing: give a list of images"),
    ([annotation(image_output_tags="x")], "outputs[0].image_output_tags is a str ('x'), not a dict"),
    (
        [annotation(image_output_tags={"PatientId": "1"})],
        "outputs[0].image_output_tags.PatientId is no known key: did you mean 'PatientID'?",
    ),
    ([annotation(image_output_tags={"PatientID": 7})], "outputs[0].image_output_tags.PatientID is an int (7), not"),
    ([annotation(data=[1])], "outputs[0].data is a list of 1 element, not a dict: give one of the forms of data"),
    (
        [annotation(data={"z": 1})],
        f"'z', none of the known forms. They are {FULL}",
    ),
    ([annotation(data={"masks": 1})], "none of the known forms. 'masks' may have been meant as 'mask'."),
    ([annotation(data={"x": 1})], "outputs[0].data.y is missing: a location has 'x' and 'y'."),
    (
        [annotation(data={"x": 1, "y": 2, "widht": 3, "height": 4})],
        "outputs[0].data.width is missing (there is 'widht'): a box has 'x', 'y', 'width' and 'height'.",
    ),
    ([annotation(data={"x": "1", "y": 2})], "outputs[0].data.x is a str ('1'), not a number: give pixels"),
    ([annotation(data={"x": None, "y": 2})], "outputs[0].data.x is None, not a number"),
    (
        [annotation(data={"start_frame_number": 1.5, "end_frame_number": 2})],
        "outputs[0].data.start_frame_number is a float (1.5), not an int: count frames with int(…).",
    ),
    ([mask("x")], "outputs[0].data.mask is a str ('x'), not a list of rows"),
    ([mask(None)], "outputs[0].data.mask is None, not a list of rows"),
    ([mask([0, 1])], "outputs[0].data.mask is flat, a list of 2 elements, but a mask is a list of rows"),
    ([mask(np.zeros(12))], "outputs[0].data.mask is flat, a numpy.ndarray of shape (12,), but a mask is"),
    ([mask([[[0, 1]]])], "outputs[0].data.mask has 3 dimensions (1 × 1 × 2)"),
    ([mask(np.zeros((1, 3, 4)))], "Take the only one out of its batch with mask[0]."),
    ([mask(np.zeros((3, 4, 1)))], "Drop the last dimension, e.g. with mask[:, :, 0]."),
    ([mask(np.zeros((5, 3, 4)))], "Return one output per slice, class or channel."),
    (
        [mask([[0] * 5] * 12 + [[0] * 4 + ["x"]])],
        "outputs[0].data.mask: row 12, column 4 is a str ('x'), not a number",
    ),
    ([mask([[0], None])], "outputs[0].data.mask: row 1 is None, not a list of numbers."),
    ([mask([[0], {"a": 1}])], "outputs[0].data.mask: row 1 is a dict, not a list of numbers."),
    ([mask([[0, {"a": 1}]])], "outputs[0].data.mask: row 0, column 1 is a dict"),
    ([mask(["ab"])], "outputs[0].data.mask: row 0 is a str ('ab'), not a list of numbers."),
    (
        [mask(np.array([["a"]]))],
        "outputs[0].data.mask is a numpy.ndarray of shape (1, 1) and dtype str32, not of",
    ),
    ([vertices([1, 2])], "outputs[0].data.vertices is flat, a list of 2 elements, but vertices are a list of pairs"),
    ([vertices([[]])], "outputs[0].data.vertices: a vertex is [x, y], but the first one has 0 values."),
    ([vertices([[1, 2, 3]])], "outputs[0].data.vertices: a vertex is [x, y], but the first one has 3 values."),
    ([vertices(np.zeros((4, 3)))], "outputs[0].data.vertices: a vertex is [x, y], but the first one has 3 values."),
    ([vertices([[[[1, 2]]]])], "outputs[0].data.vertices has 4 levels (1 × 1 × 1 × 2)"),
    ([vertices([[True, 2]])], "outputs[0].data.vertices: the first vertex holds a bool"),
    ([vertices([[1, 2], [3, "y"]])], "outputs[0].data.vertices: vertex 1, y is a str ('y'), not a number."),
    ([vertices([[[1, 2], [None, 4]]])], "outputs[0].data.vertices: outline 0, vertex 1, x is None, not a number."),
    ([vertices([[1, 2], "ab"])], "outputs[0].data.vertices: vertex 1 is a str ('ab'), not a list of numbers."),
]

# What is passed on, and what is said about it.
DOUBTFUL: list[tuple[Any, str]] = [
    ([annotation(study_uid="")], "outputs[0]: study_uid is empty: give the UID, or leave the key out."),
    ([annotation(series_uid="9" * 65)], "outputs[0]: series_uid is longer than the 64 characters of a DICOM UID."),
    ([annotation(class_index=-2)], "outputs[0]: class_index is negative (-2)."),
    ([annotation(frame_number=-1)], "outputs[0]: frame_number is negative (-1): count frames from zero."),
    ([annotation(probability=1.7)], "outputs[0]: probability is not between 0 and 1 (1.7)."),
    ([annotation(probability=NAN)], "outputs[0]: probability is not between 0 and 1 (nan)."),
    ([annotation(probability=[0.1])], "outputs[0]: probability is a list without {'class_index', 'probability'} in it"),
    ([annotation(probability=[{"class_index": 0, "probability": 7}])], "holds one that is not between 0 and 1 (7)."),
    ([annotation(probability=[{"class_index": 0}])], "probability holds a dict in which 'probability' is no number."),
    (
        [annotation(probability=[{"class_index": 0, "probability": 0.5}, 1])],
        "holds something that is no dict.",
    ),
    ([annotation(probabilty=1)], "outputs[0]: it has an unknown key, 'probabilty': did you mean 'probability'?"),
    ([annotation(seriesUID="1")], "outputs[0]: it has an unknown key, 'seriesUID': did you mean 'series_uid'?"),
    (
        [annotation(colour="red")],
        "'colour': it is passed on, but the interface does not have it there.",
    ),
    (
        [annotation(data={"x": 1, "y": 2, "w": 3})],
        "holds a location and an unknown key, 'w': did you mean 'width'?",
    ),
    ([annotation(data={"x": 1, "y": 2, "width": -3, "height": 4})], "outputs[0]: data.width is negative (-3)"),
    ([annotation(data={"x": INF, "y": 2})], "outputs[0]: data.x is not a finite number (inf)."),
    ([annotation(data={"x": True, "y": 2})], "outputs[0]: data.x is a bool: give a number."),
    ([annotation(data={"start_frame_number": 5, "end_frame_number": 1})], "end_frame_number lies before"),
    ([annotation(data={"start_frame_number": -5, "end_frame_number": 1})], "data holds a negative frame number"),
    ([mask([])], "outputs[0]: data.mask is empty, so nothing will be drawn"),
    (
        [mask([[0, 1], [1]])],
        "data.mask has rows of different length (element [1] is a list of 1 where the first",
    ),
    ([mask([[0.5, NAN]])], "data.mask holds NaN or infinity: use 0 for background and 1 for foreground."),
    ([vertices([])], "outputs[0]: data.vertices is empty, so nothing will be drawn"),
    (
        [vertices([[1, 2], [3]])],
        "data.vertices holds something that is no [x, y] pair (element [1] is a list of 1",
    ),
    ([vertices([[1, 2], [True, 3]])], "data.vertices holds bools: give coordinates in pixels."),
    (
        [vertices([[[1, 2], [3, 4]]])],
        "data.vertices has three levels where the interface has two: return one",
    ),
    ([annotation(explanations=[1])], "explanations is a list without dicts in it: give one dict per picture."),
    ([annotation(explanations=[{"name": "a", "content": b""}])], "explanations holds a dict without 'content_type'."),
    ([annotation(explanations=[{"content": "x"}])], "explanations holds a 'content' that is no bytes"),
]


@pytest.mark.parametrize("outputs", ACCEPTED_BY_THE_REFERENCE.values(), ids=ACCEPTED_BY_THE_REFERENCE)
@pytest.mark.parametrize("strict", [False, True])
def test_what_the_reference_accepts_is_accepted(warnings_about: Judge, outputs: Any, strict: bool) -> None:
    warnings_about(outputs, strict=strict)


@pytest.mark.parametrize("name", ACCEPTED_HERE)
def test_what_is_translated_without_loss_is_accepted_unless_strict(
    warnings_about: Judge, refusal_of: Refusal, name: str
) -> None:
    outputs = ACCEPTED_HERE[name]
    outputs = list(outputs) if name == "a generator of outputs" else outputs
    warnings_about(outputs)
    if name != "a generator of outputs":  # a worker runs it to a list before anybody looks
        assert "the reference server refuses that" in refusal_of(outputs, strict=True)


@pytest.mark.parametrize(("outputs", "text"), REFUSED, ids=[text[:50] for _, text in REFUSED])
def test_refusals_name_the_place_and_the_fix(refusal_of: Refusal, outputs: Any, text: str) -> None:
    assert text in refusal_of(outputs)
    assert text in refusal_of(outputs, strict=True)


@pytest.mark.parametrize(("outputs", "text"), DOUBTFUL, ids=[text[:50] for _, text in DOUBTFUL])
def test_sure_mistakes_are_passed_on_with_a_warning(warnings_about: Judge, outputs: Any, text: str) -> None:
    assert text in "\n".join(warnings_about(outputs))


def test_good_outputs_are_passed_on_in_silence(warnings_about: Judge) -> None:
    silent = ("no outputs", "NONE with just a study", "probability per class", "explanation with its picture", "a mask")
    for name in silent:
        assert warnings_about(ACCEPTED_BY_THE_REFERENCE[name]) == ()
    for name in ("numpy scalars", "an integral float class", "a mask array of bools", "a vertex array", "empty data"):
        assert warnings_about(ACCEPTED_HERE[name]) == ()


def test_no_refusal_tells_anybody_to_call_tolist(refusal_of: Refusal) -> None:
    assert not [outputs for outputs, _ in REFUSED if "tolist" in refusal_of(outputs)]


def test_warnings_quote_no_text_of_the_outputs(warnings_about: Judge) -> None:
    """They are logged, and what a model writes may be about a patient."""
    secret = "Jane Doe"
    outputs = [
        annotation(
            study_uid=secret * 20,
            note=secret,
            probability=[secret, {"class_index": secret, "probability": secret}],
            explanations=[{"name": secret, "content": secret}, secret],
            images=[secret],
        )
    ]
    warnings = warnings_about(outputs)
    assert len(warnings) >= 4
    assert secret not in "\n".join(warnings)


def test_a_fault_in_many_outputs_is_told_once(refusal_of: Refusal) -> None:
    text = refusal_of([annotation(class_index="x")] * 100 + [annotation(study_uid=1)])
    first, second = text.splitlines()
    assert first.startswith("outputs[0].class_index is a str ('x'), not an int")
    assert first.endswith("The same is wrong in outputs[1], [2] and 97 more.")
    assert second.startswith("outputs[100].study_uid is an int (1)")


def test_a_doubt_about_many_outputs_is_told_once(warnings_about: Judge) -> None:
    warnings = warnings_about([annotation(probability=1 + index) for index in range(1, 101)])
    assert warnings == ("outputs[0], [1], [2] and 97 more: probability is not between 0 and 1 (2 in the first).",)


def test_doubts_are_told_apart_by_their_kind(skeleton_of: Callable[[Any], bytes]) -> None:
    """For who says something of each kind: the same words, the fix on its own, and the first output."""
    outputs = [
        annotation(),
        *(annotation(probability=2.0, data={"x": 0, "y": 0, "width": -5, "height": 1}) for _ in range(4)),
    ]
    probability, width = doubts_about(skeleton_of(outputs))
    assert probability == (
        "probability",
        "outputs[1], [2], [3] and 1 more: probability is not between 0 and 1 (2 in the first).",
        "",
        1,
    )
    assert (width.key, width.text) == (
        ("data", "width"),
        "outputs[1], [2], [3] and 1 more: data.width is negative (-5 in the first).",
    )
    assert judge(skeleton_of(outputs)) == (probability.text, f"{width.text[:-1]}: {width.fix}.")


def test_outputs_are_read_one_by_one_with_facts_for_what_is_large(skeleton_of: Callable[[Any], bytes]) -> None:
    outputs = [annotation(probability=0.5), annotation(data={"mask": [[0, 1, 1]]})]
    first, second = plain_outputs(skeleton_of(outputs))
    assert first == outputs[0]
    assert second["data"]["mask"].shape == [1, 3]
    assert list(plain_outputs(skeleton_of([]))) == []


def test_at_most_ten_kinds_of_faults_are_told(refusal_of: Refusal) -> None:
    keys = ["series_uid", "instance_uid", "frame_number", "video_frame_number", "note", "images", "explanations"]
    wrong = annotation(study_uid=(), class_index="x", probability="x", data=(), image_output_tags=1)
    text = refusal_of([wrong | {key: {"a": 1} for key in keys}])
    assert len(text.splitlines()) == 11
    assert text.endswith("And 2 more.")


def test_at_most_twenty_kinds_of_doubts_are_told(warnings_about: Judge) -> None:
    warnings = warnings_about([annotation(**{f"k{index}": 0}) for index in range(1000)])
    assert len(warnings) == 21
    assert warnings[-1] == "There are 980 more warnings."


def test_what_is_quoted_is_short_and_printable(refusal_of: Refusal) -> None:
    text = refusal_of([annotation(class_index="\x1b[31m\u202e\n" + "x" * 3000, **{"\r\n" * 500: 1})])
    assert text.isprintable()
    assert "\\x1b[31m\\u202e\\n" in text
    assert len(text) < 300
