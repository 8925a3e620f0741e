"""From what `predict` returned to the response's bytes and, on the same walk, the skeleton that the server judges.

What the reference server would have packed comes out byte for byte as it would have packed it. What it would have
refused although nothing is lost in translation is translated: arrays, tensors, numpy scalars, tuples, generators;
`data: {}` becomes null, a mask of booleans 0 and 1, an integral float `class_index` an int, an int `probability` a
float. The skeleton shows each value as the model returned it, so that the judge can say what it found.
"""

import os
from collections import abc
from itertools import islice

import msgpack

from . import arrays, grids, json_text, plain, skeleton, uniform, verbatim, wire
from .unwritable import Unwritable, locate, place

#: Up to here a string or bytes value stands in the skeleton itself; longer ones are summarised.
LONGEST_STRING, LONGEST_BYTES, LONGEST_DICT = 4096, 256, 1000
_FLUSH_AT = 1 << 20
#: So many bytes are written at once, without a copy beside what waits to be written.
_LARGE = 1 << 14
_SCALARS = (int, float, bool, type(None))
_SHORT_KINDS = (str, *_SCALARS)
_NOTHING_SPECIAL = {}


def materialise(outputs):
    """`outputs` with generators and other ordered iterables run to a list, so that what they raise is the model's."""
    return list(outputs) if not isinstance(outputs, plain.LISTS) and plain.is_iterable(outputs) else outputs


def write_into(outputs, sink, accept):
    """Write the response and behind it the skeleton into `sink`; returns the two lengths in bytes.

    Anything but a list, tuple or generator of outputs has no response: only its skeleton is written, for the judge to
    refuse. Raises Unwritable, and TooLong before a response is written that is longer than the sink takes.
    """
    if isinstance(outputs, plain.LISTS):
        header = arrays.array_header(len(outputs))
        shapes = _write_json(outputs, sink) if accept == "json" else _write_msgpack(outputs, sink, header)
        packed = [shape.packed if type(shape) is verbatim.Verbatim else _packed(shape) for shape in shapes]
        encoded = header + b"".join(packed)
        if type(outputs) is not list:
            content = b"\x92" + _packed(plain.type_name(outputs)) + encoded
            encoded = _packed(msgpack.ExtType(wire.EXT_TYPED, content))
    else:
        encoded = _packed(_picture(outputs, "the result"))
    return sink.finish(encoded)


def _write_msgpack(outputs, sink, header):
    walk = _Walk(sink.write)
    sink.write(header)
    shapes, rest, begun = [], iter(outputs), 0
    while True:
        group = list(islice(rest, verbatim.TOGETHER))
        if not group:
            return shapes
        together = walk.together(group) if len(group) > 1 else None
        if together is None:
            shapes += [walk.output(output, "outputs[%d]" % index) for index, output in enumerate(group, begun)]
        else:
            shapes.append(together)
        begun += len(group)


def _write_json(outputs, sink):
    shapes = []
    pieces = bytearray()
    walk = _Walk(pieces.extend)
    for index, output in enumerate(outputs):
        sink.write(b"," if index else b"[")
        shapes.append(walk.output(output, "outputs[%d]" % index))
        sink.write(json_text.from_msgpack(pieces))
        del pieces[:]
    sink.write(b"]" if outputs else b"[]")
    return shapes


