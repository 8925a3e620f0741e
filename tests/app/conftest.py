"""A service whose model is a plain object, in process and behind a real socket."""

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import msgpack
import pytest
import uvicorn

from app.application import create_app, quick_way
from app.exchange import FrontDoor, Tracing
from app.protocol import http_protocol
from app.served import Served
from app.settings import Settings
from model_loader.channel import Done
from model_loader.config import ModelConfig
from model_loader.package import ModelPackage
from model_loader.process import Answer
from model_loader.shared_buffer import SharedBuffer


class FakePrediction:
    """An answer in a shared buffer, as a worker leaves it."""

    def __init__(self, response: bytes, size: int, skeleton: bytes) -> None:
        self.body = SharedBuffer()
        self.body.write(response)
        self.size = size
        self.skeleton = skeleton
        self.timings = {"queue": 0.001, "decode": 0.002, "predict": 0.003, "encode": 0.004}
        self.is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.body.close()
        self.is_closed = True


class FakePool:
    """Keeps the contract of a worker pool with answers that the test sets; `hold` makes predictions wait."""

    def __init__(self) -> None:
        self.outputs: Any = []
        self.response: bytes | None = None
        self.missing_bytes = 0
        self.not_ready: Exception | None = None
        self.queue_full: Exception | None = None
        self.raises: BaseException | None = None
        self.hold: asyncio.Event | None = None
        self.bodies: list[Any] = []
        self.asked: list[asyncio.Task[None]] = []
        self.requests: list[Any] = []
        self.predictions: list[FakePrediction] = []
        self.events: list[str] = []
        self.has_begun = threading.Event()
        self.was_dropped = threading.Event()

    async def start(self) -> None:
        self.events.append("started")

    async def stop(self, grace: float) -> None:
        self.events.append(f"stopped with {grace:g} s of grace")

    def check_ready(self) -> None:
        if self.not_ready is not None:
            raise self.not_ready

    def check_admission(self) -> None:
        self.check_ready()
        if self.queue_full is not None:
            raise self.queue_full

    def expected_wait(self) -> float:
        return 7.0

    async def predict(self, request: Any) -> FakePrediction:
        self.requests.append(request)
        self.bodies.append(request.body.read(0, request.body.size))
        self.has_begun.set()
        try:
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.was_dropped.set()
            raise
        if self.raises is not None:
            raise self.raises
        packed = json.dumps(self.outputs).encode() if request.accept == "json" else msgpack.packb(self.outputs)
        response = packed if self.response is None else self.response
        prediction = FakePrediction(response, len(response) + self.missing_bytes, msgpack.packb(self.outputs))
        self.predictions.append(prediction)
        return prediction

    def ask(self, request: Any, recipient: Any) -> SimpleNamespace:
        self.check_admission()
        task = asyncio.get_running_loop().create_task(self._answer(request, recipient))
        self.asked.append(task)
        return SimpleNamespace(queued=0.001, request=request, task=task)

    async def _answer(self, request: Any, recipient: Any) -> None:
        try:
            prediction = await self.predict(request)
        except Exception as error:  # noqa: BLE001 (as a worker tells of whatever was raised)
            recipient.set_exception(error)
            return
        with prediction:
            response, skeleton = prediction.body.read(0, prediction.size), prediction.skeleton
        body = SharedBuffer()
        body.write(response + skeleton)
        recipient.set_result(Answer(Done(prediction.size, len(skeleton), prediction.timings), body))

    def leave(self, asking: SimpleNamespace) -> None:
        asking.task.cancel()

    def describe(self) -> dict[str, Any]:
        reason = str(self.not_ready) if self.not_ready else ""
        counts: dict[str, Any] = {"restarts": 0, "restarts_by_cause": {}}
        worker = {"id": 0, "state": "ready", "pid": 1, "device": "cpu", **counts}
        return {
            "state": "not ready" if reason else "ready",
            "reason": reason or None,
            "environment": {"description": "Python 3.7.16", "python": "3.7.16", "packages": {"numpy": "1.18.5"}},
            "devices": ["cpu"],
            "waiting": 0,
            "workers": [worker],
            "spares": {"wanted": 0, "loaded": [], "restarts_by_cause": {}},
            "restarts_by_cause": {},
        }


@pytest.fixture
def pool() -> FakePool:
    """The model's end of the service."""
    return FakePool()


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    """The smallest package there is."""
    deploy = tmp_path / "lungs" / ".mdai" / "mdai_deploy.py"
    deploy.parent.mkdir(parents=True)
    deploy.write_text("class MDAIModel: ...\n")
    config = ModelConfig.model_validate({"base_image": "py38", "env": {"TOKEN": "secret-value"}})
    return ModelPackage("lungs", tmp_path / "lungs", config, ("A warning.",))


@pytest.fixture
def make_app(pool: FakePool, package: ModelPackage, tmp_path: Path) -> Callable[..., FrontDoor]:
    """The application, with options, and with another package where one is given."""

    def make(*, package: ModelPackage = package, tracing: Tracing | None = None, **options: Any) -> FrontDoor:
        return create_app(Settings(**options), pool, Served(package), tmp_path / "loaded", tracing=tracing)

    return make


class Server(uvicorn.Server):
    """uvicorn in a thread, with the HTTP parser and the event loop of the product."""

    def __init__(self, app: FrontDoor, read_timeout: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=http_protocol(read_timeout, quick_way(app)),
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=5,
            )
        )
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.running_loop = asyncio.get_running_loop()
        self.is_up.set()

    def stop(self) -> None:
        """Begin to stop it: what runs may finish."""
        self.should_exit = True

    def call(self, function: Callable[[], Any]) -> None:
        """Run `function` on the server's loop."""
        self.running_loop.call_soon_threadsafe(function)


@contextlib.contextmanager
def _served(app: FrontDoor, read_timeout: float, send_buffer: int = 0) -> Iterator[SimpleNamespace]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if send_buffer:  # connections inherit it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        server = Server(app, read_timeout)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert server.is_up.wait(10)
            host, port = listener.getsockname()
            yield SimpleNamespace(
                host=host,
                port=port,
                url=f"http://{host}:{port}",
                call=server.call,
                stop=server.stop,
                connections=server.server_state.connections,
            )
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def serve(make_app: Callable[..., FrontDoor]) -> Iterator[Callable[..., SimpleNamespace]]:
    """Starts a real server on a free port of 127.0.0.1; gives its host, port, url, `call`, `stop`, `connections`.

    The kernel keeps `send_buffer` bytes of what its clients have not read, or as much as it likes.
    """
    with contextlib.ExitStack() as stack:
        yield lambda tracing=None, send_buffer=0, **options: stack.enter_context(
            _served(make_app(tracing=tracing, **options), Settings(**options).read_timeout, send_buffer)
        )


@pytest.fixture
def log_of_app(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that the service logs."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.fixture
def live_buffers(monkeypatch: pytest.MonkeyPatch) -> list[SharedBuffer]:
    """Every buffer that the service makes."""
    made: list[SharedBuffer] = []
    make = SharedBuffer.__init__

    def make_and_note(self: SharedBuffer, *arguments: Any) -> None:
        make(self, *arguments)
        made.append(self)

    monkeypatch.setattr(SharedBuffer, "__init__", make_and_note)
    return made
