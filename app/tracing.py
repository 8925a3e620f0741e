"""Whether requests are traced: the variables that OpenTelemetry has for that, and what is said where they cannot be.

What they mean in full is the matter of OpenTelemetry's own packages, an extra (`otel`) that is imported only here, and
only where they ask for it: https://opentelemetry.io/docs/specs/otel/protocol/exporter/. Nothing about traces stops the
service: whatever is wrong with them is a line in the log.
"""

import importlib
import logging
from collections.abc import Mapping

from app.exchange import Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"
_EXTRA = "mdai-model-server[otel]"
log = logging.getLogger(__name__)


def tracing_asked_for(environ: Mapping[str, str]) -> Tracing | None:
    """What traces requests as the variables of `environ` say, or None where they ask for nothing or it cannot be."""
    name = _asking(environ)
    if name is None:
        return None
    if not environ[name].lower().startswith(("http://", "https://")):
        log.warning("No traces are sent: %s is no address of a collector. Write http://HOST:4318.", name)
        return None
    try:
        spans = importlib.import_module("app.spans")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("app"):
            raise
        log.warning(
            "No traces are sent, though %s asks for them: the Python module %s is not installed."
            " `pip install '%s'` brings what traces need.",
            name,
            error.name,
            _EXTRA,
        )
        return None
    try:
        tracing: Tracing = spans.SpanTracing(environ, environ[name])
    except Exception as error:  # noqa: BLE001 - one of OpenTelemetry's many variables has no meaning
        log.warning("No traces are sent, though %s asks for them: %s: %s", name, type(error).__name__, error)
        return None
    return tracing


def _asking(environ: Mapping[str, str]) -> str | None:
    """The variable that names a collector, where the others leave traces on; tells of those that change nothing."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp"):
        return None
    name = next((name for name in _ENDPOINTS if environ.get(name)), None)
    protocol = next((name for name in _PROTOCOLS if environ.get(name)), None)
    if name is not None and protocol is not None and environ[protocol] != _SPOKEN:
        log.warning(
            "Traces are sent by OTLP over HTTP with protobuf, whatever %s says: name the collector's port for that,"
            " which is mostly 4318.",
            protocol,
        )
    return name
