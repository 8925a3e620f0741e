"""What HTTP needs of the processes that host the model: a pool of workers, or whatever takes its place."""

from types import TracebackType
from typing import Any, Protocol, Self

from model_loader.line import Asking
from model_loader.prediction import PredictRequest
from model_loader.process import Recipient
from model_loader.shared_buffer import SharedBuffer


class Prediction(Protocol):
    """The answer to one request; leaving its `with` block gives the memory back."""

    body: SharedBuffer
    """The response's first `size` bytes, as msgpack or JSON."""
    size: int
    skeleton: bytes
    """The outputs as `app.interface` judges them."""
    timings: dict[str, float]
    """Seconds, by phase: queue, decode, predict, encode."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Predictor(Protocol):
    """Answers requests with the model's predictions."""

    async def start(self) -> None:
        """Begin to load the model; returns at once."""

    async def stop(self, grace: float) -> None:
        """Refuse what is new, give what runs `grace` seconds, and end."""

    def check_ready(self) -> None:
        """Raises NotReady where no worker could take a request now; its text is the reason."""

    def check_admission(self) -> None:
        """Raises NotReady or QueueFull where a request that came now would be refused."""

    def expected_wait(self) -> float:
        """Seconds after which a request that is refused now might find room."""

    async def predict(self, request: PredictRequest) -> Prediction:
        """Raises NotReady or PredictFailed. Cancelled, a request that waits is dropped."""

    def ask(self, request: PredictRequest, recipient: Recipient) -> Asking:
        """`predict` for one who does not await: the recipient gets the answer, NotReady, or PredictFailed.

        Raises NotReady or QueueFull where the request is refused; then the recipient hears nothing.
        """

    def leave(self, asking: Asking) -> None:
        """Nobody waits for the answer any more, which its recipient says."""

    def describe(self) -> dict[str, Any]:
        """Facts for people, as JSON: state, reason, environment, devices, workers."""
