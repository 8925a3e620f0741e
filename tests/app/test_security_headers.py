"""What answers tell browsers."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from starlette.testclient import TestClient

BODY = msgpack.packb({"files": [{"content": b"DICM", "content_type": "application/dicom"}]})


def names_once(answer: Any) -> None:
    names = [name.lower() for name, _ in answer.headers.multi_items()]
    assert len(names) == len(set(names)), names


@pytest.mark.parametrize("path", ["/", "/predict", "/info", "/nowhere", "/healthz", "/openapi.json"])
def test_no_answer_is_kept_framed_guessed_at_or_tells_where_one_came_from(
    make_app: Callable[..., Any], path: str
) -> None:
    answer = TestClient(make_app()).get(path)
    names_once(answer)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_predictions_are_not_kept(make_app: Callable[..., Any], pool: Any, size: int) -> None:
    pool.outputs = [{"type": "NONE", "study_uid": "1", "note": "x" * size}]
    answer = TestClient(make_app()).post("/predict", content=BODY, headers={"Content-Type": "application/msgpack"})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    names_once(answer)


def test_the_page_s_own_script_and_files_are_all_that_docs_may_run(make_app: Callable[..., Any], package: Any) -> None:
    """A script that the package's name brings along is not among them."""
    named = replace(package, name="</title><script>alert(1)</script>")
    page = TestClient(make_app(package=named)).get("/docs")
    names_once(page)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    (script,) = re.findall(r"<script>(\s*const ui.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert (policy["default-src"], policy["frame-ancestors"], policy["connect-src"]) == ("'none'", "'none'", "'self'")
    assert page.headers["content-length"] == str(len(page.content))


def test_files_of_docs_may_be_kept(make_app: Callable[..., Any]) -> None:
    answer = TestClient(make_app()).get("/static-offline-docs/swagger-ui.css")
    assert "etag" in answer.headers and "cache-control" not in answer.headers
