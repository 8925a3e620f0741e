"""What `mdai-model serve` does: open the package, bind the port, run the service until it is told to stop."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import uvloop

from app import logs
from app.cli import fail
from app.reloading import Watched, reloading, reopening
from app.served import Served
from app.settings import Settings, SettingsError, load_settings, stray_variables
from app.signals import handling
from model_loader.devices import DevicePlan, builds_for_gpu, plan_devices
from model_loader.environment import EnvironmentRequest
from model_loader.errors import DeviceError, PackageError
from model_loader.launch import preparation
from model_loader.line import PoolLimits
from model_loader.package import ModelPackage, open_package
from model_loader.pool import Prepare, WorkerPool
from model_loader.recycling import Upkeep
from model_loader.workdir import RunFolder
from model_loader.worker_user import UserError, WorkerUser, named_user

if TYPE_CHECKING:
    from app.access import Access
    from app.server import Server

log = logging.getLogger(__name__)


def run_server(source: Path, options: Mapping[str, Any]) -> None:
    """Serve `source` until SIGINT or SIGTERM; exit code 2 and a sentence where it cannot be served."""
    settings = read_settings(options)
    logs.configure(settings.log_level, settings.log_format, model_output=settings.model_output == "log")
    access = checked_access(settings)
    user = _worker_user(settings)
    request = environment_request(settings)
    with ending_on_signals(), RunFolder() as run:
        watched = Watched.from_now_on(source) if settings.reload else None
        package = opened(source, run, settings)
        if package.version is not None:
            log.info("%s", _export_line(package))
        served = Served(package)
        choose_devices = _devices(package, settings)
        for warning in (*stray_variables(), *access.doubts, *package.warnings, *_ignored(package, settings)):
            log.warning("%s", warning)
        with _listening(settings) as listener:
            if user is None and os.geteuid() == 0:
                log.warning(
                    "The server runs as root, and so does the model: `--worker-user nobody`, or another user without"
                    " privileges, has it run as that one."
                )
            pool = WorkerPool(
                _preparation(source, served, request, choose_devices, run, settings, user),
                PoolLimits(
                    startup_timeout=settings.startup_timeout,
                    predict_timeout=settings.predict_timeout,
                    max_queue=settings.max_queue,
                    max_response=settings.max_response,
                    kills_abandoned=settings.on_disconnect == "kill",
                ),
                upkeep=Upkeep(settings.spare_workers, settings.max_requests_per_worker, settings.worker_memory),
            )
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, access, pool, served, listener, watched, run.path / "loaded"))
            log.info("stopped")


def _preparation(
    source: Path,
    served: Served,
    request: EnvironmentRequest,
    choose_devices: Callable[[], DevicePlan],
    run: RunFolder,
    settings: Settings,
    user: WorkerUser | None,
) -> Prepare:
    package = served.package
    if not settings.reload:
        return preparation(package, request, choose_devices, run, settings.cache_dir, user=user)

    def prepare(changed: ModelPackage) -> Prepare:
        chosen = choose_devices if changed is package else _devices(changed, settings)
        return preparation(changed, request, chosen, run, settings.cache_dir, home_of=package, user=user)

    return reopening(served, run.scratch, lambda: open_as_set(source, run, settings), prepare)


async def _serve(
    settings: Settings,
    access: "Access",
    pool: WorkerPool,
    served: Served,
    listener: socket.socket,
    watched: Watched | None,
    files: Path,
) -> None:
    """Have the model load while what speaks HTTP is imported, which takes about as long as a small model does."""
    host, port = listener.getsockname()[:2]
    with _stoppable() as hand_over:
        try:
            await pool.start()
            server = await asyncio.to_thread(_http_server, settings, access, pool, served, files)
            hand_over(server)
            listener.listen()  # whoever reads the next line may connect
            scheme = "https" if settings.tls_cert else "http"
            log.info(
                "serving %s on %s://%s:%d", served.package.name, scheme, f"[{host}]" if ":" in host else host, port
            )
            async with reloading(pool, watched):
                await server.serve(sockets=[listener])
        except asyncio.CancelledError:  # it was told to stop before it could answer
            log.info("stopping")
        finally:
            await pool.stop(0)


def _http_server(settings: Settings, access: "Access", pool: WorkerPool, served: Served, files: Path) -> "Server":
    from app.server import http_server  # slow to import, and not needed where something is wrong

    server = http_server(settings, access, pool, served, files)
    gc.freeze()  # what is loaded stays: no search for garbage need look at it again
    gc.enable()
    return server


@contextlib.contextmanager
def _stoppable() -> Iterator["Callable[[Server], None]"]:
    """A signal cancels the current task, once; after a server was handed over, it is told to that instead."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    servers: list[Server] = []
    cancelled = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal cancelled
        if servers:
            servers[0].handle_exit(number, frame)
        elif task is not None and not cancelled:
            cancelled = task.cancel()

    def told(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop, number, frame)

    with handling(told):
        yield servers.append


