"""The response's bytes are those of the model's list, and the skeleton's facts are true."""

import enum
import gc
import math
import tempfile
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.uid import UID

from app.interface.skeleton import Summary, Typed, Unwritable
from model_loader.errors import DeadlineExceeded
from model_loader.line import PoolLimits
from model_loader.worker.mdai_guest import encoding
from tests.hosting import PATIENCE, Hosted
from tests.model_loader.worker.writing import facts_about, in_data, refusal, under, written

Point = namedtuple("Point", "x y")
NAN, INF = float("nan"), float("inf")


class Side(enum.IntEnum):
    LEFT = 7


class Key(str, enum.Enum):  # noqa: UP042
    """Its str() and its hash are those of the member's name, not of its value."""

    TYPE = "type"
    INDEX = "class_index"

    __hash__ = enum.Enum.__hash__


class Words(str):
    pass


class Rows(list[Any]):
    pass


integers = st.integers(-(2**63), 2**64 - 1)
texts = st.text(max_size=8) | st.text(max_size=8).map(Words) | st.just(UID("1.2.840"))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    st.floats().map(np.float64),
    st.just(Side.LEFT),
    st.just(Key.TYPE),
    texts,
    st.binary(max_size=300),
    st.binary(max_size=8).map(bytearray),
)
keys = texts | integers | st.binary(max_size=3) | st.none() | st.floats() | st.tuples(integers, st.booleans())


def _defaulting(pairs: dict[Any, Any]) -> Any:
    return defaultdict(list, pairs)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=4)
    dicts = st.dictionaries(keys, inner, max_size=4)
    return st.one_of(
        lists, lists.map(tuple), lists.map(Rows), dicts, dicts.map(OrderedDict), dicts.map(_defaulting),
        st.tuples(inner, inner).map(lambda pair: Point(*pair)),
    )  # fmt: skip


anything = st.recursive(scalars, _containers, max_leaves=15)
#: Keys whose values are never translated.
outputs = st.lists(st.dictionaries(st.sampled_from(["type", "note", "images", "x", "explanations"]), anything))


@settings(max_examples=300, deadline=None)
@given(result=outputs | st.lists(anything, max_size=4))
@example(result=[{"note": {1: 2, "1": 3, None: 4, (1, 2): [b"x"]}}])
def test_what_msgpack_packs_comes_out_as_the_same_bytes(result: list[Any]) -> None:
    answer = written(result)
    assert answer.response == msgpack.packb(result, use_bin_type=True)
    assert len(answer.facts) == len(result)


@settings(max_examples=150, deadline=None)
@given(data=st.dictionaries(st.sampled_from(["x", "y", "vertices", "more"]), anything, min_size=1))
def test_data_comes_out_as_the_same_bytes(data: dict[str, Any]) -> None:
    result = [{"data": data, "class_index": 3, "probability": 0.5}]
    assert written(result).response == msgpack.packb(result, use_bin_type=True)


#: Without an integral `class_index` that no int of 64 bits is.
small = scalars.filter(lambda value: not isinstance(value, float) or not abs(value) >= 2**63)
pairs = st.dictionaries(st.sampled_from(["type", "note", "class_index", "probability", "data", "x"]) | texts, small)


@settings(max_examples=300, deadline=None)
@given(output=pairs, place=st.sampled_from(["first", "last"]))
@example(output={"note": "x" * 4091}, place="last")
@example(output={"note": "x" * 4092}, place="last")
@example(output={"note": "x" * 4097}, place="last")
@example(output={"probability": 1, "class_index": 1.0, "data": True, "frame_number": -1}, place="first")
def test_small_values_are_written_and_shown_the_same_beside_something_large(output: Any, place: str) -> None:
    """An output of them alone is packed whole, and one with something else in it key by key."""
    output.pop("large", None)
    large = {"large": [[1, 2]]}
    alone, beside = written([output]), written([large | output if place == "first" else output | large])
    shown = beside.facts[0]
    del shown["large"]
    assert list(map(repr, shown.items())) == list(map(repr, alone.facts[0].items()))
    outputs = beside.outputs[0]
    del outputs["large"]
    assert list(map(repr, outputs.items())) == list(map(repr, alone.outputs[0].items()))


