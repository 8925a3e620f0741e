"""What a worker writes for the result of a `predict`, made in this process."""

from typing import Any, Literal, NamedTuple

import msgpack
import pytest

from app.interface.skeleton import Skeletons
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import encoding
from model_loader.worker.mdai_guest.unwritable import Unwritable


class Written(NamedTuple):
    """The response's bytes and the skeleton's."""

    response: bytes
    skeleton: bytes

    @property
    def outputs(self) -> Any:
        """The response, decoded."""
        return msgpack.unpackb(self.response, strict_map_key=False)

    @property
    def facts(self) -> Any:
        """The skeleton with every type as it was returned."""
        return Skeletons().as_returned(self.skeleton)


def written(outputs: Any, accept: Literal["msgpack", "json"] = "msgpack") -> Written:
    with SharedBuffer() as buffer:
        size, length = encoding.write_into(encoding.materialise(outputs), encoding.Sink(lambda: buffer.fd), accept)
        return Written(buffer.read(0, size), buffer.read(size, length))


def under(key: str, value: Any) -> Any:
    """What comes out for `value` under `key` of an output."""
    return written([{key: value}]).outputs[0][key]


def in_data(key: str, value: Any) -> Any:
    """What comes out for `value` under `key` of an output's data."""
    return written([{"data": {key: value}}]).outputs[0]["data"][key]


def facts_about(value: Any) -> Any:
    """What the skeleton tells about `value` in an output."""
    return written([{"images": value}]).facts[0]["images"]


def refusal(value: Any) -> str:
    """Why `value` cannot be written in an output."""
    with pytest.raises(Unwritable) as caught:
        written([{"note": value}])
    return str(caught.value)
