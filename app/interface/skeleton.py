"""The skeleton: a worker's picture of what `predict` returned, with facts in place of everything large.

It is msgpack. None, bool, int, float, short text, short bytes, dicts and lists of dicts are themselves; all else is
one of three extension types, read here into `Typed`, `Summary` and `Unwritable`. Values are shown as the model
returned them, before anything was converted for the response.

A skeleton comes from a process that runs somebody else's code: whatever it holds, reading it ends in a value or in
`SkeletonUnreadable`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack
import msgspec

from app.interface.slices import Steps
from model_loader.worker.mdai_guest.wire import EXT_SUMMARY, EXT_TYPED, EXT_UNWRITABLE

#: Bytes that are decoded without a pause.
_PIECE = 1 << 16
_EMPTY = memoryview(b"\x90")
_UNREADABLE = (msgspec.MsgspecError, msgpack.UnpackException, ValueError, TypeError, RecursionError)


class Typed(msgspec.Struct, frozen=True, array_like=True):
    """A value whose type is not exactly a builtin one, with what it turns into: `("numpy.int64", 3)`."""

    type_name: str
    value: Any


class Unwritable(msgspec.Struct, frozen=True, array_like=True):
    """Something that no response can carry: a set, an open file, a complex number."""

    type_name: str
    repr: str
    reason: str


class Odd(msgspec.Struct, frozen=True):
    """The first leaf that is not a number, in order: where it lies and what it is."""

    at: list[int]
    type: str
    repr: str


class Uneven(msgspec.Struct, frozen=True):
    """The first element whose length or kind differs from its first sibling's."""

    at: list[int]
    found: str


class Summary(msgspec.Struct, frozen=True):
    """Facts about a list, tuple or array without dicts in it; or about long text, bytes or a large dict.

    Every fact was computed over every element. Of text only `head` is known, of a large dict only `keys`.
    """

    type: str
    """"list", "tuple", "numpy.ndarray", "torch.Tensor" …; "str", "bytes" and "dict" for the other three."""
    length: int
    """Direct elements, bytes, characters or keys."""
    shape: list[int] | None = None
    """Lengths level by level where all siblings are equally long, else None."""
    depth: int = 0
    types: list[str] = []
    """Type names of all leaves, sorted; numpy's dtype for an array."""
    range: list[int | float | bool] | None = None
    """Lowest and highest number, or None."""
    nan: bool = False
    """Whether any leaf is NaN or infinite."""
    odd: Odd | None = None
    uneven: Uneven | None = None
    first: Any = None
    """The skeleton of element 0; None where there is none, and for arrays."""
    head: str = ""
    keys: list[Any] = []
    packed: int = 0
    """Bytes in the response."""

    @property
    def is_list(self) -> bool:
        """Whether it stands for a list, tuple or array and so becomes a list in the response."""
        return self.type not in ("str", "bytes", "dict")


class Outputs(NamedTuple):
    """The result of a `predict` that returned something with outputs in it."""

    type_name: str
    """What held them: "list", "tuple" …"""
    content: memoryview
    """The skeletons of the outputs, a msgpack list that nobody has looked into yet."""


class SkeletonUnreadable(Exception):
    """These bytes are no skeleton."""


class Skeletons:
    """Decodes skeletons, either with every type as it was returned or as the plain values they turn into.

    In the plain view, a `Typed` is its value, and a summary of text is the beginning of that text; `met_unwritable`
    then tells whether there was anything `Unwritable` so far.
    """

    def __init__(self) -> None:
        self.met_unwritable = False
        self._plain = _Decoders(self._simplified)

    def as_returned(self, skeleton: bytes | memoryview) -> Any:
        """The value with `Typed`, `Summary` and `Unwritable` in it."""
        return _AS_RETURNED.read(skeleton)

    def as_returned_in_steps(self, skeleton: memoryview) -> Steps[Any]:
        """`as_returned` in steps that are short even for a large skeleton."""
        return (yield from _AS_RETURNED.read_in_steps(skeleton))

    def plain_in_steps(self, skeleton: memoryview) -> Steps[Any]:
        """The value as it is in the response, except for what is summarised or unwritable."""
        return (yield from self._plain.read_in_steps(skeleton))

    def outputs(self, skeleton: bytes) -> Outputs | None:
        """What holds the single outputs, or None where the result is nothing that does."""
        content = memoryview(skeleton)
        type_name = "list"
        try:
            extension = _extension(content)
            if extension is not None and extension.code == EXT_SUMMARY:
                summary = self.as_returned(content)
                return Outputs(summary.type, _EMPTY) if summary.is_list and not summary.length else None
            if extension is not None and extension.code == EXT_TYPED:
                typed = msgspec.msgpack.decode(extension.data, type=_TypedRaw)
                type_name, content = typed.type_name, memoryview(typed.value)
        except _UNREADABLE as error:
            raise SkeletonUnreadable(str(error)) from error
        return Outputs(type_name, content) if _is_list(content) else None

    def _simplified(self, value: Any) -> Any:
        if type(value) is Typed:
            return value.value
        if type(value) is Unwritable:
            self.met_unwritable = True
        elif value.type == "str":
            return value.head + "…"
        return value


class _TypedRaw(msgspec.Struct, array_like=True):
    type_name: str
    value: msgspec.Raw


_EXTENSIONS = {EXT_TYPED: Typed, EXT_SUMMARY: Summary, EXT_UNWRITABLE: Unwritable}


class _Decoders:
    """The decoder of skeletons, and those of the three extensions' contents, which are skeletons again."""

    def __init__(self, finish: Callable[[Any], Any]) -> None:
        self._finish = finish
        self._values = msgspec.msgpack.Decoder(ext_hook=self._extension)
        self._contents: dict[int, msgspec.msgpack.Decoder[Any]] = {}

    def read(self, skeleton: bytes | memoryview) -> Any:
        try:
            return self._values.decode(skeleton)
        except _UNREADABLE as error:
            raise SkeletonUnreadable(str(error)) from error

    def read_in_steps(self, view: memoryview) -> Steps[Any]:
        """`read`, a piece at a time where the skeleton is large."""
        if len(view) <= _PIECE:
            return self.read(view)
        # msgspec has to have all of it at once; msgpack goes on where it stopped.
        unpacker = msgpack.Unpacker(ext_hook=self._extension, strict_map_key=False, max_buffer_size=0)
        for start in range(0, len(view), _PIECE):
            unpacker.feed(view[start : start + _PIECE])
            try:
                return unpacker.unpack()
            except msgpack.OutOfData:
                yield
            except _UNREADABLE as error:
                raise SkeletonUnreadable(str(error)) from error
        raise SkeletonUnreadable("it is cut off")

    def _extension(self, code: int, content: memoryview) -> Any:
        decoder = self._contents.get(code)
        if decoder is None:
            if code not in _EXTENSIONS:
                raise ValueError(f"there is no extension type {code} in a skeleton")
            decoder = self._contents[code] = msgspec.msgpack.Decoder(_EXTENSIONS[code], ext_hook=self._extension)
        return self._finish(decoder.decode(content))


_AS_RETURNED = _Decoders(lambda value: value)


def _extension(content: memoryview) -> msgspec.msgpack.Ext | None:
    first = content[0] if content else 0xC1
    is_extension = 0xC7 <= first <= 0xC9 or 0xD4 <= first <= 0xD8
    return msgspec.msgpack.decode(content, type=msgspec.msgpack.Ext) if is_extension else None


def _is_list(content: memoryview) -> bool:
    first = content[0] if content else 0xC1
    return 0x90 <= first <= 0x9F or first in (0xDC, 0xDD)
