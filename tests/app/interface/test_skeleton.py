"""A skeleton comes from a process that runs anybody's code: whatever it is, it is judged or refused, and cheaply."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.interface.errors import InvalidOutput
from app.interface.explain import MOST_KEYS
from app.interface.labels import LabelClass
from app.interface.outputs import LARGEST_OUTPUT, judge
from app.interface.skeleton import Skeletons, SkeletonUnreadable, Summary, Typed, Unwritable
from app.interface.slices import finish
from model_loader.worker.mdai_guest.wire import EXT_SUMMARY, EXT_TYPED, EXT_UNWRITABLE

Ext = Callable[..., msgpack.ExtType]

pack = msgpack.packb


def annotation(**more: Any) -> dict[str, Any]:
    return {"type": "ANNOTATION", "study_uid": "1.2", "class_index": 0, **more}


def verdicts(skeleton: bytes) -> list[str]:
    """What the judge says, strict and not: warnings or the refusal, always in words that fit into an answer."""
    said = []
    for strict in (False, True):
        try:
            warnings = judge(skeleton, [LabelClass(class_index=0)], strict=strict)
        except InvalidOutput as error:
            assert error.text
            warnings = (error.text,)
        said.append("\n".join(warnings))
        assert len(said[-1]) < 20_000
    return said


def views(skeleton: bytes) -> list[Any]:
    """Every way to read the skeleton; None where it is refused."""
    ways = (
        lambda reader: reader.as_returned(skeleton),
        lambda reader: reader.outputs(skeleton),
        lambda reader: finish(reader.as_returned_in_steps(memoryview(skeleton))),
        lambda reader: finish(reader.plain_in_steps(memoryview(skeleton))),
    )
    read = []
    for way in ways:
        try:
            read.append(way(Skeletons()))
        except SkeletonUnreadable:
            read.append(None)
    return read


texts = st.text(max_size=5)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts | st.binary(max_size=5)
keys = st.sampled_from(["mask", "vertices", "x", "y", "width", "type", "data", "note", "input"]) | texts | scalars


def extension(code: int, content: Any) -> msgpack.ExtType:
    return msgpack.ExtType(code, pack(content, strict_types=False))


def wrapped(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Extensions, good and bad, around values that may hold extensions again."""
    places = st.fixed_dictionaries(
        {"at": st.lists(st.integers(-1, 3), max_size=3) | inner},
        optional={"type": texts, "repr": texts, "found": texts},
    )
    facts = st.fixed_dictionaries(
        {"type": st.sampled_from(["list", "tuple", "str", "bytes", "dict", "numpy.ndarray", ""]) | inner},
        optional={
            "length": st.integers(-3, 3) | inner,
            "shape": st.none() | st.lists(st.integers(-1, 3), max_size=4) | inner,
            "depth": st.integers(-1, 3) | inner,
            "types": st.lists(st.sampled_from(["int", "bool", "str"]), max_size=2) | inner,
            "range": st.none() | st.lists(scalars, max_size=3) | inner,
            "nan": st.booleans() | inner,
            "odd": st.none() | places | inner,
            "uneven": st.none() | places | inner,
            "first": inner,
            "head": texts | inner,
            "keys": st.lists(inner, max_size=2) | inner,
            "packed": scalars,
        },
    )
    return st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=4),
        st.builds(extension, st.just(EXT_TYPED), st.tuples(texts, inner) | st.lists(inner, max_size=3)),
        st.builds(extension, st.just(EXT_SUMMARY), facts | inner),
        st.builds(extension, st.just(EXT_UNWRITABLE), st.lists(texts | inner, max_size=4)),
        st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8)),
    )


anything = st.recursive(scalars, wrapped, max_leaves=8)


@st.composite
def outputs(draw: st.DrawFn) -> Any:
    """An output in which any key may hold anything."""
    output = annotation()
    names = ["type", "study_uid", "series_uid", "frame_number", "class_index", "probability", "data", "explanations",
             "note", "images", "image_output_tags", "more"]  # fmt: skip
    for key in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)):
        output[key] = draw(anything)
    for key in draw(st.sampled_from([[], ["mask"], ["vertices"], ["x", "y"], ["x", "y", "width", "height"]])):
        if not isinstance(output.get("data"), dict):
            output["data"] = {}
        output["data"][key] = draw(wrapped(anything))
    wrap = draw(st.sampled_from([False, False, True]))
    return extension(EXT_TYPED, ["collections.OrderedDict", output]) if wrap else output


skeletons = (st.lists(outputs(), max_size=3) | anything).map(pack)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(skeletons))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        body[start : min(len(body), start + draw(st.integers(0, 3)))] = draw(st.binary(max_size=4))
    return bytes(body)


@settings(max_examples=250, deadline=None)
@given(skeleton=skeletons | damaged() | st.binary(max_size=60))
@example(skeleton=pack([annotation(data={"mask": [[1, 2], [3, 4]]})]))
def test_whatever_a_worker_sends_is_judged_or_refused(skeleton: bytes) -> None:
    verdicts(skeleton)
    views(skeleton)


