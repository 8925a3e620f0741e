"""Bars as SVG: each with its name, its value, an interval and the goal."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_NAMES, _BARS, _VALUES, _LINE, _TOP = 330, 360, 90, 22, 46
_GOOD, _BAD, _NEUTRAL, _INK = "#3f7f5f", "#b5523b", "#7a8794", "#57606a"


@dataclass(frozen=True)
class Bar:
    """A value, where it lies with 95 % (or twice the value itself), and what it should be at most, if anything."""

    name: str
    value: float
    low: float
    high: float
    goal: float | None
    told: str


def bars(title: str, found: Sequence[Bar], most: float, line: float | None = None) -> str:
    """A picture of the bars from 0 to `most`; longer ones are cut off there. `line` is drawn through all of them."""
    width, height = _NAMES + _BARS + _VALUES, _TOP + _LINE * len(found) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="24" font-size="14" fill="{_INK}">{escape(title)}</text>',
    ]
    for number, bar in enumerate(found):
        parts += _bar(bar, _TOP + number * _LINE, most)
    if line is not None:
        x = _x(line, most)
        parts.append(f'<path d="M{x} {_TOP - 8}V{height - 8}" stroke="{_INK}" stroke-dasharray="3 3"/>')
        parts.append(f'<text x="{x}" y="{_TOP - 10}" text-anchor="middle" fill="{_INK}">{line:g}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(bar: Bar, y: int, most: float) -> list[str]:
    color = _NEUTRAL if bar.goal is None else _GOOD if bar.value <= bar.goal else _BAD
    middle, end = y + _LINE // 2 - 3, _x(bar.value, most)
    parts = [
        f'<text x="{_NAMES - 10}" y="{middle + 4}" text-anchor="end" fill="{_INK}">{escape(bar.name)}</text>',
        f'<rect x="{_NAMES}" y="{y}" width="{round(end - _NAMES, 1)}" height="{_LINE - 7}" fill="{color}"/>',
        f'<path d="M{_x(bar.low, most)} {middle}H{_x(bar.high, most)}" stroke="#1b1f24"/>',
        f'<text x="{_NAMES + _BARS + 8}" y="{middle + 4}" fill="{_INK}">{escape(bar.told)}</text>',
    ]
    if bar.goal is not None:
        parts.append(f'<path d="M{_x(bar.goal, most)} {y - 2}v{_LINE - 3}" stroke="#1b1f24" stroke-width="2"/>')
    return parts


def _x(value: float, most: float) -> float:
    return round(_NAMES + min(value, most) / most * _BARS, 1)
