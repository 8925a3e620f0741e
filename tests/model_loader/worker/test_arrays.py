"""Arrays are packed without lists, to the bytes that packing their lists gives."""

import warnings
from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model_loader.worker.mdai_guest import arrays

INTEGERS = [order + kind + size for kind in "iu" for size in "1248" for order in "<>"]
FLOATS = [order + "f" + size for size in "248" for order in "<>"]
#: Where msgpack goes over to a longer form.
POWERS = [sign * 2**bits for bits in (0, 5, 7, 8, 15, 16, 31, 32, 63, 64) for sign in (-1, 1)]
EDGES = sorted({power + step for power in POWERS for step in (-1, 0, 1)})


def packed(array: Any) -> bytes:
    pieces: list[bytes] = []
    arrays.pack_array(array, pieces.append)
    return b"".join(pieces)


def expected(array: Any) -> bytes:
    rows: bytes = msgpack.packb(array.tolist())
    return rows


def layouts(array: Any) -> list[Any]:
    """The same kind of array as it may lie in memory."""
    reversed_all = array[tuple(slice(None, None, -1) for _ in array.shape)]
    stepped = array[tuple(slice(None, None, 2) for _ in array.shape)]
    return [array, array.T, np.asfortranarray(array), reversed_all, stepped, np.broadcast_to(array, (3, *array.shape))]


everything = hnp.arrays(
    dtype=st.sampled_from(["?", *INTEGERS, *FLOATS]).map(np.dtype),
    shape=hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=18).filter(lambda shape: np.prod(shape) < 500),
)


@settings(max_examples=150, deadline=None)
@given(array=everything)
def test_arrays_are_packed_as_their_lists_are_however_they_lie_in_memory(array: Any) -> None:
    for layout in layouts(array):
        assert packed(layout) == expected(layout)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_takes_its_shortest_form(dtype: str) -> None:
    limits = np.iinfo(dtype)
    values = [value for value in EDGES if limits.min <= value <= limits.max] + [limits.min, limits.max]
    for some in [values, *([value] for value in values), *pairwise(values)]:
        array = np.array([some, some], dtype=dtype)
        assert packed(array) == expected(array)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_float_becomes_a_double(dtype: str) -> None:
    limits = np.finfo(dtype)
    array = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, limits.min, limits.max, limits.tiny], dtype=dtype)
    assert packed(array) == expected(array)
    assert packed(array[:, None]) == expected(array[:, None])


def test_a_long_double_becomes_the_nearest_double() -> None:
    array = np.array([[1.5, np.finfo("g").max, np.finfo("g").eps]], dtype="g")
    assert packed(array) == msgpack.packb([[1.5, float("inf"), float(np.finfo("g").eps)]])


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3), (2, 3, 0), (0, 0, 0), (70_000, 0)])
def test_empty_dimensions_are_kept(shape: tuple[int, ...]) -> None:
    assert packed(np.zeros(shape)) == expected(np.zeros(shape))


@pytest.mark.parametrize("length", [1, 15, 16, 17, 65_535, 65_536])
@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f4"])
def test_headers_tell_lengths_at_every_level(length: int, dtype: str) -> None:
    flat = (np.arange(length) % 300).astype(dtype)
    for array in (flat, flat[None], flat[:, None], flat[None, :, None]):
        assert packed(array) == expected(array)


@pytest.mark.parametrize("shape", [(1_100_000,), (2, 1_100_000), (1_100_000, 1), (3, 700, 600), (1, 2, 550_001)])
def test_what_is_larger_than_one_slice_is_packed_in_pieces_that_join(shape: tuple[int, ...]) -> None:
    values = (np.arange(int(np.prod(shape))) % 254).astype("u1")
    array = values.reshape(shape)
    pieces: list[bytes] = []
    arrays.pack_array(array, pieces.append)
    assert b"".join(pieces) == expected(array)
    assert len(pieces) > 1
    assert max(map(len, pieces)) < 1 << 23


def test_slices_choose_their_forms_each_for_itself() -> None:
    array = np.zeros((3, 1 << 20), dtype="i8")
    array[1, 5], array[2, 7] = -(2**40), 200
    assert packed(array) == expected(array)


def test_small_inner_arrays_are_packed_many_at_a_time() -> None:
    """OpenCV's outlines have the shape (n, 1, 2): the pieces are few, not one for each pair."""
    pieces: list[bytes] = []
    array = np.arange(200_000, dtype="i4").reshape(-1, 1, 2)
    arrays.pack_array(array, pieces.append)
    assert b"".join(pieces) == expected(array)
    assert len(pieces) < 50


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f2", "g"])
def test_no_warning_of_numpys_comes_out(dtype: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(all="raise"):
            packed(np.array([[0, 1], [100, 1]], dtype=dtype))
