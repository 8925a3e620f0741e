"""Which request bodies are taken, which are refused and in what words, before anything queues."""

import gc
import re
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from app.interface.errors import InterfaceError, InvalidRequest, MalformedBody, RequestTooLarge
from app.interface.files import ContentPath
from app.interface.labels import Label, LabelClass
from app.interface.loading import read_loading
from app.interface.request import (
    LARGEST_LABEL_CLASSES,
    MOST_LABEL_CLASSES,
    RequestSummary,
    read_request,
)
from app.interface.values import LARGEST_DECODED, MAX_KEYS
from model_loader.shared_buffer import SharedBuffer
from tests.hosting import shared_buffers

pack = msgpack.packb
FILE = {"content": b"DICM", "content_type": "application/dicom"}
LOADED = {"content": None, "content_path": "1/a.dcm", "content_type": "application/dicom"}
GOOD: dict[str, Any] = {
    "files": [
        FILE,
        {"content": b"\xff" * 3, "content_type": "image/jpeg", "dicom_tags": {"PatientID": "1", "x": None}},
    ],
    "annotations": [{"id": "A_1", "data": {"x": 1.5}, "frame_number": 3}, {}],
    "label_classes": [{"class_index": 3, "label": {"id": "L_1", "type": "LOCAL", "colour": "red"}}],
    "args": {"threshold": "0.5"},
}


def request(**more: Any) -> dict[str, Any]:
    return {"files": [FILE], **more}


def with_file(**keys: Any) -> bytes:
    return pack({"files": [FILE, {**FILE, **keys}]})


def begun(key: str, value: bytes) -> bytes:
    """A request whose first and only key has `value`, written by hand."""
    return b"\x81" + pack(key) + value


def beside_files(key: str, value: bytes) -> bytes:
    """A good request with one more key, whose value is written by hand."""
    return b"\x82" + pack("files") + pack([FILE]) + pack(key) + value


def nested(levels: int, around: bytes = b"\xc0") -> bytes:
    return b"\x91" * levels + around