class _Walk:
    """One pass over a value: writes its msgpack bytes and returns its skeleton."""

    def __init__(self, write):
        self._write = write
        self._packer = msgpack.Packer(default=plain.simplify, use_bin_type=True)

    def together(self, outputs):
        """Write some outputs at once and return their skeleton; None, and nothing is written, where that cannot be."""
        if not verbatim.are_verbatim(outputs):
            return None
        packed = self._packed_verbatim(outputs)
        if packed is None:
            return None
        packed = packed[1:]
        self._write(packed)
        return verbatim.Verbatim(packed)

    def output(self, output, where):
        """One element of what `predict` returned. Raises Unwritable, as everything here does."""
        if verbatim.is_verbatim(output):
            packed = self._packed_verbatim(output)
            if packed is not None:
                self._write(packed)
                return verbatim.Verbatim(packed)
        return self._guarded(_Walk._output, output, where)

    def _packed_verbatim(self, value):
        try:
            packed = self._packer.pack(value)
        except Exception:  # half a surrogate pair, an int of more than 64 bits: the walk tells where
            self._packer.reset()
            return None
        return packed if len(packed) <= verbatim.MOST_BYTES else None

    def value(self, value, where):
        """Anything below an output."""
        return self._guarded(_Walk._any, value, where)

    def _guarded(self, walk, value, where):
        """What this method makes of `value`, naming the place where an object of the package's raises something."""
        try:
            return walk(self, value, where)
        except (Unwritable, NoRoom):
            raise
        except BaseException as error:
            raise locate(value, where, error) from error

    def _output(self, output, where):
        return self._special(output, where, self._KEYS_OF_OUTPUT)

    def _data(self, data, where):
        if isinstance(data, abc.Mapping) and not data:
            self._pack(None, where)
            return {} if type(data) is dict else _typed(plain.type_name(data), {})
        return self._special(data, where, self._KEYS_OF_DATA)

    def _special(self, value, where, keys):
        if isinstance(value, abc.Mapping):
            return self._mapping(value, where, keys)
        return self._any(value, where)

    def _mapping(self, value, where, special=_NOTHING_SPECIAL):
        """A dict; `special` has the methods for keys whose values the interface lets us translate."""
        name = plain.type_name(value)
        items = value.items() if type(value) is dict else list(value.items())
        self._write(self._packer.pack_map_header(len(items)))
        shapes = {}
        for key, element in items:
            if type(element) in _SHORT_KINDS and self._pair(key, element, special):
                shapes[key] = element
                continue
            inside = place(where, key)
            self._pack(key, "the key " + inside)
            key = _plain_key(key)
            walk = special.get(key, _Walk._any) if type(key) is str else _Walk._any
            shapes[key if type(key) is str else plain.brief_repr(key)] = self._guarded(walk, element, inside)
        if len(items) > LONGEST_DICT:
            return _summary_of_dict(items)
        return shapes if type(value) is dict else _typed(name, shapes)

    def _pair(self, key, element, special):
        """Write both as they are; returns False, and nothing is written, where that may not or cannot be."""
        if type(key) is not str or key in special:
            return False
        try:
            packed = self._packer.pack_map_pairs(((key, element),))
        except Exception:  # as above: the general way tells where
            self._packer.reset()
            return False
        if len(packed) > LONGEST_STRING:
            return False
        self._write(packed[1:])
        return True

    def _any(self, value, where, is_mask=False):
        kind = type(value)
        if kind in _SCALARS:
            self._pack(value, where)
            return value
        if isinstance(value, (str, bytes)):
            self._pack(value, where)
            return _short(value) if kind in (str, bytes) else _typed(plain.type_name(value), _short(value))
        if isinstance(value, abc.Mapping):
            return self._mapping(value, where)
        if isinstance(value, plain.LISTS):
            return self._sequence(value, where, plain.type_name(value), is_mask)
        if plain.is_array(value):
            array = plain.as_ndarray(value)
            if array.ndim:
                return self._array(array, where, plain.type_name(value), is_mask)
        return self._translated(value, where, is_mask)

    def _translated(self, value, where, is_mask):
        simple = value if isinstance(value, plain.NATIVE) else plain.simplify(value)
        if isinstance(simple, list):
            return self._sequence(simple, where, plain.type_name(value), is_mask)
        if isinstance(simple, dict):  # in an array of no dimensions
            return self._mapping(simple, where)
        self._pack(simple, where)
        return _typed(plain.type_name(value), _short(_base(simple)))

    def _sequence(self, value, where, name, is_mask):
        array = uniform.as_array(value)
        if array is not None:
            return self._uniform(value, array, where, name, is_mask)
        if not _holds_dicts(value):
            return self._grid(value, where, name, is_mask)
        elements = list(value)
        self._write(self._packer.pack_array_header(len(elements)))
        shapes = [self.value(element, "%s[%d]" % (where, index)) for index, element in enumerate(elements)]
        return shapes if name == "list" else _typed(name, shapes)

    def _uniform(self, value, array, where, name, is_mask):
        """A list that `array` is, element by element."""
        facts = skeleton.summarise_uniform(array, name)
        facts.update(first=_first(value, value, where), packed=self._pack_array(array, is_mask))
        return _ext(wire.EXT_SUMMARY, facts)

    def _grid(self, value, where, name, is_mask):
        """A list without dicts: packed whole, and summarised over every element."""
        regular = array = grids.stacked(value)
        if array is not None:
            facts = skeleton.summarise_array(array, name)
        else:
            regular, facts = value, skeleton.summarise(value)
            if facts["odd"] is not None:
                regular = grids.regular(value)
                facts = facts if regular is value else skeleton.summarise(regular)
            array = grids.of_scalars(regular, facts)
        packed = self._pack_grid(regular, where, is_mask) if array is None else self._pack_array(array, is_mask)
        facts.update(type=name, first=_first(value, regular, where), packed=packed)
        return _ext(wire.EXT_SUMMARY, facts)

    def _array(self, array, where, name, is_mask):
        if array.dtype.kind in "OV":  # objects and records
            return self._sequence(array.tolist(), where, name, is_mask)
        is_numeric = array.dtype.kind in plain.NUMERIC_KINDS
        packed = self._pack_array(array, is_mask) if is_numeric else self._pack(array.tolist(), where)
        facts = dict(skeleton.summarise_array(array, name), first=None, packed=packed)
        return _ext(wire.EXT_SUMMARY, facts)

    def _mask(self, mask, where):
        return self._any(mask, where, is_mask=True)

    def _index(self, index, where):
        number = plain.unboxed(index)
        if isinstance(number, float) and number.is_integer():
            self._pack(int(number), where)
            return index if type(index) is float else _typed(plain.type_name(index), float(number))
        return self._any(index, where)

    def _real(self, probability, where):
        number = plain.unboxed(probability)
        if isinstance(number, int) and not isinstance(number, bool):
            self._pack(float(number), where)
            number = skeleton.fitting(int(number))
            return number if type(probability) is int else _typed(plain.type_name(probability), number)
        return self._any(probability, where)

    _KEYS_OF_OUTPUT = {"data": _data, "class_index": _index, "probability": _real}
    _KEYS_OF_DATA = {"mask": _mask}

    def _pack(self, value, where):
        """Write `value` with msgpack, translating inside it where needed; returns the number of bytes."""
        try:
            packed = self._packer.pack(value)
        except BaseException as error:  # the package's own objects may raise anything
            self._packer.reset()
            raise locate(value, where, error) from error
        self._write(packed)
        return len(packed)

    def _pack_grid(self, value, where, is_mask):
        if is_mask and type(grids.leftmost(value)) in plain.boolean_types():
            value = grids.numbers(value)
        return self._pack(value, where)

    def _pack_array(self, array, is_mask):
        counted = _Counting(self._write)
        arrays.pack_array(array.view("u1") if is_mask and array.dtype.kind == "b" else array, counted)
        return counted.bytes


