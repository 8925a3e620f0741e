"""Whether the service lives, and whether it can predict."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from app.hidden import without_the_models_words
from app.predictor import Predictor
from app.problems import whole_seconds
from model_loader.errors import NotReady

_PLAIN = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def health_routes(predictor: Predictor, *, for_everybody: bool, hide_tracebacks: bool = False) -> APIRouter:
    """`/healthz` and `/ready`, for probes.

    Where other routes need a key and these do not (`for_everybody`), a reason comes without the model's traceback.
    """
    router = APIRouter(tags=["health"], default_response_class=PlainTextResponse)

    @router.get("/healthz", summary="Liveness", response_description="The server lives.")
    async def healthz() -> PlainTextResponse:
        """Always 200 while the server lives, whatever the model does."""
        return PlainTextResponse("ok\n")

    @router.get(
        "/ready",
        summary="Readiness",
        response_description="A worker can predict.",
        responses={503: _PLAIN | {"description": "No worker can predict; the text says why."}},
    )
    async def ready() -> PlainTextResponse:
        """200 only when a worker can predict, else 503 with the reason."""
        try:
            predictor.check_ready()
        except NotReady as reason:
            told = without_the_models_words(reason) if hide_tracebacks else reason
            text = str(told) if for_everybody else told.report
            wait = {"Retry-After": str(whole_seconds(reason.retry_after))}
            return PlainTextResponse(f"{text}\n", status_code=503, headers=wait)
        return PlainTextResponse("ready\n")

    return router
