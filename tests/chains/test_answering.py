import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import Answer, Chain, JsonParser, ModelRef, Parameters, Usage, answering
from chains.answering import ASKED_TWICE, MAX_ROUNDS, REPLACED_SURROGATES
from chains.errors import ContentFiltered, JobError, ModelLoadError, RateLimited, Refused
from chains.parsers import REPAIRED
from chains.templates import parse_template

ANSWER_TOKENS = 10
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SMILE = "\U0001f600"
SPENT = Usage(input_tokens=10, output_tokens=2)


class Scripted:
    """Answers each request as a function of it says; tokens are words; calls are kept."""

    def __init__(self, say, context_window=None):
        self.ref = ModelRef("python:t:Scripted", "python", "scripted@1", "t:Scripted", "digest")
        self.context_window = context_window
        self.calls = []
        self._say = say

    def count_tokens(self, messages):
        return sum(len(message["content"].split()) for message in messages)

    def complete(self, requests):
        self.calls.append([last(request) for request in requests])
        said = [self._say(request) for request in requests]
        return [answer(it) if isinstance(it, str) else it for it in said]


def last(request):
    return request.messages[-1]["content"]


def answer(text, finish_reason="stop", usage=SPENT, latency_ms=5.0):
    return Answer(text, finish_reason, usage, latency_ms)


def in_turn(*outcomes):
    following = iter(outcomes)
    return lambda request: next(following)


def chain(**more):
    front = "name: t\nversion: '1'\ndescription: d\nvariables: {document: string}"
    template = parse_template(f"---\n{front}\n---\n{{{{ document }}}}", where="t.md")
    more = {"parameters": Parameters(max_output_tokens=ANSWER_TOKENS), **more}
    return Chain("c", "1", template, **more)


JSON = chain(parser=JsonParser(SCHEMA))
CHUNK = chain(on_long_input="chunk", long_variable="document")


def complete(asking, model, *documents):
    return asking.complete([{"document": document} for document in documents], model)


def code(completion):
    return completion.error and completion.error.code


def words(count):
    return " ".join(f"w{i}" for i in range(count))


SURE = chain(parameters=Parameters(max_output_tokens=ANSWER_TOKENS, min_log_probability=-0.5))


def as_probable_as(log_probability):
    return Scripted(lambda request: replace(answer("mill"), log_probability=log_probability))


def test_an_answer_less_probable_than_the_chain_takes_is_none_and_kept_raw():
    for log_probability in (-0.51, -math.inf, math.nan):
        [completion] = complete(SURE, as_probable_as(log_probability), "a")
        assert (code(completion), completion.result) == ("low_confidence", None)
        assert (completion.raw, completion.finish_reason) == ("mill", "stop")
        assert not completion.error.retryable
    [completion] = complete(SURE, as_probable_as(-0.5), "a")
    assert (code(completion), completion.result) == (None, "mill")


def test_a_model_that_does_not_say_how_probable_its_answers_are_stops_the_job():
    with pytest.raises(JobError, match=r"min_log_probability is -0\.5, and scripted@1 does not"):
        complete(SURE, as_probable_as(None), "a")


# -- rows and answers


@given(st.lists(st.sampled_from([None, "", "nan", "fails"]) | st.text(min_size=1)))
def test_answer_i_belongs_to_row_i(documents):
    def say(request):
        return ContentFiltered("withheld") if last(request) == "fails" else f"<{last(request)}>"

    completions = complete(chain(), Scripted(say), *documents)
    assert len(completions) == len(documents)
    for document, completion in zip(documents, completions, strict=True):
        if not (document or "").strip():
            assert code(completion) == "empty_input"
        elif document == "fails":
            assert code(completion) == "content_filter"
        else:
            assert (completion.result, completion.error) == (f"<{document}>", None)


