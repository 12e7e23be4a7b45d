import hashlib
from copy import deepcopy

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chains import Parameters
from chains.fingerprint import fingerprint

any_text = st.text() | st.text(st.sampled_from('a",\ud83d\ude00\ufffd'))
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": any_text}
    ),
    min_size=1,
    max_size=4,
)
parameters = st.builds(
    Parameters,
    max_output_tokens=st.integers(1, 4_096),
    min_output_tokens=st.integers(0, 9),
    temperature=st.floats(0, 2),
    top_p=st.floats(0.1, 1),
    seed=st.integers(0, 9),
    stop=st.lists(st.text(), max_size=2).map(tuple),
    sentences=st.integers(1, 9),
)
schemas = st.none() | st.dictionaries(st.text(), st.text() | st.integers(), max_size=3)
questions = st.fixed_dictionaries(
    {
        "messages": messages,
        "chain": st.text(),
        "model_digest": st.text(),
        "parameters": parameters,
        "schema": schemas,
        "sample": st.integers(0, 9),
    }
)

QUESTION = {
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Caf\u00e9, \u201c\U0001f600\u201d\n{{ x }}?"},
    ],
    "chain": "summarize@1",
    "model_digest": "sha256:0a1b",
    "parameters": Parameters(temperature=0.5, stop=("END",)),
    "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
}


def of(question):
    return fingerprint(
        question["messages"], **{k: v for k, v in question.items() if k != "messages"}
    )


def changed(**changes):
    return of(QUESTION | changes)


def reordered(value):
    """Return the value with the keys of every mapping in reverse order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(it) for it in value] if isinstance(value, list) else value


@given(questions)
def test_equal_questions_have_equal_fingerprints(question):
    assert of(deepcopy(question)) == of(question)
    assert of(question | {"messages": reordered(question["messages"])}) == of(question)


def test_the_order_of_a_schemas_properties_is_part_of_the_question():
    """A model fills properties in their order: a verdict before its reasons is another one."""
    schemas = [{"properties": {it: {} for it in names}} for names in ("ab", "ba")]
    assert changed(schema=schemas[0]) != changed(schema=schemas[1])


@given(questions, questions)
def test_different_questions_have_different_fingerprints(one, other):
    assume(one != other)
    assert of(one) != of(other)


@given(questions, st.data())
def test_a_change_of_any_one_thing_changes_the_fingerprint(question, data):
    name = data.draw(st.sampled_from(sorted(question)))
    other = question | {name: data.draw(questions)[name]}
    assume(other != question)
    assert of(other) != of(question)


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": QUESTION["messages"][:1]},
        {"messages": QUESTION["messages"][::-1]},
        {"messages": [QUESTION["messages"][0] | {"role": "user"}, QUESTION["messages"][1]]},
        {"messages": [QUESTION["messages"][0], {"role": "user", "content": "Cafe?"}]},
        {"chain": "summarize@2"},
        {"model_digest": "sha256:0a1c"},
        {"schema": None},
        {"schema": {"type": "object", "properties": {"n": {"type": "number"}}}},
        {"sample": 1},
        *({"parameters": Parameters(**{name: value})} for name, value in [
            ("max_output_tokens", 255), ("min_output_tokens", 1), ("temperature", 0.1),
            ("top_p", 0.9), ("seed", 1), ("stop", ("\n",)), ("sentences", 2),
        ]),
    ],
    ids=str,
)  # fmt: skip
def test_what_decides_an_answer_is_part_of_its_fingerprint(changes):
    plain = {"parameters": Parameters()} if "parameters" in changes else {}
    assert changed(**changes) != changed(**plain)


def test_text_cannot_move_between_fields_or_messages():
    def two(first, second):
        return changed(messages=[{"role": "user", "content": it} for it in (first, second)])

    assert len({two("ab", "c"), two("a", "bc"), two("abc", ""), two('a","', "bc")}) == 4
    assert changed(chain="a", model_digest="b") != changed(chain="b", model_digest="a")


def test_a_new_parameter_at_its_default_changes_no_fingerprint():
    class Newer(Parameters):
        penalty: float = 0.0

    given = QUESTION["parameters"].model_dump()
    assert changed(parameters=Newer(**given)) == of(QUESTION)
    assert changed(parameters=Newer(**given, penalty=0.5)) != of(QUESTION)


def test_a_parameter_said_at_its_default_changes_no_fingerprint():
    said = Parameters(**Parameters().model_dump())
    assert changed(parameters=said) == changed(parameters=Parameters())
    assert changed(parameters=Parameters(temperature=0)) == changed(parameters=Parameters())


def test_defaults_stay_for_another_one_would_be_another_question_under_an_old_fingerprint():
    assert Parameters().model_dump() == {
        "max_output_tokens": 256,
        "min_output_tokens": 0,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 0,
        "stop": (),
        "sentences": 3,
        "min_log_probability": None,
    }


def test_a_lone_surrogate_has_a_fingerprint_of_its_own():
    contents = ["cut \ud83d", "cut \ud83e", "cut \ufffd", "cut ?", "cut "]
    prints = {changed(messages=[{"role": "user", "content": it}]) for it in contents}
    assert len(prints) == len(contents)


def test_the_canonical_form_is_as_it_was_or_every_ledger_would_be_asked_anew():
    canonical = (
        '{"chain":"summarize@1","messages":[{"content":"Be short.","role":"system"},'
        '{"content":"Caf\u00e9, \u201c\U0001f600\u201d\\n{{ x }}?","role":"user"}],'
        '"model":"sha256:0a1b","parameters":{"stop":["END"],"temperature":0.5},"sample":0,'
        r'"schema":"{\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"integer\"}}}"}'
    )
    assert of(QUESTION) == hashlib.sha256(canonical.encode()).hexdigest()
    assert of(QUESTION) == "32420bee4dea92313e5354fd3b77bcd8e6fa89198f123e807a9df2de9c4e5724"
