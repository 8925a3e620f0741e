"""What a model prints comes line by line, whole and bounded."""

import asyncio
import os
import threading
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from model_loader.output_rate import BURST_LINES, OutputRate
from model_loader.worker_output import WorkerOutput
from tests.hosting import until, within


def printed(*pieces: bytes) -> list[str]:
    """The lines that come of `pieces`, each of which has been read before the next is written."""
    lines: list[str] = []

    async def scenario() -> None:
        reading, writing = os.pipe()
        output = WorkerOutput(reading, lambda line, _: lines.append(line))
        for piece in pieces:
            os.write(writing, piece)
            for _ in range(5):
                await asyncio.sleep(0)
        os.close(writing)
        output.close()
        output.close()

    asyncio.run(within(scenario()))
    return lines


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"one\ntwo\n",), ["one", "two"]),
        ((b"o", b"ne\ntw", b"o"), ["one", "two"]),
        ((b"10 %\r50 %\r100 %\r\ndone\n",), ["10 %", "50 %", "100 %", "done"]),
        ((b"  indented  \n\n \n",), ["  indented"]),
        (("Größe 🫁\n".encode()[:4], "Größe 🫁\n".encode()[4:]), ["Größe 🫁"]),
        ((b"\xff\n",), ["\\xff"]),
        ((), []),
    ],
    ids=["lines", "in pieces", "progress bar", "blank", "cut character", "no UTF-8", "nothing"],
)
def test_lines_come_as_they_were_printed(pieces: tuple[bytes, ...], lines: list[str]) -> None:
    assert printed(*pieces) == lines


def test_a_long_line_is_cut_alike_in_whatever_pieces_it_comes() -> None:
    long = b"x" * 10_000
    for pieces in (
        (long + b"\nnext\n",),
        (long[:5000], long[5000:], b"\nnext\n"),
        (long[:4096], long[4096:] + b"\nnext"),
    ):
        assert printed(*pieces) == ["x" * 4096 + " …", "next"]
    assert printed(b"x" * 4096 + b"\n") == ["x" * 4096]


def test_the_last_lines_are_kept() -> None:
    async def scenario() -> None:
        reading, writing = os.pipe()
        output = WorkerOutput(reading, lambda line, _: None)
        os.write(writing, b"".join(b"%d\n" % number for number in range(500)) + b"end")
        os.close(writing)
        output.close()
        assert list(output.last_lines) == [str(number) for number in range(481, 500)] + ["end"]

    asyncio.run(within(scenario()))


def test_what_is_still_in_the_pipe_is_handed_on_at_the_end_though_a_child_keeps_it_open() -> None:
    lines: list[str] = []

    async def scenario() -> None:
        reading, writing = os.pipe()
        output = WorkerOutput(reading, lambda line, _: lines.append(line))
        os.write(writing, b"last words\n" * 1000)
        output.close()
        await until(lambda: len(lines) == 1000, "all have come")
        with pytest.raises(BrokenPipeError):
            os.write(writing, b"too late")
        os.close(writing)

    asyncio.run(within(scenario()))


def flooded(chunk: bytes, times: int, watch: Callable[[list[str]], Coroutine[Any, Any, None]]) -> list[str]:
    """The lines of a flood, printed on a thread, while `watch` runs on the event loop."""
    lines: list[str] = []

    async def scenario() -> None:
        reading, writing = os.pipe()

        def flood() -> None:
            for _ in range(times):
                for start in range(0, len(chunk), 1 << 16):
                    view = memoryview(chunk)[start : start + (1 << 16)]
                    while view:
                        view = view[os.write(writing, view) :]
            os.close(writing)

        output = WorkerOutput(reading, lambda line, _: lines.append(line))
        thread = threading.Thread(target=flood)
        thread.start()
        watcher = asyncio.create_task(watch(lines))
        await until(lambda: not thread.is_alive() and output._descriptor < 0 and not output._lines, "all has come")
        thread.join()
        watcher.cancel()
        output.close()

    asyncio.run(within(scenario()))
    return lines


def test_the_event_loop_turns_to_others_after_a_hundred_lines_of_a_flood() -> None:
    most = 0

    async def watch(lines: list[str]) -> None:
        nonlocal most
        while True:
            before = len(lines)
            await asyncio.sleep(0)
            most = max(most, len(lines) - before)

    lines = flooded(b".\n" * 50_000, 1, watch)
    assert len(lines) == 50_000
    assert 0 < most <= 200


def test_a_flood_without_an_end_of_line_takes_no_memory() -> None:
    async def watch(_lines: list[str]) -> None:
        pass

    chunk = b"#" * (1 << 20)
    tracemalloc.start()
    try:
        lines = flooded(chunk, 100, watch)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [len(line) for line in lines] == [4098]
    assert peak < 2 << 20


def test_lines_belong_to_the_request_that_ran_when_they_were_printed() -> None:
    """Also where they are handed on when another one runs."""
    lines: list[tuple[str, str]] = []

    async def scenario() -> None:
        reading, writing = os.pipe()
        output = WorkerOutput(reading, lambda line, owner: lines.append((line, owner)))
        os.write(writing, b"loading\n")
        for owner in ("r1", "", "r2"):
            output.belongs_to(owner)
            os.write(writing, b"line\n" * 150 + b"unfinished")
        os.close(writing)
        output.close()
        await until(lambda: len(lines) == 1 + 3 * 151, "all have come")

    asyncio.run(within(scenario()))
    expected = [("loading", "")]
    for owner in ("r1", "", "r2"):
        expected += [("line", owner)] * 150 + [("unfinished", owner)]
    assert lines == expected


def test_lines_over_the_rate_are_left_out_and_their_number_told() -> None:
    lines: list[tuple[str, str]] = []

    async def scenario() -> None:
        reading, writing = os.pipe()
        output = WorkerOutput(reading, lambda line, owner: lines.append((line, owner)), OutputRate(lambda: 0.0))
        output.belongs_to("r1")
        for _ in range(3):
            os.write(writing, b".\n" * 1000)
            output.belongs_to("r1")
        os.write(writing, b"last words\n")
        os.close(writing)
        output.close()
        assert output.last_lines[-1] == "last words", "for the error text they are kept"
        await until(lambda: len(lines) == BURST_LINES + 1, "all have come")

    asyncio.run(within(scenario()))
    assert lines[:-1] == [(".", "r1")] * BURST_LINES
    assert lines[-1] == ("… 2,001 lines that the model printed were left out", "r1")


def test_what_was_left_out_is_told_while_the_model_goes_on() -> None:
    lines: list[str] = []

    async def scenario() -> None:
        reading, writing = os.pipe()
        output = WorkerOutput(reading, lambda line, _: lines.append(line), OutputRate(lambda: 0.0))
        os.write(writing, b".\n" * (BURST_LINES + 7))
        await until(lambda: len(lines) > BURST_LINES, "the number has come")
        assert lines[-1].startswith("… 7 lines")
        os.close(writing)
        output.close()

    asyncio.run(within(scenario()))