def test_rows_are_asked_in_one_call_and_empty_rows_in_none():
    model = Scripted(last)
    complete(chain(), model, "a", "", "b")
    assert model.calls == [["a", "b"]]
    complete(chain(), model, "", None)
    complete(chain(), model)
    assert len(model.calls) == 1


def test_a_completion_says_what_was_asked_when_and_at_what_cost():
    before = datetime.now(UTC)
    (completion,) = complete(chain(), Scripted(in_turn(answer(" yes\n"))), "a")
    assert (completion.result, completion.raw, completion.error) == ("yes", None, None)
    assert (completion.chain, completion.template) == ("c@1", "t@1")
    assert (completion.model, completion.finish_reason) == ("scripted@1", "stop")
    assert (completion.input_tokens, completion.output_tokens) == (10, 2)
    assert (completion.latency_ms, completion.cached, completion.flags) == (5.0, False, ())
    assert completion.fingerprint == chain().ask({"document": "a"}, Scripted(last)).fingerprint
    assert before <= completion.completed_at <= datetime.now(UTC)


def test_usage_that_the_model_did_not_say_is_null():
    (completion,) = complete(chain(), Scripted(in_turn(answer("yes", usage=Usage()))), "a")
    assert (completion.input_tokens, completion.output_tokens) == (None, None)


def test_an_error_of_one_row_keeps_its_fingerprint_and_whether_it_is_asked_again():
    model = Scripted(in_turn(RateLimited("429"), ContentFiltered("withheld", raw="so \ud83d")))
    limited, filtered = complete(chain(), model, "a", "b")
    assert (code(limited), limited.error.retryable) == ("rate_limit", True)
    assert (code(filtered), filtered.error.retryable) == ("content_filter", False)
    assert (limited.raw, filtered.raw) == (None, "so \ufffd")
    assert limited.fingerprint == chain().ask({"document": "a"}, model).fingerprint
    assert (limited.latency_ms, limited.input_tokens) == (None, None)


def test_a_refusal_has_the_tokens_that_it_took():
    refused = Refused("declined", usage=Usage(10, 2))
    (completion,) = complete(chain(), Scripted(in_turn(refused)), "a")
    assert (completion.input_tokens, completion.output_tokens) == (10, 2)


def test_an_error_tells_what_to_do_about_it():
    (completion,) = complete(chain(max_input_chars=3), Scripted(last), "four")
    assert "; raise chain.max_input_chars" in completion.error.message


# -- a row that breaks the model


def poisoned(*poison, error=RuntimeError):
    def say(request):
        if last(request) in poison:
            raise error(f"no token for {last(request)}")
        return last(request)

    return Scripted(say)


