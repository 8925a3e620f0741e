"""Outputs that are written as they are and stand in the skeleton as they are: small dicts of text and numbers.

A detector returns thousands of them. They are packed whole, once, for the response and the skeleton alike.
"""

from itertools import chain, repeat

#: The most bytes of one: nothing in so few is summarised, but for bytes, which no such output holds.
MOST_BYTES = 4096
#: So many outputs are looked at and packed together; msgpack's header for so many is one byte.
TOGETHER = 15
_MOST_KEYS = 1000
_SCALARS = {str, int, float, bool, type(None)}
_VALUES = _SCALARS | {dict}
_TEXT = {str}
_DICT = {dict}


class Verbatim:
    """The skeleton of such an output, or of several, packed."""

    __slots__ = ("packed",)

    def __init__(self, packed):
        self.packed = packed


def is_verbatim(output):
    """Whether nothing in `output` is translated, given that packed it has at most `MOST_BYTES`."""
    if type(output) is not dict or set(map(type, output)) != _TEXT or len(output) > _MOST_KEYS:
        return False
    kinds = set(map(type, output.values()))
    if not kinds <= _VALUES or type(output.get("class_index")) is float or type(output.get("probability")) is int:
        return False
    return dict not in kinds or all(_is_plain(inner) for inner in output.values() if type(inner) is dict)


def are_verbatim(outputs):
    """Whether `is_verbatim` is true of each in a list, given that packed they have at most `MOST_BYTES` together."""
    if set(map(type, outputs)) != _DICT:
        return False
    values = list(chain.from_iterable(map(dict.values, outputs)))
    if len(values) > _MOST_KEYS or not set(map(type, values)) <= _VALUES:
        return False
    if not all(outputs) or set(map(type, chain.from_iterable(outputs))) != _TEXT:
        return False
    if float in map(type, map(dict.get, outputs, repeat("class_index"))):
        return False
    if int in map(type, map(dict.get, outputs, repeat("probability"))):
        return False
    inner = [value for value in values if type(value) is dict]
    if not all(inner) or sum(map(len, inner)) > _MOST_KEYS or not set(map(type, chain.from_iterable(inner))) <= _TEXT:
        return False
    return set(map(type, chain.from_iterable(map(dict.values, inner)))) <= _SCALARS


def _is_plain(inner):
    """Whether it is a dict of text and numbers; an empty one may be translated."""
    return set(map(type, inner)) == _TEXT and set(map(type, inner.values())) <= _SCALARS and len(inner) <= _MOST_KEYS
