"""The bytes of bodies that lie in memory at once are bounded, and what goes is counted off."""

import pytest

from app.body_budget import BodyBudget, BodyShare, default_budget
from model_loader.available_memory import available_memory
from model_loader.errors import QueueFull


def budget() -> BodyBudget:
    return BodyBudget(100, lambda: 7.0)


def test_bodies_are_taken_up_to_the_bound_and_again_when_some_have_gone() -> None:
    all_bodies = budget()
    first, second = BodyShare(all_bodies, 60), BodyShare(all_bodies, 40)
    with pytest.raises(QueueFull, match=r"have 100 bytes, and 1 more .* 100 that --max-queue-bytes allows") as refused:
        BodyShare(all_bodies, 1)
    assert refused.value.retry_after == 7.0
    first.give_back()
    first.give_back()
    BodyShare(all_bodies, 60)
    with pytest.raises(QueueFull):
        BodyShare(all_bodies, 1)
    second.give_back()


def test_a_body_of_unknown_length_grows_until_the_bound_and_keeps_what_it_has() -> None:
    all_bodies = budget()
    with BodyShare(all_bodies, 0) as growing, BodyShare(all_bodies, 50) as other:
        for size in (10, 10, 5, 50):
            growing.grow_to(size)
        with pytest.raises(QueueFull):
            growing.grow_to(51)
        other.give_back()
        growing.grow_to(100)
    BodyShare(all_bodies, 100)


def test_one_body_alone_is_taken_however_long_it_is() -> None:
    all_bodies = budget()
    with BodyShare(all_bodies, 1000) as long:
        long.grow_to(2000)
        with pytest.raises(QueueFull):
            BodyShare(all_bodies, 1)
    with BodyShare(all_bodies, 0) as growing:
        growing.grow_to(5000)


def test_an_upload_that_is_refused_leaves_nothing_counted() -> None:
    all_bodies = budget()
    with BodyShare(all_bodies, 100):
        for _ in range(3):
            with pytest.raises(QueueFull):
                BodyShare(all_bodies, 50)
    with BodyShare(all_bodies, 50), BodyShare(all_bodies, 50):
        pass


def test_the_default_is_a_quarter_of_the_memory_that_there_is() -> None:
    assert default_budget() == available_memory() // 4 > 0