# Bodies that cannot be read: 400.
MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "The request body is empty: send a msgpack map with a list under 'files'."),
    "JSON": (b'{"files": []}', "The body looks like JSON, not msgpack. Pack the request with msgpack.packb(data)."),
    "a JSON list": (b"[1, 2]", "The body looks like JSON"),
    "a form": (b"--xyz\r\nContent-Disposition: form-data", "looks like a form, not msgpack: send it as multipart/form"),
    "a DICOM file": (b"\0" * 128 + b"DICM", "The body is not msgpack: send a msgpack map"),
    "text": (b"hello", "The body is not msgpack: send a msgpack map"),
    "one byte that msgpack never uses": (b"\xc1", "in the request there is a byte that msgpack never uses. Pack the"),
    "such a byte in a value": (beside_files("args", b"\x81\xa1a\xc1"), "in args there is a byte that msgpack never"),
    "4 GiB of top-level list": (b"\xdd" + b"\xff" * 4, "cut off after 5 bytes, in the middle of the request. Send"),
    "4 GiB of files": (begun("files", b"\xdd" + b"\xff" * 4), "files announces 4,294,967,295 elements, more than"),
    "4 GiB of top-level map": (b"\xdf" + b"\xff" * 4, "cut off after 5 bytes, in the middle of the request"),
    "4 GiB of file keys": (begun("files", b"\x91\xdf" + b"\xff" * 4), "in the middle of files[0]"),
    "4 GiB of annotations": (beside_files("annotations", b"\xdd" + b"\xff" * 4), "in the middle of annotations"),
    "4 GiB of args": (beside_files("args", b"\xdf" + b"\xff" * 4), "in the middle of args"),
    "4 GiB of a key": (b"\x81\xdb" + b"\xff" * 4, "in the middle of the request"),
    "4 GiB of text": (beside_files("x", b"\xdb" + b"\xff" * 4), "in the middle of x"),
    "4 GiB of extension": (beside_files("x", b"\xc9" + b"\xff" * 4), "x cannot be decoded: it announces more than"),
    "4 GiB of content": (
        begun("files", b"\x91\x81" + pack("content") + b"\xc6" + b"\xff" * 4),
        "cut off: files[0].content announces 4,294,967,295 bytes, and 0 of them are there. Send all of it.",
    ),
    "lists in lists": (nested(10_000), "The request is nested too deeply to be read: nest it less."),
    "maps in maps": (b"\x81\xa1a" * 10_000 + b"\xc0", "a is nested too deeply to be read"),
    "lists in args": (beside_files("args", b"\x81\xa1a" + nested(10_000)), "args is nested too deeply to be read"),
    "lists in a file": (
        begun("files", b"\x91\x81" + pack("x") + nested(10_000)),
        "files[0].x is nested too deeply to be read",
    ),
    "more after the end": (pack(GOOD) + b"\xc0", "The request ends 1 byte before the body does: send one msgpack map"),
    "a second request": (pack(GOOD) * 2, "bytes before the body does: send one msgpack map and nothing else."),
    "a key that is no text": (pack({1: 2}), "A key of the request is an int, not text"),
    "a key of bytes": (pack({b"files": []}), "A key of the request is bytes, not text"),
    "a key of null": (b"\x81\xc0\xc0", "A key of the request is null, not text"),
    "a file's key that is no text": (pack({"files": [{1: 2}]}), "A key of files[0] is an int, not text"),
    "a file's key that is a list": (begun("files", b"\x91\x81\x90\xc0"), "A key of files[0] is a list, not text"),
    "a tag's key that is no text": (
        with_file(dicom_tags={5: 1}),
        "files[1].dicom_tags cannot be decoded: it has a key that is not text.",
    ),
    "an arg's key that is no text": (pack(request(args={1: "x"})), "args cannot be decoded: it has a key that is not"),
    "an annotation's key": (pack(request(annotations=[{None: 1}])), "annotations cannot be decoded: it has a key"),
    "a label class's key": (pack(request(label_classes=[{"label": {2: 1}}])), "label_classes cannot be decoded: it"),
    "a deep key": (pack(request(x=[[{"a": {False: 1}}]])), "x cannot be decoded: it has a key that is not text."),
    "a key that is no UTF-8": (b"\x81\xa1\xff\xc0", "in the request there is a key that is not valid UTF-8"),
    "a file's key that is no UTF-8": (
        begun("files", b"\x91\x81\xa1\xff\xc0"),
        "in files[0] there is a key that is not",
    ),
    "a nested key that is no UTF-8": (beside_files("args", b"\x81\xa1\xff\xa1x"), "args holds text that is not valid"),
    "a content_type that is no UTF-8": (
        begun("files", b"\x91\x81" + pack("content_type") + b"\xa2\xc3\x28"),
        "files[0].content_type holds text that is not valid UTF-8 (invalid continuation byte): send bytes as bin",
    ),
    "an arg that is no UTF-8": (beside_files("args", b"\x81\xa1a\xa1\xff"), "args holds text that is not valid UTF-8"),
    "an unknown key's value that is no UTF-8": (beside_files("odd key", b"\xa1\xff"), "['odd key'] holds text that is"),
    "half a surrogate pair": (beside_files("x", b"\xa3\xed\xa0\x80"), "x holds text that is not valid UTF-8"),
    "a timestamp of 3 bytes": (beside_files("x", b"\xc7\x03\xffabc"), "x cannot be decoded: "),
}

