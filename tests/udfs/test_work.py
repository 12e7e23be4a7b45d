"""Results in the types of their schemas."""

from dataclasses import replace

import pytest

from chains import load_chain, resolve_model
from chains.errors import SettingsError
from chains.parsers import JsonParser
from udfs.completion import pin
from udfs.work import Work, typed_result


def work(schema):
    chain = replace(load_chain("summarize"), parser=JsonParser(schema))
    return Work(pin(chain, resolve_model("extractive")), ("id",), {})


def obj(**properties):
    return {"type": "object", "properties": properties}


DUE = {"due-date": {"type": "string"}, "Fälligkeit": {"type": "integer"}}


@pytest.mark.spark
@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (obj(**DUE), '{"due-date": "now", "Fälligkeit": 3}', {"due-date": "now", "Fälligkeit": 3}),
        ({"type": "array", "items": obj(**DUE)}, '[{"due-date": "a"}]', [("a", None)]),
        (
            {"type": "object", "additionalProperties": {"type": "number"}},
            '{"a b": 0.5}',
            {"a b": 0.5},
        ),
        ({"type": "integer"}, "7", 7),
        ({"type": "number"}, "1e-05", 1e-5),
        ({"type": "boolean"}, "true", True),
        ({"type": ["string", "null"]}, "so", "so"),
        ({"type": "integer"}, None, None),
    ],
    ids=["object", "array", "map", "integer", "number", "boolean", "string", "nothing"],
)
def test_a_result_goes_into_a_table_in_its_type(spark, tmp_path, schema, text, value):
    chosen, path = work(schema), str(tmp_path / "target")
    results = spark.createDataFrame([(text,)], "result string")
    results.select(typed_result(chosen).alias("result")).write.format("delta").save(path)
    written = spark.read.format("delta").load(path)
    assert written.schema["result"].dataType == chosen.result_type
    (found,) = written.collect()[0]
    assert (found.asDict() if hasattr(found, "asDict") else found) == value


@pytest.mark.parametrize(
    "schema", [obj(a={}), obj(**{"due date": {"type": "string"}}), {"type": "null"}]
)
def test_a_result_that_no_column_holds_is_refused_before_anything_is_asked(schema):
    with pytest.raises(SettingsError, match="response schema"):
        work(schema)
