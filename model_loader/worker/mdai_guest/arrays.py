"""numpy arrays straight to the msgpack bytes that their `.tolist()` would be packed to, without the lists."""

import sys

#: Elements that are encoded at a time: bounds the working memory to some tens of megabytes.
_SLICE = 1 << 20


def pack_array(array, write):
    """Write `array` (at least one dimension; bool, integer or float elements) as nested msgpack arrays.

    Integers take msgpack's shortest form, floats are doubles: byte for byte what packing `array.tolist()` gives.
    """
    if array.ndim > 2:
        write(array_header(len(array)))
        for part in array:
            pack_array(part, write)
        return
    if array.ndim == 2:
        write(array_header(len(array)))
    rows = array.reshape(1, -1) if array.ndim == 1 else array
    header = array_header(rows.shape[1])
    step = max(1, _SLICE // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        write(_pack_rows(rows[start : start + step], header))


def array_header(length):
    """msgpack's header of an array of `length` elements."""
    if length < 16:
        return bytes([0x90 | length])
    if length < 1 << 16:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


def _pack_rows(rows, header):
    """All `rows`, each behind the same `header`."""
    numpy = sys.modules["numpy"]
    if rows.shape[1] == 0:
        return header * len(rows)
    if rows.dtype.kind == "b":
        return _fixed_width(numpy, rows.astype("u1") + numpy.uint8(0xC2), header)
    if rows.dtype.kind == "f":
        return _fixed_width(numpy, _doubles(numpy, rows), header)
    low, high = rows.min(), rows.max()
    if low >= -32 and high <= 127:  # one byte each
        return _fixed_width(numpy, rows.astype("i1").view("u1"), header)
    return _integers(numpy, rows, header)


def _doubles(numpy, rows):
    encoded = numpy.empty((*rows.shape, 9), dtype="u1")
    encoded[..., 0] = 0xCB
    encoded[..., 1:] = rows.astype(">f8").view("u1").reshape((*rows.shape, 8))
    return encoded.reshape(len(rows), -1)


def _fixed_width(numpy, encoded, header):
    """Rows of equally many encoded bytes, each behind its header."""
    out = numpy.empty((len(encoded), len(header) + encoded.shape[1]), dtype="u1")
    out[:, : len(header)] = numpy.frombuffer(header, dtype="u1")
    out[:, len(header) :] = encoded
    return out.tobytes()


#: msgpack's integer forms beyond one byte: tag, bytes that follow, lowest and highest value, smaller forms first.
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


def _integers(numpy, rows, header):
    """Integers of different widths: work out where each one starts, then fill in width by width."""
    unsigned = rows.dtype.kind == "u"
    values = rows.astype("u8" if unsigned else "i8")
    widths = numpy.ones(values.shape, dtype=numpy.int64)
    chosen = []
    limits = numpy.iinfo(values.dtype)
    for tag, count, low, high in _FORMS:
        if high < limits.min or low > limits.max:
            continue
        members = (values >= max(low, int(limits.min))) & (values <= min(high, int(limits.max)))
        if members.any():
            widths[members] = 1 + count
            chosen.append((tag, count, members))
    starts = numpy.cumsum(widths, axis=1) - widths + len(header)
    row_sizes = widths.sum(axis=1) + len(header)
    row_starts = numpy.cumsum(row_sizes) - row_sizes
    starts += row_starts[:, None]
    out = numpy.zeros(int(row_sizes.sum()), dtype="u1")
    for offset, byte in enumerate(header):
        out[row_starts + offset] = byte
    single = widths == 1
    out[starts[single]] = values[single].astype("u1")
    for tag, count, members in chosen:
        places = starts[members]
        out[places] = tag
        encoded = values[members].astype(">u8").view("u1").reshape(-1, 8)[:, 8 - count :]
        for offset in range(count):
            out[places + 1 + offset] = encoded[:, offset]
    return out.tobytes()
