"""The response as JSON is its msgpack form, presented."""

import base64
import json
import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_loader.worker.mdai_guest.unwritable import Unwritable
from tests.model_loader.worker.writing import written


def presented(value: Any) -> Any:
    """What came out of msgpack as JSON has it."""
    if isinstance(value, dict):
        return {key: presented(element) for key, element in value.items()}
    if isinstance(value, list):
        return [presented(element) for element in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def as_json(outputs: Any) -> Any:
    return json.loads(written(outputs, "json").response, parse_constant=refuse_constant)


def same(one: Any, other: Any) -> bool:
    """Equal with every type, and 0.0 and -0.0 apart."""
    return repr(one) == repr(other)


integers = st.integers(-(2**63), 2**64 - 1)
leaves = st.none() | st.booleans() | integers | st.floats() | st.text(max_size=5) | st.binary(max_size=9)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@settings(max_examples=300, deadline=None)
@given(outputs=st.lists(anything | st.dictionaries(st.sampled_from(["type", "note", "images"]), anything), max_size=4))
def test_json_is_the_msgpack_form_presented(outputs: list[Any]) -> None:
    assert same(as_json(outputs), presented(written(outputs).outputs))
    assert written(outputs, "json").skeleton == written(outputs).skeleton


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (1, "1"),
        (-(2**63), "-9223372036854775808"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (True, "true"),
        (None, "null"),
        (b"k", "k"),
        (b"\xff", "\\xff"),
        ((1, "a"), '[1,"a"]'),
        ((float("nan"), (b"x",)), '[null,["eA=="]]'),
        (np.int64(7), "7"),
        ("é\u2028\U0001f600", "é\u2028\U0001f600"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("beside", [0, b"bytes", float("nan")], ids=repr)
def test_keys_become_text_whatever_lies_beside_them(key: Any, text: str, beside: Any) -> None:
    assert list(as_json([{"note": {key: beside}}])[0]["note"]) == [text]


def test_json_is_plain_ascii() -> None:
    response = written([{"note": "é\u2028\U0001f600"}], "json").response
    assert response.isascii()
    assert response == b'[{"note":"\\u00e9\\u2028\\ud83d\\ude00"}]'


@pytest.mark.parametrize("outputs", [[], (), [{}], [{}, {}], ({}, {"a": []})])
def test_any_number_of_outputs_makes_a_list(outputs: Any) -> None:
    assert as_json(outputs) == list(outputs)


def test_translations_are_those_of_the_msgpack_form() -> None:
    outputs = [{"data": {}, "class_index": 2.0, "probability": 1}, {"data": {"mask": np.array([[True, False]])}}]
    assert same(as_json(outputs), written(outputs).outputs)


@pytest.mark.parametrize("dtype", ["?", "u1", ">i8", "f2", "f8"])
def test_arrays_are_lists(dtype: str) -> None:
    array = (np.arange(600) % 300).reshape(20, 30).astype(dtype)
    assert same(as_json([{"note": array}]), [{"note": array.tolist()}])


def test_nan_and_infinities_in_a_large_mask_are_null() -> None:
    mask = np.zeros((200, 300))
    mask[7, 9], mask[8, 1] = np.nan, -np.inf
    [output] = as_json([{"data": {"mask": mask}}])
    assert output["data"]["mask"][7][9] is output["data"]["mask"][8][1] is None
    assert sum(row.count(0.0) for row in output["data"]["mask"]) == 200 * 300 - 2


def test_what_msgpack_cannot_carry_is_refused_in_json_too() -> None:
    for value in ("\ud800", {"\udfff": 1}, 2**64, {1, 2}):
        with pytest.raises(Unwritable):
            written([{"note": value}], "json")


def test_what_is_no_list_of_outputs_has_no_json() -> None:
    answer = written({"type": "NONE"}, "json")
    assert answer.response == b""
    assert msgpack.unpackb(answer.skeleton) == {"type": "NONE"}
