"""Boxes from two corners."""

from pathlib import Path

import pytest

from app.doctor.code.boxes import examine
from tests.doctoring import examined, found_in, predicting

START = "x1, y1, x2, y2 = b = self.find(data)\nw, h = b[2] - b[0], b[3] - b[1]\n"


def boxed(x: str, y: str, width: str, height: str) -> str:
    return predicting(f"{START}return [{{'x': {x}, 'y': {y}, 'width': {width}, 'height': {height}}}]")


@pytest.mark.parametrize(
    ("box", "told"),
    [
        (("b[0]", "b[1]", "b[2] - b[1]", "b[3] - b[1]"), "subtracts b[1], not b[0]"),
        (("b[0]", "b[1]", "b[2] - b[0]", "b[3] - b[0]"), "subtracts b[0], not b[1]"),
        (("b[0]", "b[1]", "b[3] - b[2]", "b[3] - b[1]"), "subtracts b[2], not b[0]"),
        (("int(b[0])", "int(b[1])", "int(b[2] - b[1]) + 1", "int(b[3] - b[1])"), "subtracts b[1], not b[0]"),
        (("b[0] * s", "b[1] * s", "(b[2] - b[1]) * s", "(b[3] - b[1]) * s"), "subtracts b[1], not b[0]"),
        (("x1", "y1", "x2 - y1", "y2 - y1"), "subtracts y1, not x1"),
        (("x1", "y1", "x2", "y2 - y1"), "far corner and not the width"),
        (("d['x1']", "d['y1']", "d['x2'] - d['x1']", "d['y2']"), "far corner and not the height"),
        (("x1", "y1", "x1 - x2", "y2 - y1"), "it is negative"),
        (("b[0]", "b[1]", "b[1] - b[0]", "b[3] - b[1]"), "from the other axis"),
        (("b[0]", "b[1]", "b[3] - b[0]", "b[3] - b[1]"), "both end at b[3]"),
    ],
)
def test_a_box_from_the_wrong_corners_is_told_with_both_expressions(
    tmp_path: Path, box: tuple[str, str, str, str], told: str
) -> None:
    [finding] = examined(examine, tmp_path, boxed(*box))
    assert (finding.code.name, finding.code.severity) == ("M015", "error")
    assert told in finding.reason


@pytest.mark.parametrize(
    "box",
    [
        ("b[0]", "b[1]", "b[2] - b[0]", "b[3] - b[1]"),
        ("int(b[0])", "int(b[1])", "int(b[2]) - int(b[0])", "int(b[3]) - int(b[1])"),
        ("b[1]", "b[0]", "b[3] - b[1]", "b[2] - b[0]"),
        ("b[0]", "b[2]", "b[1] - b[0]", "b[3] - b[2]"),
        ("b[0]", "b[1]", "b[2]", "b[3]"),
        ("x1", "y1", "w", "h"),
        ("b[0]", "b[1]", "w", "h"),
        ("x1", "y1", "x2 - x1", "y2 - y1"),
        ("max(0, x1)", "max(0, y1)", "min(s, x2) - x1", "min(s, y2) - y1"),
        ("x1 - 5", "y1 - 5", "x2 - x1 + 10", "y2 - y1 + 10"),
        ("x1", "y1", "abs(x2 - x1)", "abs(y2 - y1)"),
        ("c.x", "c.y", "c.width", "c.height"),
        ("b[i]", "b[j]", "b[k] - b[i]", "b[l] - b[j]"),
        ("0", "0", "100", "100"),
        ("minc", "minr", "maxc - minc", "maxr - minr"),
        ("b[0] - b[2] / 2", "b[1] - b[3] / 2", "b[2]", "b[3]"),
        ("p[0, 0]", "p[0, 1]", "p[1, 0] - p[0, 0]", "p[1, 1] - p[0, 1]"),
    ],
)
def test_a_box_that_is_right_or_cannot_be_told_is_silent(tmp_path: Path, box: tuple[str, str, str, str]) -> None:
    assert found_in(examine, tmp_path, boxed(*box)) == []


def test_names_that_stand_for_the_corners_are_followed(tmp_path: Path) -> None:
    body = START + "width = x2 - y1\nheight = y2 - y1\nreturn [{'x': x1, 'y': y1, 'width': width, 'height': height}]"
    assert found_in(examine, tmp_path, predicting(body)) == ["M015:10"]
