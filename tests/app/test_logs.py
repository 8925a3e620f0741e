"""Log lines for people and for machines."""

import asyncio
import gc
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import logs
from app.log_writer import LOT, MOST_WAITING, LogWriter


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Where a configuration may write; pytest's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    yield io.StringIO()
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    logging.captureWarnings(False)
    logging.getLogger("python_multipart").setLevel(logging.NOTSET)
    root.handlers[:] = handlers
    root.setLevel(level)


def written(stream: io.StringIO) -> str:
    """Everything that was logged until now."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return stream.getvalue()


def test_json_lines_carry_the_request_id_and_the_fields(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    token = logs.request_id.set("r1")
    logging.getLogger("x").info("two\nlines %d", 3, extra={"fields": {"ms": 1.5}})
    logs.request_id.reset(token)
    logging.getLogger("x").debug("below the level")
    (line,) = written(stream).splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "logger": "x",
        "message": "two\nlines 3",
        "request_id": "r1",
        "ms": 1.5,
    }


def test_lines_for_people_have_the_same_facts(stream: io.StringIO) -> None:
    logs.configure("warning", "console", stream)
    logging.getLogger("x").warning("careful", extra={"fields": {"ms": 1.5}})
    assert written(stream).endswith("Z WARNING careful ms=1.5\n")


@pytest.mark.parametrize("form", ["console", "json"])
def test_tracebacks_are_kept(stream: io.StringIO, form: logs.Form) -> None:
    logs.configure("info", form, stream)
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("x").exception("it broke")
    assert "KeyError" in written(stream)
    assert (len(written(stream).splitlines()) == 1) == (form == "json")


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_an_exception_said_is_not_kept(stream: io.StringIO, form: logs.Form) -> None:
    logs.configure("info", form, stream)
    try:
        try:
            {}[sum(map(ord, "Jane")) ** 5]
        except KeyError as error:
            raise ValueError("Doe, " + "Doe") from error
    except ValueError:
        logging.getLogger("x").exception("it broke")
    text = written(stream)
    assert "KeyError" in text and "ValueError" in text and "test_logs.py" in text
    assert "Doe, Doe" not in text and str(sum(map(ord, "Jane")) ** 5) not in text


def test_what_a_lost_task_or_callback_was_given_is_not_quoted(stream: io.StringIO) -> None:
    logs.configure("info", "console", stream)

    async def fail(name: str) -> None:
        raise ValueError(name)

    def fail_at_once(name: str) -> None:
        raise ValueError(name)

    async def scenario() -> None:
        task = asyncio.create_task(fail("Jane Doe"))
        asyncio.get_running_loop().call_soon(fail_at_once, "Jane Doe")
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run(scenario())
    text = written(stream)
    assert "Task exception was never retrieved" in text and "Exception in callback" in text
    assert text.count("\nValueError\n") == 2
    assert "Doe" not in text


def test_a_record_may_bring_the_id_of_its_request_along(stream: io.StringIO) -> None:
    """What a model prints is read while another request is served."""
    logs.configure("info", "json", stream)
    token = logs.request_id.set("r1")
    for own in ("r0", ""):
        logging.getLogger("model").info("printed", extra={"request_id": own})
    logs.request_id.reset(token)
    assert [json.loads(line).get("request_id") for line in written(stream).splitlines()] == ["r0", None]


def test_configuring_again_replaces_the_first_configuration(stream: io.StringIO) -> None:
    logs.configure("info", "json", io.StringIO())
    logs.configure("info", "console", stream)
    logging.getLogger("x").info("once")
    assert written(stream).count("once") == 1


def test_the_form_parser_does_not_quote_bodies_into_the_log(stream: io.StringIO) -> None:
    logs.configure("debug", "console", stream)
    logging.getLogger("python_multipart.multipart").warning("Found invalid character 'X'")
    assert written(stream) == ""


def test_what_a_terminal_would_obey_is_escaped(stream: io.StringIO) -> None:
    logs.configure("info", "console", stream)
    logging.getLogger("x").info("a\x1b]0;title\x07b\x9b2Jc\nd\te")
    assert written(stream).endswith("a\\x1b]0;title\\x07b\\x9b2Jc\nd\te\n")


def test_a_log_that_nobody_reads_holds_nobody_up_and_tells_what_is_missing() -> None:
    """Each line is written, or counted among those that were left out where they are missing."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe, os.fdopen(reading, "rb") as reader:  # who writes is let go first
        handler = LogWriter(pipe)
        record = logging.LogRecord("x", logging.INFO, "", 0, "x" * 1000, None, None)
        emitted = 4 * MOST_WAITING
        for _ in range(emitted):
            handler.emit(record)
        threading.Thread(target=handler.close).start()
        kept = left_out = 0
        while kept + left_out < emitted:
            line = reader.readline().decode()
            if found := re.match(r"([0-9,]+) lines of the log were left out here: ", line):
                left_out += int(found[1].replace(",", ""))
            else:
                assert line == "x" * 1000 + "\n"
                kept += 1
        assert kept >= MOST_WAITING
        assert left_out > 0


def test_lines_wait_for_others_but_not_when_they_are_to_be_flushed() -> None:
    """Here they would wait for an hour."""
    stream = io.StringIO()
    handler = LogWriter(stream, seconds=3600)
    record = logging.LogRecord("x", logging.INFO, "", 0, "x", None, None)
    for lines in (1, 3):
        for _ in range(lines):
            handler.emit(record)
        assert stream.getvalue() == ("" if lines == 1 else "x\n")
        handler.flush()
    assert stream.getvalue() == "x\n" * 4
    handler.emit(record)
    handler.close()
    assert stream.getvalue() == "x\n" * 5


def test_a_lot_of_lines_waits_for_nothing() -> None:
    """As many come in a burst, and those behind them must find room."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as pipe:
        handler = LogWriter(pipe, seconds=3600)
        for _ in range(LOT):
            handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "x", None, None))
        assert [reader.readline() for _ in range(LOT)] == [b"x\n"] * LOT
        handler.close()


def test_what_is_logged_last_is_there_after_the_end_of_the_process() -> None:
    program = "import logging; from app import logs; logs.configure('info', 'console'); logging.info('the last words')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr.endswith("the last words\n")


def formatted(form: logging.Formatter, message: str, fields: dict[str, Any]) -> str:
    record = logging.LogRecord("x", logging.INFO, "", 0, message, None, None)
    record.fields, record.request_id = fields, "r1"
    return form.format(record)


@settings(deadline=None)
@given(
    message=st.text(),
    fields=st.dictionaries(
        st.text(max_size=8).filter(lambda key: key not in ("time", "level", "logger", "message", "request_id")),
        st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.text()) | st.binary(),
    ),
)
def test_lines_are_what_the_plain_way_would_make_of_them(message: str, fields: dict[str, Any]) -> None:
    """`json.dumps` of the whole line, and every character looked at."""
    line = formatted(logs.JsonLines(), message, fields)
    time = re.search(r'"time": "([^"]*)"', line)
    assert time is not None
    facts = {"time": time[1], "level": "info", "logger": "x", "message": message, "request_id": "r1"}
    assert line == json.dumps(facts | fields, default=str)
    plain = " ".join([message, *(f"{key}={value}" for key, value in fields.items()), "request=r1"])
    escaped = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], plain)
    assert formatted(logs.Console(), message, fields).partition(" INFO    ")[2] == escaped


def test_a_stream_that_is_gone_is_no_error() -> None:
    gone = io.StringIO()
    gone.close()
    handler = LogWriter(gone)
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "x", None, None))
    handler.close()
