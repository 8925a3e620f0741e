"""Where a request carries an API key, and the refusal of one that carries none that is accepted."""

import base64
import binascii
from collections.abc import Mapping

from app.api_keys import ApiKeys
from app.exchange import Exchange
from app.refusals import Unauthorized

#: What is answered without a key: probes have none.
OPEN_PATHS = ("/healthz", "/ready")

_HOW_TO_SEND = (
    "Send a key that the operator of this service gave you, as `Authorization: Bearer KEY` or `X-API-Key: KEY`;"
    " with curl: -H 'X-API-Key: KEY'."
)
_CHALLENGE = 'Bearer realm="mdai-model"'
_CHALLENGE_FOR_PEOPLE = 'Basic realm="an API key as the password", charset="UTF-8"'


class KeyCheck:
    """Called with each request before anything else looks at it; where no keys are set, every request passes."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def __call__(self, exchange: Exchange) -> None:
        """Raises Unauthorized where the request needs a key and brings none that is accepted."""
        if not self._keys or exchange.path in OPEN_PATHS:
            return
        presented = _presented(exchange.method, exchange.headers)
        if not any(self._keys.accepts(key) for key in presented.values()):
            raise _refusal(presented, exchange.headers)


def _presented(method: str, headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The keys that a request carries, by the name of the header."""
    keys = {}
    scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    if scheme.lower() == "bearer":
        keys["Authorization"] = credentials.strip()
    elif scheme.lower() == "basic" and _is_own_doing(method, headers):
        keys["Authorization"] = _password(credentials.strip())
    if b"x-api-key" in headers:
        keys["X-API-Key"] = headers[b"x-api-key"].decode("latin-1").strip()
    return {name: key for name, key in keys.items() if key}


def _is_own_doing(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """A browser adds the password that it was given to what strangers' pages send, too: these may not use it."""
    return method in ("GET", "HEAD") or headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin")


def _password(credentials: str) -> str:
    """The key as a browser or `curl -u :KEY` sends it: the password, of whichever user."""
    try:
        return base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _refusal(presented: Mapping[str, str], headers: Mapping[bytes, bytes]) -> Unauthorized:
    challenge = _CHALLENGE
    if presented:
        found = f"The API key in {' and in '.join(presented)} is not accepted here."
        challenge += ', error="invalid_token"'
    elif b"authorization" in headers:
        found = "The request has an Authorization without an API key that could be used."
    else:
        found = "The request has no API key."
    if b"text/html" in headers.get(b"accept", b""):  # it makes browsers ask; programs need no second scheme
        challenge += f", {_CHALLENGE_FOR_PEOPLE}"
    return Unauthorized(f"{found} {_HOW_TO_SEND}", challenge)
