import json
from datetime import date
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from chains.errors import SettingsError, UnparsableAnswer
from chains.parsers import REPAIRED, REPLACED_SURROGATES, JsonParser, TextParser, parser_for

SCHEMA = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "green"]}, "count": {"type": "integer"}},
    "required": ["color", "count"],
}
RED = {"color": "red", "count": 3}
RED_TEXT = '{"color": "red", "count": 3}'
CANARY = "Jane Doe"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)


class Color(StrEnum):
    RED = "red"
    GREEN = "green"


class Item(BaseModel):
    color: Color
    bought: date | None = None


class Basket(BaseModel):
    items: list[Item]


def unparsable(parser, text):
    with pytest.raises(UnparsableAnswer) as caught:
        parser.parse(text)
    assert caught.value.raw == text
    return str(caught.value)


# -- JSON


@given(json_values)
def test_every_json_value_is_read_strictly_and_without_flags(value):
    for ascii_only in (True, False):
        parsed = JsonParser({}).parse(json.dumps(value, ensure_ascii=ascii_only))
        assert (parsed.value, parsed.flags) == (value, ())


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{RED_TEXT}\n```",
        f"{RED_TEXT}\nI hope this helps!",
        f"Sure, here it is: {RED_TEXT}",
        "{'color': 'red', 'count': 3}",
        '{"color": "red", "count": 3,}',
        '{"color": "red", "count": 3',
    ],
    ids=["fenced", "trailing text", "leading text", "quotes", "comma", "truncated"],
)
def test_a_mended_answer_is_flagged(text):
    parsed = JsonParser(SCHEMA).parse(text)
    assert (parsed.value, parsed.flags) == (RED, (REPAIRED,))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"color": "blue", "count": 3}', "properties/color/enum"),
        ('{"color": "red", "count": "many"}', "properties/count/type"),
        ('{"color": "red", "co', "required"),
        ("[1]", "type"),
    ],
)
def test_a_misfit_names_the_rule_it_breaks(text, rule):
    assert unparsable(JsonParser(SCHEMA), text) == f"the answer misfits its schema at {rule}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_cannot_write_is_unparsable(number):
    anything = JsonParser({})
    assert unparsable(anything, f'{{"share": {number}}}') == "the answer is not JSON (ValueError)"


@pytest.mark.parametrize("text", ["[" * 10_000, '{"a":' * 10_000, "[" * 10_000 + "]" * 10_000])
def test_ten_thousand_levels_are_unparsable_and_no_crash(text):
    assert "is not JSON" in unparsable(JsonParser({}), text)


@pytest.mark.parametrize("schema", [SCHEMA, {"required": ["color"]}, {}])
@pytest.mark.parametrize("text", ["", " \n", "I am sorry, I cannot do that.", "red, three"])
def test_an_answer_without_json_is_unparsable_whatever_the_schema(schema, text):
    assert "is not JSON" in unparsable(JsonParser(schema), text)


@given(st.text(st.sampled_from('{}[]":,\\ \n`0eN-tru\ud83d\u00e9')) | st.text())
def test_any_text_is_read_or_unparsable_and_what_is_read_can_be_written(text):
    try:
        parsed = JsonParser({}).parse(text)
    except UnparsableAnswer:
        return
    json.dumps(parsed.value, ensure_ascii=False, allow_nan=False).encode("utf-8")


def test_a_lone_surrogate_behind_an_escape_is_replaced_and_flagged():
    parsed = JsonParser({}).parse(r'{"said": "cut \ud83d", "half \ude00": 1}')
    assert parsed.value == {"said": "cut \ufffd", "half \ufffd": 1}
    assert parsed.flags == (REPLACED_SURROGATES,)
    assert JsonParser({}).parse(r"['\ud83d']").flags == (REPAIRED, REPLACED_SURROGATES)


def test_a_proper_pair_behind_escapes_is_its_character():
    parsed = JsonParser({}).parse(r'{"said": "\ud83d\ude00"}')
    assert (parsed.value, parsed.flags) == ({"said": "\U0001f600"}, ())


@pytest.mark.parametrize(
    "text",
    [
        f"{CANARY} says no",
        f'{{"color": "{CANARY}", "count": 3}}',
        f'{{"color": "red", "count": "{CANARY}"}}',
        f'{{"color": "red", "count": 3, "ages": {{"{CANARY}": "old"}}}}',
        f'{{"color": "red", "count": 3, "{CANARY}": 1}}',
    ],
    ids=["no JSON", "enum", "type", "key of a map", "unknown key"],
)
def test_the_reason_does_not_repeat_the_answer(text):
    ages = {"type": "object", "additionalProperties": {"type": "integer"}}
    properties = {**SCHEMA["properties"], "ages": ages}
    schema = {**SCHEMA, "properties": properties, "additionalProperties": False}
    assert "Jane" not in unparsable(JsonParser(schema), text)


