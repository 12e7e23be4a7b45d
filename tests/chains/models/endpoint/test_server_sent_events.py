import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import ServerError
from chains.models.endpoint.client import read_answer
from chains.models.endpoint.server_sent_events import read_stream
from chains.models.fake.answers import completion, events, read_question

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "key=r1 un \u00e9t\u00e9"}]}


def stream(include_usage=True, **more):
    question = read_question(json.dumps(QUESTION | more).encode())
    return b"".join(events(completion(question, 1), include_usage))


def test_a_stream_is_the_same_answer_as_a_whole_response():
    whole = json.dumps(completion(read_question(json.dumps(QUESTION).encode()), 1)).encode()
    assert read_answer(stream(), 1.0, streamed=True) == read_answer(whole, 1.0)


def test_a_stream_tells_how_probable_its_tokens_are_and_only_where_asked():
    assert read_answer(stream(logprobs=True), 1.0, streamed=True).log_probability == -0.125
    assert read_answer(stream(), 1.0, streamed=True).log_probability is None


def test_lines_may_end_in_both_ways_and_comments_are_passed_over():
    assert read_stream(b": ping\n\n" + stream().replace(b"\n", b"\r\n")) == read_stream(stream())


def test_chunks_may_say_that_there_is_no_error_and_usage_may_come_without_choices():
    body = stream().replace(b'"choices": [],', b"").replace(b'data: {"', b'data: {"error": null, "')
    assert body.count(b'"error": null') > 2
    assert b'"choices": []' not in body
    assert read_stream(body) == read_stream(stream())


def test_a_finish_reason_is_an_end_without_done():
    assert read_stream(stream().replace(b"data: [DONE]\n\n", b"")) == read_stream(stream())


@given(st.integers(min_value=0))
def test_a_cut_stream_is_an_answer_only_when_all_of_it_came(cut):
    body = stream()
    cut %= len(body)
    text = read_answer(body, 1.0, streamed=True).text
    try:
        assert read_answer(body[:cut], 1.0, streamed=True).text == text
    except ServerError:
        assert cut < body.index(b"[DONE]")


def test_an_error_in_a_stream_is_no_answer():
    body = stream().replace(b"data: [DONE]", b'data: {"error": {"message": "overloaded"}}')
    with pytest.raises(ValueError, match="an error in the stream"):
        read_stream(body)
