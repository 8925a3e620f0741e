"""The benchmarks measure what they say: their eyes are tested here, the speed by `python -m benchmarks`."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report, turns
from benchmarks.client import AnswerError, Callers, Connection, Request
from benchmarks.figures import difference, ratio, spread
from benchmarks.processes import cpu_seconds, memory
from benchmarks.record import keep, said
from benchmarks.rows import BY_NAME, ROWS, Goal
from tests.benchmarks.answering import Answering

MB = 1_000_000


@pytest.fixture
def answering() -> Iterator[Answering]:
    server = Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000)
    yield server
    server.end()


@pytest.mark.parametrize("size", [0, 3, 3 * MB])
def test_the_client_sends_the_whole_body_and_waits_for_the_whole_answer(answering: Answering, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"\x01" * (size % 256)
    with closing(Connection(answering.port)) as connection:
        for _ in range(2):
            assert connection.ask(Request(body)) > 0
            assert connection.answer == b"x" * 3000
    assert answering.bodies == [body, body]


@pytest.mark.parametrize("size", [0, 3 * MB])
def test_callers_ask_as_often_as_they_are_told_to(answering: Answering, size: int) -> None:
    with closing(Callers(answering.port, 3)) as callers:
        assert callers.ask(Request(b"\x07" * size), 7) > 0
        assert callers.ask(Request(b"\x07" * size), 2) > 0
    assert answering.bodies == [b"\x07" * size] * 9


def test_an_answer_that_is_no_200_ends_the_measurement(answering: Answering) -> None:
    answering.answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull"
    with closing(Connection(answering.port)) as connection, pytest.raises(AnswerError, match=r"503: full"):
        connection.ask(Request(b""))


def test_a_row_runs_from_end_to_end_and_is_said(tmp_path: Path) -> None:
    """Both servers really run; the figures are two requests' and mean nothing."""
    row = replace(BY_NAME["segment-1-arrays"], rounds=2, requests=1, warm_up=1)
    figures = turns.compare(row, tmp_path, seconds=60)
    assert figures["reference"]["count"] == figures["ours"]["count"] == figures["rounds"] == 2
    assert figures["ours"]["least"] > 0 and figures["figure"]["low"] <= figures["figure"]["value"]
    assert 0 < figures["stall_ms"]["longest_with_a_core"] <= figures["stall_ms"]["longest"]


def test_two_sides_that_do_not_answer_alike_are_not_compared(tmp_path: Path) -> None:
    row = replace(BY_NAME["floats-100000"], own_body=BY_NAME["ints-100000"].body, rounds=1, requests=1, warm_up=1)
    with pytest.raises(SystemExit, match="do not answer alike"):
        turns.compare(row, tmp_path, seconds=60)


def test_a_held_event_loop_is_noticed(tmp_path: Path) -> None:
    """And the time in which the thread slept is the loop's own, not a wait for a core."""
    script, ticks = tmp_path / "script.py", tmp_path / "ticks"
    script.write_text(
        "import asyncio, time, uvloop\n"
        "async def main():\n"
        "    await asyncio.sleep(0.05)\n"
        "    time.sleep(0.2)\n"
        "    await asyncio.sleep(0.05)\n"
        "with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:\n"
        "    runner.run(main())\n"
    )
    from benchmarks import ticker

    ticks.write_bytes(bytes(ticker.FORMAT.size))
    subprocess.run([sys.executable, ticker.__file__, ticks, script], check=True)
    longest, own = ticker.FORMAT.unpack(ticks.read_bytes())
    assert longest > 0.15 and own > 0.15


