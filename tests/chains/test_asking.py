from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import Chain, JsonParser, ModelRef, Parameters
from chains.asking import TRUNCATED
from chains.completion import Parts, Question
from chains.errors import (
    ContextLengthExceeded,
    EmptyInput,
    InputTooLarge,
    InvalidRequest,
    ModelCrashed,
    ModelLoadError,
    SettingsError,
)
from chains.templates import parse_template

ANSWER_TOKENS = 10
POLICIES = ["error", "truncate", "chunk"]


class Words:
    """A model whose tokens are words; it is never asked, and remembers what it counted."""

    def __init__(self, context_window=None):
        self.ref = ModelRef("python:t:Words", "python", "words@1", "t:Words", "digest")
        self.context_window = context_window
        self.counted = []

    def count_tokens(self, messages):
        self.counted.append(messages)
        return sum(len(message["content"].split()) for message in messages)

    def complete(self, requests):
        raise AssertionError("a question is made without asking it")


class Crashing(Words):
    """A model whose tokenizer raises what it is given."""

    def __init__(self, error):
        super().__init__(context_window=20)
        self.error = error

    def count_tokens(self, messages):
        raise self.error


def template(body, *names):
    front = "\n".join(["name: t", "version: '1'", "description: d", "variables:"])
    declared = "".join(f"\n  {name}: any" for name in names) if names else " {}"
    return parse_template(f"---\n{front}{declared}\n---\n{body}", where="t.md")


def chain(body="{{ document }}", *names, **more):
    more = {"long_variable": "document", **more}
    parameters = Parameters(max_output_tokens=ANSWER_TOKENS)
    names = names or ("document",)
    return Chain("c", "1", template(body, *names), parameters=parameters, **more)


def words(count):
    return " ".join(f"word{i}" for i in range(count))


def prompt(question):
    assert isinstance(question, Question)
    return question.request.messages[-1]["content"]


# -- what is empty, what is too large


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        np.float32("nan"),
        np.float64("nan"),
        Decimal("NaN"),
        "",
        " ",
        "\r\n\t",
        "\u00a0\u2003\u3000\u2028",
    ],
    ids=repr,
)
def test_an_empty_variable_is_skipped_and_named(value):
    two = chain("{{ title }}: {{ document }}", "title", "document")
    error = two.ask({"title": "T", "document": value}, Words())
    assert isinstance(error, EmptyInput)
    assert error.outcome == "skipped"
    assert "'document'" in str(error)


def test_a_variable_that_the_row_does_not_have_is_empty():
    assert isinstance(chain().ask({"body": "text"}, Words()), EmptyInput)


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "null", "nan", "\u200b", [None]], ids=repr)
def test_what_only_looks_empty_is_asked(value):
    assert prompt(chain().ask({"document": value}, Words())) == str(value)


@given(st.none() | st.floats() | st.floats(width=32).map(np.float32))
def test_no_number_reaches_the_prompt_as_nan(value):
    asked = chain("amount {{ document }}").ask({"document": value}, Words())
    assert isinstance(asked, EmptyInput) or "nan" not in prompt(asked).lower()


def test_a_giant_cell_is_refused_before_it_is_rendered_or_tokenized():
    model = Words(context_window=20)
    limited = chain("{{ document.upper.__self__ }}", max_input_chars=1_000, on_long_input="chunk")
    error = limited.ask({"document": "x" * 1_001}, model)
    assert isinstance(error, InputTooLarge)
    assert "'document' has more than 1000 characters" in str(error)
    assert model.counted == []


def test_the_limit_of_characters_itself_is_allowed():
    limited = chain(max_input_chars=1_000)
    assert prompt(limited.ask({"document": "x" * 1_000}, Words())) == "x" * 1_000


# -- when tokens are counted


def test_tokens_are_not_counted_where_there_is_no_window():
    model = Words(context_window=None)
    prompt(chain().ask({"document": words(100_000)}, model))
    assert model.counted == []


