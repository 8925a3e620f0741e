"""A multipart form rewritten, while it arrives, into the msgpack map that a worker reads.

Parts named `files` (or `file`, `files[]`) stream into the buffer as `{"content", "content_type"}`; every other
part is a small field (see `app.form_fields`). A file's length is known only at its end, so msgpack headers of a
fixed size are written first and patched then.
"""

import struct
from collections.abc import Callable

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.form_fields import JSON_FIELDS, packed_members, utf8_text
from app.interface.errors import InvalidRequest, MalformedBody
from app.interface.wording import visible
from app.refusals import BodyTooLarge
from model_loader.shared_buffer import SharedBuffer

MAX_FILES = 20_000
MAX_FIELDS = 1_000
MAX_FIELD_BYTES = 4 * 1024**2
"""All fields together; files are not fields. Reading so much JSON holds up other requests for 0.1 s or more."""
MAX_PART_HEADER_BYTES = 8 * 1024

FILE_NAMES = ("files", "file", "files[]")

# What clients say when they do not know: RFC 7578's default, curl's, Python's, and older browsers'.
_TELLS_NOTHING = (
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/x-octet-stream",
    "text/plain",
)
_HEAD_BYTES = 132

_encode = msgspec.msgpack.encode
_MAX_BIN32 = 0xFFFFFFFF


def recognise(head: bytes) -> str:
    """The media type of a file that begins with `head` (132 bytes suffice); "" for an unknown one."""
    if head[128:132] == b"DICM":
        return "application/dicom"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "video/mp4" if head[4:8] == b"ftyp" else ""


