"""Outputs as JSON: bytes as base64, NaN and infinities as null, keys as text."""

import base64
import json
import math

import msgpack

# Made once, out of reach of a package that replaces `json.dumps`.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
#: Types of which JSON writes every value as it is.
_SAFE = {int, str, bool, type(None)}


def from_msgpack(packed):
    """The JSON bytes of one value in msgpack."""
    # Pairs, because a key may be an array, which no dict of Python's takes.
    value = msgpack.unpackb(packed, raw=False, strict_map_key=False, object_pairs_hook=_with_text_keys)
    try:
        return _dumps(value)
    except (TypeError, ValueError):  # bytes or NaN somewhere inside
        return _dumps(_presentable(value))


def _dumps(value):
    return _ENCODER.encode(value).encode("ascii")


def _with_text_keys(pairs):
    return {key if type(key) is str else _text(key): element for key, element in pairs}


def _text(key):
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    if key is None or isinstance(key, (bool, list, dict)):
        return _dumps(_presentable(key)).decode("ascii")
    return str(key)


def _presentable(value):
    if isinstance(value, dict):
        return {key: _presentable(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return value if set(map(type, value)) <= _SAFE else [_presentable(element) for element in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return str(value)
