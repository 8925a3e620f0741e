"""The published schemas are true: what passes validates, what is refused does not, and the examples are good."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import msgpack
import pytest

from app.interface.errors import InvalidOutput
from app.interface.outputs import judge
from app.interface.request import read_request
from app.interface.schemas import COMPONENTS, OUTPUT_EXAMPLE, OUTPUT_SCHEMA, REQUEST_EXAMPLE, REQUEST_SCHEMA
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import encoding
from tests.app.interface.test_outputs import ACCEPTED_BY_THE_REFERENCE, ACCEPTED_HERE, DOUBTFUL, REFUSED


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    root = {**schema, "components": {"schemas": COMPONENTS}}
    return jsonschema.Draft202012Validator(root)


ANSWER, REQUEST = validator(OUTPUT_SCHEMA), validator(REQUEST_SCHEMA)


def as_json(outputs: Any) -> Any:
    """The answer's body that a worker writes where the caller asks for JSON."""
    with SharedBuffer() as buffer:
        size, _ = encoding.write_into(encoding.materialise(outputs), encoding.Sink(lambda: buffer.fd), "json")
        return json.loads(buffer.read(0, size))


def annotation(**more: Any) -> dict[str, Any]:
    return {"type": "ANNOTATION", "study_uid": "1.2", "class_index": 0, **more}


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(COMPONENTS[name])
    assert COMPONENTS[name].get("description"), "and says what it is"


def test_whatever_the_judge_accepts_validates() -> None:
    for accepted in (ACCEPTED_BY_THE_REFERENCE, ACCEPTED_HERE):
        for name, outputs in accepted.items():
            body = as_json(outputs)
            errors = [error.message for error in ANSWER.iter_errors(body)]
            assert not errors, (name, body)


def test_what_is_doubtful_is_in_the_schema_too() -> None:
    for outputs, text in DOUBTFUL:
        assert ANSWER.is_valid(as_json(outputs)), text


# JSON shows these like something that is accepted.
LOOKS_GOOD_IN_JSON = {
    "bytes are text": "outputs[0].study_uid is 3 bytes, not a str",
    "1.0 is an integer": "outputs[0].frame_number is a float (1.0), not an int",
    "null is NaN in a location": "outputs[0].data.x is None, not a number",
    "null is NaN in a mask": "outputs[0].data.mask: row 1 is None, not a list of numbers.",
    "null is NaN in vertices": "outputs[0].data.vertices: outline 0, vertex 1, x is None, not a number.",
}


def test_what_is_refused_does_not_validate() -> None:
    looks_good = []
    for outputs, text in REFUSED:
        if isinstance(outputs, list) and ANSWER.is_valid(as_json(outputs)):
            looks_good.append(text)
    assert looks_good == list(LOOKS_GOOD_IN_JSON.values())


@pytest.mark.parametrize("outputs", [None, {}, "x", 5, annotation(), [None], [[]], [5]])
def test_an_answer_is_a_list_of_outputs(outputs: Any) -> None:
    assert not ANSWER.is_valid(outputs)


@pytest.mark.parametrize("kind", ["NONE", "ANNOTATION", "IMAGE", "DICOM", "TEXT"])
@pytest.mark.parametrize("missing", ["type", "study_uid", "class_index", "images"])
def test_what_each_type_requires_is_required(skeleton_of: Callable[[Any], bytes], kind: str, missing: str) -> None:
    outputs = [{"type": kind, "study_uid": "1", "class_index": 0, "images": None}]
    assert ANSWER.is_valid(outputs)
    del outputs[0][missing]
    try:
        judge(skeleton_of(outputs))
        accepted = True
    except InvalidOutput as refusal:
        assert "is missing" in str(refusal)
        accepted = False
    assert ANSWER.is_valid(outputs) == accepted


def test_the_examples_are_good_and_give_no_warning(skeleton_of: Callable[[Any], bytes]) -> None:
    assert REQUEST.is_valid(REQUEST_EXAMPLE)
    assert ANSWER.is_valid(OUTPUT_EXAMPLE)
    sent = {**REQUEST_EXAMPLE, "files": [{**file, "content": b"DICM"} for file in REQUEST_EXAMPLE["files"]]}
    summary = read_request(msgpack.packb(sent))
    assert summary.warnings == ()
    assert judge(skeleton_of(OUTPUT_EXAMPLE), summary.label_classes) == ()


def test_every_example_inside_the_schemas_validates() -> None:
    for name, component in COMPONENTS.items():
        for key, schema in component.get("properties", {}).items():
            for example in schema.get("examples", []):
                assert validator(schema).is_valid(example), (name, key)


@pytest.mark.parametrize(
    ("data", "is_valid"),
    [
        ({"files": []}, True),
        ({"files": [{"content": "YQ==", "content_type": "x", "more": 1}], "args": None, "more": 1}, True),
        ({"files": [], "annotations": None, "label_classes": None}, True),
        ({}, False),
        ({"files": {}}, False),
        ({"files": [{"content_type": "x"}]}, False),
        ({"files": [{"content": 5, "content_type": "x"}]}, False),
        ([], False),
    ],
)
def test_a_request_validates_where_it_is_one(data: Any, is_valid: bool) -> None:
    assert REQUEST.is_valid(data) == is_valid


def test_bytes_are_said_to_be_base64_in_json() -> None:
    kinds = [kind.get("contentEncoding") for kind in COMPONENTS["File"]["properties"]["content"]["anyOf"]]
    assert sorted(kinds, key=str) == [None, "base64"]
    assert COMPONENTS["Explanation"]["properties"]["content"]["contentEncoding"] == "base64"
    explained = [annotation(explanations=[{"name": "heat", "content": b"\xff\x00", "content_type": "image/png"}])]
    assert as_json(explained)[0]["explanations"][0]["content"] == "/wA="
