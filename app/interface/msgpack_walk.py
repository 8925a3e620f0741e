"""A walk over the outermost levels of a msgpack message in memory, in small steps and without decoding it.

Bytes values are jumped over and never copied. Everything else is passed over by msgpack's own parser, a piece at a
time, so that neither a hostile message nor a large one holds up the event loop, and counts against a limit.
"""

from collections.abc import Callable
from typing import TypeVar

import msgpack

from app.interface.errors import MalformedBody, RequestTooLarge
from app.interface.slices import Steps
from app.interface.wording import article, count_of

T = TypeVar("T")

HOW_TO_PACK = "Pack the request with msgpack.packb(data)."

_FIRST_PIECE, _LARGEST_PIECE = 1 << 10, 1 << 18
#: Of the length in the header of bytes, by the first byte.
_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4}


def _kinds() -> list[str]:
    """The kind of value that each first byte announces (https://github.com/msgpack/msgpack/blob/master/spec.md)."""
    kinds = ["int"] * 256
    for first, last, kind in (
        (0x80, 0x8F, "map"),
        (0x90, 0x9F, "list"),
        (0xA0, 0xBF, "str"),
        (0xC0, 0xC0, "null"),
        (0xC1, 0xC1, "nothing"),
        (0xC2, 0xC3, "bool"),
        (0xC4, 0xC6, "bytes"),
        (0xC7, 0xC9, "extension"),
        (0xCA, 0xCB, "float"),
        (0xD4, 0xD8, "extension"),
        (0xD9, 0xDB, "str"),
        (0xDC, 0xDD, "list"),
        (0xDE, 0xDF, "map"),
    ):
        kinds[first : last + 1] = [kind] * (last + 1 - first)
    return kinds


KINDS = _kinds()


def a_kind(kind: str) -> str:
    """A kind of value in a sentence."""
    return kind if kind in ("null", "bytes") else article(kind)


def length_of_list(content: memoryview) -> int:
    """What a packed list announces, as its number of elements."""
    width = {0xDC: 2, 0xDD: 4}.get(content[0])
    return content[0] & 0x0F if width is None else int.from_bytes(content[1 : 1 + width], "big")


