"""The quick way to read a request: a small body without anything odd, taken apart by a few calls into C.

It refuses nothing and warns of nothing. Whatever is not as it usually is raises one of `ODD`, and the body is then read
from its beginning by the walk, which finds out what that is and says it; so what passes here, the walk would pass.
"""

from collections.abc import Mapping

import msgpack
import msgspec

from app.interface.errors import InterfaceError
from app.interface.msgpack_walk import KINDS, length_of_list
from app.interface.slices import Steps
from app.interface.values import checked_whole

#: So many bytes may be passed over in one step.
LARGEST_ORDINARY = 1 << 18

ODD = (msgspec.MsgspecError, InterfaceError, ValueError, LookupError, RecursionError)

_FILES_IN_A_STEP = 50

#: Of the header of bytes, by its first byte.
_HEADERS = {0xC4: 2, 0xC5: 3, 0xC6: 5}
#: A value of one file lies inside a map, a list and a map.
_DEPTH_OF_FILES = 3

_SMALLEST_FILE = len(msgpack.packb({"content": b"x", "content_type": ""}))

_PAIRS = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.msgpack.Decoder(list[msgspec.Raw])


def pairs(packed: memoryview) -> dict[str, memoryview]:
    """A map of at most 15 pairs with text for keys, none of them twice, and all of its values still packed."""
    count = packed[0] - 0x80  # what announces such a map, less its number of pairs
    if not 0 <= count <= 15 or len(values := _PAIRS.decode(packed)) != count:
        raise ValueError
    return {key: memoryview(value) for key, value in values.items()}


def file_sizes(packed: memoryview, max_files: int) -> Steps[list[int]]:
    """Of the content of each in a list of files, without groups and paths; a step for each few of them."""
    if KINDS[packed[0]] != "list" or not 0 < length_of_list(packed) <= min(max_files, len(packed) // _SMALLEST_FILE):
        raise ValueError
    sizes: list[int] = []
    for file in _ELEMENTS.decode(packed):
        if len(sizes) % _FILES_IN_A_STEP == _FILES_IN_A_STEP - 1:
            yield
        sizes.append(_content_size(pairs(memoryview(file))))
    return sizes


def _content_size(file: Mapping[str, memoryview]) -> int:
    content, content_type = file["content"], file["content_type"]
    size = len(content) - _HEADERS[content[0]]
    if not size or "content_path" in file or type(msgpack.unpackb(content_type)) is not str:
        raise ValueError
    if len(file) > 2:
        for key, value in file.items():
            if key not in ("content", "content_type"):
                checked_whole(value, key, _DEPTH_OF_FILES)
    return size
