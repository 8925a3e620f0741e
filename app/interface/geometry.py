"""Masks and vertices, judged by the facts that the worker found out about every element.

The reference server looks at the first row and the first value only; what passes there must pass here, with a
warning where it is surely a mistake. Stricter than the reference in one point: whatever is not a number, anywhere,
is refused, because nobody could draw it.
"""

from collections.abc import Callable, Iterator
from typing import Any

from app.interface.findings import Doubt
from app.interface.skeleton import Odd, Summary
from app.interface.wording import article, describe, visible

#: Levels of a list that a text names.
_DEEPEST_NAMED = 10


def as_summary(value: Any) -> Summary | None:
    """The facts about a list; None when `value` is none.

    A list that has a dict in it stands in the skeleton as it is; its facts are put together here.
    """
    if isinstance(value, Summary):
        return value if value.is_list else None
    if not isinstance(value, list):
        return None
    place, element = next(_not_numbers(value), (None, None))
    odd = Odd(at=[place], type=type(element).__name__, repr="") if place is not None else None
    return Summary(type="list", length=len(value), odd=odd, first=value[0] if value else None)


def _not_numbers(elements: list[Any]) -> Iterator[tuple[int, Any]]:
    for place, element in enumerate(elements):
        if not isinstance(element, int | float | list) and not (isinstance(element, Summary) and element.is_list):
            yield place, element


def levels(facts: Summary) -> list[int]:
    """Lengths level by level along the first elements: [2, 2] for `[[1, 2], [3]]`, [1, 0] for `[[]]`."""
    if facts.shape:
        empty = facts.shape.index(0) + 1 if 0 in facts.shape else len(facts.shape)
        return facts.shape[:empty]
    found = [facts.length]
    child = as_summary(facts.first)
    while child is not None and found[-1]:
        found.append(child.length)
        child = as_summary(child.first)
    return found


def mask_error(facts: Summary) -> str | None:
    """Why this is no mask, as the rest of a sentence after the place; None when it is one.

    A mask is rows of equally many numbers, indexed [row][column]; any value above 0 is foreground.
    """
    shape = levels(facts)
    if shape[0] == 0:
        return None
    if len(shape) == 1 and not (facts.odd and facts.odd.at == [0]):
        return (
            f" is flat, {describe(facts)}, but a mask is a list of rows, as in [[0, 1], [1, 1]]. "
            "Give it the image's height and width, e.g. with .reshape(height, width)"
        )
    if facts.odd is not None:
        return _odd_error(facts, _mask_place) + ". Use numbers only; every value above 0 is foreground"
    if len(shape) > 2:
        found = f"{len(shape)} dimensions ({_times(shape)})"
        return f" has {found}, but a mask has rows and columns only. {_flatten(shape)}"
    return None


def vertices_error(facts: Summary) -> str | None:
    """Why these are no vertices, as the rest of a sentence after the place; None when they are.

    Vertices are a list of [x, y] pairs; a list of such lists passes, too.
    """
    shape = levels(facts)
    if shape[0] == 0:
        return None
    if len(shape) == 1 and not (facts.odd and facts.odd.at == [0]):
        return (
            f" is flat, {describe(facts)}, but vertices are a list of pairs, as in [[10, 20], [30, 40]]. "
            "Pair x and y up, e.g. with .reshape(-1, 2)"
        )
    if facts.odd is not None:
        return _odd_error(facts, _vertex_place) + ". Each vertex is [x, y], two numbers"
    if len(shape) > 3:
        found = f"{len(shape)} levels ({_times(shape)})"
        return f" has {found}, but vertices are a list of [x, y] pairs. Return one output per outline"
    if len(shape) == 1 or shape[-1] != 2:
        return f": a vertex is [x, y], but the first one has {shape[-1]} values. Leave just x and y"
    if _first_leaf_is_bool(facts):
        return ": the first vertex holds a bool where x and y should be numbers. Give coordinates in pixels"
    return None


