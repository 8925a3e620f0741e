"""What browsers are told of every answer, and what the page of `/docs` may do in one."""

import base64
import hashlib
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

_NOTHING = b"default-src 'none'; frame-ancestors 'none'"
#: Swagger UI sets styles on elements, draws with images in data: addresses, and asks this service.
_DOCS = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DEFAULTS = {
    b"cache-control": b"no-store",
    b"content-security-policy": _NOTHING,
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def with_defaults(headers: Headers) -> Headers:
    """`headers`, and those that an answer has unless it says otherwise.

    Answers are about patients: nobody keeps them, nobody frames them, and what is no page is not made one. What may be
    kept says so by an ETag.
    """
    given = {name.lower() for name, _ in headers}
    return [
        *headers,
        *(
            (name, value)
            for name, value in _DEFAULTS.items()
            if name not in given and not (name == b"cache-control" and b"etag" in given)
        ),
    ]


class DocsPolicy:
    """An application whose page at `path` may run the script that stands in it, its own files, and nothing else."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"] == self._path
        await self._app(scope, receive, _with_policy(send) if is_page else send)


def _with_policy(send: Send) -> Send:
    start: Message = {}
    page = bytearray()

    async def collect(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        page.extend(message.get("body", b""))
        if not message.get("more_body", False):
            policy = (b"content-security-policy", _policy(bytes(page)))
            await send({**start, "headers": [*start["headers"], policy]})
            await send({"type": "http.response.body", "body": bytes(page), "more_body": False})

    return collect


def _policy(page: bytes) -> bytes:
    # The last one: what a package's name may have brought into the page's head is none of its own.
    hashes = (hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page)[-1:])
    scripts = " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes)
    return _DOCS.format(scripts=scripts).encode()
