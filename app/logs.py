"""Logging, configured once, as text for people or as one JSON object a line for machines.

Nothing of a patient is logged: no arguments, UIDs, file names, bodies, or what an exception said about them.
The request id ties a line to an answer that the client holds.
"""

import json
import logging
import re
import sys
import time
import traceback
from contextvars import ContextVar
from functools import lru_cache
from math import isfinite
from types import TracebackType
from typing import Any, Literal, TextIO

from app.log_writer import LogWriter

Form = Literal["console", "json"]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being served, "" outside of one."""


def configure(level: str, form: Form, stream: TextIO | None = None, *, model_output: bool = True) -> None:
    """Send everything from `level` up to `stream` (default: stderr); replaces an earlier configuration.

    What the model prints comes through a logger of its own, "model", where `model_output` does not stop it.
    """
    output = LogWriter(stream or sys.stderr)
    output.setFormatter(JsonLines() if form == "json" else Console())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, LogWriter):
            old.close()
    root.addHandler(output)
    root.setLevel(level.upper())
    logging.getLogger("model").setLevel(logging.NOTSET if model_output else logging.CRITICAL + 1)
    logging.captureWarnings(True)
    _leave_out_what_no_line_shows()
    # The form parser warns with characters of the body; this service reports the same faults itself.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # starting and stopping is told here


def _leave_out_what_no_line_shows() -> None:
    """Halves the cost of a line: https://docs.python.org/3/howto/logging.html#optimization."""
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False
    logging._srcfile = None


class JsonLines(logging.Formatter):
    """A JSON object a line: time (RFC 3339, UTC), level, logger, message, request_id, the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if current := _request_of(record):
            line["request_id"] = current
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = without_texts(record.exc_info)
        return "{" + ", ".join([f"{_json_text(key)}: {_json(value)}" for key, value in line.items()]) + "}"


_json_text = json.encoder.encode_basestring_ascii
_encoder = json.JSONEncoder(default=str)


def _json(value: object) -> str:
    """What `json.dumps(value, default=str)` gives, which makes an encoder each time."""
    if isinstance(value, str):
        return _json_text(value)
    if isinstance(value, float) and isfinite(value):
        return float.__repr__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)
    return _encoder.encode(value)


class Console(logging.Formatter):
    """`time LEVEL message key=value … request=id`. What a terminal would obey instead of showing is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        words = [_timestamp(record), f"{record.levelname:<7}", _message(record)]
        words += [f"{key}={value}" for key, value in getattr(record, "fields", {}).items()]
        if current := _request_of(record):
            words.append(f"request={current}")
        line = " ".join(words)
        if record.exc_info:
            line += "\n" + without_texts(record.exc_info)
        if line.isprintable():
            return line
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], line)


def _message(record: logging.LogRecord) -> str:
    """What was logged; of what asyncio tells about a task or a callback its first words, for more quotes arguments."""
    text = record.getMessage()
    return re.split(r"[\n(<]", text, maxsplit=1)[0].rstrip() if record.name == "asyncio" else text


def _request_of(record: logging.LogRecord) -> str:
    """The id that the record brings along, "" for none, else that of the request which is being served."""
    own: str | None = getattr(record, "request_id", None)
    return request_id.get() if own is None else own


def without_texts(exc_info: ExcInfo) -> str:
    """A traceback without what exceptions said, which may quote a request: their types, and where they were raised."""
    error, lines = exc_info[1], []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(error.__traceback__))
        lines.append(f"Traceback (most recent call last):\n{frames}{_name(type(error))}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nwhich followed on:\n\n".join(lines)


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _timestamp(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(maxsize=1)
def _second(when: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when))
