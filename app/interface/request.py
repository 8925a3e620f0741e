"""Reads the small parts of a request body where it lies and checks them before the request queues.

What the reference server hands to a model, a model gets here: an odd `content_type` or `args` is a warning, because a
model may never look at it. Refused is what no model could work on: no list of files, a file whose content is no bytes,
keys that are not text or are there twice, and what is no msgpack.

What only the worker sees is left to it: values of more than `LARGEST_DECODED` bytes are passed over without a look
inside, and the worker, which decodes everything, refuses text that is no UTF-8 or keys that are not text in those.

Warnings and errors name places and kinds, never values: a request is about a patient.
"""

from dataclasses import dataclass

import msgpack

from app.interface.errors import InvalidRequest, MalformedBody, RequestTooLarge
from app.interface.findings import Doubt, Findings
from app.interface.labels import LabelClass, read_label_classes
from app.interface.msgpack_walk import HOW_TO_PACK, Walk, a_kind
from app.interface.slices import Steps, finish, finish_in_slices
from app.interface.wording import count_of, inside, quoted

#: Bytes of everything in a request but the files' content.
MAX_SMALL_BYTES = 16 << 20
#: A study of this many instances is beyond any scanner's.
MAX_FILES = 100_000
#: Values up to this size are decoded here, once, to see whether the worker will be able to.
LARGEST_DECODED = 1 << 16
#: Keys of the request, or of one file, that are told apart.
MAX_KEYS = 10_000

#: More label classes than these, in number or in bytes, are not checked against.
MOST_LABEL_CLASSES, LARGEST_LABEL_CLASSES = 5000, 1 << 18
_PIECE = 1 << 14
#: A value of one file lies inside a map, a list and a map; msgpack reads 1,024 levels in all.
_DEPTH_OF_FILES = 3
#: So few bytes cannot nest too deeply, wherever they lie.
_SHALLOW = 1000

_HOW_TO_SEND_BYTES = (
    "pack the request with msgpack.packb(data, use_bin_type=True) and give the file's bytes, not decoded as text"
)
_HOW_TO_NAME_A_TYPE = "say what the file is, like 'application/dicom'"
#: What the keys beside `files` hold; null is as good as none.
_EXPECTED = {"annotations": "list", "label_classes": "list", "args": "map"}


@dataclass(frozen=True)
class RequestSummary:
    """What the server knows about a request that it has not decoded."""

    file_count: int
    content_bytes: int
    """Sum of the files' content."""
    annotation_count: int
    """0 where `annotations` is no list."""
    label_classes: tuple[LabelClass, ...]
    """Those that can be made sense of."""
    has_label_classes: bool
    """Whether it brings any list, an empty one too, or something else that the model gets as it is."""
    warnings: tuple[str, ...]
    """Whole sentences."""


def read_request(
    body: bytes | memoryview, *, max_small_bytes: int = MAX_SMALL_BYTES, max_files: int = MAX_FILES
) -> RequestSummary:
    """Check a request body, msgpack, and sum it up.

    Raises MalformedBody where it is no msgpack; InvalidRequest where it is no request; RequestTooLarge when it has more
    than `max_files` files, more than `max_small_bytes` beside the files' content, or more than `MAX_KEYS` keys, or one
    of its files has.
    """
    return finish(request_in_steps(body, max_small_bytes=max_small_bytes, max_files=max_files))


async def read_request_in_slices(
    body: bytes | memoryview, *, max_small_bytes: int = MAX_SMALL_BYTES, max_files: int = MAX_FILES
) -> RequestSummary:
    """`read_request`, giving way to the event loop every few milliseconds."""
    return await finish_in_slices(request_in_steps(body, max_small_bytes=max_small_bytes, max_files=max_files))


def request_in_steps(
    body: bytes | memoryview, *, max_small_bytes: int = MAX_SMALL_BYTES, max_files: int = MAX_FILES
) -> Steps[RequestSummary]:
    """`read_request` in steps of which each passes over 256 kB or decodes 16 kB at most."""
    return _Reading(memoryview(body), max_small_bytes, max_files).steps()


