"""What a JSON Schema's references name, and which types it allows."""

from collections.abc import Mapping
from typing import Any

_KINDS = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
_NUMBERS = {"integer", "number"}


def definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema's `$defs` and `definitions`, by the reference to each."""
    return {
        f"#/{place}/{name}": it
        for place in ("$defs", "definitions")
        for name, it in schema.get(place, {}).items()
    }


def kinds(form: Mapping[str, Any]) -> list[str]:
    """Return the types that a schema allows: as it says, or those of the values that it lists."""
    if told := form.get("type"):
        return [told] if isinstance(told, str) else list(told)
    listed = form.get("enum", [form["const"]] if "const" in form else [])
    found = {_KINDS[type(value)] for value in listed}
    return sorted(found - {"integer"} if found >= _NUMBERS else found)