class NoRoom(Exception):
    """The response cannot be stored: no memory is left, or no space where it lies."""


class TooLong(NoRoom):
    """The response is longer than the operator allows."""


class Sink:
    """Appends to a file in large pieces, `descriptor()` says to which; the response may have `most` bytes.

    What comes to `most_small` bytes or less is `small` in the end, and not written at all.
    """

    def __init__(self, descriptor, most=float("inf"), most_small=0):
        self._descriptor = descriptor
        self._most = most
        self._most_small = most_small
        self._pending = bytearray()
        self._written = 0
        self.small = b""

    def write(self, data):
        """Append bytes, or whatever else is bytes in one piece."""
        if len(data) >= _LARGE:
            self._check(len(data))
            self._write_out()
            self._store(data)
            return
        self._pending += data
        if len(self._pending) >= _FLUSH_AT:
            self._check()
            self._write_out()

    def finish(self, skeleton):
        """Append what tells of the response and is no part of it; returns the lengths of both."""
        self._check()
        size = self._written + len(self._pending)
        if not self._written and size + len(skeleton) <= self._most_small:
            self.small = bytes(self._pending) + skeleton
        else:
            self._most = float("inf")
            self.write(skeleton)
            self._write_out()
        return size, len(skeleton)

    def _check(self, more=0):
        if self._written + len(self._pending) + more > self._most:
            raise TooLong("the response is longer than the {:,} bytes that --max-response allows".format(self._most))

    def _write_out(self):
        self._store(self._pending)
        self._pending = bytearray()

    def _store(self, data):
        view = memoryview(data)
        offset = 0
        while offset < len(view):
            try:
                written = os.pwrite(self._descriptor(), view[offset:], self._written)
            except OSError as error:
                raise NoRoom("the response cannot be stored: %s" % (error.strerror or error)) from error
            offset += written
            self._written += written


