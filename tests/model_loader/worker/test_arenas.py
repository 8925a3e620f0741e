"""Memory of small objects stays warm from one request to the next, within a bound, and not for ever."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import arenas
from tests.hosting import Hosted, submitted

NUMBERS = 1_000_000
COUNTS_FAULTS = f"""
import resource
import numpy

class MDAIModel:
    def predict(self, data):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        rows = numpy.full(({NUMBERS // 1000}, 1000), 0.5).tolist()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        return [{{"type": "NONE", "study_uid": "1", "note": str(faults), "images": rows}}]
"""
#: Pages of so many floats, of 24 bytes each.
PAGES = NUMBERS * 24 // 4096


@pytest.fixture
def worker(tmp_path: Path, host: Callable[..., Hosted]) -> Hosted:
    """A model that answers with a million floats and says how many pages the kernel had to find for them."""
    folder = tmp_path / "counts" / ".mdai"
    folder.mkdir(parents=True)
    (folder / "mdai_deploy.py").write_text(COUNTS_FAULTS)
    return host(folder.parent)


def faults(service: Hosted) -> list[int]:
    return [int(service.predict().outputs[0]["note"]) for _ in range(4)]


def test_the_pages_of_a_million_floats_are_those_of_the_last_request(worker: Hosted) -> None:
    worker.start()
    first, *others = faults(worker)
    assert first >= PAGES
    assert min(others) < PAGES / 4


def test_nothing_is_kept_where_memory_is_measured_after_the_answer(worker: Hosted) -> None:
    process = worker.worker()
    process.frees_first = True

    async def answered() -> int:
        with SharedBuffer() as body:
            body.write(msgpack.packb({"files": []}))
            answer = await submitted(process, body)
            with answer.body as outputs:
                return int(msgpack.unpackb(outputs.read(0, answer.done.size))[0]["note"])

    async def four() -> list[int]:
        return [await answered() for _ in range(4)]

    assert min(worker.run(four())) >= PAGES


@pytest.fixture
def numbers() -> Iterator[list[float]]:
    """A million floats, in twenty arenas at least; nothing is kept before and afterwards."""
    arenas.let_go()
    yield list(map(float, range(NUMBERS)))
    arenas.let_go()


def test_each_arena_is_kept_once(numbers: list[float]) -> None:
    for _ in range(3):
        arenas.keep(numbers)
        assert 20 <= arenas.kept() <= 4 * 30


def test_no_more_than_so_many_are_kept(numbers: list[float]) -> None:
    arenas.keep(numbers, most=7)
    arenas.keep(numbers[::-1], most=7)
    assert arenas.kept() == 7


def test_all_are_let_go_at_once(numbers: list[float]) -> None:
    arenas.keep(numbers)
    arenas.let_go()
    assert not arenas.kept()
