"""How long predictions and starts have taken lately: what one who is refused is told to wait."""

#: How much the newest measurement counts in the average.
_WEIGHT = 0.2
_SHORTEST, _LONGEST = 1.0, 300.0


class Pace:
    """A moving average of seconds; without a measurement, nothing but the shortest wait can be advised."""

    def __init__(self) -> None:
        self._average: float | None = None

    def note(self, seconds: float) -> None:
        """Something has taken so long."""
        self._average = seconds if self._average is None else self._average + _WEIGHT * (seconds - self._average)

    def until_turn(self, ahead: int, workers: int) -> float:
        """Seconds until a request with so many ahead of it, itself counted, would have had its turn."""
        return _within((self._average or 0.0) * ahead / max(1, workers))

    def left_of(self, passed: float) -> float:
        """Seconds that something which began `passed` seconds ago will still take."""
        return _within((self._average or 0.0) - passed)


def _within(seconds: float) -> float:
    return min(max(seconds, _SHORTEST), _LONGEST)
