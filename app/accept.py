"""What the `Accept` header asks for: predictions as msgpack or JSON, errors as text or problem details."""

from functools import lru_cache
from typing import Literal, NamedTuple

# What follows in a longer header is not looked at.
_LONGEST = 1000
_MSGPACK = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")


class Wanted(NamedTuple):
    """The forms in which a caller wants its answers."""

    prediction: Literal["msgpack", "json"]
    """msgpack, unless JSON has a higher weight or is named where msgpack is not. A header that allows neither is
    answered with msgpack, as the reference server answers everything."""
    problem_details: bool
    """Whether JSON is named, and plain text has no higher weight."""


def wanted_by(accept: bytes) -> Wanted:
    """The forms that the value of an `Accept` header asks for, b"" standing for none."""
    return _wanted_by(accept[:_LONGEST])


@lru_cache(maxsize=64)
def _wanted_by(accept: bytes) -> Wanted:
    ranges = _ranges(accept)
    named = [kind for kind in _MSGPACK if kind in ranges] or _MSGPACK[:1]
    msgpack = max(_weight(ranges, kind) for kind in named)
    is_json_wanted = _weight(ranges, "application/json") > max(msgpack, (0.0, 3))
    details = max(ranges.get("application/json", 0.0), ranges.get("application/problem+json", 0.0))
    return Wanted(
        prediction="json" if is_json_wanted else "msgpack",
        problem_details=details > 0 and details >= ranges.get("text/plain", 0.0),
    )


def _weight(ranges: dict[str, float], kind: str) -> tuple[float, int]:
    """Weight of the most specific range that covers `kind`, and its rank: 2 by name, 1 by group, 0 by */*."""
    for rank, name in ((2, kind), (1, kind.partition("/")[0] + "/*"), (0, "*/*")):
        if name in ranges:
            return ranges[name], rank
    return 0.0, 0


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