# Bodies that can be read and are no request: 422.
INVALID: dict[str, tuple[bytes, str]] = {
    "a list": (pack([1, 2]), "The request is a list, not a map with a list under 'files'."),
    "null": (pack(None), "The request is null, not a map"),
    "text in msgpack": (pack("x" * 300), "The request is a str, not a map"),
    "bytes": (pack(b"x" * 300), "The request is bytes, not a map"),
    "an extension": (pack(msgpack.ExtType(4, b"x")), "The request is an extension, not a map"),
    "files missing": (pack({"annotations": []}), "files is missing: the request is a map with a list of files"),
    "an empty map": (pack({}), "files is missing"),
    "another name for files": (pack({"Files": [FILE]}), "files is missing"),
    "files a map": (pack({"files": {}}), "files is a map, not a list of maps with 'content' and 'content_type'."),
    "files null": (pack({"files": None}), "files is null, not a list"),
    "files bytes": (pack({"files": b"DICM"}), "files is bytes, not a list"),
    "files text": (pack({"files": "a.dcm"}), "files is a str, not a list"),
    "a file that is bytes": (pack({"files": [FILE, b"DICM"]}), "files[1] is bytes, not a map with 'content'"),
    "a file that is null": (pack({"files": [None]}), "files[0] is null, not a map"),
    "a nest for a file": (begun("files", nested(10_000)), "files[0][0] is a list, not a map"),
    "a file after a group": (pack({"files": [[FILE], FILE]}), "files[1] is a map, and files[0] is a list: send either"),
    "a group after a file": (pack({"files": [FILE, [FILE]]}), "files[1] is a list, not a map"),
    "a file in a group without content": (pack({"files": [[], [FILE, {}]]}), "files[1][1].content is missing"),
    "a path out": (pack({"files": [LOADED | {"content_path": "a/../../b"}]}), "files[0].content_path does not name"),
    "a path out in a group": (
        pack({"files": [[LOADED | {"content_path": ".."}]]}),
        "files[0][0].content_path does not",
    ),
    "a path that is a number": (
        pack({"files": [LOADED | {"content_path": 5}]}),
        "files[0].content_path is an int, not",
    ),
    "a path with NUL": (pack({"files": [LOADED | {"content_path": "a\0b"}]}), "content_path has a NUL byte in it"),
    "a path beyond limits": (pack({"files": [LOADED | {"content_path": "ä" * 99_999}]}), "is longer than 1024 bytes"),
    "content a string": (with_file(content="text"), "files[1].content is a str, not bytes: pack the request with"),
    "content an int": (with_file(content=5), "files[1].content is an int, not bytes: send the file's bytes"),
    "content a list": (with_file(content=[1]), "files[1].content is a list, not bytes"),
    "content a map": (with_file(content={}), "files[1].content is a map, not bytes"),
    "content an extension": (with_file(content=msgpack.ExtType(1, b"")), "files[1].content is an extension, not bytes"),
    "content missing": (pack({"files": [{"content_type": "x"}]}), "files[0].content is missing: send the file's bytes"),
    "an empty file": (pack({"files": [{}]}), "files[0].content is missing"),
    "files twice": (b"\x82" + 2 * (pack("files") + pack([FILE])), "The request has the key 'files' twice."),
    "an unknown key twice": (b"\x82" + 2 * (pack("x") + b"\xc0"), "The request has the key 'x' twice."),
    "content twice": (
        begun("files", b"\x91\x82" + 2 * (pack("content") + b"\xc4\0")),
        "files[0] has the key 'content'",
    ),
}

