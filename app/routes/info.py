"""What is served here: the version, the facts, and a first page for people."""

import asyncio
import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from app.about import API_VERSION, SERVICE, own_url, service_version
from app.facts import ClassFacts, ExportFacts, Info, Limits, ModelFacts, ServiceFacts
from app.hidden import without_the_models_words
from app.predictor import Predictor
from app.served import Served
from app.settings import Settings
from model_loader.errors import NotReady
from model_loader.package import ModelPackage


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

    @router.get(
        "/info",
        summary="Facts",
        response_description="The model, its environment and its workers.",
        response_model_exclude_unset=True,
    )
    async def info() -> Info:
        """The model, its digest and environment, the workers and devices, and the limits."""
        facts, package = predictor.describe(), served.package
        # Reads the whole package when it is asked for before the workers were.
        digest = await asyncio.to_thread(lambda: package.digest)
        service = ServiceFacts(
            name=SERVICE,
            version=service_version(),
            api_version=API_VERSION,
            uptime_seconds=round(time.monotonic() - started_at, 3),
        )
        hidden = {"reason": _reason(predictor)} if settings.hide_tracebacks else {}
        return Info.model_validate(
            {
                "environment": None,
                "devices": None,
                **facts,
                **hidden,
                "service": service,
                "model": _model_facts(package, digest),
                "limits": Limits.model_validate(settings, from_attributes=True),
            }
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
