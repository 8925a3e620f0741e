"""Outputs as JSON: bytes as base64, NaN and infinities as null."""

import base64
import json
import math

# Made once, out of reach of a package that replaces `json.dumps`.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def dump(value):
    """The JSON bytes of a value that came out of msgpack."""
    try:
        return _dumps(value)
    except (TypeError, ValueError):  # bytes, NaN or an odd key somewhere inside
        return _dumps(_presentable(value))


def _dumps(value):
    return _ENCODER.encode(value).encode("ascii")


def _presentable(value):
    if isinstance(value, dict):
        return {_key(key): _presentable(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [_presentable(element) for element in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return str(value)


def _key(key):
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