class _Reading:
    """One pass over a body."""

    def __init__(self, body: memoryview, max_small_bytes: int, max_files: int) -> None:
        self._body = body
        self._walk = Walk(body, max_small_bytes)
        self._max_files = max_files
        self._file_count = 0
        self._annotation_count = 0
        self._label_classes: tuple[LabelClass, ...] = ()
        self._has_label_classes = False
        self._doubts = Findings("files")
        self._warnings: list[str] = []

    def steps(self) -> Steps[RequestSummary]:
        yield from self._check_top()
        keys: set[str] = set()
        for _ in range((yield from self._walk.enter_map("the request"))):
            key = yield from self._walk.key("the request")
            _note_key(keys, key, "The request")
            yield from self._part(key)
        if not self._walk.is_at_end:
            raise self._trailing()
        if "files" not in keys:
            raise InvalidRequest(
                "files is missing: the request is a map with a list of files, each with 'content' and 'content_type'."
            )
        return RequestSummary(
            file_count=self._file_count,
            content_bytes=self._walk.jumped,
            annotation_count=self._annotation_count,
            label_classes=self._label_classes,
            has_label_classes=self._has_label_classes,
            warnings=(*self._doubts.as_doubts(), *self._warnings),
        )

    def _check_top(self) -> Steps[None]:
        if not self._body:
            raise MalformedBody("The request body is empty: send a msgpack map with a list under 'files'.")
        kind = self._walk.kind("the request")
        if kind == "map":
            return
        yield from self._walk.skip("the request")
        if self._walk.is_at_end:
            raise InvalidRequest(f"The request is {a_kind(kind)}, not a map with a list under 'files'.")
        beginning = bytes(self._body[:2])
        if beginning[:1] in (b"{", b"["):
            raise MalformedBody(f"The body looks like JSON, not msgpack. {HOW_TO_PACK}")
        if beginning == b"--":
            raise MalformedBody("The body looks like a form, not msgpack: send it as multipart/form-data.")
        raise MalformedBody("The body is not msgpack: send a msgpack map with a list under 'files'.")

    def _part(self, key: str) -> Steps[None]:
        if key == "files":
            yield from self._files()
            return
        place = inside([key]).lstrip(".")
        kind = self._walk.kind(place)
        content = yield from self._value(place, depth=1)
        if key == "label_classes":
            self._has_label_classes = kind != "null"
        if key in _EXPECTED and kind not in (_EXPECTED[key], "null"):
            self._warnings.append(f"{key} is {a_kind(kind)} where the interface has a {_EXPECTED[key]}.")
        elif key == "annotations" and kind == "list":
            self._annotation_count = _length_of_list(content)
        elif key == "label_classes" and kind == "list" and (count := _length_of_list(content)):
            self._read_label_classes(count, content)

    def _files(self) -> Steps[None]:
        kind = self._walk.kind("files")
        if kind != "list":
            raise InvalidRequest(f"files is {a_kind(kind)}, not a list of maps with 'content' and 'content_type'.")
        self._file_count = yield from self._walk.enter_list("files")
        if self._file_count > len(self._body):
            raise MalformedBody(
                f"The body is cut off: files announces {self._file_count:,} elements, more than there are bytes. "
                "Send all of it."
            )
        if self._file_count > self._max_files:
            raise RequestTooLarge(
                f"files has {self._file_count:,} elements, and {self._max_files:,} are the most: send fewer at a time."
            )
        for index in range(self._file_count):
            yield from self._file(index, f"files[{index}]")
            yield
        if not self._file_count:
            self._warnings.append("files is empty: there is nothing for the model to look at.")

    def _file(self, index: int, place: str) -> Steps[None]:
        kind = self._walk.kind(place)
        if kind != "map":
            raise InvalidRequest(f"{place} is {a_kind(kind)}, not a map with 'content' and 'content_type'.")
        keys: set[str] = set()
        for _ in range((yield from self._walk.enter_map(place))):
            key = yield from self._walk.key(place)
            _note_key(keys, key, place)
            if key == "content":
                yield from self._content(index, f"{place}.content")
            elif key == "content_type":
                yield from self._content_type(index, f"{place}.content_type")
            else:
                yield from self._value(place + inside([key]), _DEPTH_OF_FILES)
        if "content" not in keys:
            raise InvalidRequest(f"{place}.content is missing: send the file's bytes under 'content'.")
        if "content_type" not in keys:
            self._doubts.add(index, Doubt("no type", "content_type is missing", fix=_HOW_TO_NAME_A_TYPE))

    def _content(self, index: int, place: str) -> Steps[None]:
        kind = self._walk.kind(place)
        if kind == "bytes":
            if not self._walk.jump(place):
                self._doubts.add(index, Doubt("empty", "content is empty"))
        elif kind == "null":
            yield from self._value(place, _DEPTH_OF_FILES)
            self._doubts.add(index, Doubt("null", "content is null: there is nothing for the model to look at"))
        elif kind == "str":
            raise InvalidRequest(f"{place} is a str, not bytes: {_HOW_TO_SEND_BYTES}.")
        else:
            raise InvalidRequest(f"{place} is {a_kind(kind)}, not bytes: send the file's bytes under 'content'.")

    def _content_type(self, index: int, place: str) -> Steps[None]:
        kind = self._walk.kind(place)
        yield from self._value(place, _DEPTH_OF_FILES)
        if kind != "str":
            text = f"content_type is {a_kind(kind)}, not text"
            self._doubts.add(index, Doubt(("type", kind), text, fix=_HOW_TO_NAME_A_TYPE))

    def _value(self, place: str, depth: int) -> Steps[memoryview]:
        """Pass over a value that goes to the model as it is, and look whether the worker will be able to decode it."""
        content = yield from self._walk.skip(place)
        if 1 < len(content) <= LARGEST_DECODED:
            yield from _check(content, place, depth)
        yield
        return content

    def _read_label_classes(self, count: int, content: memoryview) -> None:
        if len(content) > LARGEST_LABEL_CLASSES or count > MOST_LABEL_CLASSES:
            size = f"{count_of(count, 'entry', 'entries')} and {count_of(len(content), 'byte')}"
            self._warnings.append(f"label_classes has {size}, too many to check the outputs against them.")
            return
        self._label_classes, warnings = read_label_classes(content)
        self._warnings += warnings

    def _trailing(self) -> MalformedBody:
        more = count_of(len(self._body) - self._walk.position, "byte")
        return MalformedBody(f"The request ends {more} before the body does: send one msgpack map and nothing else.")


