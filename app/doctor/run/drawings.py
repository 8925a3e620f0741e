"""Whether what outputs draw lies in the image that they are about: boxes, points, outlines, masks.

Of masks only the shape is needed, which the skeleton has; of an outline its corners, which are read from the response
where the lowest and highest number do not already say that it lies inside.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np

from app.doctor.finding import Code, Severity
from app.doctor.run.images import Images
from app.doctor.run.remarks import Answer, Remark, Tally
from app.interface import geometry
from app.interface.models import form_of
from app.interface.wording import count_of, number

OUTSIDE = Code("P009", Severity.WARNING, "a box, a point or an outline outside the image")
MASK_SHAPE = Code("P010", Severity.ERROR, "a mask of another shape than the image")

#: Pixels by which a drawing may stand out: rounding, and coordinates that mean a pixel's far edge.
TOLERANCE = 1.0

FIX_SIZE = (
    "x and width count columns, y and height rows, in pixels of the image as it came: width is x2 - x1, height is"
    " y2 - y1. Where the model saw a resized or cropped image, scale and shift back, then clip to the image."
)
FIX_EXCHANGED = (
    "Exchange x and y: x counts columns from the left, y rows from the top, while numpy indexes [row, column] and"
    " gives shapes as (rows, columns)."
)
_FIX_TRANSPOSED = (
    "Index the mask [row][column]: return mask.T, or leave out what exchanged the axes (cv2 and PIL take sizes as"
    " width, height; nibabel loads arrays as [x, y, z])."
)
_FIX_SHAPE = "Bring the mask to ds.Rows × ds.Columns, with nearest-neighbour interpolation, before it is returned."
_FIX_OTHER = "Give each mask the UIDs of the image that it was computed from."

#: (lowest x, highest x, lowest y, highest y)
Extent = tuple[float, float, float, float]


def remarks(answer: Answer, outputs: list[dict[Any, Any]], images: Images) -> Iterator[Remark]:
    """P009 and P010 about one answer."""
    outside = _Outside(len(outputs))
    shapes = _Shapes(len(outputs), images)
    unsure: dict[int, tuple[int, int]] = {}
    for index, output in enumerate(outputs):
        data, size = output.get("data"), images.size_of(output)
        form = form_of(data)
        if size is None or not data:
            continue
        if form == "mask":
            shapes.consider(index, data["mask"], size)
        elif form == "vertices":
            facts = geometry.as_summary(data["vertices"])
            if facts is not None and not _is_surely_inside(facts.range, size):
                unsure[index] = size
        elif form in ("box", "location"):
            outside.consider(index, _place_of(data), size, is_box=form == "box")
    for index, extent in _extents(answer.body, unsure):
        outside.consider(index, extent, unsure[index])
    yield from outside.remarks()
    yield from shapes.remarks()


class _Outside:
    """Drawings that stand out of their image; whether they would all fit with x and y exchanged."""

    def __init__(self, total: int) -> None:
        self._tally = Tally()
        self._total = total
        self._fit_exchanged = True

    def consider(self, index: int, extent: Extent, size: tuple[int, int], *, is_box: bool = False) -> None:
        found = _standing_out(extent, size, is_box)
        if found:
            low_x, high_x, low_y, high_y = extent
            self._tally.add(index, found)
            self._fit_exchanged &= not _standing_out((low_y, high_y, low_x, high_x), size, is_box)

    def remarks(self) -> Iterator[Remark]:
        if not self._tally.count:
            return
        reason = self._tally.sentence(self._total)
        if self._fit_exchanged:
            reason += " With x and y exchanged it would fit."
        yield Remark(OUTSIDE, "outside", reason, FIX_EXCHANGED if self._fit_exchanged else FIX_SIZE)


class _Shapes:
    """Masks whose shape is not their image's, by what their shape is instead."""

    def __init__(self, total: int, images: Images) -> None:
        self._total = total
        self._images = images
        self._tallies = {fix: Tally() for fix in (_FIX_TRANSPOSED, _FIX_OTHER, _FIX_SHAPE)}

    def consider(self, index: int, mask: Any, size: tuple[int, int]) -> None:
        facts = geometry.as_summary(mask)
        shape = tuple(facts.shape or ()) if facts else ()
        if len(shape) != 2 or shape == size or 0 in shape:  # uneven or empty: a doubt of the judge's
            return
        found = f"data.mask has {_shape(shape)}, and the image has {_shape(size)}"
        if shape == size[::-1]:
            self._tallies[_FIX_TRANSPOSED].add(index, f"{found}: rows and columns are exchanged")
        elif shape in self._images.sizes:
            self._tallies[_FIX_OTHER].add(index, f"{found}; another input has the mask's shape")
        else:
            self._tallies[_FIX_SHAPE].add(index, found)

    def remarks(self) -> Iterator[Remark]:
        for fix, tally in self._tallies.items():
            if tally.count:
                yield Remark(MASK_SHAPE, fix, tally.sentence(self._total), fix)