# What the reference server hands to the model, the model gets here, too; most of it with a warning.
TAKEN: dict[str, tuple[Any, tuple[str, ...]]] = {
    "files alone": (request(), ()),
    "null for what may be missing": (request(annotations=None, label_classes=None, args=None), ()),
    "empty for what may be missing": (request(annotations=[], label_classes=[], args={}), ()),
    "unknown keys": ({**request(study={"a": [1, {}]}, odd=None), "": 1}, ()),
    "unknown keys of a file": ({"files": [{**FILE, "series": 3, "": {}, "dicom_tags": None}]}, ()),
    "args that are no text": (request(args={"a": 1, "b": None, "c": [True, {}], "d": 0.5, "e": b"x"}), ()),
    "extensions inside": (request(args={"a": msgpack.ExtType(5, b"x")}, x=msgpack.ExtType(-0 + 7, b"")), ()),
    "a timestamp inside": (request(annotations=[{"at": msgpack.Timestamp(5, 6)}]), ()),
    "bytes for keys inside": (request(args={b"a": "b"}), ()),
    "any media type": ({"files": [{"content": b"x", "content_type": "application/jpeg"}]}, ()),
    "no files": ({"files": []}, ("files is empty: there is nothing for the model to look at.",)),
    "no content": ({"files": [{**FILE, "content": b""}]}, ("files[0]: content is empty.",)),
    "content null": (
        {"files": [FILE, {**FILE, "content": None, "content_path": None}]},
        ("files[1]: content is null: there is nothing for the model to look at.",),
    ),
    "content null, loaded ahead": ({"files": [FILE, LOADED]}, ()),
    "groups": ({"files": [[FILE, FILE], [LOADED]]}, ()),
    "empty groups": (
        {"files": [[FILE], [], []]},
        (
            "files[1] is an empty group: there is nothing for the model to look at.",
            "files[2] is an empty group: there is nothing for the model to look at.",
        ),
    ),
    "doubts in groups": (
        {"files": [[FILE], [], [FILE, {"content": b""}], [{"content": b"x"}]]},
        (
            "files[2][1]: content is empty.",
            "files[2][1] and [3][0]: content_type is missing: say what the file is, like 'application/dicom'.",
            "files[1] is an empty group: there is nothing for the model to look at.",
        ),
    ),
    "content_type missing": (
        {"files": [{"content": b"x"}] * 3},
        ("files[0], [1] and [2]: content_type is missing: say what the file is, like 'application/dicom'.",),
    ),
    "content_type null": (
        {"files": [{"content": b"x", "content_type": None}]},
        ("files[0]: content_type is null, not text: say what the file is, like 'application/dicom'.",),
    ),
    "content_type bytes": (
        {"files": [{"content": b"x", "content_type": b"application/dicom"}]},
        ("files[0]: content_type is bytes, not text: say what the file is, like 'application/dicom'.",),
    ),
    "annotations a map": (request(annotations={}), ("annotations is a map where the interface has a list.",)),
    "label_classes a map": (request(label_classes={}), ("label_classes is a map where the interface has a list.",)),
    "args a list": (request(args=[]), ("args is a list where the interface has a map.",)),
    "args an extension": (
        request(args=msgpack.ExtType(5, b"")),
        ("args is an extension where the interface has a map.",),
    ),
    "a label class that is none": (
        request(label_classes=[5]),
        ("label_classes[0]: takes no part in the label rules: it is int, not map.",),
    ),
}


def refusal(body: bytes, **limits: int) -> InterfaceError:
    with pytest.raises(InterfaceError) as caught:
        read_request(body, **limits)
    return caught.value


