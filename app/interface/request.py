"""Reads the small parts of a request body where it lies and checks them before the request queues.

What the reference server hands to a model, a model gets here: an odd `content_type` or `args` is a warning, because a
model may never look at it. Refused is what no model could work on: no list of files, a file whose content is no bytes,
keys that are not text or are there twice, and what is no msgpack.

What only the worker sees is left to it: values of more than `LARGEST_DECODED` bytes are passed over without a look
inside, and the worker, which decodes everything, refuses text that is no UTF-8 or keys that are not text in those.

Warnings and errors name places and kinds, never values: a request is about a patient.
"""

from dataclasses import dataclass

from app.interface.errors import InvalidRequest, MalformedBody
from app.interface.files import ContentPath, FilesReading
from app.interface.labels import LabelClass, read_label_classes
from app.interface.msgpack_walk import HOW_TO_PACK, Walk, a_kind
from app.interface.slices import Steps, finish, finish_in_slices
from app.interface.values import checked_value, note_key, trailing
from app.interface.wording import count_of, inside

#: Bytes of everything in a request but the files' content.
MAX_SMALL_BYTES = 16 << 20
#: A study of this many instances is beyond any scanner's.
MAX_FILES = 100_000

#: More label classes than these, in number or in bytes, are not checked against.
MOST_LABEL_CLASSES, LARGEST_LABEL_CLASSES = 5000, 1 << 18
#: What the keys beside `files` hold; null is as good as none.
_EXPECTED = {"annotations": "list", "label_classes": "list", "args": "map"}


@dataclass(frozen=True)
class RequestSummary:
    """What the server knows about a request that it has not decoded."""

    file_count: int
    """In all groups."""
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
    group_count: int = 0
    """0 for a list of files without groups."""
    content_paths: tuple[ContentPath, ...] = ()
    """Of the files that have one, in their order."""


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
        self._files = FilesReading(self._walk, max_files)
        self._annotation_count = 0
        self._label_classes: tuple[LabelClass, ...] = ()
        self._has_label_classes = False
        self._warnings: list[str] = []

    def steps(self) -> Steps[RequestSummary]:
        yield from self._check_top()
        keys: set[str] = set()
        for _ in range((yield from self._walk.enter_map("the request"))):
            key = yield from self._walk.key("the request")
            note_key(keys, key, "The request")
            yield from self._part(key)
        if not self._walk.is_at_end:
            raise trailing(self._walk, "map")
        if "files" not in keys:
            raise InvalidRequest(
                "files is missing: the request is a map with a list of files, each with 'content' and 'content_type'."
            )
        return RequestSummary(
            file_count=self._files.file_count,
            content_bytes=self._walk.jumped,
            annotation_count=self._annotation_count,
            label_classes=self._label_classes,
            has_label_classes=self._has_label_classes,
            warnings=(*self._files.doubts.as_doubts(), *self._files.warnings, *self._warnings),
            group_count=len(self._files.group_starts),
            content_paths=tuple(self._files.content_paths),
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
            yield from self._files.steps()
            return
        place = inside([key]).lstrip(".")
        kind = self._walk.kind(place)
        content = yield from checked_value(self._walk, place, depth=1)
        if key == "label_classes":
            self._has_label_classes = kind != "null"
        if key in _EXPECTED and kind not in (_EXPECTED[key], "null"):
            self._warnings.append(f"{key} is {a_kind(kind)} where the interface has a {_EXPECTED[key]}.")
        elif key == "annotations" and kind == "list":
            self._annotation_count = _length_of_list(content)
        elif key == "label_classes" and kind == "list" and (count := _length_of_list(content)):
            self._read_label_classes(count, content)

    def _read_label_classes(self, count: int, content: memoryview) -> None:
        if len(content) > LARGEST_LABEL_CLASSES or count > MOST_LABEL_CLASSES:
            size = f"{count_of(count, 'entry', 'entries')} and {count_of(len(content), 'byte')}"
            self._warnings.append(f"label_classes has {size}, too many to check the outputs against them.")
            return
        self._label_classes, warnings = read_label_classes(content)
        self._warnings += warnings


def _length_of_list(content: memoryview) -> int:
    width = {0xDC: 2, 0xDD: 4}.get(content[0])
    return content[0] & 0x0F if width is None else int.from_bytes(content[1 : 1 + width], "big")
