"""From what `predict` returned to the response's bytes and, on the same walk, the skeleton that the server judges.

What the reference server would have packed comes out byte for byte as it would have packed it. What it would have
refused although nothing is lost in translation is translated: arrays, tensors, numpy scalars, tuples, generators;
`data: {}` becomes null, a mask of booleans 0 and 1, an integral float `class_index` an int, an int `probability` a
float. The skeleton shows each value as the model returned it, so that the judge can say what it found.
"""

import os

import msgpack

from . import arrays, json_text, plain, skeleton, wire

#: Up to here a string or bytes value stands in the skeleton itself; longer ones are summarised.
LONGEST_STRING, LONGEST_BYTES, LONGEST_DICT = 4096, 256, 1000
_FLUSH_AT = 1 << 20


class Unwritable(Exception):
    """An output holds something that msgpack cannot carry; the text names the place."""


def materialise(outputs):
    """`outputs` with generators and other ordered iterables run to a list, so that what they raise is the model's."""
    return list(outputs) if plain.is_iterable(outputs) and not isinstance(outputs, (list, tuple)) else outputs


def write_outputs(outputs, descriptor, accept):
    """Write the response and behind it the skeleton into `descriptor`; returns the two lengths in bytes.

    Anything but a list, tuple or generator of outputs has no response: only its skeleton is written, for the judge to
    refuse. Raises Unwritable.
    """
    sink = _Sink(descriptor)
    if isinstance(outputs, (list, tuple)):
        shapes = _write_json(outputs, sink) if accept == "json" else _write_msgpack(outputs, sink)
        if type(outputs) is not list:
            shapes = _typed(plain.type_name(outputs), shapes)
    else:
        shapes = _Walk(_nowhere).value(outputs, "the result", forgiving=True)
    size = sink.finish()
    encoded = msgpack.packb(shapes, use_bin_type=True)
    sink.write(encoded)
    return size, sink.finish() - size


def _write_msgpack(outputs, sink):
    walk = _Walk(sink.write)
    sink.write(arrays.array_header(len(outputs)))
    return [walk.output(output, "outputs[%d]" % index) for index, output in enumerate(outputs)]


def _write_json(outputs, sink):
    shapes = []
    for index, output in enumerate(outputs):
        sink.write(b"," if index else b"[")
        pieces = bytearray()
        shapes.append(_Walk(pieces.extend).output(output, "outputs[%d]" % index))
        sink.write(json_text.dump(msgpack.unpackb(pieces, raw=False, strict_map_key=False)))
    sink.write(b"]" if outputs else b"[]")
    return shapes