@pytest.mark.parametrize(("body", "text"), MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_refused_in_words(body: bytes, text: str) -> None:
    error = refusal(body)
    assert type(error) is MalformedBody
    assert text in error.text


@pytest.mark.parametrize(("body", "text"), INVALID.values(), ids=INVALID)
def test_what_is_no_request_is_refused_in_words(body: bytes, text: str) -> None:
    error = refusal(body)
    assert type(error) is InvalidRequest
    assert text in error.text


@pytest.mark.parametrize(("data", "warnings"), TAKEN.values(), ids=TAKEN)
def test_what_the_reference_hands_to_the_model_is_taken(data: Any, warnings: tuple[str, ...]) -> None:
    assert msgpack.unpackb(pack(data)) == data, "the reference decodes it"
    assert read_request(pack(data)).warnings == warnings


def test_every_refusal_is_whole_sentences() -> None:
    for body, _ in [*MALFORMED.values(), *INVALID.values()]:
        text = refusal(body).text
        assert text.endswith(".") and "\n" not in text and len(text) < 300, text


def test_a_good_request_is_summed_up() -> None:
    label = Label(id="L_1", type="LOCAL")
    assert read_request(pack(GOOD)) == RequestSummary(
        file_count=2,
        content_bytes=7,
        annotation_count=2,
        label_classes=(LabelClass(class_index=3, label=label),),
        has_label_classes=True,
        warnings=(),
    )


def test_groups_and_paths_are_summed_up() -> None:
    both = {**FILE, "content_path": "/2/../b.dcm"}
    summary = read_request(pack({"files": [[FILE, LOADED], [], [both, FILE | {"content_path": ""}]]}))
    assert (summary.file_count, summary.group_count, summary.content_bytes) == (4, 3, 12)
    assert summary.content_paths == (
        ContentPath("1/a.dcm", "files[0][1]", is_needed=True),
        ContentPath("b.dcm", "files[2][0]", is_needed=False),
    )
    assert read_request(pack({"files": [FILE, LOADED]})).group_count == 0


def test_the_files_of_all_groups_count() -> None:
    assert read_request(pack({"files": [[FILE] * 2, [FILE]]}), max_files=3).file_count == 3
    for files in ([[FILE] * 2, [FILE] * 2], [[]] * 4):
        assert isinstance(refusal(pack({"files": files}), max_files=3), RequestTooLarge)


def test_the_order_of_keys_means_nothing() -> None:
    backwards = {key: GOOD[key] for key in reversed(GOOD)}
    backwards["files"] = [{key: file[key] for key in reversed(file)} for file in GOOD["files"]]
    assert read_request(pack(backwards)) == read_request(pack(GOOD))


def test_a_body_that_ends_anywhere_too_soon_is_refused() -> None:
    body = pack({**GOOD, "files": [*GOOD["files"], {"content": b"x" * 300, "content_type": "y" * 40}]})
    for end in range(1, len(body)):
        error = refusal(body[:end])
        assert type(error) is MalformedBody and "cut off" in error.text, (end, error.text)


@pytest.mark.parametrize("first", range(256))
def test_a_body_of_one_byte_and_of_that_byte_repeated_is_refused(first: int) -> None:
    for length in (1, 2, 6, 5000):
        assert refusal(bytes([first]) * length).text


HEADERS = {
    "bin": (b"\xc4", b"\xc5", b"\xc6"),
    "str": (b"\xd9", b"\xda", b"\xdb"),
    "list": (None, b"\xdc", b"\xdd"),
    "map": (None, b"\xde", b"\xdf"),
    "extension": (b"\xc7", b"\xc8", b"\xc9"),
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("there", [0, 1, 100])
def test_a_header_that_announces_more_than_there_is_is_refused(kind: str, width: int, there: int) -> None:
    """In every place of a request, whatever lies behind it."""
    first = HEADERS[kind][width // 2]
    if first is None:
        return
    lie = first + b"\xff" * width + b"\x01" * there
    for body in (
        lie,
        begun("files", lie),
        begun("files", b"\x91" + lie),
        begun("files", b"\x91\x81" + pack("content") + lie),
        begun("files", b"\x91\x81" + pack("content_type") + lie),
        begun("files", b"\x91\x81" + pack("x") + lie),
        *(beside_files(key, lie) for key in ("annotations", "label_classes", "args", "x")),
        b"\x81" + lie,
    ):
        assert re.search("cut off|is .*, not |not text|not msgpack|announces more than there is", refusal(body).text), (
            refusal(body).text
        )


def test_the_number_of_files_is_limited() -> None:
    assert read_request(pack({"files": [FILE] * 3}), max_files=3).file_count == 3
    error = refusal(pack({"files": [FILE] * 4}), max_files=3)
    assert type(error) is RequestTooLarge
    assert error.text == "files has 4 elements, and 3 are the most: send fewer at a time."


@pytest.mark.parametrize("key", ["args", "annotations", "label_classes", "x"])
def test_everything_but_content_counts_against_a_limit(key: str) -> None:
    value = {"a": "x" * 5000} if key == "args" else ["x" * 5000]
    body = pack(request(**{key: value}))
    assert read_request(body, max_small_bytes=len(body)).file_count == 1
    error = refusal(body, max_small_bytes=5000)
    assert type(error) is RequestTooLarge
    assert "holds more than 5,000 bytes beside the files' content: send fewer annotations" in error.text


def test_keys_count_against_the_limit() -> None:
    assert type(refusal(pack({"k" * 5000: None, **request()}), max_small_bytes=4000)) is RequestTooLarge


def test_many_files_count_against_the_limit_together() -> None:
    body = pack({"files": [{**FILE, "dicom_tags": {"a": "x" * 100}}] * 100})
    assert type(refusal(body, max_small_bytes=10_000)) is RequestTooLarge
    assert read_request(body, max_small_bytes=20_000).file_count == 100


def test_content_does_not_count_against_the_limit() -> None:
    body = pack({"files": [{**FILE, "content": b"x" * 100_000}] * 3})
    assert read_request(body, max_small_bytes=1000).content_bytes == 300_000


def test_a_value_may_nest_as_deeply_as_the_worker_reads() -> None:
    """msgpack reads 1,024 levels of a whole message, and no more."""
    file = b"\x91\x83" + pack("content") + b"\xc4\0" + pack("content_type") + b"\xa0" + pack("x")
    for beginning in (beside_files("x", b""), begun("files", file)):
        deepest = next(levels for levels in range(1025, 900, -1) if _decodes(beginning + nested(levels)))
        assert read_request(beginning + nested(deepest)).file_count == 1
        assert "nested too deeply" in refusal(beginning + nested(deepest + 1)).text


def _decodes(body: bytes) -> bool:
    try:
        msgpack.unpackb(body, raw=False, strict_map_key=True)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("owner", ["the request", "a file"])
def test_the_number_of_keys_is_limited(owner: str) -> None:
    """A set of millions of them would take more memory than the body."""

    def body(count: int) -> bytes:
        keys = dict.fromkeys(map(str, range(count)))
        return pack(request(**keys)) if owner == "the request" else with_file(**keys)

    count = MAX_KEYS - (1 if owner == "the request" else 2)
    assert read_request(body(count)).file_count
    assert "has more than 10,000 keys: put a map of such size under one key." in refusal(body(count + 1)).text


def test_large_values_are_left_to_the_worker() -> None:
    """It decodes everything; here only what is cheap to look at is looked at."""
    broken = pack("x" * (LARGEST_DECODED + 1))[:-1] + b"\xff"
    assert read_request(beside_files("x", broken)).file_count == 1
    assert "not valid UTF-8" in refusal(beside_files("x", pack("x" * (LARGEST_DECODED - 10))[:-1] + b"\xff")).text


@pytest.mark.parametrize("count", [0, 1, 15, 16, 300, 70_000])
def test_annotations_are_counted_whatever_their_number(count: int) -> None:
    assert read_request(pack(request(annotations=[None] * count))).annotation_count == count


@pytest.mark.parametrize(
    "classes",
    [[{}] * (MOST_LABEL_CLASSES + 1), [{"label": {"name": "x" * LARGEST_LABEL_CLASSES}}]],
    ids=["in number", "in bytes"],
)
def test_too_many_label_classes_are_not_checked_against(classes: list[Any]) -> None:
    summary = read_request(pack(request(label_classes=classes)))
    assert summary.label_classes == ()
    assert "too many to check the outputs against them." in summary.warnings[0]


def test_most_label_classes_are_checked_against() -> None:
    summary = read_request(pack(request(label_classes=[{"class_index": 1}] * MOST_LABEL_CLASSES)))
    assert len(summary.label_classes) == MOST_LABEL_CLASSES


def test_a_body_may_lie_anywhere_in_memory() -> None:
    body = pack(GOOD)
    assert read_request(memoryview(b"xx" + body + b"xx")[2:-2]) == read_request(body)


def test_nothing_that_a_request_holds_is_quoted() -> None:
    """Refusals and warnings are logged, and a request is about a patient."""
    secret = "Jane Doe"
    for data in (
        request(args=[secret]),
        request(label_classes=[secret, {"label": secret}, {"class_index": secret}]),
        {"files": [{"content": b"", "content_type": [secret]}]},
    ):
        assert secret not in " ".join(read_request(pack(data)).warnings)
    for body in (
        pack({"files": secret}),
        pack({"files": [secret]}),
        with_file(content=secret),
        beside_files("args", pack([secret])[:-1]),
        beside_files("args", pack({"a": secret})[:-1] + b"\xff"),
        beside_files("args", pack({"a": secret, 1: 1})),
    ):
        assert secret not in refusal(body).text


@pytest.fixture
def uncollected() -> Iterator[None]:
    """What only a search for garbage would free is still there."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("data", [GOOD, {"files": [[FILE], [FILE, {**FILE, "content": None}]]}])
def test_a_body_is_given_back_as_soon_as_it_was_read(uncollected: None, data: dict[str, Any]) -> None:
    """A map of shared memory keeps all of it, which may be gigabytes, for as long as anything holds a part."""
    before = shared_buffers()
    with SharedBuffer() as body:
        body.write(pack(data))
        with body.mapped() as view:
            read_request(view)
    assert shared_buffers() == before


def test_files_that_come_ahead_are_given_back_as_soon_as_they_were_read(uncollected: None) -> None:
    before = shared_buffers()
    with SharedBuffer() as body:
        body.write(pack([{"content": b"DICM", "content_path": "1/a.dcm"}]))
        with body.mapped() as view:
            assert read_loading(view)[0].length == 4
    assert shared_buffers() == before
