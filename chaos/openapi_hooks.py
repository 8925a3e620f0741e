"""For schemathesis, which knows no msgpack: how bodies are written and answers read. It loads this file by itself."""

import msgpack
import schemathesis


@schemathesis.serializer("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
def write(ctx, value):
    if isinstance(value, bytes):
        return value
    return msgpack.packb(_with_bytes(value), default=_plain)


@schemathesis.deserializer("application/msgpack")
def read(ctx, response):
    return msgpack.unpackb(response.content)


def _with_bytes(value):
    """Files' content as bytes: the document is JSON, and its examples hold text there."""
    files = value.get("files") if isinstance(value, dict) else None
    if not isinstance(files, list):
        return value
    return {**value, "files": [_file(file) for file in files]}


def _file(file):
    content = file.get("content") if isinstance(file, dict) else None
    return {**file, "content": content.encode("utf-8", "replace")} if isinstance(content, str) else file


def _plain(value):
    """Bytes come in a wrapper of schemathesis's."""
    return getattr(value, "data", None) or str(value)
