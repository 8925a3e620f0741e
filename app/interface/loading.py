"""Reads the body of `POST /load-files`: where in it the content of each file lies, and under which path it goes."""

from typing import NamedTuple

from app.interface.errors import InvalidRequest, MalformedBody, RequestTooLarge
from app.interface.files import read_content_path
from app.interface.msgpack_walk import Walk, a_kind
from app.interface.request import MAX_FILES, MAX_SMALL_BYTES
from app.interface.slices import Steps, finish, finish_in_slices
from app.interface.values import checked_value, note_key, trailing
from app.interface.wording import inside

_SHAPE = "a list of maps with 'content' (bytes) and 'content_path' (text)"


class FileToLoad(NamedTuple):
    """One file of the body."""

    path: str
    """Relative, without detours."""
    start: int
    """Where in the body its content begins."""
    length: int


def read_loading(body: bytes | memoryview, *, max_files: int = MAX_FILES) -> tuple[FileToLoad, ...]:
    """The files of a body, msgpack; of those with the same path the last one.

    Raises MalformedBody where it is no msgpack; InvalidRequest where it is no such list, or a path leads out of the
    folder of loaded files; RequestTooLarge.
    """
    return finish(_in_steps(memoryview(body), max_files))


async def read_loading_in_slices(body: bytes | memoryview, *, max_files: int = MAX_FILES) -> tuple[FileToLoad, ...]:
    """`read_loading`, giving way to the event loop every few milliseconds."""
    return await finish_in_slices(_in_steps(memoryview(body), max_files))


def _in_steps(body: memoryview, max_files: int) -> Steps[tuple[FileToLoad, ...]]:
    walk = Walk(body, MAX_SMALL_BYTES)
    if not body:
        raise MalformedBody(f"The body is empty: send {_SHAPE}, as msgpack.")
    if (kind := walk.kind("the body")) != "list":
        raise InvalidRequest(f"The body is {a_kind(kind)}, not {_SHAPE}. Files to predict on go to /predict.")
    count = walk.enter_list("the body")
    if count > max_files:
        raise RequestTooLarge(f"The body has {count:,} files, and {max_files:,} are the most: send fewer at a time.")
    files = {}
    for index in range(count):
        file = yield from _file(walk, f"files[{index}]")
        files[file.path] = file
        yield
    if not walk.is_at_end:
        raise trailing(walk, "list")
    return tuple(files.values())


def _file(walk: Walk, place: str) -> Steps[FileToLoad]:
    if (kind := walk.kind(place)) != "map":
        raise InvalidRequest(f"{place} is {a_kind(kind)}, and the body is to be {_SHAPE}.")
    keys: set[str] = set()
    path, start, length = "", 0, 0
    for _ in range(walk.enter_map(place)):
        if (key := walk.short_key(place)) is None:
            key = yield from walk.long_key(place)
        note_key(keys, key, place)
        kind = walk.kind(place + inside([key]))
        if key == "content":
            if kind != "bytes":
                raise InvalidRequest(f"{place}.content is {a_kind(kind)}, not bytes: send the file's bytes.")
            length = walk.jump(f"{place}.content")
            start = walk.position - length
            continue
        content = yield from checked_value(walk, place + inside([key]), depth=2)
        if key == "content_path":
            path = read_content_path(kind, content, f"{place}.content_path")
    for key in ("content", "content_path"):
        if key not in keys:
            raise InvalidRequest(f"{place}.{key} is missing: send {_SHAPE}.")
    if not path:
        raise InvalidRequest(f"{place}.content_path is empty: name the file, like '1.2.3/image.dcm'.")
    return FileToLoad(path, start, length)
