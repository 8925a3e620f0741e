"""What a label asks of its outputs: the UIDs by scope, the form by annotation mode, the class among the classes."""

import re
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.interface.labels import MODE_FORMS, SCOPE_UIDS, LabelClass, LabelRules, read_label_classes

UIDS = ("study_uid", "series_uid", "instance_uid")
FORMS: dict[str, dict[str, Any]] = {
    "mask": {"mask": [[1]]},
    "vertices": {"vertices": [[1, 2]]},
    "box": {"x": 1, "y": 2, "width": 3, "height": 4},
    "location": {"x": 1, "y": 2},
    "video interval": {"start_frame_number": 1, "end_frame_number": 2},
}


def output(**more: Any) -> dict[str, Any]:
    return {"type": "ANNOTATION", "class_index": 0, **dict.fromkeys(UIDS, "1.2"), **more}


def classes(*labels: dict[str, Any] | None) -> tuple[LabelClass, ...]:
    """The label classes of a request, read as they are sent."""
    sent = [{"class_index": index, "label": label} for index, label in enumerate(labels)]
    read, warnings = read_label_classes(memoryview(msgpack.packb(sent)))
    assert not warnings
    return read


def said(result: dict[str, Any], *labels: dict[str, Any] | None) -> list[str]:
    return [f"{doubt.text}: {doubt.fix}" for doubt in LabelRules(classes(*labels)).doubts(result)]


@pytest.mark.parametrize(
    ("label", "needed"),
    [
        ({"type": "GLOBAL", "scope": "STUDY"}, 1),
        ({"type": "GLOBAL", "scope": "EXAM"}, 1),
        ({"type": "GLOBAL", "scope": "SERIES"}, 2),
        ({"type": "GLOBAL", "scope": "INSTANCE"}, 3),
        ({"type": "LOCAL", "scope": "INSTANCE"}, 3),
        ({"type": "LOCAL", "scope": "SERIES"}, 3),
        ({"type": "LOCAL", "scope": "STUDY"}, 3),
        ({"type": "LOCAL"}, 3),
        ({"scope": "SERIES"}, 2),
        ({"type": "GLOBAL"}, 0),
        ({"type": " local ", "scope": None}, 3),
        ({"type": "Global", "scope": "instance"}, 3),
        ({"scope": "GALAXY"}, 0),
        ({}, 0),
        (None, 0),
    ],
)
@pytest.mark.parametrize("missing", UIDS)
def test_an_output_needs_the_uids_of_its_labels_scope(label: Any, needed: int, missing: str) -> None:
    data = FORMS["box"] if label and label.get("type", "").strip().upper() == "LOCAL" else None
    result = output(data=data)
    assert said(result, label) == []
    for absent in ({**result, missing: None}, {key: value for key, value in result.items() if key != missing}):
        warnings = said(absent, label)
        assert len(warnings) == (missing in UIDS[:needed]), warnings
        assert all(f"{missing} is missing: the label of class 0" in warning for warning in warnings)


@pytest.mark.parametrize("kind", ["ANNOTATION", "TEXT", "IMAGE", "DICOM"])
def test_outputs_of_every_type_but_none_need_them(kind: str) -> None:
    label = {"type": "GLOBAL", "scope": "SERIES"}
    assert len(said(output(type=kind, series_uid=None), label)) == 1
    assert said(output(type="NONE", series_uid=None, class_index=9), label) == []


@pytest.mark.parametrize("mode", [*MODE_FORMS, "boundingBox", "BBOX", "free-form", "thresholded_box"])
@pytest.mark.parametrize("form", FORMS)
def test_data_has_the_form_of_its_labels_annotation_mode(mode: str, form: str) -> None:
    warnings = said(output(data=FORMS[form]), {"type": "LOCAL", "annotation_mode": mode})
    if MODE_FORMS[re.sub("[^a-z]", "", mode.lower())] == form:
        assert warnings == []
    else:
        assert len(warnings) == 1
        assert f"is drawn as '{mode}', with " in warnings[0]


@pytest.mark.parametrize("mode", ["", None, "hologram", "点"])
@pytest.mark.parametrize("form", FORMS)
def test_a_mode_that_nobody_knows_asks_for_no_form(mode: str | None, form: str) -> None:
    assert said(output(data=FORMS[form]), {"type": "LOCAL", "annotation_mode": mode}) == []


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_local_label_is_drawn_and_a_global_one_is_not(nothing: Any) -> None:
    local, everywhere = {"type": "LOCAL", "annotation_mode": "bbox"}, {"type": "GLOBAL", "scope": "INSTANCE"}
    (warning,) = said(output(data=nothing), local)
    assert warning == "data is missing: the label of class 0 (LOCAL, bbox) is drawn, so give it a form"
    (warning,) = said(output(data=FORMS["box"]), everywhere)
    assert warning == "data is given: the label of class 0 (GLOBAL, scope INSTANCE) is not drawn, so leave it out"
    assert said(output(data=nothing), everywhere) == said(output(data=FORMS["box"]), local) == []


