"""Lists that are seen as arrays: byte for byte what msgpack writes, and no element is taken for what it is not."""

import enum
import math
from collections import namedtuple
from collections.abc import Callable
from itertools import chain
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_loader.worker.mdai_guest import skeleton, uniform
from model_loader.worker.mdai_guest.addresses import addresses_in_use
from tests.model_loader.worker.writing import in_data, under, written

Pair = namedtuple("Pair", "x y")
NAN = float("nan")
#: Of one byte, small, of each of msgpack's forms, and at the ends of what has a digit, 63 bits, 64 bits.
INTS = (0, 1, 127, 128, 255, 256, 257, -1, -5, -6, -32, -33, -128, -129, 65535, 65536, -32768, -32769, 2**30 - 1, 2**30)
LONG = (-(2**30), 1 - 2**30, 2**31, -(2**31), -(2**31) - 1, 2**32, 2**53 + 1, -(2**63), 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, 0.5, -1e300, 5e-324, NAN, -NAN, math.inf, -math.inf)


class Count(int):
    pass


class Ratio(float):
    pass


class Row(list[Any]):
    pass


class Side(enum.IntEnum):
    LEFT = 1


#: What must not pass for an int, a float or a bool.
STRANGERS: tuple[Any, ...] = (
    True, False, 1, 0, 1.0, 0.0, 300, 2**63, 2**64 - 1, Count(1), Side.LEFT, Ratio(0.5),
    np.uint8(1), np.int64(300), np.float64(0.5), np.float32(0.5), np.bool_(True), None,
)  # fmt: skip

elements = st.one_of(
    st.sampled_from([0, 1]),
    st.sampled_from([0, 255]),
    st.sampled_from(INTS),
    st.sampled_from(INTS + LONG),
    st.integers(-(2**63), 2**63 - 1),
)
numbers = st.one_of(
    st.lists(elements, min_size=1, max_size=20),
    st.lists(st.integers(0, 255), min_size=1, max_size=40),
    st.lists(st.integers(-40000, 70000), min_size=1, max_size=40),
    st.lists(st.booleans(), min_size=1, max_size=20),
    st.lists(st.sampled_from(FLOATS) | st.floats(), min_size=1, max_size=20),
)
shapes = st.sampled_from([(1100,), (1, 1200), (1200, 1), (30, 40), (600, 2), (60, 20), (20, 30, 2), (2, 3, 300)])