# -- schemas


def test_a_pydantic_model_becomes_the_schema():
    parser = JsonParser.of(Basket)
    assert parser.schema == Basket.model_json_schema()
    fitting = {"items": [{"color": "red", "bought": "2026-02-28"}, {"color": "green"}]}
    assert parser.parse(json.dumps(fitting)).value == fitting
    unparsable(parser, '{"items": [{"color": "blue"}]}')
    unparsable(parser, '{"items": "red"}')


@pytest.mark.parametrize(
    ("form", "fits", "misfits"),
    [
        ("date", "2026-02-28", "2026-02-30"),
        ("email", "a@example.com", "example.com"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("uuid", "00000000-0000-0000-0000-000000000000", "0"),
    ],
)
def test_formats_are_checked(form, fits, misfits):
    parser = JsonParser({"type": "string", "format": form})
    assert parser.parse(f'"{fits}"').value == fits
    assert unparsable(parser, f'"{misfits}"') == "the answer misfits its schema at format"


def test_a_schema_that_is_none_is_refused_before_any_answer():
    with pytest.raises(SettingsError, match=r"response schema at \$\.properties\.a\.type: 'text'"):
        JsonParser({"type": "object", "properties": {"a": {"type": "text"}}})


def test_a_schema_decides_the_parser():
    assert parser_for(None) == TextParser()
    assert parser_for(SCHEMA) == JsonParser(SCHEMA)


# -- numbers

PLACES = {
    "top": lambda of: (of, "{}"),
    "property": lambda of: ({"type": "object", "properties": {"n": of}}, '{"n": {}}'),
    "item": lambda of: ({"type": "array", "items": {"type": "array", "items": of}}, "[[], [{}]]"),
    "map": lambda of: ({"type": "object", "additionalProperties": of}, '{"n": {}}'),
    "choice": lambda of: ({"anyOf": [{"type": "null"}, of]}, "{}"),
    "reference": lambda of: ({"$ref": "#/$defs/n", "$defs": {"n": of}}, "{}"),
    "definition": lambda of: ({"$ref": "#/definitions/n", "definitions": {"n": of}}, "{}"),
}


@pytest.mark.parametrize("kind", ["integer", ["integer", "null"]])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("said", "read"), [("7.0", "7"), ("-1e3", "-1000"), ("-0.0", "0")])
def test_an_integer_is_written_as_one_wherever_its_schema_has_it(kind, place, said, read):
    schema, text = PLACES[place]({"type": kind})
    parsed = JsonParser(schema).parse(text.replace("{}", said))
    assert json.dumps(parsed.value) == text.replace("{}", read)
    assert parsed.flags == ()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("said", [str(2**63), str(-(2**63) - 1), "1e19", "1" + "0" * 400])
def test_an_integer_that_no_column_holds_is_unparsable(place, said):
    schema, text = PLACES[place]({"type": "integer"})
    reason = unparsable(JsonParser(schema), text.replace("{}", said))
    assert reason == "the answer has an integer of more than 64 bits"


@pytest.mark.parametrize("said", [2**63 - 1, -(2**63), 2**53 + 1])
def test_an_integer_of_64_bits_keeps_all_of_them(said):
    assert JsonParser({"type": "integer"}).parse(str(said)).value == said


def test_a_model_s_integers_are_written_as_such():
    class Count(BaseModel):
        score: int
        share: float
        second: int | None

    parsed = JsonParser.of(Count).parse('{"score": 7.0, "share": 7.0, "second": 2.0}')
    assert json.dumps(parsed.value) == '{"score": 7, "share": 7.0, "second": 2}'


@pytest.mark.parametrize(("said", "read"), [("7", "7"), ("7.5", "7.5"), ("1" + "0" * 30, "1e+30")])
def test_a_number_is_one_that_a_float_holds(said, read):
    assert json.dumps(JsonParser({"type": "number"}).parse(said).value) == read


def test_a_number_beyond_the_largest_float_is_unparsable():
    reason = unparsable(JsonParser({"type": "number"}), "1" + "0" * 400)
    assert reason == "the answer has a number beyond the largest float"


# -- text


@given(st.text())
def test_text_is_the_answer_without_the_white_space_around_it(text):
    if text.strip():
        parsed = TextParser().parse(f" \n{text}\n")
        assert (parsed.value, parsed.flags) == (text.strip(), ())


@pytest.mark.parametrize("text", ["", " \n\t", "\u00a0\u2003"])
def test_a_blank_answer_is_unparsable(text):
    assert unparsable(TextParser(), text) == "the answer is empty"
