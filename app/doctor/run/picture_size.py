"""How large a JPEG or PNG is, by its header."""

import struct
from typing import BinaryIO

_PNG = b"\x89PNG\r\n\x1a\n"
#: Markers of JPEG that begin a frame's header (ISO/IEC 10918-1, table B.1), and those that stand alone.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))
_END, _SCAN = 0xD9, 0xDA


def picture_size(file: BinaryIO) -> tuple[int, int] | None:
    """(rows, columns) of the picture that `file` begins with; None where its header does not say."""
    head = file.read(24)
    if head.startswith(_PNG) and len(head) == 24 and head[12:16] == b"IHDR":
        columns, rows = struct.unpack(">II", head[16:24])
        return rows, columns
    if not head.startswith(b"\xff\xd8"):
        return None
    file.seek(2)
    return _jpeg_size(file)


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    while (byte := file.read(1)) == b"\xff":
        while byte == b"\xff":  # any number of these may precede a marker
            byte = file.read(1)
        marker = byte[0] if byte else _END
        if marker in _ALONE:
            continue
        length = int.from_bytes(file.read(2), "big")
        if marker in (_END, _SCAN) or length < 2:
            return None
        if marker in _FRAMES:
            frame = file.read(5)
            return struct.unpack(">xHH", frame) if len(frame) == 5 else None
        file.seek(length - 2, 1)
    return None
