"""Long work gives way to the event loop, and comes to the same result as if it had not."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgpack
import pytest

from app.interface.errors import InvalidOutput, InvalidRequest
from app.interface.outputs import judge, judge_in_slices
from app.interface.request import read_request, read_request_in_slices
from app.interface.slices import Steps, finish, finish_in_slices

T = TypeVar("T")


def counting(steps: int, fails: bool = False) -> Steps[int]:
    for _ in range(steps):
        yield
    if fails:
        raise ValueError("the work failed")
    return steps


async def turns_during(work: Awaitable[T]) -> tuple[T, int]:
    """The result of `work`, and how often another task got a turn while it ran."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    try:
        return await work, turns
    finally:
        other.cancel()


def test_work_without_pauses_comes_to_its_result() -> None:
    assert finish(counting(0)) == 0
    assert finish(counting(1000)) == 1000


@pytest.mark.parametrize("steps", [0, 1, 100])
def test_other_tasks_get_a_turn_after_each_slice(steps: int) -> None:
    """Here every step is a slice of its own."""
    assert asyncio.run(turns_during(finish_in_slices(counting(steps), seconds=0))) == (steps, steps)


def test_work_that_is_done_within_a_slice_is_not_interrupted() -> None:
    assert asyncio.run(turns_during(finish_in_slices(counting(100), seconds=3600))) == (100, 0)


@pytest.mark.parametrize("seconds", [0, 3600])
def test_an_error_of_the_work_is_its_callers(seconds: float) -> None:
    with pytest.raises(ValueError, match="the work failed"):
        asyncio.run(finish_in_slices(counting(3, fails=True), seconds=seconds))


def test_work_that_is_cancelled_ends_where_it_paused() -> None:
    ended = []

    def endless() -> Steps[None]:
        try:
            while True:
                yield
        finally:
            ended.append(True)

    async def give_up() -> None:
        task = asyncio.create_task(finish_in_slices(endless(), seconds=0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    assert ended == [True]


REQUEST: dict[str, Any] = {
    "files": [{"content": b"x" * 1000, "content_type": "y"}, {"content": b""}] * 500,
    "annotations": [{"id": str(number)} for number in range(5000)],
    "label_classes": [{"class_index": 1}, 5],
}
OUTPUTS = [{"type": "NONE", "study_uid": "1.2", "odd": number} for number in range(2000)]


def test_a_request_reads_the_same_in_slices() -> None:
    body = msgpack.packb(REQUEST)
    assert asyncio.run(read_request_in_slices(body)) == read_request(body)
    with pytest.raises(InvalidRequest, match="5 are the most"):
        asyncio.run(read_request_in_slices(body, max_files=5))


def test_outputs_are_judged_the_same_in_slices() -> None:
    skeleton = msgpack.packb(OUTPUTS)
    assert asyncio.run(judge_in_slices(skeleton)) == judge(skeleton)
    with pytest.raises(InvalidOutput, match="unknown key"):
        asyncio.run(judge_in_slices(skeleton, strict=True))
