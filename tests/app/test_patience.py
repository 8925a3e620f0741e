"""A limit on pauses ends what stands still, and nothing else."""

import asyncio

import pytest

from app.patience import Patience, Speed


def test_standing_still_is_a_timeout() -> None:
    async def stand_still() -> None:
        with Patience(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(stand_still())


def test_the_task_goes_on_unharmed_after_a_timeout() -> None:
    async def go_on() -> int:
        try:
            with Patience(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()
        return -1

    assert asyncio.run(go_on()) == 0


def test_what_keeps_moving_may_take_longer() -> None:
    async def keep_moving() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        with Patience(0.2) as patience:
            while loop.time() < start + 0.5:
                moved = asyncio.Event()
                loop.call_later(0.02, moved.set)
                await moved.wait()
                patience.renew()
        return loop.time() - start

    assert asyncio.run(keep_moving()) >= 0.5


def test_who_is_cancelled_from_outside_is_cancelled() -> None:
    async def be_cancelled() -> None:
        async def stand_still() -> None:
            with Patience(60):
                await asyncio.Event().wait()

        task = asyncio.create_task(stand_still())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(be_cancelled())


def test_what_crawls_over_a_whole_span_is_too_slow_and_a_slow_moment_is_not() -> None:
    now = [0.0]
    speed = Speed(least=10, span=30, clock=lambda: now[0])
    sizes = {1: 1, 29: 2, 30: 300, 45: 301, 59: 302, 61: 610, 80: 611, 91: 612}
    seen = {}
    for now[0], size in sizes.items():
        seen[now[0]] = speed.is_too_low(size)
    assert seen == dict.fromkeys(sizes, False) | {91: True}


def test_a_pause_counts_with_the_span_in_which_it_lies() -> None:
    now = [0.0]
    speed = Speed(least=10, span=30, clock=lambda: now[0])
    now[0] = 59
    assert not speed.is_too_low(590)
    now[0] = 118
    assert speed.is_too_low(590 + 589)
