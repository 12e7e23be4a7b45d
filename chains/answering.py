"""From questions to completions: call the model, judge and parse, ask once more at most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chains.asking import ask
from chains.completion import Completion, Parts, Question, RowError, result_text
from chains.errors import (
    CompletionError,
    ContentFiltered,
    ContextLengthExceeded,
    Incomplete,
    JobError,
    LowConfidence,
    UnparsableAnswer,
)
from chains.models.base import Answer, Message, Model, Outcome, Usage, stream
from chains.parsers import REPLACED_SURROGATES
from chains.text import clean_text

if TYPE_CHECKING:
    from chains.base import Chain

ASKED_TWICE = "asked_twice"
MAX_ROUNDS = 4
PART_SEPARATOR = "\n\n"


def complete(chain: "Chain", rows: Sequence[Mapping[str, Any]], model: Model) -> list[Completion]:
    """Answer rows of variables, in order.

    Inputs longer than the window are asked in parts, and the parts' answers again as one input, in
    at most MAX_ROUNDS rounds; `udfs/flow.py` does the same as passes over tables.
    """
    done: dict[int, Completion] = {}
    questions: dict[int, Question] = {}
    open_rows = dict(enumerate(rows))
    for rounds in range(MAX_ROUNDS + 1):
        asked = {i: ask(chain, row, model) for i, row in open_rows.items()}
        questions |= {i: it for i, it in asked.items() if isinstance(it, Question)}
        done |= {
            i: fail(chain, it, model) for i, it in asked.items() if isinstance(it, CompletionError)
        }
        long = {i: it.texts for i, it in asked.items() if isinstance(it, Parts)}
        if rounds == MAX_ROUNDS:
            done |= {i: fail(chain, too_many_rounds(), model) for i in long}
            break
        open_rows = {}
        for i, shorter in _answer_parts(chain, rows, long, model).items():
            if isinstance(shorter, Completion):
                done[i] = shorter
            else:
                open_rows[i] = shorter
    positions = list(questions)
    for answers in answer(chain, list(questions.values()), model):
        done |= {positions[i]: completion for i, completion in answers}
    return [done[i] for i in range(len(rows))]


def answer(
    chain: "Chain",
    questions: Sequence[Question],
    model: Model,
    known: Mapping[str, Outcome] | None = None,
) -> Iterator[list[tuple[int, Completion]]]:
    """Ask every question; give positions and completions as they come, in any order.

    A question whose outcome is `known` by its fingerprint is not asked. An answer that misfits its
    schema is asked for once more, after the others. Nothing more is asked while the caller has not
    come back for more.
    """
    misfits: list[tuple[int, Completion]] = []
    for completions in _first(chain, questions, model, known or {}):
        misfits += [it for it in completions if _is_misfit(chain, it[1])]
        yield [it for it in completions if not _is_misfit(chain, it[1])]
    corrected = [_correction(questions[i], first) for i, first in misfits]
    for seconds in _call(chain, corrected, model):
        yield [(misfits[i][0], _both(misfits[i][1], second)) for i, second in seconds]


def fail(chain: "Chain", error: CompletionError, model: Model) -> Completion:
    """Return the completion of a row that has no answer."""
    usage = error.usage or Usage()
    return Completion(
        error=RowError(error.code, clean_text(error.told)[0], error.retryable),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        chain=chain.ref,
        template=chain.template.ref,
        model=model.ref.name,
        completed_at=datetime.now(UTC),
        raw=None if error.raw is None else clean_text(error.raw)[0],
    )


def too_many_rounds() -> CompletionError:
    """Return the error of an input that answering in parts does not shorten."""
    return ContextLengthExceeded(
        f"still longer than the window after {MAX_ROUNDS} rounds of answering in parts"
    )


def _answer_parts(
    chain: "Chain",
    rows: Sequence[Mapping[str, Any]],
    long: Mapping[int, Sequence[str]],
    model: Model,
) -> dict[int, Completion | dict[str, Any]]:
    """Return, for each long row, the shorter row that stands for it, or the part that failed."""
    cut = str(chain.long_variable)
    parts = [(i, {**rows[i], cut: text}) for i, texts in long.items() for text in texts]
    answers = complete(chain, [row for _, row in parts], model) if parts else []
    shorter: dict[int, Completion | dict[str, Any]] = {}
    for i in long:
        mine = [it for (j, _), it in zip(parts, answers, strict=True) if j == i]
        failed = next((it for it in mine if it.error is not None), None)
        shorter[i] = failed or {
            **rows[i],
            cut: PART_SEPARATOR.join(result_text(it.result) for it in mine),
        }
    return shorter


def _first(
    chain: "Chain", questions: Sequence[Question], model: Model, known: Mapping[str, Outcome]
) -> Iterator[list[tuple[int, Completion]]]:
    """Give what is known, then ask the others."""
    if not known:
        yield from _call(chain, questions, model)
        return
    left = [i for i, question in enumerate(questions) if question.fingerprint not in known]
    if len(left) < len(questions):
        yield [
            (i, _read(chain, question, known[question.fingerprint], model))
            for i, question in enumerate(questions)
            if question.fingerprint in known
        ]
    for completions in _call(chain, [questions[i] for i in left], model):
        yield [(left[i], completion) for i, completion in completions]


def _call(
    chain: "Chain", questions: Sequence[Question], model: Model
) -> Iterator[list[tuple[int, Completion]]]:
    if not questions:
        return
    for outcomes in stream(model, [question.request for question in questions]):
        yield [(i, _read(chain, questions[i], outcome, model)) for i, outcome in outcomes]


def _read(chain: "Chain", question: Question, outcome: Outcome, model: Model) -> Completion:
    if isinstance(outcome, CompletionError):
        failed = fail(chain, outcome, model)
        return replace(failed, fingerprint=question.fingerprint, flags=question.flags)
    text, replaced = clean_text(outcome.text)
    flags = question.flags + outcome.flags + ((REPLACED_SURROGATES,) if replaced else ())
    try:
        _check_finish(chain, outcome, text)
        parsed = chain.parser.parse(text)
        _check_confidence(chain, outcome, text, model)
        flags += parsed.flags
        completion = Completion(
            result=parsed.value,
            chain=chain.ref,
            template=chain.template.ref,
            model=model.ref.name,
            completed_at=datetime.now(UTC),
        )
    except CompletionError as error:
        completion = fail(chain, error, model)
    return replace(
        completion,
        finish_reason=outcome.finish_reason,
        input_tokens=outcome.usage.input_tokens,
        output_tokens=outcome.usage.output_tokens,
        latency_ms=outcome.latency_ms,
        fingerprint=question.fingerprint,
        flags=tuple(dict.fromkeys(flags)),
    )


def _check_finish(chain: "Chain", given: Answer, text: str) -> None:
    """Raise where the model stopped short; a cut answer is not a success, unless it was wanted."""
    limit = chain.parameters.max_output_tokens
    if given.finish_reason == "length" and chain.parameters.min_output_tokens < limit:
        raise Incomplete(f"the answer was cut at {limit} output tokens", raw=text)
    if given.finish_reason == "content_filter":
        raise ContentFiltered("the provider's content filter withheld the answer", raw=text)


def _check_confidence(chain: "Chain", given: Answer, text: str, model: Model) -> None:
    """Raise where an answer is less probable than the chain takes; JobError where nobody knows."""
    least, found = chain.parameters.min_log_probability, given.log_probability
    if least is None:
        return
    if found is None:
        raise JobError(
            f"chain.parameters.min_log_probability is {least}, and {model.ref.name} does not say "
            "how probable its tokens are; take another model, or leave that parameter out"
        )
    if not found >= least:
        raise LowConfidence(
            f"the tokens' mean log-probability is {found:.3f}, expected at least {least}", raw=text
        )


def _is_misfit(chain: "Chain", completion: Completion) -> bool:
    error = completion.error
    asked_for_json = chain.parser.schema is not None
    return asked_for_json and error is not None and error.code == UnparsableAnswer.code


def _correction(question: Question, completion: Completion) -> Question:
    """Return the question again, with the misfitting answer and what is wrong with it."""
    assert completion.error is not None
    said = Message(role="assistant", content=completion.raw or "")
    wish = Message(
        role="user",
        content=f"{completion.error.message}. Answer again with the JSON alone, in the given form.",
    )
    request = replace(question.request, messages=(*question.request.messages, said, wish))
    return replace(question, request=request)


def _both(first: Completion, second: Completion) -> Completion:
    """Return the second answer, or the first where that is an error; charged with both calls."""
    usage = Usage(first.input_tokens, first.output_tokens) + Usage(
        second.input_tokens, second.output_tokens
    )
    kept = first if second.error is not None else second
    return replace(
        kept,
        flags=(*kept.flags, ASKED_TWICE),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        latency_ms=(first.latency_ms or 0.0) + (second.latency_ms or 0.0),
    )
