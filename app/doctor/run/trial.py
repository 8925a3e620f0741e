"""A model on trial: hosted in a real worker as `serve` hosts it, asked one request after the other, and ended."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgpack

from app.doctor.run.inputs import TrialRequest
from app.doctor.run.remarks import Answer
from model_loader.devices import DeviceChoice, plan_devices
from model_loader.environment import EnvironmentRequest
from model_loader.errors import DeadlineExceeded, ModelLoaderError, NotReady, PredictFailed
from model_loader.launch import preparation
from model_loader.line import PoolLimits
from model_loader.package import ModelPackage
from model_loader.pool import PoolState, WorkerPool
from model_loader.prediction import PredictRequest
from model_loader.shared_buffer import SharedBuffer
from model_loader.workdir import RunFolder

_LAST_LINES = 10


@dataclass(frozen=True)
class Hosting:
    """How the model is hosted; the options of `serve` by these names, in seconds where they are durations."""

    environment: EnvironmentRequest
    cache: Path
    device: DeviceChoice = "auto"
    startup_timeout: float = 600.0
    predict_timeout: float = 600.0
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


@dataclass(frozen=True)
class Outcome:
    """What became of one request: an answer, or the error; and the last lines that the model printed meanwhile."""

    request: TrialRequest
    result: Answer | ModelLoaderError
    printed: tuple[str, ...]


@dataclass(frozen=True)
class FailedStart:
    """Why the model could not be loaded, and the last lines that it printed."""

    error: ModelLoaderError
    printed: tuple[str, ...]


def run_trial(
    package: ModelPackage,
    hosting: Hosting,
    run: RunFolder,
    requests: Sequence[TrialRequest],
    receive: Callable[[Outcome], None],
    *,
    label_classes: Sequence[Mapping[str, Any]] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> FailedStart | None:
    """Ask the model each of `requests`; `receive` gets the outcomes as they come. Call it on the main thread.

    Returns why the model could not be loaded, at the start or again after its process had ended, and then asks no
    more. After a predict that was stopped at its timeout, no more is asked of the same kind, made up or given. No
    process is left when this returns or raises. Raises InputError where an input cannot be read any more.
    """
    choose = partial(plan_devices, package.config.device_type, hosting.device, 1, hosting.environ)
    prepare = preparation(package, hosting.environment, choose, run, hosting.cache, hosting.environ)
    limits = PoolLimits(hosting.startup_timeout, hosting.predict_timeout)
    with _listening() as printed, asyncio.Runner() as runner:
        return runner.run(_trial(WorkerPool(prepare, limits), requests, receive, label_classes, progress, printed))


async def _trial(
    pool: WorkerPool,
    requests: Sequence[TrialRequest],
    receive: Callable[[Outcome], None],
    label_classes: Sequence[Mapping[str, Any]],
    progress: Callable[[str], None],
    printed: deque[str],
) -> FailedStart | None:
    stopped: set[bool] = set()
    try:
        progress("loading the model")
        await pool.start()
        await pool.until_settled()
        for request in requests:
            if _has_failed(pool):
                break
            if request.is_synthetic in stopped:
                continue
            progress(f"predict: {request.name}")
            printed.clear()
            result = await _result(pool, request, label_classes)
            if isinstance(result, NotReady) and _has_failed(pool):  # it ended before it had the request
                break
            if isinstance(result, DeadlineExceeded):
                stopped.add(request.is_synthetic)
            receive(Outcome(request, result, tuple(printed)))
            await pool.until_settled()
        return FailedStart(pool.failure, tuple(printed)) if pool.failure is not None else None
    finally:
        await pool.stop(grace=0)


def _has_failed(pool: WorkerPool) -> bool:
    return pool.state is PoolState.FAILED


async def _result(
    pool: WorkerPool, request: TrialRequest, label_classes: Sequence[Mapping[str, Any]]
) -> Answer | ModelLoaderError:
    with SharedBuffer() as body:
        _write(request, label_classes, body)
        try:
            with await pool.predict(PredictRequest(body, "msgpack", "check")) as prediction:
                return Answer(request, prediction.body.read(0, prediction.size), prediction.skeleton)
        except (PredictFailed, NotReady) as error:
            return error


def _write(request: TrialRequest, label_classes: Sequence[Mapping[str, Any]], body: SharedBuffer) -> None:
    """The request as msgpack, a file at a time."""
    packer = msgpack.Packer()
    body.write(packer.pack_map_header(4))
    for key, value in (("annotations", []), ("args", {}), ("label_classes", list(label_classes))):
        body.write(packer.pack(key) + packer.pack(value))
    body.write(packer.pack("files") + packer.pack_array_header(len(request.files)))
    for file in request.files:
        body.write(packer.pack(file.message()))


@contextmanager
def _listening() -> Iterator[deque[str]]:
    """The last lines that the model prints; neither these nor what is logged about its worker reach anybody else."""
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    loggers = [logging.getLogger(name) for name in ("model", "model_loader")]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    listener, silence = _Lines(lines), logging.NullHandler()
    loggers[0].addHandler(listener)
    loggers[0].setLevel(logging.INFO)
    loggers[1].addHandler(silence)
    for logger in loggers:
        logger.propagate = False
    try:
        yield lines
    finally:
        loggers[0].removeHandler(listener)
        loggers[1].removeHandler(silence)
        for logger, level, propagate in before:
            logger.setLevel(level)
            logger.propagate = propagate


class _Lines(logging.Handler):
    """Keeps the last lines."""

    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())