def _check(content: memoryview, place: str, depth: int) -> Steps[None]:
    """Decode the value, which lies `depth` levels deep, as the worker will, to see whether that is possible."""
    try:
        if len(content) <= _SHALLOW:
            msgpack.unpackb(content, raw=False, strict_map_key=True)
        else:
            yield from _decode_in_pieces(content, depth)
    except UnicodeDecodeError as error:
        raise MalformedBody(
            f"{place} holds text that is not valid UTF-8 ({error.reason}): send bytes as bin, "
            "with msgpack.packb(data, use_bin_type=True)."
        ) from None
    except msgpack.StackError:
        raise MalformedBody(f"{place} is nested too deeply to be read: nest it less.") from None
    except (ValueError, TypeError) as error:
        raise MalformedBody(f"{place} cannot be decoded: {_complaint(str(error))}. {HOW_TO_PACK}") from None


def _decode_in_pieces(content: memoryview, depth: int) -> Steps[None]:
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, read_size=_PIECE)
    unpacker.feed(b"\x91" * depth)  # lists of one element: the levels that the value lies in
    for start in range(0, len(content), _PIECE):
        unpacker.feed(content[start : start + _PIECE])
        try:
            unpacker.unpack()
        except msgpack.OutOfData:
            yield


def _complaint(text: str) -> str:
    if "map key" in text:
        return "it has a key that is not text"
    return "it announces more than there is" if "exceeds" in text else text.rstrip(".")


def _note_key(keys: set[str], key: str, owner: str) -> None:
    if key in keys:
        raise InvalidRequest(f"{owner} has the key {quoted(key)} twice.")
    if len(keys) >= MAX_KEYS:
        raise RequestTooLarge(f"{owner} has more than {MAX_KEYS:,} keys: put a map of such size under one key.")
    keys.add(key)


def _length_of_list(content: memoryview) -> int:
    width = {0xDC: 2, 0xDD: 4}.get(content[0])
    return content[0] & 0x0F if width is None else int.from_bytes(content[1 : 1 + width], "big")
