"""From times to figures: the middle, the spread, and how sure a ratio is."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy

Rounds = Sequence[Sequence[float]]
_RESAMPLES = 2000


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float | int]:
    """Median, quartiles, least and most of some values, and how many there are."""
    ordered = sorted(values)
    first, _, third = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    figures = {
        "median": statistics.median(ordered),
        "first_quartile": first,
        "third_quartile": third,
        "least": ordered[0],
        "most": ordered[-1],
    }
    return {**{name: round(value, digits) for name, value in figures.items()}, "count": len(ordered)}


def ratio(reference: Rounds, ours: Rounds) -> dict[str, float]:
    """The ratio of the medians, ours over the reference's, and an interval that holds it with 95 % by bootstrap.

    Rounds are drawn and not single values: what disturbs a machine lasts longer than one request. A round of both
    sides is drawn together, because they ran one after the other.
    """
    draw = numpy.random.default_rng(1)
    pairs = list(zip(reference, ours, strict=True))
    found = []
    for _ in range(_RESAMPLES):
        drawn = [pairs[number] for number in draw.integers(0, len(pairs), len(pairs))]
        below, above = ([value for pair in drawn for value in pair[side]] for side in (0, 1))
        found.append(float(numpy.median(above) / numpy.median(below)))
    low, high = numpy.quantile(found, [0.025, 0.975])
    value = statistics.median(_flat(ours)) / statistics.median(_flat(reference))
    return {"value": round(value, 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def compared(reference: Rounds, ours: Rounds, unit: str) -> dict[str, Any]:
    """Both sides' spread, and the ratio."""
    return {
        "unit": unit,
        "rounds": len(ours),
        "reference": spread(_flat(reference)),
        "ours": spread(_flat(ours)),
        "ratio": ratio(reference, ours),
    }


def _flat(rounds: Rounds) -> list[float]:
    return [value for values in rounds for value in values]
