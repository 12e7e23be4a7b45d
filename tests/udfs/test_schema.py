"""Response schemas as column types."""

from typing import Literal

import pytest
from pydantic import BaseModel
from pyspark.sql import types as T

from chains.errors import SettingsError
from udfs.schema import check_names, result_type


class Line(BaseModel):
    """A part of an offer."""

    item: str
    price: float | None


class Tree(BaseModel):
    """An answer that contains its like."""

    name: str
    children: list["Tree"]


class Offer(BaseModel):
    """An answer with all that schemas have."""

    subject: str
    language: Literal["de", "en"]
    urgent: bool
    lines: list[Line]
    notes: dict[str, int]


def test_free_text_is_a_string():
    assert result_type(None).simpleString() == "string"


def test_pydantic_models_become_structs():
    assert result_type(Offer.model_json_schema()).simpleString() == (
        "struct<subject:string,language:string,urgent:boolean,"
        "lines:array<struct<item:string,price:double>>,notes:map<string,bigint>>"
    )


@pytest.mark.parametrize("place", ["$defs", "definitions"])
def test_a_definition_may_be_used_more_than_once(place):
    name = {"$ref": f"#/{place}/name"}
    schema = {"type": "object", "properties": {"a": name, "b": name}}
    defined = {**schema, place: {"name": {"type": "string"}}}
    assert result_type(defined).simpleString() == "struct<a:string,b:string>"


@pytest.mark.parametrize(
    ("listed", "kind"),
    [
        ({"enum": ["a", None]}, "string"),
        ({"enum": [1, 2]}, "bigint"),
        ({"enum": [1, 2.5]}, "double"),
        ({"const": True}, "boolean"),
    ],
)
def test_values_that_are_listed_have_a_type(listed, kind):
    assert result_type(listed).simpleString() == kind


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "object"}, "the top level"),
        ({"type": "object", "properties": {"a": {"type": ["string", "integer"]}}}, "a"),
        ({"type": "object", "properties": {"a": {}}}, "a"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "the top level"),
        ({"anyOf": [True, {"type": "null"}]}, "the top level"),
        ({"type": "object", "properties": {"a": True}}, r"a: expected an object, found True"),
        ({"enum": [1, "a"]}, "found integer and string"),
        ({"type": "array", "items": [{"type": "string"}]}, r"\[\]: expected an object, found \["),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}, r"a: .*'#/\$defs/x'"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}}, "a: .*'#'"),
        (Tree.model_json_schema(), r"children\[\]: .*not from within it, found '#/\$defs/Tree'"),
    ],
)
def test_what_has_no_column_type_is_named(schema, where):
    with pytest.raises(SettingsError, match=where):
        result_type(schema)


@pytest.mark.parametrize("names", [["due date"], ["a,b"], ["a=b"], ["line\nend"], ["a", "A"]])
@pytest.mark.parametrize("wrap", [lambda it: it, T.ArrayType, lambda it: T.MapType(it, it)])
def test_names_that_no_table_takes_are_refused(names, wrap):
    struct = T.StructType([T.StructField(name, T.LongType()) for name in names])
    with pytest.raises(SettingsError, match="no table can hold"):
        check_names(T.StructType([T.StructField("inner", wrap(struct))]))


def test_names_that_no_sql_takes_unquoted_are_names():
    check_names(
        T.StructType([T.StructField(it, T.LongType()) for it in ("due-date", "Fälligkeit")])
    )
