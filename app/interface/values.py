"""Values of a body that go to the model as they are: passed over, and looked at whether the worker can decode them."""

import msgpack

from app.interface.errors import InvalidRequest, MalformedBody, RequestTooLarge
from app.interface.msgpack_walk import HOW_TO_PACK, Walk
from app.interface.slices import Steps
from app.interface.wording import count_of, quoted

#: Values up to this size are decoded here, once, to see whether the worker will be able to.
LARGEST_DECODED = 1 << 16
#: Keys of the request, or of one file, that are told apart.
MAX_KEYS = 10_000

#: What one step decodes.
LARGEST_WHOLE = 1 << 14
#: So few bytes cannot nest too deeply, wherever they lie.
_SHALLOW = 1000


def checked_value(walk: Walk, place: str, depth: int) -> Steps[memoryview]:
    """Pass over the value that lies ahead, `depth` levels deep; returns its bytes.

    Raises MalformedBody where the worker will not be able to decode it.
    """
    content = yield from walk.skip(place)
    if 1 < len(content) <= LARGEST_DECODED:
        yield from _check(content, place, depth)
    yield
    return content


def note_key(keys: set[str], key: str, owner: str) -> None:
    """Add `key` to those that `owner` has. Raises InvalidRequest where it is there twice, RequestTooLarge."""
    if key in keys:
        raise InvalidRequest(f"{owner} has the key {quoted(key)} twice.")
    if len(keys) >= MAX_KEYS:
        raise RequestTooLarge(f"{owner} has more than {MAX_KEYS:,} keys: put a map of such size under one key.")
    keys.add(key)


def checked_whole(content: memoryview, place: str, depth: int) -> None:
    """Look at a value of at most `LARGEST_WHOLE` bytes, which lies `depth` levels deep, in one step.

    Raises MalformedBody where the worker will not be able to decode it, and for more bytes ValueError.
    """
    if len(content) > LARGEST_WHOLE:
        raise ValueError
    try:
        _decode_whole(content, depth)
    except (ValueError, TypeError) as error:
        raise _undecodable(error, place) from None


def _check(content: memoryview, place: str, depth: int) -> Steps[None]:
    """Decode the value, which lies `depth` levels deep, as the worker will, to see whether that is possible."""
    try:
        if len(content) <= LARGEST_WHOLE:
            _decode_whole(content, depth)
        else:
            yield from _decode_in_pieces(content, depth)
    except (ValueError, TypeError) as error:
        raise _undecodable(error, place) from None


def _decode_whole(content: memoryview, depth: int) -> None:
    if len(content) > 1:
        # Lists of one element around it: the levels that it lies in.
        msgpack.unpackb(content if len(content) <= _SHALLOW else b"\x91" * depth + content)


def _decode_in_pieces(content: memoryview, depth: int) -> Steps[None]:
    unpacker = msgpack.Unpacker(read_size=LARGEST_WHOLE)
    unpacker.feed(b"\x91" * depth)  # lists of one element: the levels that the value lies in
    for start in range(0, len(content), LARGEST_WHOLE):
        unpacker.feed(content[start : start + LARGEST_WHOLE])
        try:
            unpacker.unpack()
        except msgpack.OutOfData:
            yield


def _undecodable(error: Exception, place: str) -> MalformedBody:
    if isinstance(error, UnicodeDecodeError):
        return MalformedBody(
            f"{place} holds text that is not valid UTF-8 ({error.reason}): send bytes as bin, "
            "with msgpack.packb(data, use_bin_type=True)."
        )
    if isinstance(error, msgpack.StackError):
        return MalformedBody(f"{place} is nested too deeply to be read: nest it less.")
    return MalformedBody(f"{place} cannot be decoded: {_complaint(str(error))}. {HOW_TO_PACK}")


def _complaint(text: str) -> str:
    if "map key" in text:
        return "it has a key that is not text"
    return "it announces more than there is" if "exceeds" in text else text.rstrip(".")


def trailing(walk: Walk, expected: str) -> MalformedBody:
    """What to raise where the body goes on behind the one map or list that is expected."""
    more = count_of(walk.size - walk.position, "byte")
    return MalformedBody(f"The request ends {more} before the body does: send one msgpack {expected} and nothing else.")
