"""Files in memory: kept for the next request within a bound, given back when nobody uses them."""

import asyncio
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from model_loader import memory_file
from model_loader.memory_file import KEPT_SECONDS, MemoryFile, WarmFiles, most_kept
from tests.hosting import await_true, shared_buffers

MIB = 1 << 20


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = shared_buffers()
    yield
    await_true(lambda: shared_buffers() == before, "every file is given back")


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def file_of(length: int, *, sealed: bool = True) -> MemoryFile:
    file = MemoryFile(sealed=sealed)
    os.ftruncate(file.fd, length)
    return file


def on_a_loop(scenario: object) -> None:
    async def run() -> None:
        scenario()  # type: ignore[operator]

    asyncio.run(run())


def test_a_file_is_used_again_and_each_has_a_number_of_its_own() -> None:
    def scenario() -> None:
        warm = WarmFiles(10 * MIB, sealed=True)
        first, second = warm.take(), warm.take()
        assert first.number != second.number
        number = first.number
        warm.give(first)
        assert warm.take().number == number
        second.close()
        warm.close()

    on_a_loop(scenario)


def test_the_shortest_that_is_long_enough_is_taken_and_else_the_longest() -> None:
    def scenario() -> None:
        warm = WarmFiles(100 * MIB, sealed=True)
        lengths = {size: file_of(size * MIB) for size in (3, 1, 4)}
        for file in lengths.values():
            warm.give(file)
        for wanted, expected in ((2, 3), (2, 4), (2, 1)):
            taken = warm.take(wanted * MIB)
            assert taken is lengths[expected]
            taken.close()
        warm.close()

    on_a_loop(scenario)


def test_who_needs_little_is_not_given_much() -> None:
    """Small requests that take their time would each hold what a large one has left."""

    def scenario() -> None:
        warm = WarmFiles(100 * MIB, sealed=True)
        long = file_of(50 * MIB)
        warm.give(long)
        small = warm.take(MIB // 10)
        assert small is not long
        warm.give(small)
        assert warm.take(MIB // 10) is small
        assert warm.take(25 * MIB) is long
        warm.give(long)
        assert warm.take() is long, "of an answer nobody knows how long it will be"
        long.close()
        small.close()
        warm.close()

    on_a_loop(scenario)


def test_no_more_is_kept_than_the_bound_and_what_was_used_last_stays() -> None:
    def scenario() -> None:
        warm = WarmFiles(4 * MIB, sealed=True)
        files = [file_of(2 * MIB) for _ in range(3)]
        too_long = file_of(5 * MIB)
        for file in (*files, too_long):
            warm.give(file)
        assert [file.fd < 0 for file in (*files, too_long)] == [True, False, False, True]
        warm.close()
        assert all(file.fd < 0 for file in files)
        late = file_of(MIB)
        warm.give(late)
        assert late.fd < 0, "after the end nothing is kept"

    on_a_loop(scenario)


def test_what_nobody_has_used_for_a_while_is_given_back() -> None:
    def scenario() -> None:
        clock = Clock()
        warm = WarmFiles(100 * MIB, sealed=True, clock=clock)
        old, new = file_of(MIB), file_of(MIB)
        warm.give(old)
        clock.seconds += KEPT_SECONDS - 1
        warm.give(new)
        warm.close_unused()
        assert (old.fd >= 0, new.fd >= 0) == (True, True)
        clock.seconds += 1
        warm.close_unused()
        assert (old.fd >= 0, new.fd >= 0) == (False, True)
        warm.close()

    on_a_loop(scenario)


def test_the_event_loop_gives_it_back_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_file, "KEPT_SECONDS", 0.01)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        warm = WarmFiles(100 * MIB, sealed=True)
        file = file_of(MIB)
        loop.call_soon(warm.give, file)

        async def turn() -> None:
            """Let the loop do what is due."""

        await_true(lambda: runner.run(turn()) or file.fd < 0, "it is given back")


def test_without_an_event_loop_nothing_is_kept() -> None:
    file = file_of(MIB)
    WarmFiles(100 * MIB, sealed=True).give(file)
    assert file.fd < 0


def test_what_is_mapped_cannot_be_shrunk_by_who_has_the_descriptor() -> None:
    file = file_of(MIB)
    try:
        with memoryview(file.whole(MIB)) as view:
            with pytest.raises(PermissionError):
                os.ftruncate(file.fd, 0)
            assert view[MIB - 1] == 0
    finally:
        file.close()


def test_who_still_has_the_descriptor_of_an_answers_file_holds_no_memory_by_it() -> None:
    file = MemoryFile(sealed=False)
    theirs = os.dup(file.fd)
    try:
        os.pwrite(theirs, b"x" * MIB, 0)
        file.close()
        assert os.fstat(theirs).st_size == 0
    finally:
        os.close(theirs)


def test_a_long_file_is_written_through_windows_and_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    part = mmap.ALLOCATIONGRANULARITY
    monkeypatch.setattr(memory_file, "_MAPPED_WHOLE", part)
    monkeypatch.setattr(memory_file, "_WINDOW", 2 * part)
    size = 5 * part + 10
    content = os.urandom(size)
    file = MemoryFile(sealed=True)
    try:
        file.expect(size)
        written = 0
        while written < size:
            with file.window(written, 3 * part) as room:
                count = min(len(room), part + 7)
                room[:count] = content[written : written + count]
            written += count
        assert os.pread(file.fd, size + 1, 0) == content
        with memoryview(file.whole(size)) as view:
            assert view == content
    finally:
        file.close()


def test_a_window_at_the_end_of_a_file_reaches_further_when_that_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    part = mmap.ALLOCATIONGRANULARITY
    monkeypatch.setattr(memory_file, "_MAPPED_WHOLE", part)
    monkeypatch.setattr(memory_file, "_WINDOW", 2 * part)
    file = file_of(3 * part)
    try:
        assert len(file.window(2 * part, 2 * part)) == part
        file.expect(4 * part)
        assert len(file.window(3 * part, 2 * part)) == part
    finally:
        file.close()


def test_a_file_is_of_use_again_after_it_could_not_be_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    part = mmap.ALLOCATIONGRANULARITY
    monkeypatch.setattr(memory_file, "_MAPPED_WHOLE", part)
    monkeypatch.setattr(memory_file, "_WINDOW", part)
    file = file_of(part)
    maps = mmap.mmap

    def no_memory(*_arguments: Any, **_options: Any) -> Any:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    def fails(call: Callable[..., Any], *arguments: int) -> None:
        monkeypatch.setattr(mmap, "mmap", no_memory)
        with pytest.raises(OSError, match="allocate"):
            call(*arguments)
        monkeypatch.setattr(mmap, "mmap", maps)

    try:
        file.whole(part)
        file.expect(3 * part)
        fails(file.whole, 3 * part)
        assert len(file.whole(3 * part)) == 3 * part
        file.window(0, 1).release()
        fails(file.window, part, 1)
        assert len(file.window(0, 1)) == 1
    finally:
        file.close()


def test_a_file_grows_under_its_mapping() -> None:
    file = file_of(10)
    try:
        with memoryview(file.whole(10)) as view:
            assert len(view) == 10
        file.expect(20)
        os.pwrite(file.fd, b"end", 17)
        with memoryview(file.whole(20)) as view:
            assert bytes(view[17:]) == b"end"
    finally:
        file.close()


def test_a_service_keeps_a_part_of_its_memory_at_most() -> None:
    assert 0 < most_kept() <= 512 * MIB
