"""Reads the small parts of a request body where it lies and checks them before the request queues.

What the reference server hands to a model, a model gets here: an odd `content_type` or `args` is a warning, because a
model may never look at it. Refused is what no model could work on: no list of files, a file whose content is no bytes,
keys that are not text or are there twice, and what is no msgpack.

What only the worker sees is left to it: values of more than `LARGEST_DECODED` bytes are passed over without a look
inside, and the worker, which decodes everything, refuses text that is no UTF-8 or keys that are not text in those.

Warnings and errors name places and kinds, never values: a request is about a patient.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from app.interface.errors import InvalidRequest, MalformedBody
from app.interface.files import ContentPath, FilesReading
from app.interface.labels import LabelClass, read_label_classes
from app.interface.msgpack_walk import HOW_TO_PACK, KINDS, Walk, a_kind, length_of_list
from app.interface.ordinary import LARGEST_ORDINARY, ODD, file_sizes, pairs
from app.interface.slices import Steps, finish, finish_in_slices
from app.interface.values import checked_value, checked_whole, note_key, trailing
from app.interface.wording import count_of, inside

#: Bytes of everything in a request but the files' content.
MAX_SMALL_BYTES = 16 << 20
#: A study of this many instances is beyond any scanner's.
MAX_FILES = 100_000

#: More label classes than these, in number or in bytes, are not checked against.
MOST_LABEL_CLASSES, LARGEST_LABEL_CLASSES = 5000, 1 << 18
#: What the keys beside `files` hold; null is as good as none.
_EXPECTED = {"annotations": "list", "label_classes": "list", "args": "map"}


class RequestSummary(msgspec.Struct, frozen=True):
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
    view = memoryview(body)
    if 0 < len(view) <= min(LARGEST_ORDINARY, max_small_bytes):
        with suppress(*ODD):
            return (yield from ordinary_in_steps(view, max_files))
    return (yield from walk_in_steps(view, max_small_bytes, max_files))


def walk_in_steps(body: memoryview, max_small_bytes: int, max_files: int) -> Steps[RequestSummary]:
    """The way to read any body."""
    return _Reading(body, max_small_bytes, max_files).steps()


def ordinary_in_steps(body: memoryview, max_files: int) -> Steps[RequestSummary]:
    """The summary of a request that nothing is odd about; raises one of `ODD` for any other."""
    values = pairs(body)
    sizes = yield from file_sizes(values.pop("files"), max_files)
    parts = _Parts()
    for key, content in values.items():
        checked_whole(content, key, depth=1)
        parts.note(key, KINDS[content[0]], content)
    return parts.summary(file_count=len(sizes), content_bytes=sum(sizes))


class _Parts:
    """What is known of the values beside `files`."""

    def __init__(self) -> None:
        self._annotation_count = 0
        self._label_classes: tuple[LabelClass, ...] = ()
        self._has_label_classes = False
        self._warnings: list[str] = []

    def note(self, key: str, kind: str, content: memoryview) -> None:
        """Take in one of them, of this kind and whole."""
        expected = _EXPECTED.get(key)
        if expected is None or kind == "null":
            return
        if key == "label_classes":
            self._has_label_classes = True
        if kind != expected:
            self._warnings.append(f"{key} is {a_kind(kind)} where the interface has a {expected}.")
        elif key == "annotations":
            self._annotation_count = length_of_list(content)
        elif key == "label_classes" and (count := length_of_list(content)):
            self._read_label_classes(count, content)

    def _read_label_classes(self, count: int, content: memoryview) -> None:
        if len(content) > LARGEST_LABEL_CLASSES or count > MOST_LABEL_CLASSES:
            size = f"{count_of(count, 'entry', 'entries')} and {count_of(len(content), 'byte')}"
            self._warnings.append(f"label_classes has {size}, too many to check the outputs against them.")
            return
        self._label_classes, warnings = read_label_classes(content)
        self._warnings += warnings

    def summary(
        self,
        file_count: int,
        content_bytes: int,
        warnings: Sequence[str] = (),
        group_count: int = 0,
        content_paths: Sequence[ContentPath] = (),
    ) -> RequestSummary:
        """Of the whole request; `warnings` are those about its files."""
        return RequestSummary(
            file_count=file_count,
            content_bytes=content_bytes,
            annotation_count=self._annotation_count,
            label_classes=self._label_classes,
            has_label_classes=self._has_label_classes,
            warnings=(*warnings, *self._warnings),
            group_count=group_count,
            content_paths=tuple(content_paths),
        )


class _Reading:
    """One pass over a body."""

    def __init__(self, body: memoryview, max_small_bytes: int, max_files: int) -> None:
        self._body = body
        self._walk = Walk(body, max_small_bytes)
        self._files = FilesReading(self._walk, max_files)
        self._parts = _Parts()

    def steps(self) -> Steps[RequestSummary]:
        yield from self._check_top()
        keys: set[str] = set()
        for _ in range(self._walk.enter_map("the request")):
            if (key := self._walk.short_key("the request")) is None:
                key = yield from self._walk.long_key("the request")
            note_key(keys, key, "The request")
            yield from self._part(key)
        if not self._walk.is_at_end:
            raise trailing(self._walk, "map")
        if "files" not in keys:
            raise InvalidRequest(
                "files is missing: the request is a map with a list of files, each with 'content' and 'content_type'."
            )
        files = self._files
        return self._parts.summary(
            files.file_count,
            self._walk.jumped,
            warnings=(*files.doubts.as_doubts(), *files.warnings),
            group_count=len(files.group_starts),
            content_paths=files.content_paths,
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
        self._parts.note(key, kind, content)