def test_what_is_written_leaves_nothing_for_the_search_for_garbage() -> None:
    """Which would go through what the package has made meanwhile."""
    output = {"note": "x", "data": {"mask": [[0, 1]] * 9, "vertices": [[0.5, 1]]}, "class_index": 1.0, "more": (1,)}
    with tempfile.TemporaryFile() as file:
        for accept in ("msgpack", "json"):
            gc.collect()
            encoding.write_into([output, {"note": None}], encoding.Sink(file.fileno), accept)
            assert gc.collect() == 0


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_any_number_of_outputs_is_counted_in_front(count: int) -> None:
    result = [{}] * count
    assert written(result).response == msgpack.packb(result)


def test_large_texts_bytes_and_dicts_come_out_whole() -> None:
    output = {"note": "é" * 3_000_000, "images": [b"\xff" * 5_000_000], "more": {str(n): n for n in range(5000)}}
    assert written([output]).response == msgpack.packb([output])


# What the interface lets us translate.


@pytest.mark.parametrize("data", [{}, OrderedDict()])
def test_empty_data_becomes_null(data: Any) -> None:
    assert under("data", data) is None
    assert under("more", data) == {}


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([[True, False], [False, True]], [[1, 0], [0, 1]]),
        ([[True, 0], [0.5, False]], [[1, 0], [0.5, 0]]),
        (((True,), (False,)), [[1], [0]]),
        ([[np.True_, np.False_]], [[1, 0]]),
        ([[True], []], [[1], []]),
        (np.array([[True, False]]), [[1, 0]]),
        (np.array([[True, False], [False, False]]).T, [[1, 0], [0, 0]]),
        ([np.array([True, False]), np.array([False, False])], [[1, 0], [0, 0]]),
        (([flag] for flag in (True, False)), [[1], [0]]),
        (np.array([[True, False]], dtype=object), [[1, 0]]),
        ([True], [1]),
    ],
)
def test_a_mask_of_booleans_becomes_0_and_1(mask: Any, expected: Any) -> None:
    came = in_data("mask", mask)
    assert msgpack.packb(came) == msgpack.packb(expected)


@pytest.mark.parametrize("mask", [[[0, True], [False, 1]], [[], [True]], [[0.0, True]], []])
def test_booleans_after_the_first_value_of_a_mask_stay_as_the_reference_leaves_them(mask: Any) -> None:
    assert msgpack.packb(in_data("mask", mask)) == msgpack.packb(mask)


def test_booleans_elsewhere_stay_booleans() -> None:
    assert in_data("vertices", [[True, False]])[0][0] is True
    assert in_data("vertices", np.array([[True]]))[0][0] is True
    assert under("mask", [[True]])[0][0] is True


@pytest.mark.parametrize("index", [3.0, np.float64(3), np.float32(3), np.array(3.0)], ids=repr)
def test_an_integral_float_class_index_becomes_an_int(index: Any) -> None:
    assert type(under("class_index", index)) is int
    assert type(under("frame_number", 3.0)) is float


@pytest.mark.parametrize("index", [1.5, NAN, INF, None, True, "1", 2, -1], ids=repr)
def test_any_other_class_index_stays(index: Any) -> None:
    assert msgpack.packb(under("class_index", index)) == msgpack.packb(index)


@pytest.mark.parametrize("probability", [1, 0, Side.LEFT, np.int64(1), np.uint8(1), np.array(1), 10**30], ids=repr)
def test_an_int_probability_becomes_a_float(probability: Any) -> None:
    came = under("probability", probability)
    assert type(came) is float
    assert came == float(probability)


@pytest.mark.parametrize("probability", [0.5, None, True, "x", [1, 0.5], [{"class_index": 0, "probability": 1}]])
def test_any_other_probability_stays(probability: Any) -> None:
    assert msgpack.packb(under("probability", probability)) == msgpack.packb(probability)