def read_settings(options: Mapping[str, Any]) -> Settings:
    """The settings; ends with a sentence for each option that has no meaning."""
    try:
        return load_settings(options)
    except SettingsError as error:
        fail(str(error))


def checked_access(settings: Settings) -> "Access":
    """API keys, certificate and key; ends with a sentence where these cannot be used."""
    from app.access import Access

    try:
        return Access.as_set(settings)
    except SettingsError as error:
        fail(str(error))


def _worker_user(settings: Settings) -> WorkerUser | None:
    """Whom workers become; ends with a sentence where that cannot be."""
    if settings.worker_user is None:
        return None
    try:
        return named_user(settings.worker_user)
    except UserError as error:
        fail(f"--worker-user: {error}")


def opened(source: Path, run: RunFolder, settings: Settings) -> ModelPackage:
    """The package; ends with a sentence where it cannot be served."""
    try:
        return open_as_set(source, run, settings)
    except PackageError as error:
        fail(error.text)


def open_as_set(source: Path, run: RunFolder, settings: Settings) -> ModelPackage:
    """The package, opened as the options say. Raises PackageError."""
    return open_package(
        source,
        scratch=run.scratch,
        model_root=settings.model_root,
        model_version=settings.model_version,
        is_python_chosen=settings.python is not None or settings.environment != "auto",
    )


def _export_line(package: ModelPackage) -> str:
    """What is served of a platform export."""
    count = len(package.label_classes)
    facts = [
        f"version{'' if len(package.versions) == 1 else 's'} {', '.join(map(str, package.versions))}",
        f"scope {package.scope or 'unknown'}",
        f"{count} label class{'' if count == 1 else 'es'}",
    ]
    name = package.name.removesuffix(f" v{package.version}")
    return f"serving version {package.version} of export {name} ({'; '.join(facts)})"


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


def environment_request(settings: Settings) -> EnvironmentRequest:
    """What the options say about the model's environment; ends with a sentence where a path leads nowhere."""
    if settings.wheelhouse is not None and not settings.wheelhouse.is_dir():
        fail(
            f"--wheelhouse: there is no folder {settings.wheelhouse}. `mdai-model env PACKAGE --wheelhouse` fills one."
        )
    request = EnvironmentRequest(
        python=settings.python,
        offline=settings.offline,
        wheelhouse=settings.wheelhouse,
        exclude_newer=settings.exclude_newer,
        torch_backend=settings.torch_backend,
    )
    match settings.environment:
        case "auto" | "current" as mode:
            return replace(request, mode=mode)
        case path:
            environment = Path(path)
            if not environment.exists():
                fail(f"--environment: there is no {path}. Name a venv, a conda environment or an interpreter.")
            if environment.is_dir() and not (environment / "bin" / "python").exists():
                fail(f"--environment: {path} holds no bin/python, so it is no environment of Python's.")
            return replace(request, mode=environment)


def built_here(request: EnvironmentRequest, package: ModelPackage, settings: Settings) -> EnvironmentRequest:
    """`request`, where the environment is built and no worker started: for the device that the model would run on."""
    if request.mode != "auto":
        return request
    return replace(request, gpu=builds_for_gpu(package.config.device_type, settings.device, os.environ))


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


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Until the service runs, a signal ends this process by way of every `finally`."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    with handling(end):
        yield
