"""What is said about an output that no response can carry: its place, what was found and what to do."""

import msgpack

from . import plain

_LONGEST_PLACE = 200


class Unwritable(Exception):
    """An output holds something that msgpack cannot carry; the text names the place, `reason` is a part of it."""

    def __init__(self, where, value, error):
        if len(where) > _LONGEST_PLACE:
            where = where[:_LONGEST_PLACE] + "…"
        self.reason = _reason(error)
        advice = "Return text, numbers, bytes, lists, dicts or arrays."
        text = "%s is %s: %s. %s" % (where, plain.described(value), self.reason, advice)
        super().__init__("".join(char if char.isprintable() else repr(char)[1:-1] for char in text))


def place(where, key):
    """The place of what lies under `key`: `outputs[0].data`, `outputs[0]['odd key']`."""
    if isinstance(key, str) and key.isidentifier() and len(key) <= 60:
        return "%s.%s" % (where, key)
    return "%s[%s]" % (where, plain.brief_repr(key))


def locate(value, where, error):
    """The Unwritable for the first thing inside `value` that cannot be packed, given what packing it all raised."""
    for element, inside in () if _is_nesting(error) else _children(value, where):
        try:
            msgpack.packb(element, default=plain.simplify, use_bin_type=True)
        except BaseException as inner:  # the package's own objects may raise anything
            return locate(element, inside, inner)
    return Unwritable(where, value, error)


def _children(value, where):
    """What lies in a dict, list or tuple, with its place; asked of Python's own classes, not of the package's."""
    if isinstance(value, dict):
        for key, element in dict.items(value):
            yield key, "the key %s" % place(where, key)
            yield element, place(where, key)
    elif isinstance(value, plain.LISTS):
        kind = list if isinstance(value, list) else tuple
        for index, element in enumerate(kind.__iter__(value)):
            yield element, "%s[%d]" % (where, index)


def _reason(error):
    if isinstance(error, plain.NoPlainForm):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a surrogate pair and is no valid text"
    if _is_nesting(error):
        return "it is nested too deeply, or contains itself"
    if isinstance(error, OverflowError):
        return "the interface's integers end at 64 bits"
    return "reading it raised %s" % plain.brief_repr(error)


def _is_nesting(error):
    return isinstance(error, RecursionError) or (isinstance(error, ValueError) and "recursion" in str(error))