def test_keys_that_are_a_str_enumeration_mean_their_values() -> None:
    answer = written([{Key.TYPE: "NONE", Key.INDEX: 3.0}])
    assert answer.outputs == [{"type": "NONE", "class_index": 3}]
    assert answer.facts == [{"type": "NONE", "class_index": 3.0}]


def test_the_skeleton_shows_values_as_they_were_returned() -> None:
    [shown] = written([{"data": {}, "class_index": np.float32(2), "probability": 1, "note": UID("1.2")}]).facts
    assert shown == {
        "data": {},
        "class_index": Typed("numpy.float32", 2.0),
        "probability": 1,
        "note": Typed("pydicom.uid.UID", "1.2"),
    }


@pytest.mark.parametrize("result", [None, 5, "x", {"a": 1}, {1, 2}, np.zeros((2, 2)), object(), {"a": object()}, 2**70])
def test_what_is_no_list_of_outputs_has_a_skeleton_and_no_response(result: Any) -> None:
    answer = written(result)
    assert answer.response == b""
    assert answer.skeleton


# The facts.


def depth_of(grid: Any) -> int:
    return 1 + max((depth_of(child) for child in grid if isinstance(child, list | tuple)), default=0)


def leaves_of(grid: Any) -> Iterator[Any]:
    return chain.from_iterable(leaves_of(c) if isinstance(c, list | tuple) else [c] for c in grid)


def shape_of(grid: Any) -> list[int] | None:
    """Lengths level by level, None where lists of one level differ in length or lists and leaves are siblings."""
    shape, level = [], [grid]
    while level and all(isinstance(element, list | tuple) for element in level):
        if len({len(element) for element in level}) > 1:
            return None
        shape.append(len(level[0]))
        level = [child for element in level for child in element]
    return None if any(isinstance(element, list | tuple) for element in level) else shape


def odd_of(grid: Any) -> tuple[list[int], str] | None:
    for place, child in enumerate(grid):
        inner = odd_of(child) if isinstance(child, list | tuple) else None
        if inner:
            return [place, *inner[0]], inner[1]
        if not isinstance(child, list | tuple | int | float):
            return [place], type(child).__name__
    return None


def uneven_of(grid: Any) -> list[int] | None:
    sizes = [len(child) if isinstance(child, list | tuple) else None for child in grid]
    for place, size in enumerate(sizes):
        if size != sizes[0]:
            return [place]
    for place, child in enumerate(grid):
        inner = uneven_of(child) if isinstance(child, list | tuple) else None
        if inner:
            return [place, *inner]
    return None


def range_of(grid: Any) -> list[float] | None:
    numbers = [leaf for leaf in leaves_of(grid) if isinstance(leaf, int | float) and not math.isnan(leaf)]
    return [min(numbers), max(numbers)] if numbers else None


def check_facts(facts: Summary, grid: Any) -> None:
    leaves = list(leaves_of(grid))
    assert facts.length == len(grid)
    assert facts.shape == shape_of(grid)
    assert facts.depth == depth_of(grid)
    assert facts.types == sorted({type(leaf).__name__ for leaf in leaves})
    assert facts.range == range_of(grid)
    assert facts.nan == any(isinstance(leaf, float) and not math.isfinite(leaf) for leaf in leaves)
    assert (facts.odd and (facts.odd.at, facts.odd.type)) == odd_of(grid)
    assert (facts.uneven and facts.uneven.at) == uneven_of(grid)
    assert facts.packed == len(msgpack.packb(grid))


numbers = st.integers(-5, 300) | st.floats(width=16) | st.booleans() | st.integers(2**62, 2**64 - 1)
leaves = numbers | st.sampled_from([None, "x", b"x"])
nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=20)


@st.composite
def regular_grids(draw: st.DrawFn) -> Any:
    """Rectangles, some of them with a part cut off or put in."""
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    kind = draw(st.sampled_from([numbers, st.floats(), st.integers(0, 1), st.booleans(), leaves]))
    grid: list[Any] = [[draw(kind) for _ in range(columns)] for _ in range(rows)]
    if rows and draw(st.booleans()):
        grid[draw(st.integers(0, rows - 1))] = draw(st.lists(kind, max_size=5) | kind)
    return grid


