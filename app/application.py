"""The HTTP service, put together. Importing this starts nothing; the lifespan starts and stops the model."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.about import SERVICE, service_version
from app.api_keys import ApiKeys, api_keys
from app.body_budget import BodyBudget
from app.credentials import KeyCheck
from app.exchange import Exchange, FrontDoor, Tracing
from app.loaded_files import LoadedFiles
from app.logs import request_id
from app.metrics import PREDICT, Metrics
from app.openapi import describe_api
from app.predictor import Predictor
from app.problems import render
from app.quick_way import QuickWay
from app.routes.health import health_routes
from app.routes.info import info_routes
from app.routes.load_files import LOAD_FILES, LoadFilesRoute
from app.routes.metrics import metrics_routes
from app.routes.predict import PATHS, PredictRoute
from app.security_headers import DocsPolicy
from app.served import Served
from app.settings import Settings
from model_loader.memory_file import WarmFiles, most_kept

_PREDICTS = [path.strip("/") for path in PATHS]


def create_app(
    settings: Settings,
    predictor: Predictor,
    served: Served,
    folder: Path,
    *,
    keys: ApiKeys | None = None,
    tracing: Tracing | None = None,
) -> FrontDoor:
    """The ASGI application that serves what is `served` with the workers of `predictor`.

    Files that are loaded ahead of their requests lie in `folder`, which is made when there are any.

    `predictor` is started and stopped with the application, and may still load while requests are answered; `tracing`
    follows the requests and is closed with it. `keys` are those that `settings` names, where they have been read.
    Raises SettingsError where they have not and cannot be used.
    """

    metrics = Metrics()
    bodies = WarmFiles(most_kept(), sealed=True)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await predictor.start()
        try:
            yield
        finally:
            await predictor.stop(settings.grace)
            if tracing is not None:
                await tracing.close()
            bodies.close()

    keys = api_keys(settings) if keys is None else keys
    app = FastAPIOffline(
        title=served.package.name,
        version=service_version(),
        description=f"An MD.ai model package, served by {SERVICE}. Independent of MD.ai.",
        redoc_url=None,
        swagger_ui_parameters={"validatorUrl": None},  # nothing of this service goes to a validator elsewhere
        lifespan=lifespan,
        exception_handlers={HTTPException: _answer, Exception: _answer},
    )
    routers = [
        health_routes(predictor, hide_tracebacks=settings.hide_tracebacks, for_everybody=bool(keys)),
        metrics_routes(predictor, metrics),
        info_routes(predictor, settings, served),
    ]
    for router in routers:
        app.include_router(router)
    describe_api(app, with_keys=bool(keys))

    async def describe(exchange: Exchange) -> None:
        await asyncio.to_thread(app.openapi)  # made once, and other requests need not wait for it
        await app(exchange.scope, exchange.receive, exchange.send)

    loaded = LoadedFiles(folder, settings.load_files_quota, settings.load_files_age)
    budget = BodyBudget(settings.max_queue_bytes, predictor.expected_wait)
    predict = PredictRoute(predictor, settings, served, loaded, budget, bodies)
    load_files = LoadFilesRoute(loaded, settings, budget, bodies)
    direct: dict[str, Callable[[Exchange], Awaitable[None]]] = {**dict.fromkeys(PATHS, predict), LOAD_FILES: load_files}
    direct |= {f"{path}/": route for path, route in direct.items()}
    direct[app.openapi_url or ""] = describe
    return FrontDoor(
        DocsPolicy(app, "/docs"),
        direct,
        KeyCheck(keys),
        places=_places(direct, app, *routers),
        metrics=metrics,
        tracing=tracing,
        hide_tracebacks=settings.hide_tracebacks,
    )


def quick_way(door: FrontDoor) -> QuickWay:
    """Around the application, for the connections of a server that serves it."""
    route = door.direct[PATHS[0]]
    assert isinstance(route, PredictRoute)
    return QuickWay(door, route)


def _places(direct: Iterable[str], *routers: FastAPI | APIRouter) -> dict[str, str]:
    """Each path that is served, and the short name that it is counted under."""
    routes = (route for router in routers for route in router.routes)
    paths = [*direct, *(path for route in routes if (path := getattr(route, "path", None)))]
    return {path: PREDICT if path.strip("/") in _PREDICTS else path.strip("/") or "first page" for path in paths}


async def _answer(request: Request, error: Exception) -> Response:
    """What goes wrong in FastAPI's part: mostly a path or a method that is not there."""
    if isinstance(error, HTTPException):
        error = _explained(request, error)
    accept = request.headers.get("accept", "").encode("latin-1")
    status, headers, body = render(error, accept, request_id.get())
    response = Response(body, status)
    response.raw_headers = headers
    return response


def _explained(request: Request, error: HTTPException) -> HTTPException:
    if error.status_code == 404 and error.detail == "Not Found":
        text = "There is nothing at this path. Post files to /predict; /docs says how, and / what else there is."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        text = f"{request.method} means nothing here; this path answers {allowed}."
    else:
        return error
    return HTTPException(error.status_code, text, error.headers)
