"""The line in front of the workers: a request goes to an idle worker at once, or waits for its turn.

Nothing here awaits: what happens to a worker moves a request on, so that none needs a task of its own. Whoever asks has
a `Recipient` for the answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from model_loader.errors import NotReady, QueueFull
from model_loader.pace import Pace
from model_loader.prediction import PredictRequest
from model_loader.process import NO_LIMIT, Recipient, WorkerProcess, WorkerState

#: How long a model that is to be stopped gets to see `mdai_cancelled` and return, which costs no start of a worker.
_OBEY_SECONDS = 0.5


@dataclass(frozen=True)
class PoolLimits:
    """Seconds and counts that the operator sets; `max_queue` is for each worker.

    `kills_abandoned`: a predict that nobody waits for any more is stopped; else it runs to its end.
    """

    startup_timeout: float = 600.0
    predict_timeout: float = 600.0
    max_queue: int = 64
    max_response: int = NO_LIMIT
    kills_abandoned: bool = False


class Asking:
    """One request on its way: in line while it has no `worker`, `queued` seconds of it when it has got one."""

    __slots__ = ("_arrived_at", "queued", "recipient", "request", "worker")

    def __init__(self, request: PredictRequest, recipient: Recipient) -> None:
        self.request = request
        self.recipient = recipient
        self.worker: WorkerProcess | None = None
        self.queued: float | None = None
        self._arrived_at = time.perf_counter()

    def taken_by(self, worker: WorkerProcess) -> None:
        """The worker has got it."""
        self.worker = worker
        self.queued = time.perf_counter() - self._arrived_at
        request = self.request
        if request.inputs is not None:
            request.inputs.hold()
        if request.taken_by is not None:
            request.taken_by(worker.number)

    def freed(self) -> float:
        """The worker has done with it; the seconds that it had it."""
        if self.request.inputs is not None:
            self.request.inputs.let_go()
        return time.perf_counter() - self._arrived_at - (self.queued or 0.0)


class Line:
    """Who is idle, and who waits; `quiet` is set while no request waits or runs that somebody wants the answer of.

    `count_workers` tells how many there are, idle or not. `not_ready` is the reason why a request that waits is refused
    when the line is closed. `on_idle` is called with a worker that has done with a request, and tells whether it may
    take another.
    """

    def __init__(
        self,
        limits: PoolLimits,
        count_workers: Callable[[], int],
        not_ready: Callable[[], NotReady],
        on_idle: Callable[[WorkerProcess], bool],
    ) -> None:
        self._limits = limits
        self._count_workers = count_workers
        self._not_ready = not_ready
        self._on_idle = on_idle
        self._idle: deque[WorkerProcess] = deque()
        self._waiting: deque[Asking] = deque()
        self._pace = Pace()
        self._open: set[Asking] = set()
        self._is_closed = False
        self.quiet = asyncio.Event()
        self.quiet.set()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def ask(self, request: PredictRequest, recipient: Recipient) -> Asking:
        """Have the request answered, now or later. Raises QueueFull, NoRoom, and NotReady once the line is closed."""
        asking = Asking(request, recipient)
        comes_first = bool(self._idle)  # though those that seem idle may have ended
        while self._idle:
            worker = self._idle.popleft()
            try:
                is_taken = self._hand_over(asking, worker)
            except Exception:
                self.release(worker)
                raise
            if is_taken:
                self._begun(asking)
                return asking
        if self._is_closed:
            raise self._not_ready()
        if comes_first:
            self._waiting.appendleft(asking)
        else:
            self.check_room()
            self._waiting.append(asking)
        self._begun(asking)
        return asking

    def leave(self, asking: Asking, *, is_over: bool = False) -> None:
        """Nobody waits for it any more, which its recipient says: it is dropped, or its model is told.

        The model is stopped where the limits say so, and where the request's own time `is_over`.
        """
        if asking not in self._open:  # its answer has come meanwhile, and its worker may have another request by now
            return
        if asking.worker is not None:
            asking.worker.abandon(_OBEY_SECONDS if is_over or self._limits.kills_abandoned else None)
        elif asking in self._waiting:
            self._waiting.remove(asking)
        self._ended(asking)

    def check_room(self) -> None:
        """Raises QueueFull where a request that came now would be refused."""
        waiting = len(self._waiting)
        if not self._idle and waiting >= self._limits.max_queue * max(1, self._count_workers()):
            raise QueueFull(
                f"{waiting} requests wait already, which is as many as --max-queue allows: try again later.",
                retry_after=self.expected_wait(),
            )

    def expected_wait(self) -> float:
        """Seconds after which a request that is refused now might find room, as predictions have gone lately."""
        return self._pace.until_turn(len(self._waiting) + 1, self._count_workers())

    def release(self, worker: WorkerProcess) -> None:
        """A worker has nothing to do: give it to who waits longest, or set it aside."""
        if worker.state is not WorkerState.READY or not self._on_idle(worker):
            return
        while self._waiting:
            asking = self._waiting.popleft()
            if asking.recipient.done():
                continue
            try:
                if not self._hand_over(asking, worker):
                    self._waiting.appendleft(asking)
                    return
            except Exception as error:  # noqa: BLE001 (told to who waits)
                self._refuse(asking, error)
            else:
                return
        self._idle.append(worker)

    def forget(self, worker: WorkerProcess) -> None:
        """Give it no other request."""
        if worker in self._idle:
            self._idle.remove(worker)

    def forget_idle(self) -> None:
        """Give none of those that are idle another request."""
        self._idle.clear()

    def refuse_waiting(self) -> None:
        """Nobody will come to take them."""
        while self._waiting:
            self._refuse(self._waiting.popleft(), self._not_ready())

    def close(self) -> None:
        """From now on nobody waits."""
        self._is_closed = True
        self.refuse_waiting()

    def _refuse(self, asking: Asking, error: Exception) -> None:
        self._ended(asking)
        if not asking.recipient.done():
            asking.recipient.set_exception(error)

    def _hand_over(self, asking: Asking, worker: WorkerProcess) -> bool:
        """False where the worker has just ended and has not seen the request. Raises NoRoom, and OSError."""
        if not _is_ready(worker):
            return False
        request = asking.request

        def freed() -> None:
            self._pace.note(asking.freed())
            self._ended(asking)
            self.release(worker)

        try:
            worker.submit(
                request.body,
                request.accept,
                request.request_id,
                self._limits.predict_timeout,
                self._limits.max_response,
                folder=str(request.inputs.folder) if request.inputs else "",
                freed=freed,
                recipient=asking.recipient,
            )
        except OSError:
            if _is_ready(worker):  # it is the request that cannot be handed over
                raise
            return False
        asking.taken_by(worker)
        return True

    def _begun(self, asking: Asking) -> None:
        self._open.add(asking)
        self.quiet.clear()

    def _ended(self, asking: Asking) -> None:
        self._open.discard(asking)
        if not self._open:
            self.quiet.set()


def _is_ready(worker: WorkerProcess) -> bool:
    return worker.state is WorkerState.READY