@given(st.integers(1, 70).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_a_poison_row_is_isolated_by_halving(size_and_poison):
    size, poison = size_and_poison
    documents = [f"row {i}" for i in range(size)]
    model = poisoned(documents[poison])
    completions = complete(chain(), model, *documents)
    assert [i for i, it in enumerate(completions) if code(it) == "model_crashed"] == [poison]
    assert all(it.result in (None, documents[i]) for i, it in enumerate(completions))
    assert len(model.calls) <= 1 + 2 * math.ceil(math.log2(size))


def test_one_poison_row_of_eight_costs_seven_calls():
    model = poisoned("5")
    complete(chain(), model, *"01234567")
    assert ["".join(call) for call in model.calls] == [
        "01234567",
        "0123",
        "4567",
        "45",
        "4",
        "5",
        "67",
    ]


@given(st.sets(st.integers(0, 15)))
def test_every_poison_row_is_isolated_and_every_other_answered_once(poison):
    documents = [f"row {i}" for i in range(16)]
    model = poisoned(*(documents[i] for i in poison))
    completions = complete(chain(), model, *documents)
    assert {i for i, it in enumerate(completions) if it.error} == poison
    assert {i for i, it in enumerate(completions) if it.result == f"row {i}"} == {
        i for i in range(16) if i not in poison
    }
    assert len(model.calls) <= 31


def test_the_error_of_a_poison_row_does_not_repeat_its_text():
    (completion,) = complete(chain(), poisoned("Jane Doe"), "Jane Doe")
    assert completion.error.message == "the model raised RuntimeError on this row"


@pytest.mark.parametrize("error", [ModelLoadError, JobError])
def test_what_is_not_the_fault_of_a_row_stops_the_job(error):
    model = poisoned("b", error=error)
    with pytest.raises(error):
        complete(chain(), model, "a", "b", "c")
    assert len(model.calls) == 1


def test_a_model_that_leaves_requests_out_stops_the_job():
    model = Scripted(last)
    model.stream = lambda requests: iter([[(0, answer("first"))]])
    with pytest.raises(JobError, match="no outcome for 2 of 3 requests"):
        complete(chain(), model, "a", "b", "c")


# -- answers that stopped short


def test_an_answer_cut_at_its_limit_is_incomplete_and_kept_raw():
    (completion,) = complete(chain(), Scripted(in_turn(answer("The rep", "length"))), "a")
    assert (completion.result, completion.raw) == (None, "The rep")
    assert (code(completion), completion.finish_reason) == ("incomplete", "length")
    assert "cut at 10 output tokens; raise chain.parameters.max_output" in completion.error.message
    assert (completion.input_tokens, completion.output_tokens) == (10, 2)


def test_an_answer_cut_at_its_limit_is_a_success_where_that_length_was_wanted():
    exactly = Parameters(max_output_tokens=ANSWER_TOKENS, min_output_tokens=ANSWER_TOKENS)
    model = Scripted(in_turn(answer("The rep", "length")))
    (completion,) = complete(chain(parameters=exactly), model, "a")
    assert (completion.result, completion.error) == ("The rep", None)


def test_a_filtered_answer_is_no_success_and_kept_raw():
    (completion,) = complete(chain(), Scripted(in_turn(answer("Well", "content_filter"))), "a")
    assert (completion.result, completion.raw) == (None, "Well")
    assert (code(completion), completion.finish_reason) == ("content_filter", "content_filter")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_json_that_stopped_short_is_not_asked_again(reason):
    model = Scripted(in_turn(answer('{"n": ', reason)))
    (completion,) = complete(JSON, model, "a")
    assert (len(model.calls), completion.raw) == (1, '{"n": ')


# -- answers that misfit their schema


def test_a_misfit_is_asked_for_exactly_once_more_and_counted():
    model = Scripted(in_turn(answer("three"), answer('{"n": 3}', usage=Usage(20, 4))))
    (completion,) = complete(JSON, model, "a")
    assert len(model.calls) == 2
    assert (completion.result, completion.error, completion.raw) == ({"n": 3}, None, None)
    assert completion.flags == (ASKED_TWICE,)
    assert (completion.input_tokens, completion.output_tokens) == (30, 6)
    assert completion.latency_ms == 10.0
    assert completion.fingerprint == JSON.ask({"document": "a"}, model).fingerprint


def test_the_second_ask_shows_the_answer_and_what_is_wrong_with_it():
    asked = []
    outcomes = in_turn(answer('{"n": "Jane"}'), answer('{"n": 3}'))

    def say(request):
        asked.append(request)
        return outcomes(request)

    complete(JSON, Scripted(say), "a")
    first, second = asked
    assert second == replace(first, messages=second.messages)
    assert second.messages[:2] == (
        *first.messages,
        {"role": "assistant", "content": '{"n": "Jane"}'},
    )
    assert second.messages[2]["role"] == "user"
    assert "at properties/n/type. Answer again" in second.messages[2]["content"]


def test_only_the_misfits_are_asked_again_and_in_one_call():
    def say(request):
        return '{"n": 0}' if len(request.messages) > 1 or last(request) in "bd" else "no"

    model = Scripted(say)
    completions = complete(JSON, model, *"abcd")
    assert [len(call) for call in model.calls] == [4, 2]
    assert [it.flags for it in completions] == [(ASKED_TWICE,), (), (ASKED_TWICE,), ()]


def test_what_is_known_by_its_fingerprint_is_not_asked_but_for_its_misfit():
    """As it is after a provider's batch: see udfs/paying.py."""
    model = Scripted(lambda request: '{"n": 0}')
    questions = [JSON.ask({"document": it}, model) for it in "abcd"]
    outcomes = [answer('{"n": 1}'), answer("no"), RateLimited("429")]
    known = dict(zip([it.fingerprint for it in questions], outcomes, strict=False))
    pairs = [it for some in answering.answer(JSON, questions, model, known) for it in some]
    done = [completion for _, completion in sorted(pairs, key=lambda pair: pair[0])]
    assert model.calls[0] == ["d"]
    assert [len(call) for call in model.calls] == [1, 1]
    assert [it.result for it in done] == [{"n": 1}, {"n": 0}, None, {"n": 0}]
    assert code(done[2]) == "rate_limit"
    assert [it.fingerprint for it in done] == [it.fingerprint for it in questions]


def test_a_second_misfit_is_unparsable_and_keeps_the_first_answer_raw():
    model = Scripted(in_turn(answer("three"), answer("four")))
    (completion,) = complete(JSON, model, "a")
    assert len(model.calls) == 2
    assert (code(completion), completion.raw, completion.result) == ("unparsable", "three", None)
    assert completion.error.retryable is False
    assert completion.flags == (ASKED_TWICE,)
    assert (completion.input_tokens, completion.output_tokens) == (20, 4)
    assert completion.latency_ms == 10.0


def test_a_second_ask_that_fails_leaves_the_first_answer_and_is_counted():
    (completion,) = complete(JSON, Scripted(in_turn(answer("three"), RateLimited("429"))), "a")
    assert (code(completion), completion.raw) == ("unparsable", "three")
    assert completion.flags == (ASKED_TWICE,)
    assert (completion.input_tokens, completion.latency_ms) == (10, 5.0)


def test_a_mended_answer_is_flagged_and_not_asked_again():
    model = Scripted(in_turn(answer('```json\n{"n": 3}\n```')))
    (completion,) = complete(JSON, model, "a")
    assert (completion.result, completion.flags) == ({"n": 3}, (REPAIRED,))
    assert len(model.calls) == 1


def test_flags_of_both_asks_are_kept():
    cutting = replace(JSON, on_long_input="truncate", long_variable="document")
    model = Scripted(in_turn(answer("three"), answer("{'n': 3}")), context_window=30)
    (completion,) = complete(cutting, model, words(99))
    assert completion.flags == ("truncated", REPAIRED, ASKED_TWICE)


def test_a_truncated_row_stays_flagged_where_its_call_fails():
    cutting = chain(on_long_input="truncate", long_variable="document")
    model = Scripted(in_turn(RateLimited("429")), context_window=30)
    (completion,) = complete(cutting, model, words(99))
    assert completion.flags == ("truncated",)


def test_an_empty_answer_of_a_text_chain_is_unparsable_and_not_asked_again():
    model = Scripted(in_turn(answer(" \n")))
    (completion,) = complete(chain(), model, "a")
    assert (code(completion), completion.raw, len(model.calls)) == ("unparsable", " \n", 1)


# -- surrogates


@pytest.mark.parametrize(
    ("asking", "text", "result"),
    [
        (chain(), "cut \ud83d", "cut \ufffd"),
        (JSON, '{"n": 3, "said": "cut \ud83d"}', {"n": 3, "said": "cut \ufffd"}),
        (JSON, r'{"n": 3, "said": "cut \ud83d"}', {"n": 3, "said": "cut \ufffd"}),
    ],
    ids=["text", "JSON", "JSON escape"],
)
def test_a_lone_surrogate_is_replaced_and_flagged(asking, text, result):
    (completion,) = complete(asking, Scripted(in_turn(answer(text))), "a")
    assert (completion.result, completion.flags) == (result, (REPLACED_SURROGATES,))


@pytest.mark.parametrize("text", [SMILE, "\ud83d\ude00"])
def test_a_real_emoji_survives_unflagged(text):
    (completion,) = complete(chain(), Scripted(in_turn(answer(text))), "a")
    assert (completion.result, completion.flags) == (SMILE, ())


@given(st.text(st.sampled_from("a \ud83d\ude00\u00e9\U0001f600"), min_size=1) | st.text(min_size=1))
def test_every_completion_can_be_written_as_utf8(text):
    outcomes = in_turn(
        answer(text), answer(json.dumps(text)), answer(text, "length"), ContentFiltered(text, text)
    )
    for completion in complete(chain(), Scripted(outcomes), *"abcd"):
        for kept in (
            completion.result,
            completion.raw,
            completion.error and completion.error.message,
        ):
            (kept or "").encode("utf-8")


# -- inputs longer than the window: 30 words beside an answer of 10


def ends(text):
    said = text.split()
    return f"{said[0]}..{said[-1]}"


def say_ends(request):
    return ends(last(request))


def test_a_long_document_is_asked_by_parts_and_their_answers_as_one_document():
    model = Scripted(say_ends, context_window=40)
    (completion,) = complete(CHUNK, model, words(90))
    parts, combined = model.calls
    assert "".join(parts) == words(90)
    assert all(len(part.split()) <= 30 for part in parts)
    assert combined == ["\n\n".join(ends(part) for part in parts)]
    assert completion.result.startswith("w0..")
    assert completion.result.endswith("..w89")
    assert completion.flags == ()


def test_parts_of_all_rows_are_asked_in_one_call_and_what_follows_in_one_more():
    model = Scripted(say_ends, context_window=40)
    completions = complete(CHUNK, model, words(60), "short one", words(50))
    parts, rest = model.calls
    assert "".join(parts) == words(60) + words(50)
    assert [it.result.split(".")[-1] for it in completions] == ["w59", "one", "w49"]
    assert "short one" in rest
    assert len(rest) == 3


def test_a_failing_part_gives_the_row_its_error_and_nothing_is_combined():
    def say(request):
        return ContentFiltered("withheld") if "w45" in last(request) else say_ends(request)

    model = Scripted(say, context_window=40)
    failed, whole = complete(CHUNK, model, words(90), "short one")
    assert code(failed) == "content_filter"
    assert failed.result is None
    assert whole.result == "short..one"
    assert model.calls[1:] == [["short one"]]


def test_json_answers_of_parts_are_joined_as_json():
    counting = replace(CHUNK, parser=JsonParser(SCHEMA))
    model = Scripted(lambda request: f'{{"n":{len(last(request).split())}}}', context_window=40)
    (completion,) = complete(counting, model, words(60))
    parts, combined = model.calls
    assert combined == ["\n\n".join(f'{{"n": {len(part.split())}}}' for part in parts)]
    assert completion.result == {"n": 2 * len(parts)}


def test_a_document_that_needs_all_rounds_is_answered():
    def first_half(request):
        said = last(request).split()
        return " ".join(said[: len(said) // 2]) if len(said) > 1 else said[0]

    model = Scripted(first_half, context_window=40)
    (completion,) = complete(CHUNK, model, words(30 * 2**MAX_ROUNDS))
    assert completion.error is None
    assert len(model.calls) == MAX_ROUNDS + 1


def test_answers_that_do_not_shorten_end_after_so_many_rounds_without_another_call():
    model = Scripted(last, context_window=40)
    (completion,) = complete(CHUNK, model, words(60))
    assert code(completion) == "context_length"
    assert f"after {MAX_ROUNDS} rounds" in completion.error.message
    assert len(model.calls) == MAX_ROUNDS