@pytest.mark.parametrize("character", ["x", "\u00e9", "\u4e16", "\U0001f600"])
def test_tokens_are_counted_only_where_the_bytes_might_not_fit(character):
    room = 12_288
    model = Words(context_window=256 + room + ANSWER_TOKENS)
    fitting = character * (room // len(character.encode()))
    prompt(chain().ask({"document": fitting}, model))
    assert model.counted == []
    prompt(chain().ask({"document": fitting + "x"}, model))
    assert len(model.counted) == 1


# -- inputs longer than the window


@pytest.mark.parametrize("policy", POLICIES)
def test_an_input_that_just_fits_is_asked_whole_and_unflagged(policy):
    model = Words(context_window=300 + ANSWER_TOKENS)
    question = chain(on_long_input=policy).ask({"document": words(300)}, model)
    assert prompt(question) == words(300)
    assert question.flags == ()


def test_a_long_input_is_an_error_by_default():
    error = chain().ask({"document": words(600)}, Words(context_window=300 + ANSWER_TOKENS))
    assert isinstance(error, ContextLengthExceeded)
    assert "2.00 times what fits the model's window of 310 tokens" in str(error)
    assert "word1" not in error.told


def test_a_truncated_input_is_flagged_and_is_the_longest_beginning_that_fits():
    cutting = chain("Shorten: {{ document }}", on_long_input="truncate")
    question = cutting.ask({"document": words(600)}, Words(context_window=1 + 300 + ANSWER_TOKENS))
    assert prompt(question) == f"Shorten: {words(300)} "
    assert question.request.variables == {"document": f"{words(300)} "}
    assert question.flags == (TRUNCATED,)


def test_an_input_is_cut_into_parts_that_fit_and_joined_are_the_input():
    model = Words(context_window=1 + 300 + ANSWER_TOKENS)
    parts = chain("Shorten: {{ document }}", on_long_input="chunk").ask(
        {"document": words(1_000)}, model
    )
    assert isinstance(parts, Parts)
    assert "".join(parts.texts) == words(1_000)
    assert all(len(text.split()) <= 300 for text in parts.texts)


def test_a_part_of_white_space_is_left_out_for_it_would_be_an_empty_input():
    letters = chain(on_long_input="chunk")
    model = Words(context_window=30)
    model.count_tokens = lambda messages: len(messages[0]["content"])
    parts = letters.ask({"document": "a" * 20 + "\n" * 200 + "b" * 20}, model)
    assert isinstance(parts, Parts)
    assert all(text.strip() for text in parts.texts)
    assert "".join("".join(parts.texts).split()) == "a" * 20 + "b" * 20


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("window", [1, ANSWER_TOKENS, ANSWER_TOKENS + 2])
def test_a_prompt_too_long_without_its_input_is_an_error(policy, window):
    wordy = chain("one two three {{ document }}", on_long_input=policy)
    error = wordy.ask({"document": words(50)}, Words(context_window=window))
    assert isinstance(error, ContextLengthExceeded)


@pytest.mark.parametrize("policy", ["truncate", "chunk"])
@pytest.mark.parametrize("cut", [None, "body"])
def test_a_policy_that_cuts_needs_a_variable_to_cut(policy, cut):
    with pytest.raises(SettingsError, match=r"chain\.on_long_input: .*\['document'\].*'c' has"):
        chain(on_long_input=policy, long_variable=cut)


# -- what one row breaks


def test_a_template_that_raises_on_one_row_is_the_error_of_that_row():
    dividing = chain("{{ 10 // document }}")
    asked = [dividing.ask({"document": value}, Words()) for value in (5, 0, 2)]
    assert (prompt(asked[0]), prompt(asked[2])) == ("2", "5")
    assert isinstance(asked[1], InvalidRequest)
    assert str(asked[1]) == "template t@1 raised ZeroDivisionError on this row"


def test_a_tokenizer_that_raises_on_one_row_is_the_error_of_that_row():
    error = chain().ask({"document": "Jane Doe"}, Crashing(ValueError("no token for Jane Doe")))
    assert isinstance(error, ModelCrashed)
    assert str(error) == "the tokenizer raised ValueError on this row"


def test_a_tokenizer_that_cannot_be_had_stops_the_job():
    with pytest.raises(ModelLoadError):
        chain().ask({"document": "text"}, Crashing(ModelLoadError("no such folder")))


# -- the question


def test_a_question_carries_messages_parameters_variables_and_schema():
    asking = replace(chain(), parser=JsonParser({"type": "object"}))
    request = asking.ask({"document": "text", "other": 1}, Words()).request
    assert request.messages == ({"role": "user", "content": "text"},)
    assert request.variables == {"document": "text"}
    assert request.parameters == asking.parameters
    assert request.response_schema == {"type": "object"}


def test_a_question_is_asked_again_only_where_something_that_decides_it_changed():
    def fingerprint(chain, document="text", model=None):
        return chain.ask({"document": document}, model or Words()).fingerprint

    other = Words()
    other.ref = replace(other.ref, digest="other weights")
    asking = chain()
    changed = [
        fingerprint(asking, "other text"),
        fingerprint(asking, model=other),
        fingerprint(replace(asking, version="2")),
        fingerprint(replace(asking, template=template("Say {{ document }}", "document"))),
        fingerprint(replace(asking, parameters=Parameters(seed=1))),
        fingerprint(replace(asking, parser=JsonParser({"type": "object"}))),
    ]
    assert len({fingerprint(asking), *changed}) == 1 + len(changed)
    assert fingerprint(asking) == fingerprint(replace(asking, max_input_chars=9))
    assert fingerprint(asking) == fingerprint(asking, model=Words(context_window=4_096))
