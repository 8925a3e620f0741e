"""Whatever bytes arrive: a summary that is true of what the worker will decode, or a refusal in words; never more."""

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.interface.errors import InterfaceError, InvalidRequest, MalformedBody
from app.interface.request import (
    MAX_FILES,
    MAX_SMALL_BYTES,
    RequestSummary,
    ordinary_in_steps,
    read_request,
    request_in_steps,
    walk_in_steps,
)
from app.interface.slices import Steps, finish
from model_loader.worker.mdai_guest.request import adapt

texts = st.text(max_size=8)
integers = st.integers(-(2**63), 2**64 - 1)
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False) | texts | st.binary(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
label_classes = st.lists(
    st.fixed_dictionaries({}, optional={"class_index": integers | values, "label": st.dictionaries(texts, values)})
    | values,
    max_size=4,
)
files = st.fixed_dictionaries(
    {"content": st.binary(max_size=600)},
    optional={"content_type": texts | values, "dicom_tags": st.dictionaries(texts, values), "x y": values},
)
loaded = st.fixed_dictionaries({"content": st.none(), "content_path": st.text("ab/.", max_size=6) | st.none()})
any_file = (
    files
    | st.fixed_dictionaries({"content": st.none()})
    | loaded.filter(
        lambda file: not file["content_path"] or summary_or_none(msgpack.packb({"files": [file]})) is not None
    )
)
requests = st.fixed_dictionaries(
    {"files": st.lists(any_file, max_size=4) | st.lists(st.lists(any_file, max_size=3), max_size=3)},
    optional={
        "annotations": st.lists(values, max_size=4) | values,
        "label_classes": label_classes | values,
        "args": st.dictionaries(texts, values) | values,
        "more": values,
    },
)


def pair(key: str, value: bytes) -> bytes:
    return msgpack.packb(key) + value


FILES = pair("files", msgpack.packb([{"content": b"x", "content_type": "y"}]))


@st.composite
def shuffled(draw: st.DrawFn) -> dict[str, Any]:
    """A good request with its keys in any order."""
    data = draw(requests)
    return {key: data[key] for key in draw(st.permutations(list(data)))}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good request that some bytes were changed in, inserted into, cut out of or added to."""
    body = bytearray(msgpack.packb(draw(shuffled())))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 3)))
        body[start:end] = draw(st.binary(max_size=4) | st.sampled_from(HEADERS))
    return bytes(body)


#: Bytes that announce something.
HEADERS = [
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\xc9\x7f\xff\xff\xff\xff", b"\xd6\xff", b"\xc7\x03\xff", b"\xc1", b"\x90", b"\x80",
]  # fmt: skip


def summary_or_none(body: bytes) -> RequestSummary | None:
    """None where the body is refused as it should be: in whole sentences."""
    try:
        return read_request(body)
    except InterfaceError as error:
        assert isinstance(error, MalformedBody | InvalidRequest)
        assert error.text.endswith(".") and len(error.text) < 1000
        return None


def decoded(body: bytes) -> Any:
    """What a worker makes of a body."""
    return adapt(msgpack.unpackb(body, raw=False, strict_map_key=True))


def assert_true(summary: RequestSummary, data: Any) -> None:
    """The summary says what is in the request."""
    is_grouped = bool(data["files"]) and isinstance(data["files"][0], list)
    assert summary.group_count == (len(data["files"]) if is_grouped else 0)
    flat = [file for group in data["files"] for file in group] if is_grouped else data["files"]
    contents = [file["content"] for file in flat]
    assert summary.file_count == len(contents)
    assert summary.content_bytes == sum(len(content) for content in contents if content is not None)
    annotations = data["annotations"]
    assert summary.annotation_count == (len(annotations) if isinstance(annotations, list) else 0)
    classes = data["label_classes"]
    classes = classes if isinstance(classes, list) else []
    assert len(summary.label_classes) <= len(classes)
    indices = [entry.get("class_index") for entry in classes if isinstance(entry, dict)]
    assert all(known.class_index is None or known.class_index in indices for known in summary.label_classes)


@settings(max_examples=40, deadline=None)
@given(data=shuffled())
def test_every_good_request_is_taken_and_summed_up(data: dict[str, Any]) -> None:
    body = msgpack.packb(data)
    summary = read_request(body)
    assert_true(summary, decoded(body))
    assert all(warning.endswith(".") for warning in summary.warnings)


@given(
    body=st.binary(max_size=200)
    | damaged()
    | values.map(msgpack.packb)
    | st.lists(st.sampled_from(HEADERS)).map(b"".join)
)
@example(body=b"\x81\xa5files\xdd\xff\xff\xff\xff")
@settings(max_examples=150, deadline=None)
def test_what_is_taken_can_be_decoded_and_all_else_is_refused(body: bytes) -> None:
    """The server and the worker never disagree about a body, and no body is more than either of them can bear."""
    summary = summary_or_none(body)
    if summary is not None:
        assert_true(summary, decoded(body))


def outcome(reading: Steps[RequestSummary]) -> RequestSummary | tuple[type[InterfaceError], str]:
    try:
        return finish(reading)
    except InterfaceError as error:
        return type(error), error.text


@given(
    body=damaged()
    | shuffled().map(msgpack.packb)
    | st.binary(max_size=60).map(lambda some: b"\x82" + FILES + pair("x", some))
    | st.binary(max_size=60).map(lambda some: b"\x81" + pair("files", b"\x91" + some))
    | st.integers(900, 1100).map(lambda levels: b"\x82" + FILES + pair("x", b"\x91" * levels + b"\xc0"))
)
@example(body=b"\x82\xa5files\x90\xa5files\x90")
@example(body=b"\x81\xa5files\x91\x83\xaccontent_type\xa0\xa7content\xc4\x01x\xa7content\xc4\x01x")
@example(body=b"\x81\xa5files\x91\x82\xaccontent_type\xa1\xff\xa7content\xc4\x01x")
@settings(max_examples=300, deadline=None)
def test_the_quick_way_comes_to_what_the_walk_comes_to(body: bytes) -> None:
    """The same summary, the same warnings, the same words of refusal: nobody can tell which way a body went."""
    for max_files in (2, MAX_FILES):
        by_walk = outcome(walk_in_steps(memoryview(body), MAX_SMALL_BYTES, max_files))
        assert outcome(request_in_steps(body, max_files=max_files)) == by_walk


def test_a_usual_request_goes_the_quick_way() -> None:
    """So that the test above is about more than bodies that are left to the walk."""
    label = {"id": "L_1", "name": "x" * 40, "type": "LOCAL", "annotation_mode": "bbox", "parent_id": None}
    body = msgpack.packb(
        {
            "files": [{"content": b"DICM" * 300, "content_type": "application/dicom", "dicom_tags": {"Rows": 5}}] * 3,
            "annotations": [{"id": "A_1", "data": {"x": 1}}],
            "label_classes": [{"class_index": number, "label": label} for number in range(20)],
            "args": {"threshold": "0.5"},
        }
    )
    summary = finish(ordinary_in_steps(memoryview(body), MAX_FILES))
    assert summary == finish(walk_in_steps(memoryview(body), MAX_SMALL_BYTES, MAX_FILES))
    assert (summary.file_count, summary.annotation_count, len(summary.label_classes)) == (3, 1, 20)


@settings(max_examples=40, deadline=None)
@given(data=shuffled(), end=st.integers(0))
def test_no_beginning_of_a_request_is_a_request(data: dict[str, Any], end: int) -> None:
    body = msgpack.packb(data)
    with pytest.raises(MalformedBody):
        read_request(body[: end % len(body)])


@settings(max_examples=40, deadline=None)
@given(data=shuffled(), more=st.binary(min_size=1, max_size=20))
def test_a_request_with_anything_behind_it_is_refused(data: dict[str, Any], more: bytes) -> None:
    with pytest.raises(MalformedBody, match="before the body does"):
        read_request(msgpack.packb(data) + more)


@settings(max_examples=40, deadline=None)
@given(data=shuffled(), key=scalars.filter(lambda key: not isinstance(key, str | bytes)))
def test_a_key_that_is_not_text_is_refused_wherever_it_is(data: dict[str, Any], key: Any) -> None:
    for place in ({"more": {key: 1}}, {"args": {"a": [{key: None}]}}, {key: 1}, {"files": [{key: 1}]}):
        with pytest.raises(MalformedBody, match="not text"):
            read_request(msgpack.packb(data | place))


@settings(max_examples=40, deadline=None)
@given(data=shuffled(), raw=st.binary(min_size=1, max_size=30))
def test_text_that_is_not_utf8_is_refused_wherever_it_is(data: dict[str, Any], raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError:
        text = msgpack.packb(raw, use_bin_type=False)
        data.pop("more", None)
        body = msgpack.packb(data)
        body = bytes([body[0] + 1]) + body[1:]
        for more in (
            msgpack.packb("more") + text,
            msgpack.packb("more") + b"\x91\x81" + text + b"\xc0",
            text + b"\xc0",
        ):
            with pytest.raises(MalformedBody, match="not valid UTF-8"):
                read_request(body + more)


def bulky(element: bytes, size: int) -> bytes:
    """A list of many equal elements."""
    count = size // len(element)
    return b"\xdd" + count.to_bytes(4, "big") + element * count


A_FILE = msgpack.packb({"content": b"", "content_type": "a/b", "x": {"y": [1, "z"]}})
SIZE = 4 << 20
# Bodies that are as much work as so many bytes can be, and the fewest steps that they may be read in.
HOSTILE = {
    "empty lists": (b"\x82" + FILES + pair("x", bulky(b"\x90", SIZE)), 20),
    "empty maps": (b"\x82" + FILES + pair("x", bulky(b"\x80", SIZE)), 20),
    "text": (b"\x82" + FILES + pair("x", bulky(b"\xa1x", SIZE)), 20),
    "one long text": (b"\x82" + FILES + pair("x", msgpack.packb("x" * SIZE)), 20),
    "extensions": (b"\x82" + FILES + pair("x", bulky(b"\xd4\x05\x00", SIZE)), 20),
    "annotations": (b"\x82" + FILES + pair("annotations", bulky(b"\x81\xa2id\xc0", SIZE)), 20),
    "a label class": (b"\x82" + FILES + pair("label_classes", b"\x91" + bulky(b"\x80", SIZE)), 20),
    "lists that are decoded": (b"\x82" + FILES + pair("x", bulky(b"\x92\x91\x91\x90\xc0", 65_000)), 4),
    "maps that are decoded": (b"\x82" + FILES + pair("args", b"\x81\xa1a" + bulky(b"\x80", 65_000)), 4),
    "files": (b"\x81" + pair("files", bulky(A_FILE, 1000 * len(A_FILE))), 1000),
    "keys": (b"\xde\x03\xe9" + FILES + b"".join(pair(f"{n:x}", b"\xc0") for n in range(1000)), 1000),
}


@pytest.mark.parametrize(("body", "fewest"), HOSTILE.values(), ids=HOSTILE)
def test_other_requests_get_a_turn_every_quarter_of_a_megabyte(body: bytes, fewest: int) -> None:
    """And after every 16 kB of what is decoded, every file and every key: a step is short whatever a body holds."""
    assert sum(1 for _ in request_in_steps(body)) >= fewest


def test_what_is_read_takes_little_memory_however_large_the_body() -> None:
    """Content is never copied, and nothing that was decoded to look at it is kept."""
    body = msgpack.packb(
        {
            "files": [{"content": b"x" * (8 << 20), "content_type": "y"}] * 2,
            "x": [[]] * (2 << 20),
            "args": {"a": "x" * (1 << 20)},
        }
    )
    tracemalloc.start()
    try:
        read_request(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20
