"""Lists in which every element is exactly an `int`, exactly a `float` or exactly a `bool`, as numpy arrays.

To ask each pixel of a mask for its type takes longer than to pack the mask; `addresses` sees the types of all at once.
Where it cannot, and where anything about a list is out of the ordinary (a ragged row, a bool among ints, a subclass,
an int of more than 64 bits), there is no array, and the list goes the general way.
"""

from collections import deque

from . import arenas
from .addresses import addresses_in_use

#: Fewer elements are looked at one by one in less time.
FEWEST = 1024
#: Elements that are looked at in one go: their addresses stay in the processor's cache.
_SLICE = 1 << 14
#: No form of data nests deeper.
_DEEPEST = 3
_LISTS = (list, tuple)


def as_array(value):
    """The array whose `tolist()` equals `value` with the type of each element; None where that is not seen quickly.

    `value` is a list or tuple of numbers, or of equally long ones, at most three deep. The array is of bool, of
    float64, or of integers of some width.
    """
    addresses = addresses_in_use() if _is_large(value) else None
    if addresses is None:
        return None
    lists, shape = [value], [len(value)]
    while type(lists[0][0]) in _LISTS:
        inner = list(lists[0]) if len(lists) == 1 else _joined(lists)
        width = len(inner[0])
        if not width or len(shape) == _DEEPEST or not addresses.are_lists(inner, width):
            return None
        shape.append(width)
        lists = inner
    read = addresses.readers.get(type(lists[0][0]))
    parts = [] if read is None else [_read(read, elements) for elements in _slices(lists, shape[-1])]
    if any(part is None for part in parts) or sum(map(len, parts)) != len(lists) * shape[-1]:
        return None  # a thread of the package's changes the list meanwhile, where the lengths differ
    return addresses.numpy.concatenate(parts).reshape(shape)


def _read(read, elements):
    """The array of these; None where they are no numbers of one type, or a thread took them out of their list."""
    array = read(elements) if elements else None
    if array is not None:
        arenas.keep(elements)
    return array


def _is_large(value):
    """Whether there may be `FEWEST` numbers, going by the first elements."""
    count = 1
    for _ in range(_DEEPEST):
        if type(value) not in _LISTS or not value:
            break
        count *= len(value)
        value = value[0]
    return count >= FEWEST


def _slices(lists, width):
    """The elements of `lists`, each `width` long, as lists of up to `_SLICE` that nobody else has."""
    if width >= _SLICE:
        for elements in lists:
            for start in range(0, width, _SLICE):
                yield list(elements[start : start + _SLICE])
        return
    step = _SLICE // width
    for start in range(0, len(lists), step):
        yield _joined(lists[start : start + step])


def _joined(lists):
    joined = []
    deque(map(joined.extend, lists), maxlen=0)
    return joined
