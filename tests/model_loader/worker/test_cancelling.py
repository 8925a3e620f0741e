"""By what a model learns that nobody waits: an event in all that it can be asked, made when it is asked."""

import gc
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_loader.worker.mdai_guest import wire
from model_loader.worker.mdai_guest.cancelling import Cancelled, Notice
from tests.hosting import PATIENCE


class Noted:
    """A notice that a test writes to."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def event(self, number: int = 7) -> Cancelled:
        return Cancelled(Notice(self.descriptor), number)

    def write(self, number: int) -> None:
        os.pwrite(self.descriptor, wire.NUMBER.pack(number), 0)


@pytest.fixture
def noted() -> Iterator[Noted]:
    with tempfile.TemporaryFile() as file:
        noted = Noted(file.fileno())
        noted.write(0)
        yield noted


def test_it_is_set_by_its_own_number_alone_and_stays_so_after_its_request(noted: Noted) -> None:
    mine, other = noted.event(7), noted.event(8)
    noted.write(7)
    assert (mine.is_set(), other.is_set()) == (True, False)
    assert mine.wait() and not other.wait(0)
    mine.end()
    other.end()
    noted.write(8)
    assert (mine.is_set(), other.is_set()) == (True, False)


def test_a_package_may_set_clear_and_show_it_as_any_event(noted: Noted) -> None:
    event = noted.event()
    assert isinstance(event, threading.Event)
    event.clear()
    assert not event.is_set()
    event.set()
    assert event.is_set() and event.wait(0)
    event.end()
    assert event.is_set()
    event.clear()
    assert not event.is_set()
    assert "Cancelled" in repr(noted.event())
    assert not hasattr(event, "nothing_of_an_event")


def test_who_waits_is_woken_by_who_sets_it(noted: Noted) -> None:
    event = noted.event()
    with ThreadPoolExecutor(1) as threads:
        woken = threads.submit(event.wait, PATIENCE)
        event.set()
        assert woken.result()


def test_threads_that_look_at_once_look_at_one_event(noted: Noted) -> None:
    together = threading.Barrier(8)

    def parts(event: Cancelled) -> tuple[int, ...]:
        together.wait()
        event.wait(0)
        event.set()
        assert event.is_set()
        return tuple(id(part) for name, part in sorted(vars(event).items()) if name not in ("_notice", "_number"))

    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            event = noted.event()
            assert len(set(threads.map(parts, [event] * 8))) == 1


def test_one_that_nobody_looks_at_costs_no_parts_and_leaves_no_garbage(noted: Noted) -> None:
    gc.collect()
    event = noted.event()
    event.end()
    assert len(vars(event)) == 2
    del event
    assert gc.collect() == 0
