"""What a pool is asked, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from model_loader.process import Answer
from model_loader.shared_buffer import SharedBuffer

Accept = Literal["msgpack", "json"]


class LoadedInputs(Protocol):
    """Files that were loaded ahead of the request that names them."""

    folder: Path

    def hold(self) -> None:
        """A worker has got the request, and needs the files, whoever waits for the answer."""

    def let_go(self) -> None:
        """It does no longer."""


@dataclass(slots=True)
class PredictRequest:
    """One request: its body as msgpack in a shared buffer, the form of the answer, an id for the logs.

    `timeout` bounds its wait in line and its predict together, in seconds; None: only the operator's own limit counts.
    `inputs` are the files that it names by their paths. `taken_by` is told the number of the worker that has got it.
    """

    body: SharedBuffer
    accept: Accept
    request_id: str
    timeout: float | None = None
    inputs: LoadedInputs | None = None
    taken_by: Callable[[int], None] | None = None


class Prediction:
    """The answer to one request; leaving its `with` block gives the memory back.

    The response is the first `size` bytes of `body`. `timings` has seconds by phase: queue, decode, predict, encode.
    """

    def __init__(self, answer: Answer, queued: float) -> None:
        self.body, done = answer.body, answer.done
        self.size = done.size
        self.skeleton = self.body.read(done.size, done.skeleton)
        self.timings = {"queue": queued} | {str(phase): seconds for phase, seconds in done.timings.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.body.close()
