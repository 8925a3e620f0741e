"""Outputs as the judge gets them: pictured by the worker's own code, or built by hand where no worker would."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from app.interface.errors import InvalidOutput
from app.interface.labels import LabelClass
from app.interface.outputs import judge
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import encoding, wire

Skeletons = Callable[[Any], bytes]
Judge = Callable[..., tuple[str, ...]]


def _skeleton_of(outputs: Any) -> bytes:
    with SharedBuffer() as buffer:
        size, length = encoding.write_into(encoding.materialise(outputs), encoding.Sink(lambda: buffer.fd), "msgpack")
        return buffer.read(size, length)


@pytest.fixture(scope="session")
def skeleton_of() -> Skeletons:
    """What a worker tells the server about the result of `predict`."""
    return _skeleton_of


@pytest.fixture(scope="session")
def warnings_about() -> Judge:
    """The judge's warnings about the result of `predict`; raises InvalidOutput."""

    def warnings(outputs: Any, label_classes: tuple[LabelClass, ...] = (), *, strict: bool = False) -> tuple[str, ...]:
        return judge(_skeleton_of(outputs), label_classes, strict=strict)

    return warnings


@pytest.fixture(scope="session")
def refusal_of() -> Callable[..., str]:
    """Why the result of `predict` is refused."""

    def refusal(outputs: Any, *, strict: bool = False) -> str:
        with pytest.raises(InvalidOutput) as caught:
            judge(_skeleton_of(outputs), strict=strict)
        return caught.value.text

    return refusal


@pytest.fixture(scope="session")
def typed() -> Callable[[str, Any], msgpack.ExtType]:
    """A value of another than a builtin type, as it stands in a skeleton."""
    return lambda name, value: msgpack.ExtType(wire.EXT_TYPED, msgpack.packb([name, value]))


@pytest.fixture(scope="session")
def summary() -> Callable[..., msgpack.ExtType]:
    """Facts about a list, as they stand in a skeleton."""
    return lambda **facts: msgpack.ExtType(wire.EXT_SUMMARY, msgpack.packb(facts))


@pytest.fixture(scope="session")
def unwritable() -> Callable[..., msgpack.ExtType]:
    """Something that no response can carry, as it stands in a skeleton."""
    return lambda *facts: msgpack.ExtType(wire.EXT_UNWRITABLE, msgpack.packb(facts))
