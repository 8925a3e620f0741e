"""The request body on its way from the socket into a shared buffer, as msgpack whichever way it was sent.

msgpack is written as it arrives. A form is rewritten into the same msgpack map part by part. Nothing is held
in memory beside the buffer but the chunk in hand and a form's small fields.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from python_multipart.multipart import parse_options_header

from app.accept import MSGPACK_TYPES
from app.direct_upload import WORTH_IT
from app.exchange import Exchange
from app.interface.errors import MalformedBody
from app.interface.wording import visible
from app.multipart import FormToMsgpack
from app.patience import Patience, Speed
from app.refusals import BodyTooLarge, ClientGone, OutOfResources, UnsupportedMediaType, UploadStalled
from app.settings import Settings
from model_loader.shared_buffer import SharedBuffer

FORM_TYPE = "multipart/form-data"

_ACCEPTED = (
    "Send a msgpack map as application/msgpack (curl: -H 'Content-Type: application/msgpack' "
    "--data-binary @FILE), or files as multipart/form-data (curl: -F files=@chest.dcm)."
)
# A form is parsed in pieces of this size, and other requests get a turn when that has taken so many seconds.
_FORM_PIECE = 16 * 1024
_FORM_SLICE = 0.004


def media_type(headers: dict[bytes, bytes]) -> str:
    """The body's media type, one of those that are read. Raises UnsupportedMediaType."""
    sent = headers.get(b"content-type", b"").decode("latin-1")
    media = sent.partition(";")[0].strip().lower()
    if media not in MSGPACK_TYPES and media != FORM_TYPE:
        found = f"The body is sent as {visible(media, 100)}" if media else "The request has no Content-Type"
        raise UnsupportedMediaType(f"{found}. {_ACCEPTED}")
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType(
            f"The body is sent with Content-Encoding {visible(coding, 100)}. Send it without compression."
        )
    return media


def declared_length(headers: dict[bytes, bytes], max_body: int) -> int:
    """Content-Length, 0 where there is none. Raises BodyTooLarge where it is over `max_body` bytes."""
    declared = headers.get(b"content-length", b"0")
    length = int(declared[:20]) if declared.isdigit() else 0
    if length > max_body:
        raise BodyTooLarge(f"The body is {length:,} bytes long; {_limit(max_body)}")
    return length


@dataclass(frozen=True)
class UploadLimits:
    """The most bytes of a body, the longest pause in it in seconds, and the least rate in bytes a second.

    A rate, and no limit on the whole: how long an honest upload takes goes by its length, from milliseconds to hours.
    """

    max_body: int
    read_timeout: float
    min_rate: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the operator has set them."""
        return cls(settings.max_body, settings.read_timeout, settings.min_upload_rate)


@contextmanager
def held() -> Iterator[None]:
    """Inside its `with` block, what cannot be stored is OutOfResources."""
    try:
        yield
    except OSError as error:
        raise OutOfResources(f"This machine cannot hold the body ({error.strerror}). Try later.") from error


async def receive_body(
    exchange: Exchange, media: str, buffer: SharedBuffer, limits: UploadLimits, grown: Callable[[int], None]
) -> None:
    """Write the body of `exchange` into `buffer`, as msgpack; `grown` hears of its size before each chunk is written.

    Raises BodyTooLarge at the chunk that passes the limit, UploadStalled after a pause or when too little arrives,
    ClientGone when the client closes the connection, OutOfResources, whatever `grown` raises; and for a form
    MalformedBody and InvalidRequest.
    """
    with held():
        if media != FORM_TYPE:
            await _receive(exchange, buffer.write, limits, grown, buffer)
            return
        form = FormToMsgpack(buffer, boundary(exchange.headers[b"content-type"]))
        await _receive(exchange, form.write, limits, grown, piece=_FORM_PIECE)
        form.finish()


def boundary(content_type: bytes) -> bytes:
    """The boundary parameter of a form's Content-Type. Raises MalformedBody."""
    found: bytes = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 1 <= len(found) <= 200:
        raise MalformedBody(
            "The Content-Type multipart/form-data has no usable boundary. Let the client set the whole "
            "header (curl -F does; do not add -H 'Content-Type: multipart/form-data' to it)."
        )
    return found


async def _receive(
    exchange: Exchange,
    write: Callable[[bytes], None],
    limits: UploadLimits,
    grown: Callable[[int], None],
    direct: SharedBuffer | None = None,
    *,
    piece: int = 1 << 30,
) -> None:
    size = 0
    speed = Speed(limits.min_rate, limits.read_timeout)
    declared = 0 if b"transfer-encoding" in exchange.headers else declared_length(exchange.headers, limits.max_body)

    def took(count: int) -> None:
        nonlocal size
        assert direct is not None
        direct.wrote(count)
        size += count
        if size < declared and speed.is_too_low(size):
            raise UploadStalled(_crawled(size, limits))
        patience.renew()

    try:
        with Patience(limits.read_timeout) as patience:
            while exchange.upload_pending:
                if direct is not None and declared - size >= WORTH_IT and exchange.takes_directly():
                    direct.expect(declared)
                    await exchange.take_directly(declared - size, direct.room, took)
                    if exchange.gone:
                        raise ClientGone
                    return
                chunk: bytes = (await exchange.receive()).get("body", b"")
                if exchange.gone:
                    raise ClientGone
                size += len(chunk)
                if size > limits.max_body:
                    raise BodyTooLarge(f"The body is longer than {limits.max_body:,} bytes; {_limit(limits.max_body)}")
                if exchange.upload_pending and speed.is_too_low(size):
                    raise UploadStalled(_crawled(size, limits))
                grown(size)
                if len(chunk) <= piece:
                    write(chunk)
                else:
                    await _write_pieces(chunk, write, piece)
                patience.renew()
    except TimeoutError:
        raise UploadStalled(
            f"Nothing arrived for {limits.read_timeout:g} seconds in the middle of the body, after {size:,} bytes. "
            "Send the request again."
        ) from None


def _crawled(size: int, limits: UploadLimits) -> str:
    return (
        f"The body came too slowly: {size:,} bytes had arrived, the last of them at less than {limits.min_rate:,g}"
        " bytes a second. Send the request again over a faster connection, or ask this server's operator to lower"
        " --min-upload-rate (MDAI_MODEL_MIN_UPLOAD_RATE)."
    )


async def _write_pieces(chunk: bytes, write: Callable[[bytes], None], piece: int) -> None:
    due = time.monotonic() + _FORM_SLICE
    for start in range(0, len(chunk), piece):
        write(chunk[start : start + piece])
        if time.monotonic() >= due:
            await asyncio.sleep(0)
            due = time.monotonic() + _FORM_SLICE


def _limit(max_body: int) -> str:
    return (
        f"this server takes {max_body:,}. Send fewer or smaller files, or ask its operator to raise "
        "--max-body (MDAI_MODEL_MAX_BODY)."
    )
