"""What was loaded is not searched for garbage at every request, and is still freed once it has become garbage."""

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_loader.worker.mdai_guest.garbage import SetAside
from tests.hosting import Hosted

COUNTS = """
import gc
%s
loaded = [[] for _ in range(50000)]

class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1", "note": str(len(gc.get_objects()))}]
"""


@pytest.fixture
def searched(tmp_path: Path, host: Callable[..., Hosted]) -> Callable[[str], list[int]]:
    """How many objects are searched in each of three requests, by what the package does first."""

    def counted(statement: str) -> list[int]:
        folder = tmp_path / "counts" / ".mdai"
        folder.mkdir(parents=True)
        (folder / "mdai_deploy.py").write_text(COUNTS % statement)
        service = host(folder.parent).start()
        return [int(service.predict().outputs[0]["note"]) for _ in range(3)]

    return counted


def test_what_is_there_after_the_first_request_is_searched_no_more(searched: Callable[[str], list[int]]) -> None:
    first, second, third = searched("")
    assert first > 50_000
    assert second < 5_000
    assert third < 5_000


def test_a_package_that_switches_the_search_off_is_left_alone(searched: Callable[[str], list[int]]) -> None:
    assert min(searched("gc.disable()")) > 50_000


class Node:
    """One of a cycle."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def set_aside() -> Iterator[SetAside]:
    gc.unfreeze()
    yield SetAside()
    gc.unfreeze()


def test_what_becomes_garbage_later_is_freed_when_there_is_time(set_aside: SetAside) -> None:
    node = Node()
    alive = weakref.ref(node)
    assert set_aside.after_request()
    del node
    gc.collect()
    assert alive() is not None
    assert set_aside.anew()
    assert alive() is None


def test_garbage_is_freed_before_it_is_set_aside(set_aside: SetAside) -> None:
    alive = weakref.ref(Node())
    set_aside.after_request()
    assert alive() is None


def test_once_is_enough_while_requests_come(set_aside: SetAside) -> None:
    assert set_aside.after_request()
    assert not set_aside.after_request()
