"""The facts about a list or an array that the server judges instead of its elements.

Each fact is computed over every element, at C speed where the value is regular: `summarise` for lists and tuples,
`summarise_array` for numpy arrays. The keys of a summary are written down in `app.interface.skeleton`.
"""

import math
from itertools import chain

from . import plain

_LISTS = (list, tuple)
_PLAIN_NUMBERS = {int, float, bool}
#: No form of data nests deeper than 3; a list that contains itself nests for ever.
_DEEPEST = 100


def summarise(value):
    """Facts about a list or tuple whose elements are scalars, lists or tuples; other elements count as odd ones.

    Raises RecursionError for one that is nested more than 100 deep.
    """
    facts = {"type": plain.type_name(value), "length": len(value), "odd": None, "uneven": None}
    shape, leaves = [len(value)], value
    kinds = set(map(type, leaves))
    for _ in range(_DEEPEST):
        if not kinds or not all(issubclass(kind, _LISTS) for kind in kinds):
            break
        level = list(leaves)
        lengths = set(map(len, level))
        if len(lengths) > 1:
            shape = None
        elif shape is not None:
            shape.append(lengths.pop())
        leaves = _Chained(level)
        kinds = set(map(type, leaves))
    else:
        raise RecursionError
    if any(issubclass(kind, _LISTS) for kind in kinds):
        return _summarise_uneven(value, facts)
    facts.update(shape=shape, depth=_depth(value), types=sorted(set(map(_kind_name, kinds))))
    facts.update(_range(leaves, kinds))
    if not all(map(plain.is_number_type, kinds)):
        facts["odd"] = _first_odd(value)
    if shape is None:
        facts["uneven"] = _first_uneven(value)
    return facts


def summarise_array(array, name):
    """Facts about a numpy array of at least one dimension; `name` is the type that the model returned."""
    facts = {"type": name, "length": len(array), "shape": list(array.shape), "depth": array.ndim}
    facts.update(types=[array.dtype.name], range=None, nan=False, odd=None, uneven=None)
    if array.dtype.kind not in "biuf":
        first = array.reshape(-1)[0] if array.size else None
        facts["odd"] = {"at": [0] * array.ndim, "type": array.dtype.name, "repr": plain.brief_repr(first)}
    elif array.size:
        low, high = array.min().item(), array.max().item()
        facts.update(range=[low, high], nan=not (math.isfinite(low) and math.isfinite(high)))
    return facts


class _Chained:
    """The elements of several lists as one sequence that can be walked again and again without a copy."""

    def __init__(self, lists):
        self._lists = lists

    def __iter__(self):
        return chain.from_iterable(self._lists)


def _kind_name(kind):
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else "%s.%s" % (module, kind.__qualname__)


def _range(leaves, kinds):
    if not kinds or not all(map(plain.is_number_type, kinds)):
        return {"range": None, "nan": False}
    low, high = min(leaves), max(leaves)
    nan = False
    if not kinds <= {int, bool}:
        # A sum is finite only if every element is; where it overflowed, look at each.
        nan = not math.isfinite(sum(map(float, leaves))) and not all(map(math.isfinite, leaves))
    if not kinds <= _PLAIN_NUMBERS:
        low, high = float(low), float(high)
    return {"range": [_fitting(low), _fitting(high)], "nan": nan}


def _fitting(number):
    return number if -(2**63) <= number < 2**64 or isinstance(number, float) else float(number)


def _depth(value):
    return 1 + max((_depth(child) for child in value[:1] if isinstance(child, _LISTS)), default=0) if value else 0


def _summarise_uneven(value, facts):
    """The slow way, for a list in which numbers and lists stand side by side."""
    kinds, numbers, deepest = set(), [], 0
    stack = [(value, 1)]
    while stack:
        elements, depth = stack.pop()
        if depth > _DEEPEST:
            raise RecursionError
        for element in elements:
            if isinstance(element, _LISTS):
                stack.append((element, depth + 1))
            else:
                deepest = max(deepest, depth)
                kinds.add(type(element))
                if plain.is_number_type(type(element)):
                    numbers.append(element)
    facts.update(shape=None, depth=deepest, types=sorted(map(_kind_name, kinds)))
    facts.update(_range(numbers, set(map(type, numbers))))
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
    """Where the first element lies whose kind or length differs from its first sibling's."""
    if not value:
        return None
    expected = _form(value[0])
    for place, element in enumerate(value):
        if _form(element) != expected:
            return {"at": [place], "found": "%s where the first is %s" % (_form(element), expected)}
    for place, element in enumerate(value):
        uneven = _first_uneven(element) if isinstance(element, _LISTS) else None
        if uneven:
            uneven["at"].insert(0, place)
            return uneven
    return None


def _form(element):
    if not isinstance(element, _LISTS):
        return "a single value"
    return "a list of %d" % len(element)
