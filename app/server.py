"""The HTTP server around the application: uvicorn, and how it stops."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from app.access import Access
from app.application import create_app, quick_way
from app.protocol import http_protocol
from app.served import Served
from app.settings import Settings
from app.signals import handling
from app.tracing import tracing_asked_for
from model_loader.pool import WorkerPool

#: After the grace, for workers to be ended and clients to take their answers.
_LAST_ANSWERS_SECONDS = 10.0
_HURRIED_ANSWERS_SECONDS = 1.0
log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's, but it ends with exit code 0 when it was told to stop, and on a closed terminal too.

    The workers end with the grace, so that every request has an answer of its own before connections are cut.
    """

    def __init__(self, config: uvicorn.Config, pool: WorkerPool, grace: float) -> None:
        super().__init__(config)
        self._pool = pool
        self._grace = grace

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with handling(self.handle_exit):
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("stopping: what runs may finish within %g s", self._grace)
        stopping = asyncio.create_task(self._pool.stop(self._grace))
        await super().shutdown(sockets)
        await self._pool.stop(0)
        if self.force_exit:  # a second Ctrl-C has cut that short
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks, timeout=_HURRIED_ANSWERS_SECONDS)
            await self.lifespan.shutdown()
        await stopping


class _Config(uvicorn.Config):
    """uvicorn's, with `tls` as it was checked; uvicorn's own would ask the terminal for the password of a key."""

    tls: ssl.SSLContext | None = None

    def load(self) -> None:
        super().load()
        self.ssl = self.tls


def http_server(settings: Settings, access: Access, pool: WorkerPool, served: Served, files: Path) -> Server:
    """What answers, with `serve(sockets=[listener])` on the main thread, until a signal ends it.

    `files` is the folder for those that are loaded ahead of their requests.
    """
    door = create_app(settings, pool, served, files, keys=access.keys, tracing=tracing_asked_for(os.environ))
    config = _Config(
        door,
        lifespan="on",
        ws="none",
        http=http_protocol(settings.read_timeout, quick_way(door)),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.grace + _LAST_ANSWERS_SECONDS),
    )
    config.tls = access.tls
    return Server(config, pool, settings.grace)
