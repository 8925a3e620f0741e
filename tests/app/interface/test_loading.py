"""Which bodies of `POST /load-files` are taken, and where in them the files are found."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.interface.errors import InterfaceError, InvalidRequest, MalformedBody, RequestTooLarge
from app.interface.loading import FileToLoad, read_loading

pack = msgpack.packb
FILE = {"content": b"DICM", "content_path": "1/a.dcm"}

REFUSED: dict[str, tuple[bytes, type[InterfaceError], str]] = {
    "empty": (b"", MalformedBody, "The body is empty: send a list of maps"),
    "a request": (pack({"files": [FILE]}), InvalidRequest, "The body is a map, not a list of maps"),
    "text for a file": (pack([FILE, "a"]), InvalidRequest, "files[1] is a str, and the body is to be a list of maps"),
    "no content": (pack([{"content_path": "a"}]), InvalidRequest, "files[0].content is missing"),
    "no path": (pack([{"content": b""}]), InvalidRequest, "files[0].content_path is missing"),
    "content null": (pack([FILE | {"content": None}]), InvalidRequest, "files[0].content is null, not bytes"),
    "path null": (pack([FILE | {"content_path": None}]), InvalidRequest, "files[0].content_path is null, not text"),
    "path bytes": (pack([FILE | {"content_path": b"a"}]), InvalidRequest, "files[0].content_path is bytes, not text"),
    "path empty": (pack([FILE | {"content_path": ""}]), InvalidRequest, "files[0].content_path is empty"),
    "path out": (pack([FILE, FILE | {"content_path": "/../a"}]), InvalidRequest, "files[1].content_path does not name"),
    "the folder": (pack([FILE | {"content_path": "a/.."}]), InvalidRequest, "files[0].content_path does not name"),
    "a long name": (pack([FILE | {"content_path": "a/" + "ä" * 128}]), InvalidRequest, "a name of more than 255 bytes"),
    "a path of no text": (b"\x91\x82" + pack("content") + pack(b"") + pack("content_path") + b"\xa1\xff",
                          MalformedBody, "is not valid UTF-8"),
    "a key twice": (b"\x91\x82" + 2 * (pack("content") + pack(b"")), InvalidRequest, "has the key 'content' twice"),
    "cut off": (pack([FILE])[:-1], MalformedBody, "The body is cut off"),
    "content cut off": (b"\x91\x81" + pack("content") + b"\xc6\xff\xff\xff\xff", MalformedBody, "The body is cut off"),
    "more behind": (pack([FILE]) + b"\xc0", MalformedBody, "ends 1 byte before the body does: send one msgpack list"),
    "more than there are": (b"\xdd\x00\xff\xff\xff", RequestTooLarge, "The body has 16,777,215 files"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_list_of_files_is_refused_in_words(body: bytes, kind: type[InterfaceError], text: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        read_loading(body)
    assert type(caught.value) is kind
    assert text in caught.value.text
    assert caught.value.text.endswith(".")


def test_files_are_found_where_they_lie_and_the_last_of_a_path_counts() -> None:
    sent = [FILE, {"content_path": "/1//./b", "more": [1], "content": b"x" * 70_000}, FILE | {"content": b"new"}]
    body = pack(sent)
    found = {file.path: body[file.start : file.start + file.length] for file in read_loading(body)}
    assert found == {"1/a.dcm": b"new", "1/b": b"x" * 70_000}
    assert read_loading(pack([])) == ()


paths = st.text("ab/.\0ä", max_size=8)
entries = st.dictionaries(
    st.sampled_from(["content", "content_path", "content_type"]), st.binary(max_size=5) | paths | st.none(), max_size=3
)


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=60) | st.lists(entries, max_size=3).map(pack))
def test_whatever_is_taken_is_what_msgpack_reads_and_all_else_is_refused(body: bytes) -> None:
    try:
        files = read_loading(body)
    except InterfaceError as error:
        assert error.text.endswith(".")
        return
    sent: Any = {file["content"] for file in msgpack.unpackb(body)}
    for file in files:
        assert isinstance(file, FileToLoad)
        assert body[file.start : file.start + file.length] in sent
