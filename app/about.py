"""What this service calls itself."""

import re
from importlib.metadata import PackageNotFoundError, version

SERVICE = "mdai-model-server"

API_VERSION = "0.4"
"""The version of MD.ai's model interface that is served, as `GET /version` tells it."""


_HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


def own_url(scheme: str, host: bytes) -> str:
    """The address under which a caller that sent the header `Host: host` reaches this service, for texts."""
    name = host.decode("ascii") if _HOST.fullmatch(host) else "localhost:6324"
    return f"{scheme}://{name}"


def service_version() -> str:
    """The installed distribution's version, or `unknown` where it was not installed."""
    try:
        return version(SERVICE)
    except PackageNotFoundError:
        return "unknown"
