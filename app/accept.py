"""What the `Accept` header asks for: predictions as msgpack or JSON, errors as text or problem details."""

from functools import lru_cache
from typing import Literal, NamedTuple

MSGPACK_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
"""The names under which msgpack is sent and asked for."""

# What follows in a longer header is not looked at.
_LONGEST = 1000


class Wanted(NamedTuple):
    """The forms in which a caller wants its answers."""

    prediction: Literal["msgpack", "json"]
    """msgpack, as the reference server answers everything, unless JSON has a higher weight."""
    problem_details: bool
    """Whether JSON is named, and plain text is not with the same weight."""


def wanted_by(accept: bytes) -> Wanted:
    """The forms that the value of an `Accept` header asks for, b"" standing for none.

    HTTP libraries name JSON, text and everything else alike by default (axios does): a client that also takes
    anything gets what the reference server sends.
    """
    return _wanted_by(accept[:_LONGEST])


@lru_cache(maxsize=64)
def _wanted_by(accept: bytes) -> Wanted:
    ranges = _ranges(accept)
    named = [kind for kind in MSGPACK_TYPES if kind in ranges] or MSGPACK_TYPES[:1]
    msgpack = max(_weight(ranges, kind) for kind in named)
    details = max(ranges.get("application/json", 0.0), ranges.get("application/problem+json", 0.0))
    return Wanted(
        prediction="json" if _weight(ranges, "application/json") > msgpack else "msgpack",
        problem_details=details > ranges.get("text/plain", 0.0),
    )


def _weight(ranges: dict[str, float], kind: str) -> float:
    """Weight of the most specific range that covers `kind`."""
    names = (kind, kind.partition("/")[0] + "/*", "*/*")
    return next((ranges[name] for name in names if name in ranges), 0.0)


def _ranges(accept: bytes) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for entry in accept.decode("latin-1").lower().split(","):
        name, *parameters = (word.strip() for word in entry.split(";"))
        if name:
            ranges[name] = next((_quality(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
    return ranges


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
