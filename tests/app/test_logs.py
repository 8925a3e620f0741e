"""Log lines for people and for machines."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from app import logs


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Where a configuration may write; pytest's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    yield io.StringIO()
    logging.captureWarnings(False)
    logging.getLogger("python_multipart").setLevel(logging.NOTSET)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_carry_the_request_id_and_the_fields(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    token = logs.request_id.set("r1")
    logging.getLogger("x").info("two\nlines %d", 3, extra={"fields": {"ms": 1.5}})
    logs.request_id.reset(token)
    logging.getLogger("x").debug("below the level")
    (line,) = stream.getvalue().splitlines()
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
    assert stream.getvalue().endswith("Z WARNING careful ms=1.5\n")


@pytest.mark.parametrize("form", ["console", "json"])
def test_tracebacks_are_kept(stream: io.StringIO, form: logs.Form) -> None:
    logs.configure("info", form, stream)
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("x").exception("it broke")
    assert "KeyError" in stream.getvalue()
    assert (len(stream.getvalue().splitlines()) == 1) == (form == "json")


def test_configuring_again_replaces_the_first_configuration(stream: io.StringIO) -> None:
    logs.configure("info", "json", io.StringIO())
    logs.configure("info", "console", stream)
    logging.getLogger("x").info("once")
    assert stream.getvalue().count("once") == 1


def test_the_form_parser_does_not_quote_bodies_into_the_log(stream: io.StringIO) -> None:
    logs.configure("debug", "console", stream)
    logging.getLogger("python_multipart.multipart").warning("Found invalid character 'X'")
    assert stream.getvalue() == ""
