"""How values, places and lists of places are put into words.

Values come from models and callers: whatever is quoted is shortened, and what does not print is escaped.
"""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any

from app.interface.skeleton import Summary, Typed, Unwritable

#: Longest quotation of a value or a key, in characters.
LONGEST = 60


def visible(text: str, limit: int = LONGEST) -> str:
    """`text` on one line with everything that does not print escaped, and shortened to `limit` characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def quoted(value: object) -> str:
    """The repr of a scalar, shortened."""
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= LONGEST else repr(value[: LONGEST - 20]) + "…"
    return visible(repr(value))


def article(name: str) -> str:
    """`name` behind its indefinite article: "an int", "a numpy.ndarray"."""
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def describe(value: Any) -> str:
    """What a value of the skeleton is, for a sentence: "a str ('x')", "a list of 3 elements", "None"."""
    match value:
        case None:
            return "None"
        case Typed():
            inner = describe(value.value)
            _, bracket, detail = inner.partition(" (")
            return article(visible(value.type_name)) + (bracket + detail if bracket else "")
        case Unwritable():
            return f"{article(visible(value.type_name))} ({visible(value.repr, 120)})"
        case Summary():
            return _describe_summary(value)
        case dict():
            return f"a dict with {_keys(value)}" if value else "an empty dict"
        case list():
            return _elements("list", len(value))
        case bytes():
            return count_of(len(value), "byte")
    return f"{article(type(value).__name__)} ({quoted(value)})"


def _describe_summary(summary: Summary) -> str:
    if summary.type == "bytes":
        return count_of(summary.length, "byte")
    if summary.type == "str":
        return f"a str of {summary.length} characters"
    if summary.type == "dict":
        return f"a dict with {summary.length} keys"
    name = visible(summary.type)
    if summary.type != "list" and summary.shape:
        return f"{article(name)} of shape {tuple(summary.shape)}"
    return _elements(name, summary.length)


def _elements(name: str, count: int) -> str:
    if count == 0:
        return f"an empty {name}"
    return f"{article(name)} of {count_of(count, 'element')}"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """`1 byte`, `2,000 bytes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _keys(mapping: dict[Any, Any]) -> str:
    first = [quoted(key) for key in list(mapping)[:5]]
    more = len(mapping) - len(first)
    noun = "the key" if len(mapping) == 1 else "the keys"
    return f"{noun} {', '.join(first)}" + (f" and {more} more" if more else "")


def number(value: float) -> str:
    """A number as short as it can be said."""
    return f"{value:.6g}" if isinstance(value, float) and isfinite(value) else str(value)


def sentence_of(text: str) -> str:
    """`text` with a full stop where it does not end in a question."""
    return text if text.endswith("?") else text + "."


def inside(path: Iterable[object]) -> str:
    """The keys and indices below an output as one would write them: `.data.mask`, `['odd key']`, `[3]`."""
    words = []
    for step in path:
        if isinstance(step, int):
            words.append(f"[{step}]")
        elif isinstance(step, str) and step.isidentifier() and len(step) <= LONGEST:
            words.append(f".{step}")
        else:
            words.append(f"[{quoted(step)}]")
    return "".join(words)


def indices(name: str, places: Sequence[int], total: int, subscript: Callable[[int], str] = "[{}]".format) -> str:
    """`outputs[0], [1], [2] and 97 more`: the first of `total` places."""
    words = [name + subscript(places[0]), *map(subscript, places[1:])]
    more = total - len(places)
    return all_of([*words, f"{more:,} more"] if more else words)


def all_of(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def nearest(key: object, known: Iterable[str]) -> str | None:
    """The known key that somebody who wrote `key` most likely meant."""
    if not isinstance(key, str):
        return None
    squeezed = {_squeezed(name): name for name in known}
    sought = _squeezed(key[:LONGEST])
    found = get_close_matches(sought, squeezed, n=1, cutoff=0.7)
    if not found and sought:  # "w" for "width"
        found = [name for name in squeezed if name.startswith(sought)]
    return squeezed[found[0]] if found else None


def _squeezed(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "").replace(" ", "")
