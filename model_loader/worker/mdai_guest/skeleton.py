"""The facts about a list or an array that the server judges instead of its elements.

Each fact is computed over every element, at C speed where the value is regular: `summarise` for lists and tuples,
`summarise_array` for numpy arrays. The keys of a summary are written down in `app.interface.skeleton`.
"""

import math
import sys
from itertools import chain

from . import plain

_LISTS = plain.LISTS
_PLAIN_NUMBERS = {int, float, bool}
#: The types of elements that an array stands for, by the kind of its dtype.
_OF_KIND = {"b": "bool", "i": "int", "u": "int", "f": "float"}
#: No form of data nests deeper than 3; a list that contains itself nests for ever.
_DEEPEST = 100


def summarise(value):
    """Facts about a list or tuple whose elements are scalars, lists or tuples; other elements count as odd ones.

    Raises RecursionError for one that is nested more than 100 deep.
    """
    facts = {"type": plain.type_name(value), "length": len(value), "odd": None, "uneven": None}
    shape, leaves, depth = [len(value)], value, 1
    kinds = set(map(type, leaves))
    while kinds and all(issubclass(kind, _LISTS) for kind in kinds):
        if depth == _DEEPEST:
            raise RecursionError
        level = list(leaves)
        lengths = set(map(len, level))
        if len(lengths) > 1:
            shape = None
        elif shape is not None:
            shape.append(lengths.pop())
        leaves = _Chained(level)
        kinds = set(map(type, leaves))
        depth += 1
    if any(issubclass(kind, _LISTS) for kind in kinds):
        return _summarise_uneven(value, facts)
    facts.update(shape=shape, depth=depth, types=sorted(set(map(plain.kind_name, kinds))))
    facts.update(_range(leaves, kinds))
    if not all(map(plain.is_number_type, kinds)):
        facts["odd"] = _first_odd(value)
    if shape is None:
        facts["uneven"] = _first_uneven(value)
    return facts


def summarise_uniform(array, name):
    """Facts about a list or tuple of the type `name` that is `array`, element by element: those of `summarise`."""
    facts = {"type": name, "length": len(array), "odd": None, "uneven": None, "shape": list(array.shape)}
    facts.update(depth=array.ndim, types=[_OF_KIND[array.dtype.kind]])
    with sys.modules["numpy"].errstate(all="ignore"):  # whatever the package has set
        facts.update(_range_of_array(array))
    if array.dtype.kind == "f" and facts["range"] is not None:  # of 0.0 and -0.0, the first one as in the list
        facts["range"] = [_first_zero(array) if end == 0 else end for end in facts["range"]]
    return facts


def _first_zero(array):
    flat = array.reshape(-1)
    return flat[int((flat == 0).argmax())].item()


def summarise_array(array, name):
    """Facts about a numpy array of numbers or text with at least one dimension; `name` is the type it came as."""
    facts = {"type": name, "length": len(array), "shape": list(array.shape), "depth": array.ndim}
    facts.update(types=[array.dtype.name], range=None, nan=False, odd=None, uneven=None)
    if array.dtype.kind not in plain.NUMERIC_KINDS:
        first = array.reshape(-1)[0].item() if array.size else None
        facts["odd"] = {"at": [0] * array.ndim, "type": array.dtype.name, "repr": plain.brief_repr(first)}
        return facts
    if array.size:
        facts.update(_range_of_array(array))
    return facts


def _range_of_array(array):
    low, high = array.min(), array.max()
    if array.dtype.kind != "f":
        return {"range": [low.item(), high.item()], "nan": False}
    low, high = float(low), float(high)
    nan = not (math.isfinite(low) and math.isfinite(high))
    if math.isnan(low):  # numpy's minimum is NaN where any element is
        numpy = sys.modules["numpy"]
        low, high = float(numpy.fmin.reduce(array, axis=None)), float(numpy.fmax.reduce(array, axis=None))
    return {"range": None if math.isnan(low) else [low, high], "nan": nan}


def summarise_row(row, name):
    """What is told about the first element of a list where that is a list itself, of the type `name`."""
    facts = {"type": name, "length": len(row)}
    kinds = set(map(type, row))
    if not any(issubclass(kind, _LISTS) for kind in kinds):
        facts["types"] = sorted(set(map(plain.kind_name, kinds)))
    return facts


