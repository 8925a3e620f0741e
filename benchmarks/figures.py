"""From times to figures: the middle, the spread, and how sure a ratio is."""

import statistics
from collections.abc import Callable, Sequence

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
    return _figure(reference, ours, lambda below, above: float(numpy.median(above) / numpy.median(below)))


def difference(reference: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """The median of what ours took more in each round, and such an interval."""
    pairs = zip(reference, ours, strict=True)
    return _figure(
        [[0.0]] * len(ours), [[above - below] for below, above in pairs], lambda _, more: float(numpy.median(more))
    )


def _figure(reference: Rounds, ours: Rounds, figure: Callable[[list[float], list[float]], float]) -> dict[str, float]:
    draw = numpy.random.default_rng(1)
    pairs = list(zip(reference, ours, strict=True))
    found = []
    for _ in range(_RESAMPLES):
        drawn = [pairs[number] for number in draw.integers(0, len(pairs), len(pairs))]
        found.append(figure(*(flat([pair[side] for pair in drawn]) for side in (0, 1))))
    low, high = numpy.quantile(found, [0.025, 0.975])
    value = figure(flat(reference), flat(ours))
    return {"value": round(value, 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def flat(rounds: Rounds) -> list[float]:
    return [value for values in rounds for value in values]
