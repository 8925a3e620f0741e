"""Anonymous memory: written, patched, read, mapped, given back."""

import asyncio
import os
import resource
import threading
from collections.abc import Iterator

import pytest

from model_loader.memory_file import WarmFiles
from model_loader.shared_buffer import SMALL, SharedBuffer
from tests.hosting import PATIENCE, await_true, shared_buffers

LARGE = 9 << 20


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = shared_buffers()
    yield
    await_true(lambda: shared_buffers() == before, "every buffer is given back")


def test_chunks_are_appended_and_read_back_in_any_part() -> None:
    with SharedBuffer() as buffer:
        assert buffer.size == 0
        for chunk in (b"one", bytearray(b"two"), memoryview(b"-three-")[1:-1], b""):
            buffer.write(chunk)
        assert buffer.size == 11
        assert buffer.read(0, 11) == b"onetwothree"
        assert buffer.read(3, 3) == b"two"
        assert os.pread(buffer.fd, 100, 0) == b"onetwothree", "as its other holder reads it"


def test_a_read_is_short_only_where_the_file_ends_and_takes_no_memory_for_what_is_promised() -> None:
    with SharedBuffer() as buffer:
        buffer.write(b"0123456789")
        assert buffer.read(8, 100) == b"89"
        assert buffer.read(10, 1) == b""
        assert buffer.read(1000, 1 << 60) == b""
        assert buffer.read(2, 1 << 60) == b"23456789"
        assert os.fstat(buffer.fd).st_size == 10
        assert buffer.read(8, 100) == b"89"
        assert buffer.read(2, 1 << 60) == b"23456789"


def test_what_was_written_can_be_patched_and_nothing_beyond() -> None:
    with SharedBuffer() as buffer:
        buffer.write(b"length????")
        buffer.patch(6, b"1234")
        assert buffer.read(0, 10) == b"length1234"
        assert buffer.size == 10
        for offset, data in ((7, b"1234"), (-1, b"1"), (11, b"")):
            with pytest.raises(ValueError, match="cannot patch"):
                buffer.patch(offset, data)


def test_a_map_shows_what_was_written_and_ends_with_its_block() -> None:
    with SharedBuffer() as buffer:
        with buffer.mapped() as view:
            assert view == b""
        buffer.write(b"content")
        with buffer.mapped() as view:
            assert view == b"content"
            assert view.readonly
        with pytest.raises(ValueError, match="released"):
            view.tobytes()
        with buffer.mapped() as view:
            part = view[1:]  # as an error's traceback may hold it
        assert part == b"ontent"


@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_a_buffer_is_given_back_once_however_often_it_is_closed(size: int) -> None:
    buffer = SharedBuffer()
    os.ftruncate(buffer.fd, size)
    descriptor = buffer.fd
    buffer.close()
    await_true(lambda: not os.path.exists(f"/proc/self/fd/{descriptor}"), "the descriptor is closed")  # noqa: PTH110
    other = os.open(os.devnull, os.O_RDONLY)
    buffer.close()
    del buffer
    assert os.fstat(other)
    os.close(other)
    with pytest.raises(ValueError, match="closed"), SharedBuffer() as again:
        again.close()
        again.write(b"x")


def test_only_much_memory_is_given_back_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    closers: list[threading.Thread] = []
    close = os.close

    def recorded(descriptor: int) -> None:
        closers.append(threading.current_thread())
        close(descriptor)

    monkeypatch.setattr(os, "close", recorded)
    for size in (1000, LARGE):
        with SharedBuffer() as buffer:
            os.ftruncate(buffer.fd, size)
    await_true(lambda: len(closers) == 2, "both are closed")
    closers[1].join(PATIENCE)
    assert [thread is threading.main_thread() for thread in closers] == [True, False]


def test_a_buffer_that_is_forgotten_is_given_back_without_a_thread() -> None:
    buffer = SharedBuffer()
    os.ftruncate(buffer.fd, LARGE)
    descriptor = buffer.fd
    threads = threading.enumerate()
    del buffer
    assert not os.path.exists(f"/proc/self/fd/{descriptor}")  # noqa: PTH110
    assert threading.enumerate() == threads


def test_without_descriptors_only_what_is_small_can_be_held() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with SharedBuffer() as buffer:
            buffer.write(b"x" * SMALL)
            assert buffer.size == SMALL
            with pytest.raises(OSError, match="Too many open files"):
                buffer.write(b"y")
            assert buffer.read(0, SMALL + 1) == b"x" * SMALL
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, 3 * SMALL])
def test_what_is_small_lies_in_ordinary_memory_and_reads_the_same(size: int) -> None:
    content = os.urandom(size)
    with SharedBuffer() as buffer:
        half = size // 2
        buffer.write(content[:half])
        buffer.write(content[half:])
        assert (buffer.small is not None) == (size <= SMALL)
        with buffer.mapped() as view:
            assert view == content
            assert view.readonly
        assert buffer.read(0, size) == content
        assert os.pread(buffer.fd, size + 1, 0) == content, "as its other holder reads it"
        assert buffer.small is None
        with buffer.mapped() as view:
            assert view == content


def test_bytes_are_written_where_they_are_going_to_lie() -> None:
    with SharedBuffer() as buffer:
        buffer.write(b"head")
        buffer.expect(100)
        with buffer.room(200) as room:
            room[:3] = b"abc"
        buffer.wrote(3)
        buffer.write(b"def")
        assert buffer.size == 10
        assert buffer.read(0, 10) == b"headabcdef"


def test_a_body_that_says_its_length_gets_a_file_of_that_length_however_it_is_written() -> None:
    async def scenario() -> None:
        warm = WarmFiles(100 << 20, sealed=True)
        numbers = []
        for likely in (10 << 20, 10 << 20, 0, 10 << 20):
            with SharedBuffer(warm, likely) as buffer:
                buffer.write(b"x" * (SMALL + 1))
                numbers.append(buffer.number)
                buffer.expect(likely)
        assert numbers[0] == numbers[1] == numbers[3] != numbers[2]
        warm.close()

    asyncio.run(scenario())


def test_a_file_is_used_again_unless_somebody_else_may_still_use_it() -> None:
    async def scenario() -> None:
        warm = WarmFiles(1 << 20, sealed=True)
        numbers = []
        for held in (False, False, True, False):
            with SharedBuffer(warm) as buffer:
                numbers.append(buffer.number)
                buffer.is_held_elsewhere = held
        assert numbers[0] == numbers[1] == numbers[2] != numbers[3]
        warm.close()

    asyncio.run(scenario())
