"""What a pool is asked, and what it answers."""

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from model_loader.channel import Done
from model_loader.shared_buffer import SharedBuffer

Accept = Literal["msgpack", "json"]


@dataclass(frozen=True)
class PredictRequest:
    """One request: its body as msgpack in a shared buffer, the form of the answer, an id for the logs.

    `timeout` bounds its wait in line and its predict together, in seconds; None: only the operator's own limit counts.
    """

    body: SharedBuffer
    accept: Accept
    request_id: str
    timeout: float | None = None


class Prediction:
    """The answer to one request; leaving its `with` block gives the memory back.

    The response is the first `size` bytes of `body`. `timings` has seconds by phase: queue, decode, predict, encode.
    """

    def __init__(self, body: SharedBuffer, done: Done, queued: float) -> None:
        self.body = body
        self.size = done.size
        self.skeleton = body.read(done.size, done.skeleton)
        self.timings = {"queue": queued} | {str(phase): seconds for phase, seconds in done.timings.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.body.close()