@settings(max_examples=300, deadline=None)
@given(grid=regular_grids() | st.lists(nested, max_size=5))
@example(grid=[[], [[1]]])
@example(grid=[NAN, 1.0, 5.0])
@example(grid=[1e308, 1e308])
@example(grid=[[2**63, NAN], [INF]])
def test_the_facts_about_a_list_are_true_of_every_element(grid: list[Any]) -> None:
    facts = facts_about(grid)
    check_facts(facts, grid)
    assert facts.type == "list"
    if grid and isinstance(grid[0], list | tuple):
        assert (facts.first.type, facts.first.length) == (type(grid[0]).__name__, len(grid[0]))
    else:
        assert msgpack.packb(facts.first) == msgpack.packb(grid[0] if grid else None)


@pytest.mark.parametrize("dtype", ["?", "u1", ">i2", "i8", "u8", "f2", ">f4", "f8", "g"])
@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (2, 0), (2, 1, 2)])
def test_the_facts_about_an_array_are_those_about_its_list(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(int(np.prod(shape))) * 50).reshape(shape).astype(dtype)
    facts = facts_about(array)
    assert (facts.type, facts.types) == ("numpy.ndarray", [array.dtype.name])
    assert (facts.shape, facts.depth) == (list(shape), len(shape))
    assert facts.range == range_of(array.astype("f8" if dtype == "g" else dtype).tolist())
    assert (facts.nan, facts.odd, facts.uneven) == (False, None, None)


@pytest.mark.parametrize("values", [[NAN, 1, 2], [INF, -INF, 0], [NAN, NAN], [1, 2]])
@pytest.mark.parametrize("kind", ["f2", "f8", "g", list])
def test_nan_is_told_and_left_out_of_the_range(values: list[float], kind: Any) -> None:
    facts = facts_about(list(map(float, values)) if kind is list else np.array(values, dtype=kind))
    assert facts.range == range_of(values)
    assert facts.nan == (not all(map(math.isfinite, values)))


def test_the_first_row_shows_its_types() -> None:
    """The reference looks at both values of the first vertex."""
    assert facts_about([[1, True], [2.5, 3]]).first.types == ["bool", "int"]
    assert facts_about([np.zeros(2), [1]]).first.type == "numpy.ndarray"


def test_long_values_are_summarised() -> None:
    summary = facts_about("x" * 5000)
    assert (summary.type, summary.length, summary.head) == ("str", 5000, "x" * 64)
    assert (facts_about(b"x" * 300).type, facts_about(bytearray(300)).value.length) == ("bytes", 300)
    assert (facts_about({n: n for n in range(1001)}).type, facts_about({"a": {}})) == ("dict", {"a": {}})


# What cannot be written.


@pytest.mark.parametrize(
    ("output", "beginning"),
    [
        ({"note": {1}}, "outputs[1].note is a set ({1}): it has no order: give a list"),
        ({"data": {"x": 1j}}, "outputs[1].data.x is a complex (1j): the response cannot carry that."),
        ({"data": {"mask": [[0], [0, {2}]]}}, "outputs[1].data.mask[1][1] is a set ({2})"),
        ({"explanations": [{}, {"content": open}]}, "outputs[1].explanations[1].content is a builtin_function"),
        ({"explanations": [[{"a b": {1}}]]}, "outputs[1].explanations[0][0]['a b'] is a set ({1})"),
        ({"images": [1, 2**64]}, "outputs[1].images[1] is an int (18446744073709551616): the interface's integers end"),
        ({"class_index": 1e300}, "outputs[1].class_index is an int (an int of 997 bits): the interface's integers end"),
        ({"probability": 10**400}, "outputs[1].probability is an int (an int of 1329 bits): the interface's integers"),
        ({"note": "\udc80"}, "outputs[1].note is a str ('\\udc80'): it holds half a surrogate pair"),
        ({"\udc80": 1}, "the key outputs[1]['\\udc80'] is a str ('\\udc80'): it holds half a surrogate pair"),
        ({"note": {frozenset(): 1}}, "the key outputs[1].note[frozenset()] is a frozenset"),
        ({"note": [{(1, frozenset()): 1}]}, "the key outputs[1].note[0][(1, frozenset())][1] is a frozenset"),
        ({"note": [{"a": [{frozenset(): 1}]}]}, "the key outputs[1].note[0].a[0][frozenset()] is a frozenset"),
    ],
)  # fmt: skip
def test_refusals_name_the_place_what_was_found_and_what_to_do(output: Any, beginning: str) -> None:
    with pytest.raises(Exception, match=r".* Return text, numbers, bytes, lists, dicts or arrays\.$") as caught:
        written([{}, output])
    assert str(caught.value).startswith(beginning)
    with pytest.raises(type(caught.value)):
        written([{}, output], "json")


