"""`python -I -m app.probe`: whether the service on this machine answers `/healthz`; the exit code says it.

For health checks of containers, which run it every few seconds beside a busy model: so it imports what it needs and
nothing of the service, and reads the few options that say where to ask, as `app.settings` does, itself.
"""

import http.client
import os
import re
import ssl
import sys
from collections.abc import Mapping

_SECONDS = 4.0
_PORT = 6324
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def is_healthy(environ: Mapping[str, str]) -> bool:
    """Whether it answers at the address that the options in `environ` give.

    By HTTPS where they name a certificate; the other way is tried too, for the command line may have named one.
    The certificate is not checked: the service asks itself.
    """
    given = {name.upper(): value for name, value in environ.items()}
    host = given.get("MDAI_MODEL_HOST", "")
    port = given.get("MDAI_MODEL_PORT", "")  # in Kubernetes perhaps the address of a Service of that name
    address = (_EVERYWHERE.get(host, host), int(port) if re.fullmatch(r"\d{1,5}", port, re.ASCII) else _PORT)
    encrypted = bool(given.get("MDAI_MODEL_TLS_CERT"))
    for tried in (encrypted, not encrypted):
        try:
            return _status(address, encrypted=tried) == 200
        except (TimeoutError, ConnectionRefusedError):  # the other way it would be no better
            return False
        except (OSError, http.client.HTTPException, UnicodeError):
            continue
    return False


def _status(address: tuple[str, int], *, encrypted: bool) -> int:
    connection = http.client.HTTPConnection(*address, timeout=_SECONDS)
    if encrypted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(*address, timeout=_SECONDS, context=context)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_healthy(os.environ) else 1)