@settings(max_examples=60, deadline=None)
@given(skeleton=skeletons, end=st.integers(0))
def test_no_beginning_of_a_skeleton_is_a_skeleton(skeleton: bytes, end: int) -> None:
    with pytest.raises(InvalidOutput):
        judge(skeleton[: end % len(skeleton)])


@settings(max_examples=60, deadline=None)
@given(value=anything)
def test_a_large_skeleton_reads_as_a_small_one(value: Any) -> None:
    """What is decoded piece by piece comes out as what is decoded at once."""
    small, filler = pack({"a": value}), "x" * 70_000
    large = pack({"a": value, "filler": filler})
    for read in (Skeletons().as_returned_in_steps, Skeletons().plain_in_steps):
        try:
            at_once = finish(read(memoryview(small)))
        except SkeletonUnreadable:
            with pytest.raises(SkeletonUnreadable):
                finish(read(memoryview(large)))
            continue
        in_pieces = finish(read(memoryview(large)))
        assert in_pieces.pop("filler") == filler
        assert repr(in_pieces) == repr(at_once)


WRONG_FACTS: dict[str, dict[str, Any]] = {
    "no type": {"type": None},
    "no length": {"length": None},
    "a length that is text": {"length": "3"},
    "a length of more than 64 bits": {"length": 1e30},
    "a shape of text": {"shape": ["2", "3"]},
    "a shape that is a number": {"shape": 3},
    "a range of text": {"range": ["a", "b"]},
    "types that are numbers": {"types": [1]},
    "an odd one without a place": {"odd": {"type": "str", "repr": "x"}},
    "an odd one in a place of text": {"odd": {"at": ["0"], "type": "str", "repr": "x"}},
    "an uneven one that is a list": {"uneven": [1]},
    "nan that is a number": {"nan": 1},
    "a head that is no text": {"head": b"x"},
}
STRANGE_FACTS: dict[str, dict[str, Any]] = {
    "a negative length": {"length": -1},
    "the largest length": {"length": 2**64 - 1},
    "a negative shape": {"shape": [-1, -2]},
    "no shape": {"shape": []},
    "a shape of a thousand levels": {"shape": [1] * 1000},
    "a range of one": {"range": [1]},
    "a range of five": {"range": [1, 2, 3, 4, 5]},
    "an odd one nowhere": {"odd": {"at": [], "type": "str", "repr": "x"}},
    "an odd one at a negative place": {"shape": [1, 1], "odd": {"at": [-1, -1], "type": "", "repr": ""}},
    "an odd one very deep": {"shape": [1, 1], "odd": {"at": [1] * 5000, "type": "x" * 5000, "repr": "y" * 5000}},
    "an uneven one very deep": {"shape": None, "uneven": {"at": [1] * 5000, "found": "x" * 5000}},
    "a type of a megabyte": {"type": "x" * 1_000_000},
    "a type without letters": {"type": ""},
    "text for a mask": {"type": "str"},
    "a dict for a mask, with odd keys": {"type": "dict", "keys": [[], {}, None]},
    "a dict for its first row": {"shape": None, "first": {"a": 1}},
    "text for its first row": {"shape": None, "first": "x"},
    "no first row": {"shape": None, "first": None},
}


@pytest.mark.parametrize("key", ["mask", "vertices"])
@pytest.mark.parametrize("facts", WRONG_FACTS.values(), ids=WRONG_FACTS)
def test_facts_of_the_wrong_type_are_unreadable(summary: Ext, key: str, facts: dict[str, Any]) -> None:
    given_facts = {"type": "list", "length": 2, "shape": [2, 2], "types": ["int"], **facts}
    skeleton = pack([annotation(data={key: summary(**given_facts)})])
    for said in verdicts(skeleton):
        assert "The worker's picture of the outputs cannot be read (" in said


@pytest.mark.parametrize("key", ["mask", "vertices", "x"])
@pytest.mark.parametrize("facts", STRANGE_FACTS.values(), ids=STRANGE_FACTS)
def test_facts_that_cannot_be_are_judged_in_few_words(summary: Ext, key: str, facts: dict[str, Any]) -> None:
    given_facts = {"type": "list", "length": 2, "shape": [2, 2], "types": ["int"], **facts}
    skeleton = pack([annotation(data={key: summary(**given_facts)}, images=summary(**given_facts))])
    for said in verdicts(skeleton):
        assert len(said) < 1500


def test_the_three_extensions_are_read(summary: Ext, typed: Ext, unwritable: Ext) -> None:
    skeleton = pack([typed("a.B", 3), summary(type="str", length=9, head="abc"), unwritable("set", "{1}", "why")])
    text = Summary(type="str", length=9, head="abc")
    assert Skeletons().as_returned(skeleton) == [Typed("a.B", 3), text, Unwritable("set", "{1}", "why")]
    reader = Skeletons()
    assert finish(reader.plain_in_steps(memoryview(skeleton))) == [3, "abc…", Unwritable("set", "{1}", "why")]
    assert reader.met_unwritable


