"""What is served here: the version, the facts, and a first page for people."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from app.about import API_VERSION, SERVICE, own_url, service_version
from app.hidden import without_the_models_words
from app.predictor import Predictor
from app.served import Served
from app.settings import Settings
from model_loader.errors import NotReady
from model_loader.package import ModelPackage


class ServiceFacts(BaseModel):
    """The server itself."""

    name: str
    version: str
    api_version: str
    uptime_seconds: float


class ClassFacts(BaseModel):
    """One of the classes of an export."""

    class_index: int
    name: str | None = Field(description="of its label")


class ExportFacts(BaseModel):
    """What a platform export says of the model."""

    version: int
    versions: list[int] = Field(description="all that the export holds")
    scope: str | None = Field(description="what the platform sends at a time: INSTANCE, SERIES, STUDY …")
    label_classes: list[ClassFacts] = Field(description="for requests that bring none")


class ModelFacts(BaseModel):
    """The package that is served."""

    name: str
    digest: str = Field(description="SHA-256 of the package's content")
    config: dict[str, Any] = Field(description="config.yaml; of `env` only the names")
    warnings: list[str]
    export: ExportFacts | None = Field(description="what a platform export says of the model; null for a plain package")


class Limits(BaseModel):
    """What the server takes; sizes in bytes, durations in seconds."""

    max_body: int
    max_response: int
    load_files_quota: int = Field(description="files that are loaded ahead of their requests, in all")
    load_files_age: float = Field(description="after which those that no request has used are deleted")
    max_queue: int = Field(description="waiting requests for each worker")
    max_queue_bytes: int = Field(description="bodies in memory at once")
    startup_timeout: float
    predict_timeout: float
    read_timeout: float
    min_upload_rate: int = Field(description="bytes a second")
    on_disconnect: str = Field(description="what becomes of a predict whose client has left: finish or kill")
    strict: bool


class Info(BaseModel):
    """Everything that is known about the service."""

    service: ServiceFacts
    model: ModelFacts
    state: str
    reason: str | None = Field(description="why no worker can predict, if so")
    environment: Any
    devices: Any
    waiting: int = Field(description="requests in the queue")
    workers: list[dict[str, Any]]
    spares: dict[str, Any] = Field(description="loaded workers in reserve")
    restarts_by_cause: dict[str, int] = Field(
        description="how often a worker ended or did not start: crash, timeout, oom, over_memory, recycled_requests,"
        " recycled_memory, reload, failed_start, ended"
    )
    limits: Limits


def info_routes(predictor: Predictor, settings: Settings, served: Served) -> APIRouter:
    """`/version`, `/info` and `/`."""
    router = APIRouter(tags=["information"])
    started_at = time.monotonic()

    @router.get(
        "/version",
        response_class=PlainTextResponse,
        summary="API version",
        response_description="The version of MD.ai's model interface.",
    )
    async def version() -> PlainTextResponse:
        """The version of MD.ai's model interface that is served here, as plain text."""
        return PlainTextResponse(API_VERSION)

    @router.get("/info", summary="Facts", response_description="The model, its environment and its workers.")
    async def info() -> Info:
        """The model, its digest and environment, the workers and devices, and the limits."""
        facts, package = predictor.describe(), served.package
        # Reads the whole package when it is asked for before the workers were.
        digest = await asyncio.to_thread(lambda: package.digest)
        return Info(
            service=ServiceFacts(
                name=SERVICE,
                version=service_version(),
                api_version=API_VERSION,
                uptime_seconds=round(time.monotonic() - started_at, 3),
            ),
            model=_model_facts(package, digest),
            state=facts["state"],
            reason=_reason(predictor) if settings.hide_tracebacks else facts.get("reason") or None,
            environment=facts.get("environment"),
            devices=facts.get("devices"),
            waiting=facts.get("waiting", 0),
            workers=facts.get("workers", []),
            spares=facts.get("spares", {}),
            restarts_by_cause=facts.get("restarts_by_cause", {}),
            limits=Limits.model_validate(settings, from_attributes=True),
        )

    @router.get("/", response_class=PlainTextResponse, include_in_schema=False)
    async def first_page(request: Request) -> PlainTextResponse:
        host = request.headers.get("host", "").encode("latin-1")
        return PlainTextResponse(_first_page(served.package.name, own_url(request.scope["scheme"], host)))

    return router


def _reason(predictor: Predictor) -> str | None:
    """Why no worker can predict, without what the model said."""
    try:
        predictor.check_ready()
    except NotReady as reason:
        return without_the_models_words(reason).text
    return None


def _model_facts(package: ModelPackage, digest: str) -> ModelFacts:
    config = package.config.model_dump(mode="json")
    config["env"] = sorted(config.get("env") or {})  # values may be secrets
    return ModelFacts(
        name=package.name,
        digest=digest,
        config=config,
        warnings=list(package.warnings),
        export=_export_facts(package),
    )


def _export_facts(package: ModelPackage) -> ExportFacts | None:
    if package.version is None:
        return None
    return ExportFacts(
        version=package.version,
        versions=list(package.versions),
        scope=package.scope,
        label_classes=[
            ClassFacts(class_index=one["class_index"], name=one["label"]["name"]) for one in package.label_classes
        ],
    )


def _first_page(model: str, url: str) -> str:
    return f"""{model}, served by {SERVICE} {service_version()}

    curl -F files=@chest.dcm -H 'Accept: application/json' {url}/predict

{url}/docs     how to ask for predictions
{url}/ready    whether the model can predict
{url}/info     the model, its environment and its workers
"""
