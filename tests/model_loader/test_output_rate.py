"""What a model prints is logged up to a rate."""

from model_loader.output_rate import BURST_BYTES, BURST_LINES, BYTES_PER_SECOND, LINES_PER_SECOND, OutputRate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_of_lines_is_admitted_and_then_so_many_a_second() -> None:
    clock = Clock()
    rate = OutputRate(clock)
    assert rate.admitted([1] * (BURST_LINES + 50)) == BURST_LINES
    assert rate.admitted([1]) == 0
    clock.now = 2.0
    assert rate.admitted([1] * BURST_LINES) == 2 * LINES_PER_SECOND
    clock.now = 1e6
    assert rate.admitted([1] * 2 * BURST_LINES) == BURST_LINES, "a long silence allows no more than a burst"


def test_bytes_are_bounded_as_well() -> None:
    clock = Clock()
    rate = OutputRate(clock)
    line = BURST_BYTES // 10
    assert rate.admitted([line] * 20) == 10
    clock.now = 1.0
    assert rate.admitted([BYTES_PER_SECOND, 1]) == 1