def _shape(shape: tuple[int, ...]) -> str:
    return f"{count_of(shape[0], 'row')} and {count_of(shape[1], 'column')}"


def _place_of(data: Mapping[str, Any]) -> Extent:
    """A box or a point. Where the width or the height is negative, which the judge doubts, its corner alone."""
    x, y = data["x"], data["y"]
    return x, x + max(0, data.get("width", 0)), y, y + max(0, data.get("height", 0))


def _standing_out(extent: Extent, size: tuple[int, int], is_box: bool) -> str:
    """What is wrong, as the rest of a sentence; "" for what lies in the image, and for what is no number."""
    low_x, high_x, low_y, high_y = extent
    rows, columns = size
    for low, high, key, length, limit in (
        (low_x, high_x, "x", "width", count_of(columns, "column")),
        (low_y, high_y, "y", "height", count_of(rows, "row")),
    ):
        if low < -TOLERANCE:
            return f"{key} is {number(low)}, and the image begins at 0"
        if high > (columns if key == "x" else rows) + TOLERANCE:
            what = f"{key} + {length}" if is_box and high > low else key
            return f"{what} is {number(high)}, and the image has {limit}"
    return ""


def _is_surely_inside(limits: list[Any] | None, size: tuple[int, int]) -> bool:
    return limits is None or (limits[0] >= -TOLERANCE and limits[1] <= min(size) + TOLERANCE)


def _extents(body: bytes, wanted: Iterable[int]) -> Iterator[tuple[int, Extent]]:
    """The extents of the outlines in the outputs of these numbers. Everything else in the response is passed over."""
    left = set(wanted)
    if not left:
        return
    unpacker = msgpack.Unpacker(max_buffer_size=0, strict_map_key=False)
    unpacker.feed(body)
    # Only a package that writes into memory of ours can make a response unlike its skeleton.
    with suppress(ValueError, TypeError, KeyError, msgpack.UnpackException):
        for index in range(unpacker.read_array_header()):
            if index not in left:
                unpacker.skip()
                continue
            for _ in range(unpacker.read_map_header()):
                if unpacker.unpack() != "data":
                    unpacker.skip()
                elif (extent := _extent(unpacker.unpack()["vertices"])) is not None:
                    yield index, extent


def _extent(vertices: list[Any]) -> Extent | None:
    """Of all corners whose x and y are finite numbers; None where there is none."""
    try:
        pairs = np.array(vertices, float).reshape(-1, 2)
    except ValueError:  # of different length
        pairs = np.array(list(_pairs(vertices)), float).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs):
        return None
    (low_x, low_y), (high_x, high_y) = pairs.min(axis=0).tolist(), pairs.max(axis=0).tolist()
    return low_x, high_x, low_y, high_y


def _pairs(vertices: list[Any]) -> Iterator[list[float]]:
    """Every [x, y], also where outlines lie in a list of their own."""
    for vertex in vertices:
        if isinstance(vertex, list) and vertex and isinstance(vertex[0], list):
            yield from _pairs(vertex)
        elif isinstance(vertex, list) and len(vertex) == 2:
            yield vertex
