"""How fields are published where the schema cannot follow from the types that check them.

What is published is what may arrive, so a form that is surely a mistake but passed on with a warning is in the schema,
and its description says which form is meant. In JSON, NaN and the infinities are null.
"""

from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, RootModel, TypeAdapter, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Schema = dict[str, Any]

#: Bytes as they are published: binary in msgpack, text in JSON.
BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "bin in msgpack, base64 text in JSON",
}

#: One number. Booleans come through as they are returned.
NUMBER: Schema = {"type": ["number", "boolean", "null"]}

_Number = Annotated[float | bool | None, WithJsonSchema(NUMBER)]


class Numbers(RootModel[_Number | list["Numbers"]]):
    """A number, or a list of numbers or of such lists. In JSON, null is NaN or infinite."""


_PAIR: Schema = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": ["number", "null"]}}


def without(*keys: str) -> Schema:
    """The rest of a schema: none of `keys` is there, because a map with one of them is of another form."""
    return {"not": {"anyOf": [{"required": [key]} for key in keys]}}


class DocumentedAs:
    """Publishes the JSON schema of another type: for lists whose elements are advice and are not refused."""

    def __init__(self, documented: Any) -> None:
        self._schema: CoreSchema = TypeAdapter(documented).core_schema

    def __get_pydantic_json_schema__(self, _checked: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(self._schema)


class DocumentedMask:
    """Publishes what a mask may be: only its first row is sure to be one, and to begin with a number."""

    def __get_pydantic_json_schema__(self, _checked: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rest = handler(Numbers.__pydantic_core_schema__)
        return {
            "type": "array",
            "description": "Rows of equally many numbers. Rows that differ are passed on with a warning.",
            "prefixItems": [{"type": "array", "prefixItems": [NUMBER], "items": rest}],
            "items": rest,
        }


class DocumentedVertices:
    """Publishes what vertices may be: only the first one is sure to be a pair."""

    def __get_pydantic_json_schema__(self, _checked: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rest = handler(Numbers.__pydantic_core_schema__)
        outline = {"type": "array", "minItems": 1, "prefixItems": [_PAIR], "items": rest}
        return {
            "type": "array",
            "description": "Pairs [x, y]. Lists of pairs, and what is no pair behind the first vertex, are passed on "
            "with a warning.",
            "prefixItems": [{"anyOf": [_PAIR, outline]}],
            "items": rest,
        }
