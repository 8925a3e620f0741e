"""What this service calls itself."""

from importlib.metadata import PackageNotFoundError, version

SERVICE = "mdai-model-server"

API_VERSION = "0.3"
"""The version of MD.ai's model interface that is served, as `GET /version` tells it."""


def service_version() -> str:
    """The installed distribution's version, or `unknown` where it was not installed."""
    try:
        return version(SERVICE)
    except PackageNotFoundError:
        return "unknown"
