"""From pydantic's errors about one output to sentences that say what was found, where, and how to mend it."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.interface.findings import Fault
from app.interface.models import (
    DATA_FORMS,
    FORM_KEYS,
    FORM_NAMES,
    OUTPUT_TYPES,
    ImageOutputTags,
    NoteParts,
    Wanted,
    form_of,
)
from app.interface.skeleton import Typed, Unwritable
from app.interface.wording import all_of, describe, inside, nearest, quoted

_TYPES = all_of([repr(name) for name in OUTPUT_TYPES]).replace(" and ", " or ")
#: Keys of an output, or of a dict in one of `PARTS`. The interface knows thirteen.
MOST_KEYS = 1000
PARTS = ("data", "note", "image_output_tags")
_FORMS = "; ".join(f"{{{', '.join(model.model_fields)}}}" for model in DATA_FORMS.values())


def not_an_output(output: Any) -> Iterator[Fault]:
    """The fault of an element of the result that is no dict."""
    text = f" is {describe(output)}, not a dict: every output is a dict with at least 'type' and 'study_uid'"
    if output is None:
        text = " is None, not a dict: leave out of the list what was not found"
    yield Fault(("not a dict", type(output).__name__), text)


def too_many_keys(output: Any) -> Iterator[Fault]:
    """The fault of an output that is one huge dict, or has one in a place where the interface has a few keys."""
    for path in ((), *((key,) for key in PARTS)):
        found = at(output, path) if not path or path[0] in map(_value, _value(output)) else None
        if isinstance(_value(found), dict) and len(_value(found)) > MOST_KEYS:
            text = f"{inside(path)} has {len(_value(found)):,} keys, and {MOST_KEYS:,} are the most"
            yield Fault((path, "keys"), f"{text}: return one output per finding, with the keys of the interface")


def faults(error: ValidationError, output: Any) -> Iterator[Fault]:
    """What pydantic found wrong with `output`, the view of it in which every type is as it was returned."""
    said = set()
    for detail in error.errors(include_url=False):
        fault = _fault(_value(output), detail)
        if fault.key not in said:
            said.add(fault.key)
            yield fault


def unwritable_faults(value: Any, path: tuple[Any, ...] = ()) -> Iterator[Fault]:
    """Everything in `value` that no response can carry, wherever it is."""
    if isinstance(value, Unwritable):
        text = f"{inside(path)} is {describe(value)}, which no response can carry: {quoted(value.reason)[1:-1]}"
        yield Fault(("unwritable", inside(path)), text)
    elif isinstance(value, Typed):
        yield from unwritable_faults(value.value, path)
    elif isinstance(value, dict):
        for key, element in value.items():
            yield from unwritable_faults(element, (*path, key))
    elif isinstance(value, list):
        for place, element in enumerate(value):
            yield from unwritable_faults(element, (*path, place))


def _fault(output: dict[Any, Any], detail: ErrorDetails) -> Fault:
    kind, place = detail["type"], detail["loc"]
    if not place:
        return _type_fault(output)
    path, model = _locate(OUTPUT_TYPES[str(place[0])], place[1:])
    where = inside(path)
    if kind == "shape":
        return Fault((where, "shape"), where + detail["ctx"]["text"])
    if kind == "missing":
        return _missing(path, model, _parent(output, path))
    if kind == "invalid_key":
        return Fault((where, kind), f"{where} is a key that is not text: name keys with str")
    if kind == "extra_forbidden":
        return _unknown(where, path, model)
    found = at(output, path)
    if path == ("data",) and isinstance(_value(found), dict):
        return _no_form(_value(found))
    wanted = _wanted(model, path[-1])
    return Fault(
        (where, type(_value(found)).__name__),
        f"{where} is {describe(found)}, not {wanted.what}: {wanted.fix}",
    )


def _type_fault(output: dict[Any, Any]) -> Fault:
    if "type" not in output:
        near = next((key for key in output if nearest(key, ["type"])), None)
        instead = f" (there is {quoted(near)})" if near is not None else ""
        return Fault("no type", f".type is missing{instead}: give one of {_TYPES}")
    found = output["type"]
    near = nearest(_value(found), OUTPUT_TYPES)
    return Fault(
        "type",
        f".type is {describe(found)}: give one of {_TYPES}" + (f". Did you mean {near!r}?" if near else ""),
    )


def _locate(model: type[BaseModel], place: tuple[int | str, ...]) -> tuple[tuple[Any, ...], type[BaseModel]]:
    """The path of keys that pydantic's location stands for, and the model of the innermost one.

    pydantic mixes the names of union members into its locations.
    """
    key, rest = place[0], place[1:]
    if key == "data" and len(rest) > 1:
        return ("data", rest[1]), DATA_FORMS[str(rest[0])]
    if key == "note" and len(rest) > 1 and rest[0] == "parts":
        return ("note", rest[1]), NoteParts
    if key == "image_output_tags" and rest:
        return ("image_output_tags", rest[0]), ImageOutputTags
    return (key,), model


def _missing(path: tuple[Any, ...], model: type[BaseModel], parent: Any) -> Fault:
    where, key = inside(path), path[-1]
    meant = next((name for name in parent if name not in model.model_fields and nearest(name, [key])), None)
    instead = f" (there is {quoted(meant)})" if meant is not None else ""
    fix = _wanted(model, key).fix
    if path[0] == "data":
        fix = f"{FORM_NAMES[form_of(parent) or '']} has {all_of([repr(name) for name in model.model_fields])}"
    return Fault((where, "missing"), f"{where} is missing{instead}: {fix}")


def _unknown(where: str, path: tuple[Any, ...], model: type[BaseModel]) -> Fault:
    known = list(model.model_fields)
    near = nearest(path[-1], known)
    hint = f"did you mean {near!r}?" if near else f"the keys here are {all_of([repr(name) for name in known])}"
    return Fault((where, "unknown"), f"{where} is no known key: {hint}")


def _no_form(data: dict[Any, Any]) -> Fault:
    every = frozenset().union(*FORM_KEYS.values())
    near = next(
        (f" {quoted(key)} may have been meant as {name!r}." for key in data if (name := nearest(key, every))),
        "",
    )
    return Fault(
        ("data", "form"),
        f".data is {describe(data)}, none of the known forms.{near} They are {_FORMS}",
    )


def _wanted(model: type[BaseModel], key: Any) -> Wanted:
    return next(note for note in model.model_fields[key].metadata if isinstance(note, Wanted))


def at(output: Any, path: tuple[Any, ...]) -> Any:
    """The value below `output` that `path` leads to, in the view with every type as it was returned."""
    for key in path:
        output = _value(output)
        if key not in output and isinstance(output, dict):
            key = next(name for name in output if _value(name) == key)
        output = output[key]
    return output


def _parent(output: Any, path: tuple[Any, ...]) -> Any:
    return _value(at(output, path[:-1]))


def _value(found: Any) -> Any:
    return found.value if isinstance(found, Typed) else found
