"""Whatever bytes are posted: an answer with a status that says whose fault it is, and the same one every time."""

from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.app.test_multipart import BOUNDARY, damaged_forms

MSGPACK = "application/msgpack"
FORM = f"multipart/form-data; boundary={BOUNDARY.decode()}"
LEAD = "Error reading input data: "
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
files = st.fixed_dictionaries({"content": st.binary(max_size=99)}, optional={"content_type": values, "x": values})
requests = st.fixed_dictionaries(
    {"files": st.lists(files, max_size=3) | values},
    optional={"annotations": values, "label_classes": st.lists(values, max_size=3), "args": values, "more": values},
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A request that some bytes were changed in, inserted into or cut out of."""
    body = bytearray(msgpack.packb(draw(requests)))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        body[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=5))
    return bytes(body)


media_types = st.sampled_from([MSGPACK, FORM, "application/x-msgpack; a=b", "multipart/form-data", "text/plain", ""])
posts = st.one_of(
    st.tuples(st.just(MSGPACK), damaged()),
    st.tuples(st.just(FORM), damaged_forms()),
    st.tuples(media_types | st.binary(max_size=20).map(lambda raw: raw.hex()), st.binary(max_size=200)),
)


@pytest.fixture
def client(make_app: Callable[..., Any]) -> Iterator[TestClient]:
    with TestClient(make_app()) as client:
        yield client


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(post=posts)
@example(post=(MSGPACK, b""))
@example(post=(MSGPACK, b"\x91" * 5000))
@example(post=(MSGPACK, b"\x81\xa5files\xdd\xff\xff\xff\xff"))
def test_any_body_is_taken_or_refused_as_the_callers_fault_and_so_every_time(
    client: TestClient, post: tuple[str, bytes]
) -> None:
    media, body = post
    headers = {"Content-Type": media, "X-Request-Id": "the-same", "Accept": "text/plain"}
    first, second = (client.post("/predict", content=body, headers=headers) for _ in range(2))
    assert first.status_code in (200, 400, 413, 415, 422), first.text
    assert (second.status_code, second.content) == (first.status_code, first.content)
    if first.status_code != 200:
        assert first.text.startswith(LEAD) and len(first.text) < 2000
