"""How a field is published when its schema should say more than it checks."""

from typing import Any

from pydantic import GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class DocumentedAs:
    """Publishes the JSON schema of another type: for lists whose elements are advice and are not refused."""

    def __init__(self, documented: Any) -> None:
        self._schema: CoreSchema = TypeAdapter(documented).core_schema

    def __get_pydantic_json_schema__(self, _checked: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(self._schema)