class _Chained:
    """The elements of several lists as one sequence that can be walked again and again without a copy."""

    def __init__(self, lists):
        self._lists = lists

    def __iter__(self):
        return chain.from_iterable(self._lists)


def _range(leaves, kinds):
    """Lowest and highest of the numbers among `leaves`, NaN left aside, and whether any is NaN or infinite."""
    if not kinds <= _PLAIN_NUMBERS:
        leaves, kinds = _as_plain_numbers(leaves, kinds)
    if not kinds:
        return {"range": None, "nan": False}
    if kinds <= {int, bool}:
        return {"range": [fitting(min(leaves)), fitting(max(leaves))], "nan": False}
    # A sum is finite only if every element is; where it overflowed, look at each.
    floats = _floats(leaves) if int in kinds else leaves
    nan = not math.isfinite(sum(floats)) and not all(map(math.isfinite, floats))
    if nan:
        leaves = [leaf for leaf in leaves if leaf == leaf]
        if not leaves:
            return {"range": None, "nan": True}
    return {"range": [fitting(min(leaves)), fitting(max(leaves))], "nan": nan}


def _as_plain_numbers(leaves, kinds):
    """Those of the `leaves` that are real numbers as int and float, and the types that these are then of."""
    if len(kinds) == 1:
        kind = next(iter(kinds))
        numpy = sys.modules.get("numpy")
        if plain.is_number_type(kind) and hasattr(numpy, "generic") and issubclass(kind, numpy.generic):
            is_float = issubclass(kind, numpy.floating)
            numbers = numpy.fromiter(leaves, "f8" if is_float else kind).tolist()
            return numbers, {float if is_float else type(numbers[0])}
    numbers = [_number(leaf) for leaf in leaves if plain.is_number_type(type(leaf))]
    return numbers, set(map(type, numbers))


def _number(leaf):
    if isinstance(leaf, bool):
        return leaf
    return int(leaf) if isinstance(leaf, int) else _float(leaf)


def _floats(numbers):
    try:
        return list(map(float, numbers))
    except OverflowError:
        return list(map(_float, numbers))


def _float(number):
    try:
        return float(number)
    except (OverflowError, ValueError):  # an int or fraction beyond all floats; a signalling NaN
        return math.inf if number == number and number > 0 else -math.inf if number == number else math.nan


def fitting(number):
    """`number`, as a float where it is an int of more than 64 bits."""
    return number if isinstance(number, float) or -(2**63) <= number < 2**64 else _float(number)


def _summarise_uneven(value, facts):
    """The slow way, for a list in which numbers and lists stand side by side."""
    leaves, deepest = [], 1
    stack = [(value, 1)]
    while stack:
        elements, depth = stack.pop()
        if depth > _DEEPEST:
            raise RecursionError
        deepest = max(deepest, depth)
        for element in elements:
            if isinstance(element, _LISTS):
                stack.append((element, depth + 1))
            else:
                leaves.append(element)
    kinds = set(map(type, leaves))
    facts.update(shape=None, depth=deepest, types=sorted(set(map(plain.kind_name, kinds))))
    facts.update(_range(leaves, kinds))
    facts["odd"] = _first_odd(value)
    facts["uneven"] = _first_uneven(value)
    return facts


def _first_odd(value):
    """Where the first leaf lies, in order, that is no number."""
    for place, element in enumerate(value):
        if isinstance(element, _LISTS):
            odd = _first_odd(element)
            if odd:
                odd["at"].insert(0, place)
                return odd
        elif not plain.is_number_type(type(element)):
            return {"at": [place], "type": plain.type_name(element), "repr": plain.brief_repr(element)}
    return None


def _first_uneven(value):
    """Where the first element lies whose kind or length differs from its first sibling's; upper levels come first."""
    if not value:
        return None
    expected = _length(value[0])
    for place, element in enumerate(value):
        if _length(element) != expected:
            return {"at": [place], "found": "%s where the first is %s" % (_form(element), _form(value[0]))}
    for place, element in enumerate(value):
        uneven = _first_uneven(element) if isinstance(element, _LISTS) else None
        if uneven:
            uneven["at"].insert(0, place)
            return uneven
    return None


def _length(element):
    return len(element) if isinstance(element, _LISTS) else -1


def _form(element):
    return "a list of %d" % len(element) if isinstance(element, _LISTS) else "a single value"
