"""`GET /metrics`, for Prometheus."""

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.metrics import Metrics
from app.predictor import Predictor

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def metrics_routes(predictor: Predictor, metrics: Metrics) -> APIRouter:
    """`/metrics`."""
    router = APIRouter(tags=["health"])

    @router.get(
        "/metrics",
        summary="Metrics",
        response_class=Response,
        response_description="Counts and times.",
        responses={200: _TEXT},
    )
    async def scrape(request: Request) -> Response:
        """What the service counts about itself, in Prometheus' text format or as OpenMetrics."""
        accept = request.headers.get("accept", "")
        metrics.fold()
        content, media = await asyncio.to_thread(metrics.text, predictor.describe(), accept)
        response = Response(content)
        response.headers["content-type"] = media  # as it is: it says its charset itself
        return response

    return router