def laid_out(values: list[Any], shape: tuple[int, ...], kind: Callable[[Any], Any] = list) -> Any:
    """The values, again and again, as lists of this shape."""
    if len(shape) == 1:
        return kind((values * (1 + shape[0] // len(values)))[: shape[0]])
    size = math.prod(shape[1:])
    turned = [values[(place * size) % len(values) :] + values for place in range(shape[0])]
    return [laid_out(turned[place], shape[1:], kind) for place in range(shape[0])]


def leaves(value: Any) -> list[Any]:
    return list(chain.from_iterable(map(leaves, value))) if isinstance(value, list | tuple) else [value]


def replaced(value: Any, place: int, element: Any) -> Any:
    """`value` with another element at one place among all."""
    if not isinstance(value[0], list | tuple):
        return type(value)([*value[:place], element, *value[place + 1 :]])
    size = len(leaves(value[0]))
    at = place // size
    return [*value[:at], replaced(value[at], place % size, element), *value[at + 1 :]]


def general(value: Any) -> dict[str, Any]:
    return skeleton.summarise(value)


def test_this_interpreter_s_objects_are_looked_at() -> None:
    assert addresses_in_use() is not None


@settings(deadline=None)
@given(numbers, shapes, st.sampled_from([list, tuple]))
def test_uniform_lists_are_written_as_msgpack_writes_them(values: list[Any], shape: tuple[int, ...], kind: Any) -> None:
    value = laid_out(values, shape, kind)
    array = uniform.as_array(value)
    assert array is not None
    assert list(map(repr, leaves(array.tolist()))) == list(map(repr, leaves(value)))
    packed = msgpack.packb([{"images": value}])
    assert written([{"images": value}]).response == packed


@settings(deadline=None)
@given(numbers, shapes)
def test_the_facts_are_those_of_the_general_way(values: list[Any], shape: tuple[int, ...]) -> None:
    value = laid_out(values, shape)
    array = uniform.as_array(value)
    found, expected = skeleton.summarise_uniform(array, "list"), general(value)
    assert repr(found) == repr(expected)  # -0.0, True and the order of keys, too


@settings(deadline=None)
@given(numbers, shapes, st.integers(0, 1023), st.sampled_from(STRANGERS))
def test_one_stranger_anywhere_is_seen(values: list[Any], shape: tuple[int, ...], place: int, stranger: Any) -> None:
    value = replaced(laid_out(values, shape), place, stranger)
    array = uniform.as_array(value)
    if len(set(map(type, leaves(value)))) > 1 or type(stranger) not in (int, float, bool) or stranger > 2**63 - 1:
        assert array is None
    else:
        assert array is not None
    plain = [element.item() if isinstance(element, np.generic) else element for element in leaves(value)]
    assert msgpack.packb(leaves(under("images", value))) == msgpack.packb(plain)


@settings(deadline=None)
@given(
    shapes.filter(lambda shape: len(shape) > 1), st.integers(0, 10**6), st.sampled_from([[], [1], (), Row(), 0, None])
)
def test_one_other_row_anywhere_is_seen(shape: tuple[int, ...], place: int, row: Any) -> None:
    value = laid_out([0, 1], shape)
    value[place % len(value)] = row
    if row == [1] and shape[1:] == (1,):  # one like the others
        return
    assert uniform.as_array(value) is None
    assert written([{"images": value}]).response == msgpack.packb([{"images": value}])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([Row([0, 1])] * 1100, id="rows of a subclass"),
        pytest.param([Pair(1, 2)] * 1100, id="named pairs"),
        pytest.param([[[[0, 1]]]] * 1100, id="four levels"),
        pytest.param([[]] * 1100, id="empty rows"),
        pytest.param([[[]] * 1100], id="empty rows inside"),
        pytest.param(["1"] * 1100, id="text"),
        pytest.param([0, 1] * 400, id="few elements"),
        pytest.param([], id="nothing"),
        pytest.param([[0] * 600, 7], id="a number beside a row"),
    ],
)
def test_what_is_out_of_the_ordinary_goes_the_general_way(value: Any) -> None:
    assert uniform.as_array(value) is None
    assert written([{"images": value}]).response == msgpack.packb([{"images": value}])


def test_a_list_that_contains_itself_is_no_array() -> None:
    value: list[Any] = []
    value += [value] * 600
    assert uniform.as_array(value) is None


@pytest.mark.parametrize("shape", [(300, 400), (3, 100_000), (100_000, 2), (250_000,)])
@pytest.mark.parametrize("values", [[0, 1], [0, 255, 7], [True, False], [0.5, NAN, -0.0], [4095, -7, 2**40]])
def test_many_slices_are_one_list_again(shape: tuple[int, ...], values: list[Any]) -> None:
    value = laid_out(values, shape)
    assert written([{"images": value}]).response == msgpack.packb([{"images": value}])


def test_bools_in_a_mask_become_numbers_and_stay_bools_elsewhere() -> None:
    value = laid_out([True, False, False], (30, 40))
    assert set(map(type, leaves(in_data("mask", value)))) == {int}
    assert set(map(type, leaves(under("images", value)))) == {bool}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=300))
def test_ints_made_anew_are_read_like_those_that_are_kept(values: list[int]) -> None:
    """Not every 5 need be the interpreter's own 5."""
    made = [int(str(value)) for value in values] * 1100
    array = uniform.as_array(made)
    assert array is not None and array.tolist() == made
