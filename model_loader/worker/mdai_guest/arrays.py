"""numpy arrays straight to the msgpack bytes that their `.tolist()` would be packed to, without the lists."""

import sys

#: Elements that are encoded at a time: bounds the working memory to some tens of megabytes.
_SLICE = 1 << 20
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
    array = numpy.ascontiguousarray(array)
    shape = array.shape
    kind = array.dtype.kind
    if kind == "b":
        return _joined(numpy, (array.view("u1") + numpy.uint8(0xC2)).reshape(-1, 1), shape)
    if kind == "f":
        return _joined(numpy, _doubles(numpy, array), shape)
    low, high = int(array.min()), int(array.max())
    if low >= -32 and high <= 127:  # one byte each
        return _joined(numpy, array.astype("i1").view("u1").reshape(-1, 1), shape)
    cells, kept = _integers(numpy, array, low, high)
    return _joined(numpy, cells, shape, kept)


def _joined(numpy, cells, shape, kept=None):
    """The bytes of `cells`, one row for each element of an array of `shape`, with a header around each inner array.

    Where there is `kept`, of the same shape as `cells`, only those bytes go into the result.
    """
    for length in shape[:0:-1]:
        header = numpy.frombuffer(array_header(length), dtype="u1")
        cells = _behind(numpy, header, cells.reshape(-1, length * cells.shape[1]))
        if kept is not None:
            kept = _behind(numpy, numpy.True_, kept.reshape(cells.shape[0], -1), len(header))
    return (cells if kept is None else cells.reshape(-1).compress(kept.reshape(-1))).tobytes()


def _behind(numpy, prefix, rows, width=0):
    width = width or len(prefix)
    joined = numpy.empty((len(rows), width + rows.shape[1]), dtype=rows.dtype)
    joined[:, :width] = prefix
    joined[:, width:] = rows
    return joined


def _doubles(numpy, array):
    cells = numpy.empty((array.size, 9), dtype="u1")
    cells[:, 0] = 0xCB
    with numpy.errstate(all="ignore"):  # a long double may be beyond a double's range, and is infinity then
        cells[:, 1:] = array.astype(">f8").view("u1").reshape(-1, 8)
    return cells


def _integers(numpy, array, low, high):
    """Cells as wide as the widest integer needs, and which of their bytes to keep: a narrower integer ends its cell."""
    forms = [form for form in _FORMS if form[2] <= high and form[3] >= low]
    most = max(count for _tag, count, _lowest, _highest in forms)
    values = array.reshape(-1)
    cells = numpy.empty((len(values), 1 + most), dtype="u1")
    cells[:, 1:] = values.astype(">%s%d" % ("u" if array.dtype.kind == "u" else "i", most)).view("u1").reshape(-1, most)
    kept = numpy.zeros(cells.shape, dtype=bool)
    kept[:, most] = True
    for tag, count, lowest, highest in forms:
        members = values >= max(lowest, low)
        if highest < high:
            members &= values <= highest
        if count == most and [form[1] for form in forms].count(most) == 1:
            cells[:, 0] = tag  # nothing narrower keeps this byte
        else:
            cells[:, most - count][members] = tag
        for column in range(most - count, most):
            kept[:, column] |= members
    return cells, kept
