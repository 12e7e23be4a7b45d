"""From the JSON Schema of a response to the Spark type of its column."""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import types as T

from chains.definitions import definitions, kinds
from chains.errors import SettingsError

_SCALARS: dict[str, T.DataType] = {
    "string": T.StringType(),
    "integer": T.LongType(),
    "number": T.DoubleType(),
    "boolean": T.BooleanType(),
}
REFUSED_BY_DELTA = frozenset(" ,;{}()\n\t=")  # in names, where columns are not mapped


def result_type(schema: Mapping[str, Any] | None) -> T.DataType:
    """Return the type of the `result` column; free text (None) is a string.

    Objects become structs, arrays become arrays, enums the type of their values, an optional value
    (null among its types) its type; references are to `$defs` or `definitions`. Raises
    SettingsError for what has no column type; a definition that refers to itself has none.
    """
    if schema is None:
        return T.StringType()
    return _type(schema, definitions(schema), "the top level")


def check_names(kind: T.DataType) -> None:
    """Raise SettingsError where a struct, at any depth, has names that no Delta table takes."""
    if isinstance(kind, T.StructType):
        lower = [name.lower() for name in kind.names]
        for name in kind.names:
            if lower.count(name.lower()) > 1 or not REFUSED_BY_DELTA.isdisjoint(name):
                raise SettingsError(
                    f"response schema: no table can hold the property {name!r}; expected names "
                    "that differ in more than case, without spaces, tabs, line ends and ,;{}()="
                )
        for field in kind:
            check_names(field.dataType)
    elif isinstance(kind, T.ArrayType):
        check_names(kind.elementType)
    elif isinstance(kind, T.MapType):
        check_names(kind.valueType)


def _type(schema: Any, defs: Mapping[str, Any], where: str) -> T.DataType:
    if not isinstance(schema, Mapping):
        raise SettingsError(f"response schema at {where}: expected an object, found {schema!r}")
    if "$ref" in schema:
        return _referred(schema["$ref"], defs, where)
    if "anyOf" in schema:
        return _only([it for it in schema["anyOf"] if not _is_null(it)], defs, where)
    kind = _kind(schema, where)
    if kind == "object":
        return _struct(schema, defs, where)
    if kind == "array":
        return T.ArrayType(_type(schema.get("items", {}), defs, f"{where}[]"))
    return _SCALARS[kind]


def _referred(ref: str, defs: Mapping[str, Any], where: str) -> T.DataType:
    """Return the type of a definition, which may refer to the others."""
    if ref not in defs:
        raise SettingsError(
            f"response schema at {where}: expected a reference to one of $defs, and not from "
            f"within it, found {ref!r}"
        )
    return _type(defs[ref], {name: it for name, it in defs.items() if name != ref}, where)


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _kind(schema: Mapping[str, Any], where: str) -> str:
    named = [kind for kind in kinds(schema) if kind != "null"]
    if len(named) != 1 or named[0] not in {*_SCALARS, "object", "array"}:
        raise SettingsError(
            f"response schema at {where}: expected one of object, array, "
            f"{', '.join(_SCALARS)}; found {' and '.join(named) or 'no type'}"
        )
    return named[0]


def _struct(schema: Mapping[str, Any], defs: Mapping[str, Any], where: str) -> T.DataType:
    properties = schema.get("properties")
    if properties:
        fields = [T.StructField(k, _type(v, defs, f"{where}.{k}")) for k, v in properties.items()]
        return T.StructType(fields)
    if isinstance(schema.get("additionalProperties"), Mapping):
        return T.MapType(T.StringType(), _type(schema["additionalProperties"], defs, where))
    raise SettingsError(f"response schema at {where}: an object needs named properties")


def _only(options: list[Any], defs: Mapping[str, Any], where: str) -> T.DataType:
    if len(options) != 1:
        raise SettingsError(f"response schema at {where}: expected one type beside null")
    return _type(options[0], defs, where)
