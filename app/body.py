"""The request body on its way from the socket into a shared buffer, as msgpack whichever way it was sent.

msgpack is written as it arrives. A form is rewritten into the same msgpack map part by part. Nothing is held
in memory beside the buffer but the chunk in hand and a form's small fields.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
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
    media = _media_of(headers.get(b"content-type", b""))
    if media not in MSGPACK_TYPES and media != FORM_TYPE:
        found = f"The body is sent as {visible(media, 100)}" if media else "The request has no Content-Type"
        raise UnsupportedMediaType(f"{found}. {_ACCEPTED}")
    if b"content-encoding" in headers and (coding := _word(headers[b"content-encoding"])) != "identity":
        raise UnsupportedMediaType(
            f"The body is sent with Content-Encoding {visible(coding, 100)}. Send it without compression."
        )
    return media


@lru_cache(maxsize=16)
def _media_of(content_type: bytes) -> str:
    return _word(content_type.partition(b";")[0])


def _word(value: bytes) -> str:
    return value.decode("latin-1").strip().lower()


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
            await _Upload(exchange, limits, grown).take(buffer.write, buffer)
            return
        form = FormToMsgpack(buffer, boundary(exchange.headers[b"content-type"]))
        await _Upload(exchange, limits, grown).take(form.write, piece=_FORM_PIECE)
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


class _Upload:
    """A body on its way in: how much of it is here, and whether the rest comes fast enough."""

    def __init__(self, exchange: Exchange, limits: UploadLimits, grown: Callable[[int], None]) -> None:
        self._exchange = exchange
        self._limits = limits
        self._grown = grown
        self._size = 0
        self._speed = Speed(limits.min_rate, limits.read_timeout)

    async def take(
        self, write: Callable[[bytes], None], direct: SharedBuffer | None = None, piece: int = 1 << 30
    ) -> None:
        """Write all of it, in pieces; where it may go `direct`, the kernel writes the most of a long one."""
        if self._exchange.is_whole():  # as small ones are that came with their heads: there is nothing to wait for
            await self._take_chunk(write, piece)
            return
        try:
            with Patience(self._limits.read_timeout) as patience:
                self._patience = patience
                while self._exchange.upload_pending:
                    if direct is None or not await self._took_directly(direct):
                        await self._take_chunk(write, piece)
                        patience.renew()
        except TimeoutError:
            raise UploadStalled(
                f"Nothing arrived for {self._limits.read_timeout:g} seconds in the middle of the body, after"
                f" {self._size:,} bytes. Send the request again."
            ) from None

    async def _take_chunk(self, write: Callable[[bytes], None], piece: int) -> None:
        chunk: bytes = (await self._exchange.receive()).get("body", b"")
        if self._exchange.gone:
            raise ClientGone
        self._size += len(chunk)
        most = self._limits.max_body
        if self._size > most:
            raise BodyTooLarge(f"The body is longer than {most:,} bytes; {_limit(most)}")
        self._check_speed()
        self._grown(self._size)
        if len(chunk) <= piece:
            write(chunk)
        else:
            await _write_pieces(chunk, write, piece)

    async def _took_directly(self, buffer: SharedBuffer) -> bool:
        """Take in all the rest; False where it is not worth it, or not possible."""
        headers = self._exchange.headers
        whole = 0 if b"transfer-encoding" in headers else declared_length(headers, self._limits.max_body)
        if whole - self._size < WORTH_IT or not self._exchange.takes_directly():
            return False

        def took(count: int) -> None:
            buffer.wrote(count)
            self._size += count
            if self._size < whole:
                self._check_speed()
            self._patience.renew()

        buffer.expect(whole)
        await self._exchange.take_directly(whole - self._size, buffer.room, took)
        if self._exchange.gone:
            raise ClientGone
        return True

    def _check_speed(self) -> None:
        if self._exchange.upload_pending and self._speed.is_too_low(self._size):
            raise UploadStalled(_crawled(self._size, self._limits))


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
