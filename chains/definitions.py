"""What a JSON Schema's references name."""

from collections.abc import Mapping
from typing import Any


def definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema's `$defs` and `definitions`, by the reference to each."""
    return {
        f"#/{place}/{name}": it
        for place in ("$defs", "definitions")
        for name, it in schema.get(place, {}).items()
    }
