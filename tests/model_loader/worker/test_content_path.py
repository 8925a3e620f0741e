"""Paths of files that were loaded ahead: inside their folder, and what the reference server makes of them."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_loader.worker.mdai_guest.content_path import LONGEST_PATH, normal_path

DATA = "/tmp/mdai-data"


def on_the_reference(path: str) -> str | None:
    """The path that the reference server reads, None where it refuses."""
    resolved = os.path.normpath(f"{DATA}/{path.lstrip('/')}")
    return resolved if resolved.startswith(DATA + "/") else None


@given(path=st.text("ab./ä\\ ", max_size=20))
def test_a_path_is_taken_and_read_as_on_the_reference(path: str) -> None:
    try:
        normal = normal_path(path)
    except ValueError:
        assert on_the_reference(path) is None or path.lstrip("/").startswith("../mdai-data")
        return
    assert f"{DATA}/{normal}" == on_the_reference(path)


@given(path=st.text(max_size=30) | st.lists(st.sampled_from(["..", ".", "", "a", "/", "\0", "…", "~"])).map("/".join))
def test_no_path_leads_out_of_the_folder(path: str) -> None:
    try:
        normal = normal_path(path)
    except ValueError:
        return
    assert not normal.startswith("/") and "\0" not in normal
    assert not {"", ".", ".."} & set(normal.split("/"))
    assert normal_path(normal) == normal


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "does not name a file"),
        ("///", "does not name a file"),
        ("..", "does not name a file"),
        ("a/../../a", "does not name a file"),
        ("a\0", "NUL"),
        ("a" * 256, "more than 255 bytes"),
        ("a/" * LONGEST_PATH, "longer than 1024 bytes"),
        ("\ud800", "not valid text"),
    ],
)
def test_a_refusal_says_why(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        normal_path(path)
