"""The files of a request as they lie in its body: checked, counted, and passed over without being decoded."""

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import msgpack

from app.interface.errors import InvalidRequest, MalformedBody, RequestTooLarge
from app.interface.findings import Doubt, Findings
from app.interface.msgpack_walk import Walk, a_kind
from app.interface.slices import Steps
from app.interface.values import LARGEST_DECODED, checked_value, note_key
from app.interface.wording import inside
from model_loader.worker.mdai_guest.content_path import normal_path

#: A value of one file lies inside a map, a list and a map; msgpack reads 1,024 levels in all.
_DEPTH_OF_FILES = 3

_HOW_TO_SEND_BYTES = (
    "pack the request with msgpack.packb(data, use_bin_type=True) and give the file's bytes, not decoded as text"
)
_HOW_TO_NAME_A_TYPE = "say what the file is, like 'application/dicom'"
_HOW_TO_NAME_A_PATH = "name the file by a relative path, like '1.2.3/image.dcm'"


@dataclass(frozen=True)
class ContentPath:
    """A file that may have been loaded ahead of the request."""

    path: str
    """Relative to the folder of loaded files, without detours."""
    place: str
    """`files[3]`"""
    is_needed: bool
    """Whether the file has no content of its own."""


class FilesReading:
    """One pass over `files`, which may be in groups: a list whose first element is a list is one of lists."""

    def __init__(self, walk: Walk, max_files: int) -> None:
        self._walk = walk
        self._max_files = max_files
        self.file_count = 0
        self.group_starts: list[int] = []
        """The number of files before each group."""
        self.content_paths: list[ContentPath] = []
        # Not a method of this object's: in a circle with its findings, it would keep the body until that is collected.
        self.doubts = Findings("files", partial(_subscript, self.group_starts))
        self.warnings: list[str] = []

    def steps(self) -> Steps[None]:
        """Read the value of `files`, which lies ahead."""
        kind = self._walk.kind("files")
        if kind != "list":
            raise InvalidRequest(f"files is {a_kind(kind)}, not a list of maps with 'content' and 'content_type'.")
        count = self._count_of_list("files")
        is_grouped = count > 0 and self._walk.kind("files[0]") == "list"
        for index in range(count):
            place = f"files[{index}]"
            if is_grouped:
                yield from self._group(index, place)
            else:
                yield from self._file(place, _DEPTH_OF_FILES)
            yield
        if not count:
            self.warnings.append("files is empty: there is nothing for the model to look at.")

    def _count_of_list(self, place: str) -> int:
        """Enter a list of files or of groups; with the files before it, it must not be longer than the limit."""
        count = self._walk.enter_list(place)
        if count > self._walk.size:
            raise MalformedBody(
                f"The body is cut off: {place} announces {count:,} elements, more than there are bytes. Send all of it."
            )
        if self.file_count + count > self._max_files:
            whole = "files" if not self.file_count else "The request"
            raise RequestTooLarge(
                f"{whole} has {self.file_count + count:,} elements, and {self._max_files:,} are the most: "
                "send fewer at a time."
            )
        return count

    def _group(self, index: int, place: str) -> Steps[None]:
        kind = self._walk.kind(place)
        if kind != "list":
            raise InvalidRequest(
                f"{place} is {a_kind(kind)}, and files[0] is a list: send either files or groups of files, not both."
            )
        self.group_starts.append(self.file_count)
        count = self._count_of_list(place)
        if not count:
            self.warnings.append(f"{place} is an empty group: there is nothing for the model to look at.")
        for number in range(count):
            yield from self._file(f"{place}[{number}]", _DEPTH_OF_FILES + 1)
            yield

    def _file(self, place: str, depth: int) -> Steps[None]:
        kind = self._walk.kind(place)
        if kind != "map":
            raise InvalidRequest(f"{place} is {a_kind(kind)}, not a map with 'content' and 'content_type'.")
        keys: set[str] = set()
        has_content, path = False, ""
        for _ in range(self._walk.enter_map(place)):
            if (key := self._walk.short_key(place)) is None:
                key = yield from self._walk.long_key(place)
            note_key(keys, key, place)
            if key == "content":
                has_content = yield from self._content(f"{place}.content", depth)
            elif key == "content_type":
                yield from self._content_type(f"{place}.content_type", depth)
            elif key == "content_path":
                path = yield from self._content_path(f"{place}.content_path", depth)
            else:
                yield from checked_value(self._walk, place + inside([key]), depth)
        if "content" not in keys:
            raise InvalidRequest(f"{place}.content is missing: send the file's bytes under 'content'.")
        if path:
            self.content_paths.append(ContentPath(path, place, is_needed=not has_content))
        elif not has_content:
            self._doubt("null", "content is null: there is nothing for the model to look at")
        if "content_type" not in keys:
            self._doubt("no type", "content_type is missing", fix=_HOW_TO_NAME_A_TYPE)
        self.file_count += 1

    def _doubt(self, key: Hashable, text: str, fix: str = "") -> None:
        """About the file that is being read."""
        self.doubts.add(self.file_count, Doubt(key, text, fix=fix))

    def _content(self, place: str, depth: int) -> Steps[bool]:
        """Whether there is any."""
        kind = self._walk.kind(place)
        if kind == "bytes":
            if not self._walk.jump(place):
                self._doubt("empty", "content is empty")
            return True
        if kind == "null":
            yield from checked_value(self._walk, place, depth)
            return False
        if kind == "str":
            raise InvalidRequest(f"{place} is a str, not bytes: {_HOW_TO_SEND_BYTES}.")
        raise InvalidRequest(f"{place} is {a_kind(kind)}, not bytes: send the file's bytes under 'content'.")

    def _content_path(self, place: str, depth: int) -> Steps[str]:
        """The path without detours; "" where there is none."""
        kind = self._walk.kind(place)
        content = yield from checked_value(self._walk, place, depth)
        if kind == "null":
            return ""
        return read_content_path(kind, content, place)

    def _content_type(self, place: str, depth: int) -> Steps[None]:
        kind = self._walk.kind(place)
        yield from checked_value(self._walk, place, depth)
        if kind != "str":
            self._doubt(("type", kind), f"content_type is {a_kind(kind)}, not text", fix=_HOW_TO_NAME_A_TYPE)


def read_content_path(kind: str, content: memoryview, place: str) -> str:
    """The packed value at `place`, of this kind, as a path without detours; "" for "". Raises InvalidRequest."""
    if kind != "str":
        raise InvalidRequest(f"{place} is {a_kind(kind)}, not text: {_HOW_TO_NAME_A_PATH}.")
    try:
        # A longer one is cut off, and then still too long.
        text = msgpack.unpackb(content, raw=False) if len(content) <= LARGEST_DECODED else "x" * LARGEST_DECODED
        return normal_path(text) if text else ""
    except ValueError as error:
        reason = "is not valid UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InvalidRequest(f"{place} {reason}: {_HOW_TO_NAME_A_PATH}.") from None


def _subscript(group_starts: Sequence[int], number: int) -> str:
    """How a file is written behind `files`, by its number in all groups."""
    if not group_starts:
        return f"[{number}]"
    group = bisect_right(group_starts, number) - 1
    return f"[{group}][{number - group_starts[group]}]"
