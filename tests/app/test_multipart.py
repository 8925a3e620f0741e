"""Forms become the msgpack map that a worker reads, however they are written and cut into chunks."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.interface.errors import InvalidRequest, MalformedBody
from app.interface.request import read_request
from app.multipart import MAX_FIELD_BYTES, FormToMsgpack, recognise
from app.refusals import BodyTooLarge
from model_loader.shared_buffer import SharedBuffer

BOUNDARY = b"a-boundary"

DICOM = b"\0" * 128 + b"DICM" + b"rest"
JPEG = b"\xff\xd8\xff\xe0 picture"
PNG = b"\x89PNG\r\n\x1a\n picture"
MP4 = b"\0\0\0\x18ftypmp42 film"


class Part(NamedTuple):
    name: str
    content: bytes
    content_type: str | None = None
    filename: str | None = None


def encode(parts: Sequence[Part]) -> bytes:
    lines = []
    for part in parts:
        lines.append(b"--" + BOUNDARY + b"\r\n")
        lines.append(f'Content-Disposition: form-data; name="{part.name}"'.encode())
        if part.filename is not None:
            lines.append(f'; filename="{part.filename}"'.encode())
        if part.content_type is not None:
            lines.append(f"\r\nContent-Type: {part.content_type}".encode())
        lines.append(b"\r\n\r\n" + part.content + b"\r\n")
    return b"".join([*lines, b"--", BOUNDARY, b"--\r\n"])


def convert(body: bytes, chunks: Iterable[bytes] | None = None) -> Any:
    return msgpack.unpackb(converted(chunks or [body]))


def converted(chunks: Iterable[bytes]) -> bytes:
    """The map that a worker reads."""
    with SharedBuffer() as buffer:
        form = FormToMsgpack(buffer, BOUNDARY)
        for chunk in chunks:
            form.write(chunk)
        form.finish()
        return buffer.read(0, buffer.size)


def file(content: bytes = DICOM, content_type: str | None = None, name: str = "files") -> Part:
    return Part(name, content, content_type, "chest.dcm")


def field(name: str, value: str) -> Part:
    return Part(name, value.encode())


def test_what_curl_sends_for_one_dicom_file() -> None:
    assert convert(encode([file(DICOM, "application/octet-stream")])) == {
        "files": [{"content": DICOM, "content_type": "application/dicom"}]
    }


@pytest.mark.parametrize(
    ("content", "sent", "result"),
    [
        (DICOM, None, "application/dicom"),
        (DICOM, "text/plain; charset=utf-8", "application/dicom"),
        (JPEG, "application/octet-stream", "image/jpeg"),
        (PNG, "Application/Octet-Stream", "image/png"),
        (MP4, None, "video/mp4"),
        (b"?", None, "application/octet-stream"),
        (b"", None, "application/octet-stream"),
        (b"words", "text/plain", "text/plain"),
        (DICOM, "application/x-mine; a=b", "application/x-mine; a=b"),
        (PNG, "image/jpeg", "image/jpeg"),
        (DICOM[:131], None, "application/octet-stream"),
    ],
)
def test_a_file_without_a_useful_type_is_recognised_by_its_content(
    content: bytes, sent: str | None, result: str
) -> None:
    assert convert(encode([file(content, sent)]))["files"][0]["content_type"] == result


def test_recognition_needs_only_the_first_132_bytes() -> None:
    assert recognise(DICOM[:132]) == "application/dicom"


@pytest.mark.parametrize("name", ["files", "file", "files[]"])
def test_a_file_may_be_named_in_three_ways(name: str) -> None:
    assert convert(encode([file(name=name)]))["files"][0]["content"] == DICOM


def test_fields_become_args_and_stay_strings() -> None:
    parts = [field("threshold", "0.50"), file(), field("mode", "fast"), field("empty", "")]
    assert convert(encode(parts))["args"] == {"threshold": "0.50", "mode": "fast", "empty": ""}


def test_args_as_json_become_strings_as_they_were_typed() -> None:
    text = '{"a": "x\\u00e9", "b": true, "c": 1.50, "d": null, "e": {"f": [1, 2]}, "g": 12345678901234567890123}'
    assert convert(encode([file(), field("args", text)]))["args"] == {
        "a": "xé",
        "b": "true",
        "c": "1.50",
        "d": "null",
        "e": '{"f": [1, 2]}',
        "g": "12345678901234567890123",
    }


def test_json_fields_may_come_as_files() -> None:
    """curl -F args=@args.json"""
    body = encode([Part("args", b'{"a": 1}', "application/json", "args.json"), file()])
    assert convert(body)["args"] == {"a": "1"}


def test_annotations_and_label_classes_are_json() -> None:
    annotations = [{"id": "A_1", "data": {"x": 1.5, "y": None}, "frame_number": 3}]
    parts = [field("annotations", json.dumps(annotations)), file(), field("label_classes", "[]")]
    assert convert(encode(parts)) == {
        "files": [{"content": DICOM, "content_type": "application/dicom"}],
        "annotations": annotations,
        "label_classes": [],
    }


@pytest.mark.parametrize(
    ("parts", "kind", "words"),
    [
        ([], InvalidRequest, "no file"),
        ([field("threshold", "1")], InvalidRequest, "-F files=@chest.dcm"),
        ([field("files", "chest.dcm")], InvalidRequest, "an @ is needed"),
        ([Part("image", PNG, None, "a.png")], InvalidRequest, "The part image carries a file"),
        ([file(), field("a", "1"), field("a", "2")], InvalidRequest, "The field a is there twice"),
        ([file(), field("a", "1"), field("args", '{"a": 2}')], InvalidRequest, "as a field and inside args"),
        ([file(), field("args", "[]")], InvalidRequest, "args cannot be used"),
        ([file(), field("args", "{")], MalformedBody, "args is not valid JSON"),
        ([file(), field("args", '{"a": "\\ud800"}')], MalformedBody, "args is not valid JSON"),
        ([file(), field("annotations", "[" * 9999)], MalformedBody, "nested too deeply"),
        ([file(), field("annotations", "[NaN]")], MalformedBody, "not valid JSON"),
        ([file(), field("annotations", "[1e999]")], InvalidRequest, "out of range"),
        ([file(), field("annotations", f"[{2**64}]")], InvalidRequest, "longer than 64 bits"),
        ([file(), Part("a", b"\xff")], MalformedBody, "The field a is not UTF-8"),
        ([file(), Part("args", b'{"a": "\xff"}')], MalformedBody, "args is not valid JSON"),
        ([file(b"", "multipart/mixed; boundary=x")], InvalidRequest, "a multipart of its own"),
        ([file(b"eA==", "image/png\r\nContent-Transfer-Encoding: base64")], InvalidRequest, "base64"),
        (
            [file(content_type="x" * 9000)],
            (BodyTooLarge, MalformedBody),
            "headers of a part|headers of parts",
        ),
        ([file(), *[field(f"f{n}", "") for n in range(1001)]], BodyTooLarge, "more than 1,000 fields"),
    ],
)
def test_a_form_that_means_nothing_is_refused_in_words(parts: list[Part], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        convert(encode(parts))


def test_fields_are_held_in_memory_only_up_to_a_limit() -> None:
    with pytest.raises(BodyTooLarge, match="4,194,304 bytes"):
        convert(encode([file(), Part("a", b"x" * MAX_FIELD_BYTES), Part("b", b"x")]))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--",
        b"\r\n\r\n",
        b"--another\r\n",
        b"{}",
        encode([file()])[:-4],
        encode([file()])[:40],
        b"--a-boundary\r\nContent-Disposition: form-data\r\n\r\nx\r\n--a-boundary--\r\n",
        b'--a-boundary\r\nContent-Disposition: attachment; name="files"\r\n\r\nx\r\n--a-boundary--\r\n',
        b"--a-boundary\r\n\r\nx\r\n--a-boundary--\r\n",
        b'--a-boundary\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--a-boundary--\r\n',
        b"--a-boundary\r\n: x\r\n\r\nx\r\n--a-boundary--\r\n",
    ],
)
def test_a_broken_form_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(MalformedBody, match=r"form|multipart|UTF-8"):
        convert(body)


texts = st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n\0'), min_size=1, max_size=20)
near_boundaries = st.sampled_from([b"\r\n", b"\r", b"\n", b"-", b"--", b"\r\n--", b"a-bound", b"ary", b"x"])
contents = st.binary(max_size=300) | st.lists(near_boundaries, max_size=12).map(b"".join).filter(
    lambda content: BOUNDARY not in content
)


@given(
    files=st.lists(contents, min_size=1, max_size=5),
    args=st.dictionaries(texts.filter(lambda name: name.strip() and ";" not in name), contents, max_size=4),
    cuts=st.lists(st.integers(0, 3000), max_size=20),
)
@example(files=[b"\r\n--a-boundar"], args={}, cuts=list(range(200)))
def test_any_form_in_any_chunks_comes_out_as_it_was_sent(
    files: list[bytes], args: dict[str, bytes], cuts: list[int]
) -> None:
    """Whatever bytes the files hold and wherever the network cuts them, the map holds exactly those."""
    reserved = ("args", "annotations", "label_classes", "file", "files", "files[]")
    values = {name: value.hex() for name, value in args.items() if name not in reserved}
    parts = [
        *[file(content, "application/dicom") for content in files],
        *[field(*item) for item in values.items()],
    ]
    parts.sort(key=lambda part: part.content)
    body = encode(parts)
    places = sorted({0, len(body), *[cut for cut in cuts if cut < len(body)]})
    chunks = [body[start:end] for start, end in itertools.pairwise(places)]
    expected: dict[str, Any] = {
        "files": [{"content": part.content, "content_type": "application/dicom"} for part in parts if part.filename]
    }
    assert convert(body, chunks) == expected | ({"args": values} if values else {})


@given(body=st.binary(max_size=400), prefix=st.sampled_from([b"", encode([file()])[:-4], b"--a-boundary\r\n"]))
def test_garbage_never_ends_in_anything_but_a_refusal(body: bytes, prefix: bytes) -> None:
    """Random bytes are refused, or (very rarely) read; never an internal error."""
    try:
        convert(prefix + body)
    except (InvalidRequest, MalformedBody, BodyTooLarge) as refusal:
        assert str(refusal).endswith(".")


WHOLE = encode([file(DICOM + b"\r\n--a-boundar"), field("args", '{"a": [1]}'), field("b", "c"), file(PNG, "image/png")])
TELLING = [
    b"--a-boundary", b"--a-boundary--", b"\r\n", b"\n", b"\r", b"--", b": ", b";", b'"', b"=", b"\0", b"\xff", b"name=",
    b"filename=", b"filename*=utf-8''%ff", b"Content-Disposition: form-data", b"Content-Type: multipart/mixed",
    b"x" * 9000, b"[" * 5000, b"{", b"Content-Transfer-Encoding: base64",
]  # fmt: skip


@st.composite
def damaged_forms(draw: st.DrawFn) -> bytes:
    """A good form that some bytes were cut out of, changed in or inserted into."""
    body = bytearray(WHOLE)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 30))
        body[start:end] = draw(st.binary(max_size=6) | st.sampled_from(TELLING))
    return bytes(body)


def outcome(chunks: Iterable[bytes]) -> bytes | type[Exception]:
    """The map, or how the form is refused: in whole sentences, whatever is wrong with it."""
    try:
        return converted(chunks)
    except (InvalidRequest, MalformedBody, BodyTooLarge) as refusal:
        assert str(refusal).endswith(".") and len(str(refusal)) < 500
        return type(refusal)


@settings(max_examples=200, deadline=None)
@given(body=damaged_forms(), cuts=st.lists(st.integers(0, 1500), max_size=8))
@example(body=WHOLE, cuts=list(range(len(WHOLE))))
def test_a_damaged_form_is_refused_or_read_the_same_wherever_it_is_cut(body: bytes, cuts: list[int]) -> None:
    """And what is read is a request."""
    places = sorted({0, len(body), *[cut for cut in cuts if cut < len(body)]})
    at_once = outcome([body])
    assert outcome(body[start:end] for start, end in itertools.pairwise(places)) == at_once
    if isinstance(at_once, bytes):
        assert read_request(at_once).file_count > 0


def test_no_beginning_of_a_form_is_a_form() -> None:
    end = len(WHOLE) - len(b"--\r\n")
    assert not [cut for cut in range(end) if isinstance(outcome([WHOLE[:cut]]), bytes)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to see open files in")
def test_nothing_of_a_form_is_written_to_a_disk() -> None:
    """Neither large files nor fields: the only file that opens meanwhile is in memory."""
    before, seen = open_files(), set()

    def chunks() -> Iterator[bytes]:
        body = encode([field("a", "x" * 2_000_000), file(DICOM + b"x" * 4_000_000), file(PNG + b"y" * 4_000_000)])
        for start in range(0, len(body), 500_000):
            yield body[start : start + 500_000]
            seen.update(open_files() - before)

    assert len(converted(chunks())) > 10_000_000
    assert seen and all(name.startswith("/memfd:mdai-model") for name, _ in seen)


def open_files() -> set[tuple[str, int]]:
    """Names and inodes of the files that this process's descriptors lead to."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.add((str(descriptor.readlink()), descriptor.stat().st_ino))
        except FileNotFoundError:  # that of the listing itself
            continue
    return {(name, inode) for name, inode in found if name.startswith("/")}