class _Counting:
    def __init__(self, write):
        self._write = write
        self.bytes = 0

    def __call__(self, data):
        self.bytes += len(data)
        self._write(data)


def _nowhere(_data):
    """A place to write to when only the skeleton is wanted."""


def _packed(content):
    return msgpack.packb(content, use_bin_type=True)


def _ext(code, content):
    return msgpack.ExtType(code, _packed(content))


def _typed(name, shape):
    return _ext(wire.EXT_TYPED, [name, shape])


def _short(value):
    """A plain scalar for the skeleton; long strings and bytes are summarised."""
    if isinstance(value, str) and len(value) > LONGEST_STRING:
        return _ext(wire.EXT_SUMMARY, {"type": "str", "length": len(value), "head": value[:64]})
    if isinstance(value, (bytes, bytearray, memoryview)) and len(value) > LONGEST_BYTES:
        return _ext(wire.EXT_SUMMARY, {"type": "bytes", "length": len(value)})
    return value


def _summary_of_dict(items):
    keys = [plain.brief_repr(key) for key, _ in islice(items, 10)]
    return _ext(wire.EXT_SUMMARY, {"type": "dict", "length": len(items), "keys": keys})


def _base(value):
    """`value` without its subclass, for the skeleton."""
    for kind in (bool, int, float, str, bytes):
        if isinstance(value, kind):
            return kind(value)
    return value


def _plain_key(key):
    """`key` as plain text where it is text: a str enumeration hashes and prints as something else."""
    return str.__str__(key) if isinstance(key, str) else key


def _holds_dicts(value):
    return any(issubclass(kind, abc.Mapping) for kind in set(map(type, value)))


def _first(value, regular, where):
    """The skeleton of the first element of a list: all that the reference ever looks at.

    `regular` is `value` with arrays, tensors and iterables turned into lists, or into one array of all.
    """
    if not len(value):
        return None
    first, plain_first, where = value[0], regular[0], where + "[0]"
    name = plain.type_name(first)
    if isinstance(plain_first, plain.LISTS):
        facts = skeleton.summarise_row(plain_first, name)
        facts["first"] = _first(first if isinstance(first, plain.LISTS) else plain_first, plain_first, where)
    elif plain.is_array(plain_first):
        facts = skeleton.summarise_array(plain_first, name)
    else:
        return first if type(first) in _SCALARS else _picture(first, where)
    return _ext(wire.EXT_SUMMARY, facts)


def _picture(value, where):
    """The skeleton of something that is not written, or cannot be."""
    try:
        return _Walk(_nowhere).value(value, where)
    except Unwritable as error:
        return _ext(wire.EXT_UNWRITABLE, [plain.type_name(value), plain.brief_repr(value), error.reason])