@pytest.mark.parametrize("length", [10, 10**6])
def test_refusals_are_short_printable_and_valid_text(length: int) -> None:
    class Hostile:
        def __repr__(self) -> str:
            return "\udc80\n\x1b" * length

    for text in (refusal({"k" * length: Hostile()}), refusal([[Hostile()] * 3]), refusal({"\udc80" * length: 1})):
        assert text.isprintable()
        assert len(text.encode()) < 1000


def test_what_contains_itself_is_refused() -> None:
    row: list[Any] = [1]
    row.append(row)
    table: dict[str, Any] = {}
    table["again"] = table
    both: list[Any] = [{}]
    both[0]["again"] = both
    for value in (row, table, both, [[row]], [[table]], [[both]]):
        assert "it is nested too deeply, or contains itself" in refusal(value)
    for mask in (row, [row]):
        with pytest.raises(Exception, match=r"^outputs\[0\]\.data\.mask.*: it is nested too deeply"):
            written([{"data": {"mask": mask}}])
    both.append(both)
    with pytest.raises(Exception, match="it is nested too deeply"):
        written(both)


def test_a_result_that_cannot_be_pictured_says_why() -> None:
    assert written({1}).facts == Unwritable("set", "{1}", "it has no order: give a list, e.g. with sorted(…)")


def test_a_response_that_finds_no_room_is_no_fault_of_an_output(tmp_path: Path) -> None:
    readable = tmp_path / "readable"
    readable.touch()
    with readable.open("rb") as file, pytest.raises(Exception, match=r"^the response cannot be stored: .*Bad file"):
        encoding.write_into([{"images": [b"x" * 2_000_000]}], encoding.Sink(file.fileno), "msgpack")


@pytest.mark.parametrize("accept", ["msgpack", "json"])
def test_a_response_may_be_as_long_as_is_allowed_and_not_a_byte_longer(tmp_path: Path, accept: str) -> None:
    """What is too long is not stored beforehand; the skeleton behind a response does not count."""
    outputs = [{"study_uid": "1.2", "note": "x" * 1000} for _ in range(2000)]
    with (tmp_path / "file").open("w+b") as file:
        size, skeleton = encoding.write_into(outputs, encoding.Sink(file.fileno), accept)
        assert encoding.write_into(outputs, encoding.Sink(file.fileno, size), accept) == (size, skeleton)
        file.truncate(0)
        with pytest.raises(encoding.TooLong, match=f"longer than the {size - 1:,} bytes that --max-response allows"):
            encoding.write_into(outputs, encoding.Sink(file.fileno, size - 1), accept)
        assert (tmp_path / "file").stat().st_size < size


def test_the_deadline_ends_an_output_that_has_no_end(tmp_path: Path, host: Callable[..., Hosted]) -> None:
    """A generator inside an output runs while the response is written."""
    folder = tmp_path / "endless" / ".mdai"
    folder.mkdir(parents=True)
    (folder / "mdai_deploy.py").write_text(
        "def endless():\n"
        "    while True:\n"
        "        yield sum(range(100_000))\n\n\n"
        "class MDAIModel:\n"
        "    def predict(self, data):\n"
        "        return [{'images': endless()}]\n"
    )
    service = host(folder.parent, limits=PoolLimits(startup_timeout=PATIENCE, predict_timeout=0.5)).start()
    with pytest.raises(DeadlineExceeded):
        service.predict()