class _Walk:
    """One pass over a value: writes its msgpack bytes and returns its skeleton."""

    def __init__(self, write):
        self._write = write
        self._packer = msgpack.Packer(default=plain.simplify, use_bin_type=True)

    def output(self, output, where):
        if not isinstance(output, dict):
            return self.value(output, where)
        return self.mapping(output, where, {"data": self._data, "class_index": self._index, "probability": self._real})

    def mapping(self, value, where, special=None):
        """A dict; `special` names keys whose values the interface lets us translate."""
        self._write(self._packer.pack_map_header(len(value)))
        shapes = {}
        for key, element in value.items():
            place = "%s.%s" % (where, key) if isinstance(key, str) else "%s[%s]" % (where, plain.brief_repr(key))
            self._pack(key, place)
            walk = (special or {}).get(key, self.value) if isinstance(key, str) else self.value
            shapes[_key_shape(key)] = walk(element, place)
        return shapes if type(value) is dict else _typed(plain.type_name(value), shapes)

    def value(self, value, where, forgiving=False):
        """Anything. With `forgiving`, what msgpack cannot carry becomes a part of the skeleton instead of an error."""
        kind = type(value)
        if kind in (int, float, bool, type(None)):
            self._pack(value, where)
            return value
        if isinstance(value, (str, bytes)):
            self._pack(value, where)
            shape = _short(value)
            return shape if kind in (str, bytes) else _typed(plain.type_name(value), shape)
        if isinstance(value, dict):
            shapes = self._guarded(self.mapping, value, where)
            return shapes if len(value) <= LONGEST_DICT else _summary_of_dict(value)
        if isinstance(value, (list, tuple)):
            return self._guarded(self._sequence, value, where)
        if plain.is_array(value):
            array = plain.as_ndarray(value)
            if array.ndim:
                return self._array(array, plain.type_name(value), where)
        return self._translated(value, where, forgiving)

    def _translated(self, value, where, forgiving):
        try:
            simple = value if isinstance(value, plain.NATIVE) else plain.simplify(value)
            if isinstance(simple, (list, dict)):
                shape = self.value(simple, where)
                return (
                    shape
                    if isinstance(simple, list) and not _holds_dicts(simple)
                    else _typed(plain.type_name(value), shape)
                )
            self._pack(simple, where)
        except (TypeError, OverflowError) as error:
            if forgiving:
                return _ext(wire.EXT_UNWRITABLE, [plain.type_name(value), plain.brief_repr(value), str(error)])
            raise _unwritable(where, value, error) from None
        return _typed(plain.type_name(value), _short(_base(simple)))

    def _guarded(self, walk, value, where):
        try:
            return walk(value, where)
        except RecursionError:
            raise _unwritable(where, value, RecursionError()) from None

    def _sequence(self, value, where):
        if _holds_dicts(value):
            self._write(self._packer.pack_array_header(len(value)))
            shapes = [self.value(element, "%s[%d]" % (where, index)) for index, element in enumerate(value)]
            return shapes if type(value) is list else _typed(plain.type_name(value), shapes)
        return self._grid(value, where)

    def _grid(self, value, where, booleans_as_numbers=False):
        """A list without dicts: packed whole, and summarised over every element."""
        facts = skeleton.summarise(value)
        first = facts["first"] = self._first(value)
        if facts["odd"] is not None:
            regular = _regular(value)
            if regular is not value:
                value, facts = regular, dict(skeleton.summarise(regular), type=facts["type"], first=first)
        if booleans_as_numbers and _leftmost(value) in plain.boolean_types():
            value = _numbers(value)
        facts["packed"] = self._pack(value, where)
        return _ext(wire.EXT_SUMMARY, facts)

    def _first(self, value):
        """The skeleton of the first element: all that the reference ever looks at."""
        if not len(value):
            return None
        first = value[0]
        if isinstance(first, (list, tuple)):
            facts = {"type": plain.type_name(first), "length": len(first), "first": self._first(first)}
            return _ext(wire.EXT_SUMMARY, facts)
        return _Walk(_nowhere).value(first, "", forgiving=True)

    def _array(self, array, name, where, booleans_as_numbers=False):
        facts = skeleton.summarise_array(array, name)
        if booleans_as_numbers and array.dtype.kind == "b":
            array = array.view("u1")
        if array.dtype.kind in "biuf":
            counted = _Counting(self._write)
            arrays.pack_array(array, counted)
            facts["packed"] = counted.bytes
        else:
            facts["packed"] = self._pack(array.tolist(), where)
        facts["first"] = None
        return _ext(wire.EXT_SUMMARY, facts)

    def _data(self, data, where):
        if isinstance(data, dict) and not data:
            self._pack(None, where)
            return {}
        if isinstance(data, dict):
            return self.mapping(data, where, {"mask": self._mask})
        return self.value(data, where)

    def _mask(self, mask, where):
        if plain.is_array(mask) and plain.as_ndarray(mask).ndim:
            return self._array(plain.as_ndarray(mask), plain.type_name(mask), where, booleans_as_numbers=True)
        if isinstance(mask, (list, tuple)) and not _holds_dicts(mask):
            return self._grid(mask, where, booleans_as_numbers=True)
        return self.value(mask, where)

    def _index(self, index, where):
        if isinstance(index, float) and index.is_integer():
            self._pack(int(index), where)
            return index if type(index) is float else _typed(plain.type_name(index), float(index))
        return self.value(index, where)

    def _real(self, probability, where):
        if isinstance(probability, int) and not isinstance(probability, bool):
            self._pack(float(probability), where)
            return probability if type(probability) is int else _typed(plain.type_name(probability), int(probability))
        return self.value(probability, where)

    def _pack(self, value, where):
        """Write `value` with msgpack, translating inside it where needed; returns the number of bytes."""
        try:
            packed = self._packer.pack(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            self._packer.reset()
            raise _locate(value, where, error) from None
        self._write(packed)
        return len(packed)


class _Sink:
    """Appends to a descriptor in large pieces."""

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self._pending = bytearray()
        self._written = 0

    def write(self, data):
        self._pending += data
        if len(self._pending) >= _FLUSH_AT:
            self.finish()

    def finish(self):
        """Write out what is pending; returns how many bytes there are in all."""
        view = memoryview(self._pending)
        offset = 0
        while offset < len(view):
            written = os.pwrite(self._descriptor, view[offset:], self._written)
            offset += written
            self._written += written
        view.release()
        self._pending = bytearray()
        return self._written


class _Counting:
    def __init__(self, write):
        self._write = write
        self.bytes = 0

    def __call__(self, data):
        self.bytes += len(data)
        self._write(data)


def _nowhere(_data):
    """A place to write to when only the skeleton is wanted."""


def _ext(code, content):
    return msgpack.ExtType(code, msgpack.packb(content, use_bin_type=True))


def _typed(name, shape):
    return _ext(wire.EXT_TYPED, [name, shape])


def _short(value):
    """A plain scalar for the skeleton; long strings and bytes are summarised."""
    if isinstance(value, str) and len(value) > LONGEST_STRING:
        return _ext(wire.EXT_SUMMARY, {"type": "str", "length": len(value), "head": value[:64]})
    if isinstance(value, (bytes, bytearray, memoryview)) and len(value) > LONGEST_BYTES:
        return _ext(wire.EXT_SUMMARY, {"type": "bytes", "length": len(value)})
    return value


def _summary_of_dict(value):
    keys = [plain.brief_repr(key) for key, _ in zip(value, range(10))]
    return _ext(wire.EXT_SUMMARY, {"type": "dict", "length": len(value), "keys": keys})


def _base(value):
    """`value` without its subclass, for the skeleton."""
    for kind in (bool, int, float, str, bytes):
        if isinstance(value, kind):
            return kind(value)
    return value


def _key_shape(key):
    return key if type(key) is str else plain.brief_repr(key) if not isinstance(key, str) else str(key)


def _holds_dicts(value):
    return any(issubclass(kind, dict) for kind in set(map(type, value)))


def _regular(value):
    """A list in which arrays, tensors and iterables have become lists; `value` itself where there were none."""
    changed = False
    elements = []
    for element in value:
        simple = element
        if isinstance(element, (list, tuple)):
            simple = _regular(element)
        elif plain.is_array(element) or plain.is_iterable(element):
            simple = plain.simplify(element)
        changed = changed or simple is not element
        elements.append(simple)
    return elements if changed else value


def _leftmost(value):
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return type(value)


def _numbers(value):
    """The same lists with 0 and 1 for the booleans in them."""
    return [
        _numbers(element)
        if isinstance(element, (list, tuple))
        else int(element)
        if type(element) in plain.boolean_types()
        else element
        for element in value
    ]


def _locate(value, where, error):
    """The Unwritable for the first thing inside `value` that cannot be packed."""
    children = ()
    if isinstance(value, dict):
        children = [(element, "%s[%r]" % (where, key)) for key, element in value.items()]
    elif isinstance(value, (list, tuple)):
        children = [(element, "%s[%d]" % (where, index)) for index, element in enumerate(value)]
    for element, place in children:
        try:
            msgpack.packb(element, default=plain.simplify, use_bin_type=True)
        except (TypeError, ValueError, OverflowError) as inner:
            return _locate(element, place, inner)
        except RecursionError:
            break
    return _unwritable(where, value, error)


def _unwritable(where, value, error):
    if isinstance(error, OverflowError):
        reason = "the interface's integers end at 64 bits"
    elif isinstance(error, UnicodeEncodeError):
        reason = "it holds half a surrogate pair and is no valid text"
    elif isinstance(error, RecursionError) or "recursion" in str(error):
        reason = "it is nested too deeply, or contains itself"
    else:
        reason = "the response cannot carry that"
    return Unwritable(
        "%s is %s: %s. Return text, numbers, bytes, lists, dicts or arrays."
        % (where if len(where) < 200 else where[:200] + "…", plain.described(value), reason)
    )
