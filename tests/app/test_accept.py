"""Which form an `Accept` header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accept import wanted_by


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "msgpack"),
        ("*/*", "msgpack"),
        ("application/*", "msgpack"),
        ("application/msgpack", "msgpack"),
        ("application/json", "json"),
        ("Application/JSON; charset=utf-8", "json"),
        ("application/json, text/plain, */*", "msgpack"),
        ("application/json, */*", "msgpack"),
        ("application/json, */*;q=0.5", "json"),
        ("application/json;q=0.5, */*", "msgpack"),
        ("application/json, application/msgpack", "msgpack"),
        ("application/msgpack;q=0.5, application/json;q=0.9", "json"),
        ("application/x-msgpack;q=0.9, application/json;q=0.5", "msgpack"),
        ("application/msgpack;q=0, */*", "json"),
        ("application/json;q=0", "msgpack"),
        ("application/json;q=oops", "msgpack"),
        ("application/problem+json", "msgpack"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "msgpack"),
        ("text/html", "msgpack"),
    ],
)
def test_json_is_sent_where_it_is_wanted_more_than_msgpack(accept: str, form: str) -> None:
    assert wanted_by(accept.encode()).prediction == form


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", True),
        ("application/problem+json", True),
        ("application/json, text/plain, */*", False),
        ("application/json, text/plain;q=0.9", True),
        ("application/json;q=0.5, text/plain", False),
        ("application/json;q=0", False),
        ("application/msgpack", False),
    ],
)
def test_errors_are_problem_details_where_json_is_named(accept: str, wanted: bool) -> None:
    assert wanted_by(accept.encode()).problem_details is wanted


@given(st.binary(max_size=200))
def test_any_header_has_an_answer(accept: bytes) -> None:
    assert wanted_by(accept).prediction in ("msgpack", "json")
