"""The reference server's own verdicts, for operators who want nothing accepted here that it refuses.

Its rules are about exact types, so they are judged on the skeleton with every type as it was returned. They come on
top of the models: what those refuse, such as text inside a mask, is refused in strict operation, too.
"""

from collections.abc import Iterator
from typing import Any

from app.interface.findings import Fault
from app.interface.models import FORM_KEYS, OUTPUT_KEYS
from app.interface.skeleton import Summary, Typed
from app.interface.wording import describe, inside

_SUFFIX = "the reference server refuses that, and so does this one when it is strict"
#: Elements of one list that are looked at, so that a long one does not take long.
_MOST_ELEMENTS = 1000
_NOTHING = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    "type": (str,),
    "study_uid": (str,),
    "series_uid": (str, _NOTHING),
    "instance_uid": (str, _NOTHING),
    "frame_number": (int, _NOTHING),
    "video_frame_number": (int, _NOTHING),
    "class_index": (int,),
    "probability": (float, list, _NOTHING),
    "data": (dict, _NOTHING),
    "explanations": (list, _NOTHING),
    "note": (str, dict, _NOTHING),
    "images": (list, _NOTHING),
    "image_output_tags": (dict, _NOTHING),
}
#: Classes of numpy's that are subclasses of Python's own, and are packed as those.
_SUBCLASSES = {"numpy.float64": float, "numpy.str_": str, "numpy.bytes_": bytes}
_FOREIGN = ("numpy.", "torch.", "tensorflow.", "jax", "decimal.", "fractions.", "pydicom.valuerep.PersonName")


def faults(output: Any) -> Iterator[Fault]:
    """For what the reference server refuses an output that the models accept."""
    while isinstance(output, Typed):
        output = output.value
    for key, value in output.items():
        if key not in OUTPUT_KEYS:
            yield _fault((key,), "is an unknown key")
        elif _exact_type(value) not in _TYPES[key]:
            yield _fault((key,), f"is {describe(value)}")
        elif key == "data":
            yield from _data_faults(value)
        elif key in ("note", "image_output_tags"):
            yield from _text_faults(key, value)
        elif not _packs(value):
            yield _fault((key,), "holds something that its msgpack cannot write")


def _fault(path: tuple[Any, ...], what: str) -> Fault:
    return Fault((inside(path), "strict"), f"{inside(path)} {what}: {_SUFFIX}")


def _exact_type(value: Any) -> type | None:
    """The builtin type that `value` is exactly; None for every other one."""
    if isinstance(value, Summary):
        return {"list": list, "str": str, "bytes": bytes, "dict": dict}.get(value.type)
    return None if isinstance(value, Typed) else type(value)


def _is_a(value: Any, kind: type) -> bool:
    """isinstance, as the reference asks it: numpy's numbers are no ints, a bool and an IntEnum are."""
    if not isinstance(value, Typed):
        return isinstance(value, kind) or _exact_type(value) is kind
    if value.type_name in _SUBCLASSES:
        return _SUBCLASSES[value.type_name] is kind
    return isinstance(value.value, kind) and not _is_foreign(value.type_name)


def _is_foreign(type_name: str) -> bool:
    """Whether values of the type only stand for a builtin one, while others are of a subclass of it."""
    return type_name.startswith(_FOREIGN) and type_name not in _SUBCLASSES


def _data_faults(data: Any) -> Iterator[Fault]:
    if data is None:
        return
    form = next((name for name, keys in FORM_KEYS.items() if keys == data.keys()), None)
    if form is None:
        yield _fault(("data",), f"is {describe(data)}")
        return
    for key, value in data.items():
        if form in ("mask", "vertices"):
            yield from _rows_faults(key, value)
        elif not _is_a(value, int):
            yield _fault(("data", key), f"is {describe(value)}")


def _rows_faults(key: str, rows: Any) -> Iterator[Fault]:
    if _exact_type(rows) is not list:
        yield _fault(("data", key), f"is {describe(rows)}")
        return
    first = rows.first if isinstance(rows, Summary) else next(iter(rows), None)
    if not _packs(rows):
        yield _fault(("data", key), "holds something that its msgpack cannot write")
    elif first is None:
        return
    elif _exact_type(first) is not list:
        yield _fault(("data", key), f"begins with {describe(first)}")
    elif not _has_plain_numbers(first, key):
        yield _fault(("data", key), "begins with a list of something else than int and float")


def _has_plain_numbers(first: Any, key: str) -> bool:
    """Whether there is an int or a float wherever the reference looks: one value of a mask, two of vertices."""
    if isinstance(first, list):  # one with dicts in it, or no worker's
        return False
    if first.first is None:
        return True
    return type(first.first) in (int, float) and (key == "mask" or {"int", "float"}.issuperset(first.types))


def _text_faults(key: str, value: Any) -> Iterator[Fault]:
    if isinstance(value, dict):
        for name, text in value.items():
            if not _is_a(text, str):
                yield _fault((key, name), f"is {describe(text)}")


def _packs(value: Any) -> bool:
    """Whether plain msgpack writes the value: subclasses of builtin types yes, arrays and numpy's numbers no."""
    if isinstance(value, Typed):
        is_iterator = isinstance(value.value, list) and value.type_name != "tuple"
        return not _is_foreign(value.type_name) and not is_iterator and _packs(value.value)
    if isinstance(value, Summary):
        return value.type in ("list", "tuple", "str", "bytes", "dict") and not any(map(_is_foreign, value.types))
    if isinstance(value, dict):
        return all(map(_packs, value.values()))
    if isinstance(value, list):
        return all(map(_packs, value[:_MOST_ELEMENTS]))
    return True
