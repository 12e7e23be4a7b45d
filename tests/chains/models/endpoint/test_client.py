import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import ServerError
from chains.models.base import Answer, Usage
from chains.models.endpoint.client import read_answer


def test_content_in_parts_is_joined_without_the_reasoning():
    parts = [{"type": "reasoning", "summary": []}, {"type": "text", "text": "a"}]
    body = {"choices": [{"message": {"content": [*parts, {"type": "text", "text": "b"}]}}]}
    assert read_answer(json.dumps(body).encode(), 1.0) == Answer("ab", None, Usage(), 1.0)


def finished(reason):
    choice = {"message": {"content": "half an ans"}, "finish_reason": reason}
    return read_answer(json.dumps({"choices": [choice]}).encode(), 1.0)


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_what_a_server_broke_off_is_never_an_answer(reason):
    with pytest.raises(ServerError, match=reason):
        finished(reason)


@pytest.mark.parametrize("reason", ["max_tokens", "model_length"])
def test_other_words_for_a_cut_answer_are_read_as_one(reason):
    assert finished(reason).finish_reason == "length"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["choices", "message"]), inner),
)


@given(st.one_of(st.binary(), json_values.map(json.dumps).map(str.encode)))
def test_an_odd_body_is_never_an_answer(body):
    with pytest.raises(ServerError, match=r"^status 200 without a completion$"):
        read_answer(body, 1.0)


@pytest.mark.parametrize(
    "choice",
    [{}, {"message": None}, {"message": {}}, {"message": {"content": None}, "finish_reason": "x"}],
)
def test_a_choice_without_text_is_never_an_answer(choice):
    with pytest.raises(ServerError):
        read_answer(json.dumps({"choices": [choice]}).encode(), 1.0)
