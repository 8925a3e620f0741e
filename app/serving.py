"""What `mdai-model serve` and `env` do: open the package, bind the port, run the service until it is told to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer

from app import logs
from app.cli import fail
from app.settings import Settings, SettingsError, load_settings, stray_variables
from model_loader.devices import DevicePlan, plan_devices
from model_loader.environment import EnvironmentRequest, build_environment
from model_loader.errors import DeviceError, EnvironmentBuildError, PackageError
from model_loader.launch import preparation
from model_loader.package import ModelPackage, open_package
from model_loader.pool import PoolLimits, WorkerPool
from model_loader.workdir import RunFolder

#: After the grace, for workers to be ended and clients to take their answers.
_LAST_ANSWERS_SECONDS = 10.0
_HURRIED_ANSWERS_SECONDS = 1.0
log = logging.getLogger(__name__)


def run_server(source: Path, options: Mapping[str, Any]) -> None:
    """Serve `source` until SIGINT or SIGTERM; exit code 2 and a sentence where it cannot be served."""
    settings = _settings(options)
    logs.configure(settings.log_level, settings.log_format)
    request = _environment_request(settings)
    with _ending_on_signals(), RunFolder() as run:
        package = _open(source, run, settings)
        choose_devices = _devices(package, settings)
        for warning in (*stray_variables(), *package.warnings, *_ignored(package, settings)):
            log.warning("%s", warning)
        with _listening(settings) as listener:
            pool = WorkerPool(
                preparation(package, request, choose_devices, run, settings.cache_dir),
                PoolLimits(
                    startup_timeout=settings.startup_timeout,
                    predict_timeout=settings.predict_timeout,
                    max_queue=settings.max_queue,
                ),
            )
            _run(settings, pool, package, listener)


def show_environment(source: Path, options: Mapping[str, Any]) -> None:
    """Build the environment of `source` and print what is in it; exit code 1 where it cannot be built."""
    settings = _settings(options)
    request = _environment_request(settings)
    with _ending_on_signals(), RunFolder() as run:
        package = _open(source, run, settings)
        for warning in package.warnings:
            typer.echo(warning, err=True)
        try:
            environment = build_environment(
                package,
                request,
                cache=settings.cache_dir,
                progress=lambda line: typer.echo(line, err=True),
                environ=os.environ,
            )
        except EnvironmentBuildError as error:
            fail(error.text, code=1)
    typer.echo(f"{package.name}: {environment.description}\n{environment.python}")
    for name, version in environment.packages:
        typer.echo(f"    {name}=={version}")


def _settings(options: Mapping[str, Any]) -> Settings:
    try:
        return load_settings(options)
    except SettingsError as error:
        fail(str(error))


def _open(source: Path, run: RunFolder, settings: Settings) -> ModelPackage:
    is_python_chosen = settings.python is not None or settings.environment != "auto"
    try:
        return open_package(
            source, scratch=run.scratch, model_root=settings.model_root, is_python_chosen=is_python_chosen
        )
    except PackageError as error:
        fail(error.text)


def _devices(package: ModelPackage, settings: Settings) -> Callable[[], DevicePlan]:
    """What chooses the devices, once the service listens; where the operator demands a GPU, it has been chosen."""
    choose = partial(plan_devices, package.config.device_type, settings.device, settings.workers, os.environ)
    if settings.device != "gpu":
        return choose
    try:
        chosen = choose()
    except DeviceError as error:
        fail(error.text)
    return lambda: chosen


def _ignored(package: ModelPackage, settings: Settings) -> Iterator[str]:
    own = "{}.{}".format(*sys.version_info)
    wanted = package.config.python_version
    if settings.environment == "current" and wanted != own:
        yield f"config.yaml asks for Python {wanted}; --environment current runs the model on the server's own {own}."


def _environment_request(settings: Settings) -> EnvironmentRequest:
    match settings.environment:
        case "auto" | "current" as mode:
            return EnvironmentRequest(mode=mode, python=settings.python)
        case path:
            environment = Path(path)
            if not environment.exists():
                fail(f"--environment: there is no {path}. Name a venv, a conda environment or an interpreter.")
            if environment.is_dir() and not (environment / "bin" / "python").exists():
                fail(f"--environment: {path} holds no bin/python, so it is no environment of Python's.")
            return EnvironmentRequest(mode=environment, python=settings.python)


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except (OSError, UnicodeError, TypeError) as error:  # the latter two for what can be no host's name
            reason = getattr(error, "strerror", None) or error
            fail(
                f"cannot listen on {settings.host}, port {settings.port}: {reason}."
                " Choose others with --host and --port."
            )
        yield listener


def _run(settings: Settings, pool: WorkerPool, package: ModelPackage, listener: socket.socket) -> None:
    import uvicorn
    import uvloop

    from app.application import create_app
    from app.protocol import http_protocol

    config = uvicorn.Config(
        create_app(settings, pool, package),
        lifespan="on",
        ws="none",
        http=http_protocol(settings.read_timeout),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.grace + _LAST_ANSWERS_SECONDS),
    )

    class Server(uvicorn.Server):
        """uvicorn's, but it ends with exit code 0 when it was told to stop, and on a closed terminal too.

        The workers end with the grace, so that every request has an answer of its own before connections are cut.
        """

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            with _handling(self.handle_exit):
                yield

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            log.info("stopping: what runs may finish within %g s", settings.grace)
            stopping = asyncio.create_task(pool.stop(settings.grace))
            await super().shutdown(sockets)
            await pool.stop(0)
            if self.force_exit:  # a second Ctrl-C has cut that short
                if self.server_state.tasks:
                    await asyncio.wait(self.server_state.tasks, timeout=_HURRIED_ANSWERS_SECONDS)
                await self.lifespan.shutdown()
            await stopping

    async def serve_and_stop() -> None:
        try:
            await Server(config).serve(sockets=[listener])
        finally:
            await pool.stop(0)

    host, port = listener.getsockname()[:2]
    log.info("serving %s on http://%s:%d", package.name, f"[{host}]" if ":" in host else host, port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_and_stop())
    log.info("stopped")


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Until the service runs, a signal ends this process by way of every `finally`."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    with _handling(end):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """`handler` for Ctrl-C, SIGTERM and a closed terminal; one that was started with nohup stays."""
    before = {
        number: signal.signal(number, handler)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
