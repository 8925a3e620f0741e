"""numpy arrays straight to the msgpack bytes that their `.tolist()` would be packed to, without the lists."""

import sys

#: Elements that are encoded at a time: what is worked on then stays in the processor's cache.
_SLICE = 1 << 15
#: msgpack's integer forms beyond one byte: tag, bytes that follow, lowest and highest value.
_FORMS = (
    (0xCC, 1, 128, (1 << 8) - 1),
    (0xCD, 2, 1 << 8, (1 << 16) - 1),
    (0xCE, 4, 1 << 16, (1 << 32) - 1),
    (0xCF, 8, 1 << 32, (1 << 64) - 1),
    (0xD0, 1, -(1 << 7), -33),
    (0xD1, 2, -(1 << 15), -(1 << 7) - 1),
    (0xD2, 4, -(1 << 31), -(1 << 15) - 1),
    (0xD3, 8, -(1 << 63), -(1 << 31) - 1),
)


def pack_array(array, write):
    """Write `array` (at least one dimension; bool, integer or float elements) as nested msgpack arrays.

    Integers take msgpack's shortest form, floats are doubles: byte for byte what packing `array.tolist()` gives.
    """
    if not array.size:
        write(_pack_empty(array.shape))
        return
    write(array_header(len(array)))
    size = array.size // len(array)
    if size > _SLICE:
        for part in array:
            pack_array(part, write)
        return
    step = _SLICE // size
    for start in range(0, len(array), step):
        write(_pack_parts(array[start : start + step]))


def array_header(length):
    """msgpack's header of an array of `length` elements."""
    if length < 16:
        return bytes([0x90 | length])
    if length < 1 << 16:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


def _pack_empty(shape):
    if not shape[0]:
        return array_header(0)
    return array_header(shape[0]) + _pack_empty(shape[1:]) * shape[0]


def _pack_parts(array):
    """The elements of `array` one behind the other, without a header in front of them all."""
    numpy = sys.modules["numpy"]
    kind = array.dtype.kind
    if kind == "f":
        return _doubles(numpy, array)
    if kind == "b":
        rows, cells = _rows(numpy, array.shape, 1)
        numpy.add(_flat_rows(array).view("u1"), numpy.uint8(0xC2), out=cells[..., 0])
        return _joined(numpy, array.shape, rows)
    low, high = int(array.min()), int(array.max())
    if low >= -32 and high <= 127:  # one byte each
        rows, cells = _rows(numpy, array.shape, 1)
        numpy.copyto(cells[..., 0].view("i1"), _flat_rows(array), casting="unsafe")
        return _joined(numpy, array.shape, rows)
    return _integers(numpy, array, low, high)


def _flat_rows(array):
    """The innermost arrays in `array`, one below the other; an array of one dimension is one row."""
    return array.reshape(-1, array.shape[-1])


def _rows(numpy, shape, width):
    """Room for the innermost arrays of `shape`, headers written, and in it `width` bytes for each element."""
    length = shape[-1]
    header = array_header(length) if len(shape) > 1 else b""
    count = 1
    for size in shape[:-1]:
        count *= size
    rows = numpy.empty((count, len(header) + length * width), "u1")
    rows[:, : len(header)] = numpy.frombuffer(header, "u1")
    return rows, rows[:, len(header) :].reshape(count, length, width)


def _joined(numpy, shape, rows, kept=None):
    """The bytes of `rows`, the innermost arrays of one of `shape`, with headers around the arrays in between.

    Where there is `kept`, of the same shape as `rows`, only those bytes are in the result.
    """
    for length in shape[-2:0:-1]:
        header = numpy.frombuffer(array_header(length), "u1")
        rows = _behind(numpy, header, rows.reshape(-1, length * rows.shape[1]))
        if kept is not None:
            kept = _behind(numpy, numpy.True_, kept.reshape(len(rows), -1), len(header))
    rows = rows.reshape(-1)
    return (rows if kept is None else rows.compress(kept.reshape(-1))).data


def _behind(numpy, prefix, rows, width=0):
    width = width or len(prefix)
    joined = numpy.empty((len(rows), width + rows.shape[1]), rows.dtype)
    joined[:, :width] = prefix
    joined[:, width:] = rows
    return joined


def _doubles(numpy, array):
    rows, cells = _rows(numpy, array.shape, 9)
    cells[..., 0] = 0xCB
    place = rows.shape[1] - 9 * cells.shape[1] + 1
    doubles = numpy.ndarray(cells.shape[:2], ">f8", rows.data, place, (rows.shape[1], 9))
    with numpy.errstate(all="ignore"):  # a long double may be beyond a double's range, and is infinity then
        numpy.copyto(doubles, _flat_rows(array), casting="unsafe")
    return _joined(numpy, array.shape, rows)


def _integers(numpy, array, low, high):
    """Cells as wide as the widest integer needs, of whose bytes not all are kept: a narrower integer ends its cell."""
    forms = [form for form in _FORMS if form[2] <= high and form[3] >= low]
    most = max(count for _tag, count, _lowest, _highest in forms)
    values = array.reshape(-1).astype(_narrowest(numpy, low, high), copy=False)
    cells = numpy.empty((len(values), 1 + most), "u1")
    kept = numpy.zeros(cells.shape, bool)
    if most > 2:
        cells[:, 1:] = values.astype(">i%d" % most).view("u1").reshape(-1, most)
    else:
        cells[:, most] = values  # wraps, as the byte that it is
        numpy.right_shift(values, 8, out=cells[:, most - 1], casting="unsafe")
    kept[:, most] = True
    for tag, count, lowest, highest in forms:
        members = values >= max(lowest, low)
        if highest < high:
            members &= values <= highest
        if count == most and [form[1] for form in forms].count(most) == 1:
            cells[:, 0] = tag  # nothing narrower keeps this byte
        else:
            numpy.copyto(cells[:, most - count], numpy.uint8(tag), where=members)
        for column in range(most - count, most):
            kept[:, column] |= members
    rows = cells.reshape(-1, array.shape[-1] * (1 + most))
    kept = kept.reshape(rows.shape)
    if array.ndim > 1:
        header = numpy.frombuffer(array_header(array.shape[-1]), "u1")
        rows, kept = _behind(numpy, header, rows), _behind(numpy, numpy.True_, kept, len(header))
    return _joined(numpy, array.shape, rows, kept)


def _narrowest(numpy, low, high):
    """The narrowest type of integers for all from `low` to `high`."""
    kinds = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8")
    return next(kind for kind in kinds if numpy.iinfo(kind).min <= low and high <= numpy.iinfo(kind).max)