class Walk:
    """A position in `body` that moves over one value at a time.

    Every move takes the name of the place, for error texts. All raise MalformedBody where the bytes are no msgpack or
    end too soon, and RequestTooLarge when more than `most` bytes other than jumped ones have been passed.
    """

    def __init__(self, body: memoryview, most: int) -> None:
        self._body = body
        self._most = most
        # read_size is also the size of its buffer at first.
        self._unpacker = msgpack.Unpacker(read_size=2 * _FIRST_PIECE, max_buffer_size=0)
        self._start = 0
        self.jumped = 0
        self._go_on_at(0)

    def _go_on_at(self, position: int) -> None:
        """Show the parser, which has nothing left, what lies there; to it a jump is no gap."""
        self._base: int = position - self._unpacker.tell()
        piece = self._body[position : position + _FIRST_PIECE]
        self._unpacker.feed(piece)
        self._fed = position + len(piece)
        self._piece = 2 * _FIRST_PIECE

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self._body)

    @property
    def position(self) -> int:
        """Bytes from the beginning of the body."""
        consumed: int = self._unpacker.tell()
        return self._base + consumed

    @property
    def is_at_end(self) -> bool:
        return self.position >= len(self._body)

    def kind(self, place: str) -> str:
        """What lies ahead: "map", "list", "str", "bytes", "null", "bool", "int", "float", "extension"."""
        try:
            kind: str = KINDS[self._body[self._base + self._unpacker.tell()]]
        except IndexError:
            raise self._truncated(place) from None
        if kind == "nothing":
            raise self._invalid(place, "a byte that msgpack never uses")
        return kind

    def enter_map(self, place: str) -> int:
        """Move inside the map that lies ahead; returns its number of pairs."""
        return self._enter(self._unpacker.read_map_header, place)

    def enter_list(self, place: str) -> int:
        """Move inside the list that lies ahead; returns its number of elements."""
        return self._enter(self._unpacker.read_array_header, place)

    def _enter(self, operation: Callable[[], int], place: str) -> int:
        while True:  # twice at most: a header is five bytes
            if (count := self._run(operation, place)) is not None:
                return count

    def short_key(self, place: str) -> str | None:
        """Read the map key that lies ahead, which must be text; None where that takes steps: `long_key` goes on."""
        kind = self.kind(place)
        if kind != "str":
            raise MalformedBody(f"A key of {place} is {a_kind(kind)}, not text: keys are str everywhere in a request.")
        unpack: Callable[[], str] = self._unpacker.unpack
        return self._run(unpack, place)

    def skip(self, place: str) -> Steps[memoryview]:
        """Pass over the value that lies ahead, whatever it is; returns its bytes."""
        self._start = self._base + self._unpacker.tell()
        content = self._run(self._skip, place)
        if content is None:
            content = yield from self._rest(self._skip, place)
        return content

    def _skip(self) -> memoryview:
        self._unpacker.skip()
        return self._body[self._start : self._base + self._unpacker.tell()]

    def long_key(self, place: str) -> Steps[str]:
        """The key that `short_key` has returned None for."""
        unpack: Callable[[], str] = self._unpacker.unpack
        return (yield from self._rest(unpack, place))

    def _rest(self, operation: Callable[[], T], place: str) -> Steps[T]:
        while True:
            yield
            if (result := self._run(operation, place)) is not None:
                return result

    def jump(self, place: str) -> int:
        """Jump over the bytes value that lies ahead; returns its length."""
        start = self._base + self._unpacker.tell()
        width = _WIDTHS[self._body[start]]
        header_end = start + 1 + width
        if header_end > len(self._body):
            raise self._truncated(place)
        length = int.from_bytes(self._body[start + 1 : header_end], "big")
        there = len(self._body) - header_end
        if length > there:
            raise MalformedBody(
                f"The body is cut off: {place} announces {length:,} bytes, and {there:,} of them are there. "
                "Send all of it."
            )
        if header_end + length <= self._fed:
            self._unpacker.skip()
        else:
            self._unpacker.read_bytes(self._fed - start)
            self._go_on_at(header_end + length)
        self.jumped += length
        return length

    def _run(self, operation: Callable[[], T], place: str) -> T | None:
        """Run one of the parser's operations; None where it must run again, with what was fed to the parser now."""
        self._check_size()  # of what the header of a jump has added
        try:
            result = operation()
        except msgpack.OutOfData:
            self._feed(place)
            return None
        except msgpack.StackError:
            raise MalformedBody(f"{_beginning(place)} is nested too deeply to be read: nest it less.") from None
        except UnicodeDecodeError:
            raise self._invalid(place, "a key that is not valid UTF-8") from None
        except ValueError as error:
            raise self._invalid(place, str(error) or "a byte that msgpack never uses") from None
        self._check_size()
        return result

    def _check_size(self) -> None:
        if self._fed - self.jumped > self._most and self.position - self.jumped > self._most:
            raise self._too_large()

    def _feed(self, place: str) -> None:
        # Everything fed so far belongs to the value being passed, or lies before it.
        if self._fed - self.jumped > self._most:
            raise self._too_large()
        piece = self._body[self._fed : self._fed + self._piece]
        if not piece:
            raise self._truncated(place)
        self._unpacker.feed(piece)
        self._fed += len(piece)
        self._piece = min(2 * self._piece, _LARGEST_PIECE)

    def _invalid(self, place: str, found: str) -> MalformedBody:
        return MalformedBody(f"The body is not valid msgpack: in {place} there is {found.rstrip('.')}. {HOW_TO_PACK}")

    def _truncated(self, place: str) -> MalformedBody:
        end = count_of(len(self._body), "byte")
        return MalformedBody(f"The body is cut off after {end}, in the middle of {place}. Send all of it.")

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"The request holds more than {self._most:,} bytes beside the files' content: send fewer annotations and "
            "tags, and put whatever is large into a file's content."
        )


def _beginning(place: str) -> str:
    """`place` at the beginning of a sentence: "The request", but "files[0]"."""
    return place[0].upper() + place[1:] if " " in place else place
