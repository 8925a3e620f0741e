"""What one who is refused is told to wait follows what was measured, between a second and five minutes."""

from model_loader.pace import Pace


def test_without_a_measurement_the_shortest_wait_is_advised() -> None:
    pace = Pace()
    assert (pace.until_turn(100, 1), pace.left_of(0)) == (1, 1)


def test_the_wait_grows_with_the_line_and_shrinks_with_the_workers() -> None:
    pace = Pace()
    pace.note(12.0)
    assert (pace.until_turn(1, 1), pace.until_turn(4, 1), pace.until_turn(4, 2)) == (12, 48, 24)
    assert pace.until_turn(4, 0) == 48, "no worker yet"


def test_newer_measurements_count_more_and_one_alone_does_not_decide() -> None:
    pace = Pace()
    for seconds in (10, 10, 10, 100):
        pace.note(seconds)
    assert pace.until_turn(1, 1) == 28
    for _ in range(50):
        pace.note(2)
    assert 2 <= pace.until_turn(1, 1) < 2.01


def test_the_wait_is_never_below_a_second_nor_above_five_minutes() -> None:
    pace = Pace()
    pace.note(0.001)
    assert pace.until_turn(5, 2) == 1
    pace.note(10**6)
    assert pace.until_turn(5, 2) == 300


def test_what_is_left_of_a_start_is_what_the_last_ones_took() -> None:
    pace = Pace()
    pace.note(60)
    assert (pace.left_of(0), pace.left_of(45), pace.left_of(100)) == (60, 15, 1)