def mask_doubts(facts: Summary) -> Iterator[Doubt]:
    """What is surely a mistake about a mask that is passed on."""
    yield from _content_doubts(facts, "mask", "use 0 for background and 1 for foreground")
    yield from _uneven_doubts(facts, "mask", "has rows of different length")


def vertices_doubts(facts: Summary) -> Iterator[Doubt]:
    """What is surely a mistake about vertices that are passed on."""
    yield from _content_doubts(facts, "vertices", "give coordinates in pixels")
    if len(levels(facts)) == 3:
        text = "data.vertices has three levels where the interface has two"
        yield Doubt(("vertices", "levels"), text, fix="return one output per outline")
        return
    yield from _uneven_doubts(facts, "vertices", "holds something that is no [x, y] pair")
    if "bool" in facts.types:
        yield Doubt(("vertices", "bool"), "data.vertices holds bools", fix="give coordinates in pixels")


def _content_doubts(facts: Summary, key: str, fix: str) -> Iterator[Doubt]:
    if facts.length == 0 or 0 in (facts.shape or ()):
        text = f"data.{key} is empty, so nothing will be drawn"
        yield Doubt((key, "empty"), text, fix="leave out of the list what was not found")
    elif facts.nan:
        yield Doubt((key, "nan"), f"data.{key} holds NaN or infinity", fix=fix)


def _uneven_doubts(facts: Summary, key: str, what: str) -> Iterator[Doubt]:
    sample = ""
    if facts.uneven is not None:
        at = "".join(f"[{step}]" for step in facts.uneven.at[:_DEEPEST_NAMED])
        sample = f"element {at} is {visible(facts.uneven.found, 120)}"
    elif facts.shape is not None or not facts.length:
        return
    yield Doubt((key, "uneven"), f"data.{key} {what}", sample)


def _odd_error(facts: Summary, name_place: Callable[[list[int]], str]) -> str:
    odd = facts.odd
    assert odd is not None
    if facts.types == [odd.type] and facts.type not in ("list", "tuple"):
        return f" is {describe(facts)} and dtype {visible(odd.type)}, not of numbers"
    wanted = "a number" if len(odd.at) > 1 else "a list of numbers"
    return f": {name_place(odd.at)} is {_found(odd)}, not {wanted}"


def _found(odd: Odd) -> str:
    if odd.type == "NoneType":
        return "None"
    return article(visible(odd.type)) + (f" ({visible(odd.repr, 120)})" if odd.repr else "")


def _mask_place(at: list[int]) -> str:
    return _place(("row", "column"), at)


def _vertex_place(at: list[int]) -> str:
    names = ("outline", "vertex") if len(at) > 2 else ("vertex",)
    place = _place((*names, "value"), at)
    return place.replace(", value 0", ", x").replace(", value 1", ", y") if at[len(names) :] in ([0], [1]) else place


def _place(names: tuple[str, ...], at: list[int]) -> str:
    words = [f"{name} {step}" for name, step in zip(names, at, strict=False)]
    return ", ".join(words) + "".join(f"[{step}]" for step in at[len(names) : _DEEPEST_NAMED])


def _times(shape: list[int]) -> str:
    return " × ".join(map(str, shape[:_DEEPEST_NAMED])) + (" × …" if len(shape) > _DEEPEST_NAMED else "")


def _flatten(shape: list[int]) -> str:
    if len(shape) == 3 and shape[0] == 1:
        return "Take the only one out of its batch with mask[0]"
    if len(shape) == 3 and shape[2] == 1:
        return "Drop the last dimension, e.g. with mask[:, :, 0]"
    return "Return one output per slice, class or channel"


def _first_leaf_is_bool(facts: Summary) -> bool:
    """Whether a bool lies where the reference looks: in the first vertex."""
    first: Any = facts
    while isinstance(first, Summary) and isinstance(first.first, Summary):
        first = first.first
    return isinstance(first.first, bool) or (first is not facts and "bool" in first.types) or facts.types == ["bool"]