def test_only_annotations_are_drawn() -> None:
    assert said(output(type="TEXT"), {"type": "LOCAL", "annotation_mode": "bbox"}) == []


def test_a_class_is_among_the_requests() -> None:
    (warning,) = said(output(class_index=7), {}, {})
    assert warning.startswith("class_index is not among the label classes, 0, 1")
    assert said(output(class_index=1), {}, {}) == []
    assert said(output(class_index=1.0), {}, {}) == [], "an integral float is the same class"
    assert said(output(class_index=None, type="TEXT"), {}, {}) == []


def test_many_classes_are_not_all_listed() -> None:
    (warning,) = said(output(class_index=77), *[{}] * 30)
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more" in warning


def test_without_classes_nothing_is_asked() -> None:
    assert said(output(class_index=7, series_uid=None)) == []
    assert list(LabelRules([LabelClass(class_index=None)]).doubts(output(class_index=7))) == []


def test_the_first_of_two_labels_of_one_class_counts() -> None:
    sent = [{"class_index": 0, "label": {"scope": scope}} for scope in ("STUDY", "INSTANCE")]
    read, _ = read_label_classes(memoryview(msgpack.packb(sent)))
    assert list(LabelRules(read).doubts(output(instance_uid=None))) == []


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (5, "it is int, not map"),
        (None, "it is null, not map"),
        ("L_1", "it is str, not map"),
        ([], "it is list, not map"),
        ({"class_index": "0"}, "class_index is str, not int or null"),
        ({"class_index": 0.5}, "class_index is float, not int or null"),
        ({"class_index": True}, "class_index is bool, not int or null"),
        ({"label": "Nodule"}, "label is str, not map or null"),
        ({"label": []}, "label is list, not map or null"),
        ({"label": {"scope": 3}}, "label.scope is int, not str or null"),
        ({"label": {"annotation_mode": b"bbox"}}, "label.annotation_mode is bytes, not str or null"),
        ({"class_index": msgpack.ExtType(5, b"")}, "class_index is ext, not int or null"),
    ],
)
def test_an_odd_label_class_takes_no_part_and_the_others_do(entry: Any, complaint: str) -> None:
    good = {"class_index": 1, "label": {"scope": "STUDY"}}
    read, warnings = read_label_classes(memoryview(msgpack.packb([good, entry, good, entry])))
    assert [known.class_index for known in read] == [1, 1]
    assert warnings == [f"label_classes[1] and [3]: takes no part in the label rules: {complaint}."]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"class_index": None, "label": None},
        {"class_index": 2**64 - 1},
        {"class_index": -(2**63)},
        {"label": {"name": "x" * 100_000, "description": None, "more": [{}]}},
        {"class_index": 0, "labels": "unknown keys are nobody's business"},
    ],
)
def test_an_empty_or_huge_label_class_is_fine(entry: Any) -> None:
    read, warnings = read_label_classes(memoryview(msgpack.packb([entry])))
    assert (len(read), warnings) == (1, [])
    for doubt in LabelRules(read).doubts(output()):
        assert len(doubt.text) + len(doubt.fix) < 300


def test_what_a_label_is_called_in_a_warning_is_short() -> None:
    label = {"type": "LOCAL", "scope": "x" * 5000, "annotation_mode": "y" * 5000}
    assert all(len(warning) < 300 for warning in said(output(data=None, series_uid=None), label))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from(["type", "scope", "annotation_mode", "name"])
words = st.sampled_from(["LOCAL", "GLOBAL", *SCOPE_UIDS, *MODE_FORMS])
entries = st.fixed_dictionaries(
    {}, optional={"class_index": st.integers(0, 2) | anything, "label": st.dictionaries(keys, words | anything)}
)


@settings(max_examples=60, deadline=None)
@given(
    sent=st.lists(entries | anything, max_size=5),
    index=st.integers(0, 2),
    data=st.sampled_from([None, *FORMS.values()]),
)
def test_whatever_the_labels_are_the_worst_is_a_warning(sent: list[Any], index: int, data: Any) -> None:
    read, warnings = read_label_classes(memoryview(msgpack.packb(sent)))
    assert len(read) <= len(sent)
    assert all(warning.startswith("label_classes") for warning in warnings)
    for doubt in LabelRules(read).doubts(output(class_index=index, data=data, series_uid=None)):
        assert doubt.text and len(doubt.text) + len(doubt.fix) < 400