UNREADABLE = {
    "nothing": b"",
    "a byte that msgpack never uses": b"\x91\xc1",
    "more than one value": pack([]) + pack([]),
    "4 GiB of outputs": b"\xdd\xff\xff\xff\xff",
    "4 GiB of keys": b"\x91\xdf\xff\xff\xff\xff",
    "4 GiB of text": b"\x91\xdb\xff\xff\xff\xff",
    "4 GiB of facts": b"\xc9\xff\xff\xff\xff\x02",
    "lists in lists": b"\x91" * 100_000 + b"\xc0",
    "maps in an output": b"\x91" + b"\x81\xa1a" * 10_000 + b"\xc0",
    "an extension of nobody's": pack([msgpack.ExtType(77, b"x")]),
    "an extension of nobody's for a result": pack(msgpack.ExtType(77, b"x")),
    "a bad timestamp": b"\x91\xd4\xff\x00",
    "an empty typed value": pack([msgpack.ExtType(EXT_TYPED, b"")]),
    "a typed value without a value": pack([extension(EXT_TYPED, ["a"])]),
    "a typed value whose type is none": pack([extension(EXT_TYPED, [None, 1])]),
    "facts that are a list": pack([extension(EXT_SUMMARY, ["list", 1])]),
    "a key that is a map": b"\x91\x81\x80\xc0",
    "text that is no UTF-8": b"\x91\x81\xa4type\xa1\xff",
    "half a surrogate pair": b"\x91\x81\xa4type\xa3\xed\xa0\x80",
}


@pytest.mark.parametrize("skeleton", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_skeleton_is_said_to_be_unreadable(skeleton: bytes) -> None:
    for said in verdicts(skeleton):
        assert said.startswith("The worker's picture of the outputs cannot be read (")
        assert len(said) < 400


@pytest.mark.parametrize("key", ["typed", "unwritable", "a list", "null"])
def test_a_key_may_be_of_any_type_that_can_be_one(typed: Ext, unwritable: Ext, key: str) -> None:
    odd = {
        "typed": typed("numpy.str_", "more"),
        "unwritable": unwritable("set", "{1}", "why"),
        "a list": [1],
        "null": None,
    }[key]
    skeleton = b"\x91\x83" + b"".join(map(pack, ("type", "NONE", "study_uid", "1.2", odd, 1)))
    verdicts(skeleton)


def test_a_large_skeleton_with_a_list_for_a_key_is_unreadable() -> None:
    skeleton = b"\x91\x82" + pack("filler") + pack("x" * 70_000) + b"\x90\xc0"
    for said in verdicts(skeleton):
        assert "cannot be read (" in said


def deep(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("levels", [50, 300, 500])
@pytest.mark.parametrize("kind", ["typed", "summary", "list", "dict"])
def test_nesting_ends_in_a_verdict_whatever_nests(typed: Ext, summary: Ext, kind: str, levels: int) -> None:
    wrap: Callable[[Any], Any] = {
        "typed": lambda value: typed("x", value),
        "summary": lambda value: summary(type="list", length=1, first=value),
        "list": lambda value: [value],
        "dict": lambda value: {"a": value},
    }[kind]
    value = deep(levels, wrap)
    filler = "x" * 70_000  # makes the reader go piece by piece
    for output in (annotation(data={"mask": value}), annotation(images=value, note=filler), value):
        verdicts(pack([output]))
    verdicts(pack(value))


def peak_of(skeleton: bytes) -> int:
    tracemalloc.start()
    try:
        verdicts(skeleton)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_many_outputs_take_no_memory() -> None:
    """They are looked at one after the other, where they lie."""
    count = 20_000
    skeleton = b"\xdd" + count.to_bytes(4, "big") + pack(5) * count
    assert peak_of(skeleton) < 1 << 20


def test_an_output_that_would_fill_the_memory_is_refused() -> None:
    skeleton = pack([annotation(), annotation(more=["x" * 4000] * (LARGEST_OUTPUT // 4000))])
    assert peak_of(skeleton) < 1 << 20
    for said in verdicts(skeleton):
        assert said.startswith("outputs[1] holds 8,3") and "8,388,608 are the most: put what is large" in said


@pytest.mark.parametrize("place", ["", ".data", ".note", ".image_output_tags"])
def test_a_dict_of_very_many_keys_is_refused_at_once(place: str, typed: Ext) -> None:
    """Each unknown key would be compared with every known one."""
    many = {f"key {number}": 1 for number in range(MOST_KEYS + 1)}
    output = annotation(**({place[1:]: many} if place else many))
    for skeleton in (pack([output]), pack([typed("collections.OrderedDict", output)])):
        for said in verdicts(skeleton):
            assert said.startswith(f"outputs[0]{place} has 1,00") and "keys, and 1,000 are the most" in said


def test_more_faults_than_anybody_reads_are_not_all_looked_for(unwritable: Ext) -> None:
    skeleton = pack([annotation(more=[unwritable("set", "{1}", "why")] * 5000)])
    for said in verdicts(skeleton):
        assert said.count("\n") == 10 and said.endswith("And 190 more.")