def test_memory_of_all_processes_is_counted_and_what_they_share_once() -> None:
    code = (
        "import mmap, os, sys\n"
        "kept = bytearray(b'x') * 50_000_000\n"
        "fd = os.memfd_create('shared')\n"
        "os.ftruncate(fd, 40_000_000)\n"
        "with mmap.mmap(fd, 40_000_000) as shared: shared.write(b'y' * 40_000_000)\n"
        "child = os.fork()\n"
        "if not child: own = bytearray(b'z') * 30_000_000\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        "if child: os.waitpid(child, 0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        held, used = memory(process.pid), cpu_seconds(process.pid)
        process.communicate("")
    assert 120 * MB <= held < 170 * MB
    assert 0 < used < 60


def test_a_ratio_is_that_of_the_medians_with_an_interval_around_it() -> None:
    found = ratio([[10.0, 10.0], [10.0, 90.0], [10.0, 12.0]], [[5.0, 5.0], [5.0, 70.0], [4.0, 5.0]])
    assert found["value"] == 0.5 and found["low"] <= 0.5 <= found["high"]
    assert ratio([[2.0]] * 5, [[3.0]] * 5) == {"value": 1.5, "low": 1.5, "high": 1.5}
    assert difference([100.0, 110.0, 90.0], [120.0, 130.0, 110.0])["value"] == 20


def test_a_spread_has_its_median_quartiles_and_ends() -> None:
    found = spread([5, 1, 2, 3, 4])
    assert [found[key] for key in ("least", "first_quartile", "median", "third_quartile", "most")] == [1, 2, 3, 4, 5]
    assert spread([7])["median"] == spread([7])["third_quartile"] == 7


def test_goals_are_judged_by_their_side() -> None:
    assert Goal(most=0.6).is_met(0.6) and not Goal(most=0.6).is_met(0.61)
    assert Goal(least=1.3).is_met(1.3) and not Goal(least=1.3).is_met(1.29)


def figures(value: float, *, met: bool, unit: str = "ms", goal: str = "≤ 1") -> dict[str, object]:
    return {
        "title": "a row",
        "unit": unit,
        "rounds": 2,
        "reference": spread([2, 2]),
        "ours": spread([2 * value] * 2),
        "figure": {"of": "ratio", "value": value, "low": value - 0.1, "high": value + 0.1},
        "ratio_of_best": value,
        "cpu_ms_per_request": {"reference": 2.0, "ours": 1.0},
        "stall_ms": {"longest": 30.0, "longest_with_a_core": 25.0, "goal": 20.0, "met": False},
        "goal": goal,
        "met": met,
        "at": "2026-01-02T03:04:05Z",
        "seconds": 3.0,
        "load_average": [0.1, 0.2],
        "cores_busy_with_others": 0.0,
        "versions": {"python": "3.11.7"},
    }


SAMPLE = {
    "machine": {"cpus": 2, "cpu": "some", "memory_gb": 8, "kernel": "6"},
    "rows": {
        "empty": figures(0.9, met=True),
        "body-50MB": figures(1.2, met=False, goal="≤ 0.5"),
        "empty-8": figures(1.1, met=False, unit="requests/s", goal="≥ 1.3"),
    },
}


def test_the_report_says_plainly_what_is_not_reached(tmp_path: Path) -> None:
    report.write(SAMPLE, documents=tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    assert "**1 of 3 goals are reached.**" in text
    assert "- a row: 1.20, wanted ≤ 0.5, **slower than the reference**" in text
    assert "- a row: 1.10, wanted ≥ 1.3\n" in text
    assert "Other programs" not in text
    assert "- the event loop, a row: held 25.0 ms" in text
    assert "| ≥ 1.3 ✗ |" in text and "| ≤ 1 ✓ |" in text
    for name in ("benchmarks-ratios.svg", "benchmarks-stalls.svg"):
        assert f"]({name})" in text and (tmp_path / name).read_text().startswith("<svg")
    assert "× 0.91" in (tmp_path / "benchmarks-ratios.svg").read_text()  # requests per second as time: 1 / 1.1


def test_a_row_is_said_with_what_was_recorded_last() -> None:
    before = {"body-50MB": figures(1.5, met=False)}
    text = said("body-50MB", figures(1.2, met=False, goal="≤ 0.5"), before)
    assert "recorded last: 1.500, 2026-01-02   ≤ 0.5: NOT REACHED" in text


def test_a_run_of_one_row_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "recorded" / "found.json"
    keep(path, {"machine": {}, "rows": {"empty": 1, "empty-8": 2}})
    keep(path, {"machine": {"cpus": 2}, "rows": {"empty": 3}})
    assert report.read(path.parent) == {"machine": {"cpus": 2}, "rows": {"empty": 3, "empty-8": 2}}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "there is no row nothing; --list has those that there are"),
        (["empty", "report"], "there is no row report"),
        (["empty", "--rounds", "0"], "count from 1"),
        (["empty", "--json", "no/such/folder.json"], "there is no folder for"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_started(arguments: list[str], told: str) -> None:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert found.returncode == 2 and told in found.stderr


def test_every_row_has_a_command_and_a_name_of_its_own() -> None:
    command = [sys.executable, "-m", "benchmarks", "--list"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert [line.split()[0] for line in told.stdout.splitlines()] == [row.name for row in ROWS]
    assert len(BY_NAME) == len(ROWS)
