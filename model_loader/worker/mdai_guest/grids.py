"""Lists of lists in which something else than plain numbers lies: arrays, numpy's numbers, generators, booleans."""

import sys

from . import plain


def regular(value):
    """A list in which arrays, tensors and iterables have become lists; `value` itself where there were none."""
    changed = False
    elements = []
    for element in value:
        simple = element
        if isinstance(element, plain.LISTS):
            simple = regular(element)
        elif plain.is_array(element) or plain.is_iterable(element):
            simple = plain.simplify(element)
            if isinstance(simple, list):
                simple = regular(simple)
        changed = changed or simple is not element
        elements.append(simple)
    return elements if changed else value


def stacked(value):
    """One array of numbers that packs as `value` does, a list of arrays of one form; None where it is none."""
    first = value[0] if len(value) else None
    if len(set(map(type, value))) != 1 or not plain.is_array(first):
        return None
    parts = list(map(plain.as_ndarray, value))
    forms = {(part.shape, part.dtype) for part in parts}
    if len(forms) != 1 or not parts[0].ndim or parts[0].dtype.kind not in plain.NUMERIC_KINDS:
        return None
    return sys.modules["numpy"].stack(parts)


def of_scalars(value, facts):
    """One array that packs as `value` does, lists with numpy's numbers of one type in them; else None."""
    leaf = leftmost(value)
    if not facts["shape"] or len(facts["types"]) != 1 or not plain.is_scalar(leaf):
        return None
    if leaf.dtype.kind not in plain.NUMERIC_KINDS:
        return None
    return sys.modules["numpy"].array(value, dtype=leaf.dtype)


def leftmost(value):
    """The first element of the first element and so on: the only one that the reference looks at in a mask."""
    while isinstance(value, plain.LISTS) and value:
        value = value[0]
    return value


def numbers(value):
    """The same lists with 0 and 1 for the booleans in them."""
    if set(map(type, value)) == {bool}:
        return list(bytes(value))
    booleans = plain.boolean_types()
    return [
        numbers(element) if isinstance(element, plain.LISTS) else int(element) if type(element) in booleans else element
        for element in value
    ]
