"""Numbers of a JSON answer, as columns of integers and of floats take them.

In JSON, and so by a JSON Schema, 7.0 and 7e0 are integers, and an integer has any size. Spark reads
a column of integers from nothing but digits, of at most 64 bits, and anything else is NULL there.
"""

import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from chains.definitions import definitions, kinds

_EXACT_IN_FLOATS = 2**53


class OutOfRange(ValueError):
    """A number that no column holds; the message does not repeat it."""


def typed_numbers(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value that fits its schema, with its numbers in the schema's types.

    Raises OutOfRange for integers beyond 64 bits, and for numbers beyond the largest float.
    """
    return _typed(value, schema, definitions(schema))


def _typed(value: Any, schema: Any, defs: Mapping[str, Any]) -> Any:
    for form in _forms(schema, defs):
        value = _of_form(value, form, defs)
    return value


def _forms(schema: Any, defs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give what a schema says, behind its references and choices; True and False say nothing."""
    if not isinstance(schema, Mapping):
        return
    if "$ref" in schema:
        yield from _forms(defs.get(schema["$ref"]), defs)
    for option in schema.get("anyOf", ()):
        yield from _forms(option, defs)
    yield schema


def _of_form(value: Any, form: Mapping[str, Any], defs: Mapping[str, Any]) -> Any:
    match value:
        case dict():
            named, others = form.get("properties", {}), form.get("additionalProperties")
            return {key: _typed(it, named.get(key, others), defs) for key, it in value.items()}
        case list():
            return [_typed(it, form.get("items"), defs) for it in value]
        case int() | float() if not isinstance(value, bool):
            return _number(value, kinds(form))
    return value


def _number(value: float, allowed: Collection[str]) -> float:
    """Return a number as the one of the types that it can be; a float takes large integers too."""
    if "integer" in allowed and value == int(value):
        if not -(2**63) <= value < 2**63:
            raise OutOfRange("the answer has an integer of more than 64 bits")
        return int(value)
    if "number" in allowed and abs(value) > _EXACT_IN_FLOATS:
        if abs(value) > sys.float_info.max:
            raise OutOfRange("the answer has a number beyond the largest float")
        return float(value)
    return value
