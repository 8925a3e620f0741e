"""What crosses between the server and the worker: frames on the socket and the skeleton's extension types.

Both sides import this module, so it keeps to Python 3.7 and imports nothing but the standard library.

A frame is a 4-byte big-endian length and a msgpack map of that many bytes. The parent speaks first:

    parent -> worker   {"do": "load", "root", "import_folders", "hidden", "label_classes"} + 1 descriptor: notice
    worker -> parent   {"ready": {"python", "pid", "seconds"}}
                       or {"failed": {"kind", "text", "traceback"}}
    parent -> worker   {"do": "predict", "id", "number", "body" or "size", "response", "accept", "most", "folder",
                        "free_first"}
                       + 1 descriptor each: the request unless it is "body", a response buffer that is another
    worker -> parent   {"done": {"size", "skeleton", "timings", "small"}}
                       or {"error": {"kind", "text", "traceback"}}

Requests are numbered from 1. The parent writes the number of one that nobody waits for any more into the notice, while
the worker is busy and reads no frame. Every frame is small. With "free_first" the worker frees what the model returned
before it answers, and else afterwards. "folder" holds the files that were loaded ahead of the
request, "" where there are none. "label_classes" are those for requests without any, packed once more, so that each
request gets a list of its own.

A request of a few kilobytes stands in the frame itself, as "body". The response's bytes and, behind them, the
skeleton's stand in the reply as "small" where they are few, and lie in the response buffer where that is empty; "size"
and "skeleton" are their lengths, and "most" is what the response may have. A worker keeps its response buffer, whose
number is "response", until it gets another. Errors cross as data: a kind from the lists below, a text for people, the
model's own traceback.

The skeleton is a msgpack picture of what `predict` returned, with one entry per output and a summary for
whatever is large: see `skeleton` for how it is made and `app.interface.skeleton` for how it is read.
"""

import array
import os
import socket
import struct

#: A value whose type is not exactly a builtin one: [type name, converted value].
EXT_TYPED = 1
#: A list, array, long string or large bytes: a map of facts about it.
EXT_SUMMARY = 2
#: Something msgpack cannot carry: [type name, repr, reason].
EXT_UNWRITABLE = 3

#: Why a worker did not become ready.
FAILED_IMPORT, FAILED_CLASS, FAILED_INIT = "import", "class", "init"
#: Why a request failed in a worker that lives on.
ERROR_REQUEST, ERROR_MODEL, ERROR_OUTPUT = "request", "model", "output"

#: Longest text or traceback that crosses, in characters: the end of a traceback says most.
MAX_TEXT = 20000
MAX_FRAME = 1 << 20
_LENGTH = struct.Struct(">I")
_RECEIVED_AT_ONCE = 1 << 16
_SPACE = socket.CMSG_SPACE(4 * array.array("i").itemsize)
#: Has the kernel keep descriptors that arrive from programs that the package starts.
_NOT_INHERITED = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
#: A request's number as it lies in the notice.
NUMBER = struct.Struct("=Q")
#: Bytes of a response and its skeleton that stand in the reply.
SMALL = 1 << 15
#: Bytes in front of each frame's payload.
HEADER = _LENGTH.size


def frame(payload):
    """The bytes of one frame around the msgpack bytes `payload`."""
    return _LENGTH.pack(len(payload)) + payload


def frame_length(header):
    """How many bytes follow the 4 bytes that `header` begins with. Raises ValueError for more than a frame may have."""
    (length,) = _LENGTH.unpack_from(header)
    if length > MAX_FRAME:
        raise ValueError("a frame of %d bytes, %d is the most" % (length, MAX_FRAME))
    return length


def shorten(text):
    """`text` with its middle left out where it is longer than may cross, and with half surrogates escaped."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= MAX_TEXT:
        return text
    left = MAX_TEXT // 4
    return "%s\n[… %d characters left out …]\n%s" % (
        text[:left],
        len(text) - MAX_TEXT,
        text[left - MAX_TEXT :],
    )


def receive_frame(sock):
    """One frame's payload and the descriptors that came with it, or (None, []) when the other side is gone.

    Nothing may come behind it: the other side speaks again when it was answered.
    """
    data, descriptors = b"", []
    count = HEADER
    while len(data) < count:
        chunk, ancillary, _flags, _address = sock.recvmsg(_RECEIVED_AT_ONCE, _SPACE, _NOT_INHERITED)
        if ancillary:
            descriptors += _descriptors(ancillary)
        if not chunk:
            return None, descriptors
        data += chunk
        if len(data) >= HEADER:
            count = HEADER + frame_length(data)
    return data[HEADER:], descriptors


def _descriptors(ancillary):
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(content) - len(content) % descriptors.itemsize
            descriptors.frombytes(content[:whole])
    if not _NOT_INHERITED:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
    return list(descriptors)
