"""The small fields of a form: what they mean, and how they become msgpack.

`args` is a JSON object, `annotations` and `label_classes` are JSON, every other field is one argument. Arguments
become strings: JSON strings as they are, anything else as the JSON text that was sent (`true`, `1.50`, `{"a": 1}`).
"""

from typing import Any

import msgspec

from app.interface.errors import InvalidRequest, MalformedBody
from app.interface.wording import visible

JSON_LISTS = ("annotations", "label_classes")
JSON_FIELDS = (*JSON_LISTS, "args")


def packed_members(fields: dict[str, bytes]) -> dict[str, bytes]:
    """The keys beside `files`, each with its value packed; a key without a field is left out."""
    members = {name: _packed_json(name, fields[name]) for name in JSON_LISTS if name in fields}
    args = _json_args(fields["args"]) if "args" in fields else {}
    for name, value in fields.items():
        if name in JSON_FIELDS:
            continue
        if name in args:
            raise InvalidRequest(f"The argument {visible(name)} is there twice: as a field and inside args.")
        args[name] = utf8_text(value, f"The field {visible(name)}")
    if args:
        members["args"] = msgspec.msgpack.encode(args)
    return members


def _json_args(text: bytes) -> dict[str, str]:
    values = _json("args", text, dict[str, msgspec.Raw])
    return {key: _argument(bytes(value)) for key, value in values.items()}


def _argument(value: bytes) -> str:
    if value.startswith(b'"'):
        return str(_json("args", value, str))
    return utf8_text(value, "The field args")


def _packed_json(name: str, text: bytes) -> bytes:
    try:
        return msgspec.msgpack.encode(_json(name, text, Any))
    except OverflowError:
        raise InvalidRequest(f"The field {name} holds an integer that is longer than 64 bits.") from None


def _json(name: str, text: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The field {name} cannot be used: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody(f"The field {name} is not valid JSON: {error}.") from None
    except RecursionError:
        raise MalformedBody(f"The field {name} is nested too deeply.") from None


def utf8_text(value: bytes, what: str) -> str:
    """`value` decoded; `what` begins the sentence of the MalformedBody that is raised where it is no UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise MalformedBody(f"{what} is not UTF-8 text.") from None