class FormToMsgpack:
    """Push the form in with `write`, chunk by chunk, then call `finish`; `buffer` then holds the map.

    Both raise MalformedBody where the form is broken, InvalidRequest where it is well-formed and means
    nothing, and BodyTooLarge where it has too many parts or too long fields.
    """

    def __init__(self, buffer: SharedBuffer, boundary: bytes) -> None:
        self._buffer = buffer
        self._files = 0
        self._fields: dict[str, bytes] = {}
        self._field_bytes = 0
        self._ended = False
        self._part: _File | _Field | None = None
        self._header_name = self._header_value = b""
        self._header_bytes = 0
        self._headers: dict[bytes, bytes] = {}
        buffer.write(b"\x81" + _encode("files"))
        self._count_at = buffer.size
        buffer.write(b"\xdd\0\0\0\0")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._extend_header_name,
                "on_header_value": self._extend_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._extend_part,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise MalformedBody(
                "The body is not the multipart/form-data that its Content-Type announces: boundary lines or "
                "headers of parts are broken. Let the client's library build the whole form."
            ) from None

    def finish(self) -> None:
        """The body has ended: complete the map."""
        if not self._ended:
            raise MalformedBody("The form ends before its closing boundary: the upload was cut off. Send it again.")
        if not self._files:
            raise InvalidRequest(
                "The form has no file. Send each file as a part named files (curl: -F files=@chest.dcm)."
            )
        members = packed_members(self._fields)
        for key, value in members.items():
            self._buffer.write(_encode(key) + value)
        self._buffer.patch(self._count_at + 1, struct.pack(">I", self._files))
        self._buffer.patch(0, bytes([0x81 + len(members)]))

    def _begin_part(self) -> None:
        self._headers = {}
        self._header_bytes = 0
        self._header_name = self._header_value = b""

    def _extend_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._count_header_bytes(end - start)

    def _extend_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._count_header_bytes(end - start)

    def _count_header_bytes(self, more: int) -> None:
        self._header_bytes += more
        if self._header_bytes > MAX_PART_HEADER_BYTES:
            raise BodyTooLarge(f"The headers of a part of the form are longer than {MAX_PART_HEADER_BYTES:,} bytes.")

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise MalformedBody(
                "A part of the form has no `Content-Disposition: form-data` header with a name. "
                "Let the client's library build the whole form."
            )
        name = utf8_text(options[b"name"], "The name of a part")
        media = self._headers.get(b"content-type", b"").decode("latin-1").strip()
        if name in FILE_NAMES:
            self._part = self._begin_file(name, media, has_filename=b"filename" in options)
        else:
            self._part = self._begin_field(name, has_filename=b"filename" in options)

    def _begin_file(self, name: str, media: str, *, has_filename: bool) -> "_File":
        coding = self._headers.get(b"content-transfer-encoding", b"binary").decode("latin-1").strip().lower()
        if coding not in ("binary", "8bit", "7bit"):
            raise InvalidRequest(f"A file is sent with Content-Transfer-Encoding {visible(coding)}. Send plain bytes.")
        if media.lower().startswith("multipart/"):
            raise InvalidRequest(
                "A part of the form is a multipart of its own. Send each file as a part named files "
                "(curl: -F files=@a.dcm -F files=@b.dcm, not -F files=@a.dcm,b.dcm)."
            )
        if not has_filename and not media:
            raise InvalidRequest(
                f"The field {name} holds text, not a file. With curl, an @ is needed before the path: "
                f"-F {name}=@chest.dcm."
            )
        self._files += 1
        if self._files > MAX_FILES:
            raise BodyTooLarge(f"The form has more than {MAX_FILES:,} files. Send fewer at once.")
        return _File(self._buffer, media)

    def _begin_field(self, name: str, *, has_filename: bool) -> "_Field":
        if has_filename and name not in JSON_FIELDS:
            raise InvalidRequest(
                f"The part {visible(name)} carries a file. Files belong in parts named files "
                "(curl: -F files=@chest.dcm)."
            )
        if name in self._fields:
            raise InvalidRequest(f"The field {visible(name)} is there twice. Each argument has one value.")
        if len(self._fields) >= MAX_FIELDS:
            raise BodyTooLarge(f"The form has more than {MAX_FIELDS:,} fields.")
        return _Field(self._end_field, name)

    def _extend_part(self, data: bytes, start: int, end: int) -> None:
        if isinstance(self._part, _Field):
            self._field_bytes += end - start
            if self._field_bytes > MAX_FIELD_BYTES:
                raise BodyTooLarge(f"The fields of the form hold more than {MAX_FIELD_BYTES:,} bytes.")
        if self._part is not None:
            self._part.extend(memoryview(data)[start:end])

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.end()
        self._part = None

    def _end_field(self, name: str, value: bytes) -> None:
        self._fields[name] = value

    def _end(self) -> None:
        self._ended = True


class _Field:
    """A part that is held in memory."""

    def __init__(self, store: Callable[[str, bytes], None], name: str) -> None:
        self._store = store
        self._name = name
        self._value = bytearray()

    def extend(self, data: memoryview) -> None:
        self._value += data

    def end(self) -> None:
        self._store(self._name, bytes(self._value))


class _File:
    """A part that goes into the buffer as `{"content": bin32, "content_type": str}`."""

    _PREFIX = b"\x82" + _encode("content")

    def __init__(self, buffer: SharedBuffer, media: str) -> None:
        self._buffer = buffer
        self._media = media
        self._head = b""
        self._size = 0
        buffer.write(self._PREFIX)
        self._length_at = buffer.size + 1
        buffer.write(b"\xc6\0\0\0\0")

    def extend(self, data: memoryview) -> None:
        if len(self._head) < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - len(self._head)]
        self._size += len(data)
        if self._size > _MAX_BIN32:
            raise BodyTooLarge("A file is longer than 4 GiB, the most that msgpack can carry.")
        self._buffer.write(data)

    def end(self) -> None:
        media = self._media
        if media.partition(";")[0].strip().lower() in _TELLS_NOTHING:
            media = recognise(self._head) or media or "application/octet-stream"
        self._buffer.patch(self._length_at, struct.pack(">I", self._size))
        self._buffer.write(_encode("content_type") + _encode(media))
