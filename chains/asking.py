"""From a row's variables to a question: check, fit to the window, render, fingerprint."""

import math
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

from chains import long_input
from chains.completion import Parts, Question
from chains.errors import (
    CompletionError,
    ContextLengthExceeded,
    EmptyInput,
    GristmillError,
    InputTooLarge,
    InvalidRequest,
    ModelCrashed,
)
from chains.fingerprint import fingerprint
from chains.models.base import Message, Model, Request

if TYPE_CHECKING:
    from chains.base import Chain

TRUNCATED = "truncated"
_ROOM_FOR_CHAT_TEMPLATE = 256


def ask(
    chain: "Chain", variables: Mapping[str, Any], model: Model
) -> Question | Parts | CompletionError:
    """Turn one row into a question, without asking it.

    Costs a rendering and a hash; tokens are counted only where the input might not fit the
    model's window. Returns Parts where the chain asks long inputs in parts, and the row's error
    where there is no question to ask.
    """
    values = {name: variables.get(name) for name in chain.template.variables}
    try:
        _check(chain, values)
        excess = _excess(chain, values, model)
        if excess <= 1:
            return _question(chain, values, model)
        return _too_long(chain, values, model, excess)
    except CompletionError as error:
        return error


def prompt_tokens(model: Model, question: Question) -> int:
    """Return a prompt's tokens; 0 for one that breaks the tokenizer, which asking will tell."""
    try:
        return _count_tokens(model, question.request.messages)
    except CompletionError:
        return 0


def _check(chain: "Chain", values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if _is_empty(value):
            raise EmptyInput(f"variable {name!r} is null, NaN or blank")
        if isinstance(value, str) and len(value) > chain.max_input_chars:
            raise InputTooLarge(
                f"variable {name!r} has more than {chain.max_input_chars} characters"
            )


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, Number) and value != value)  # only NaN is not itself


def _question(
    chain: "Chain", values: Mapping[str, Any], model: Model, flags: tuple[str, ...] = ()
) -> Question:
    messages = _render(chain, values)
    return Question(
        request=Request(messages, chain.parameters, values, chain.parser.schema),
        fingerprint=fingerprint(
            messages,
            chain=chain.ref,
            model_digest=model.ref.digest,
            parameters=chain.parameters,
            schema=chain.parser.schema,
        ),
        flags=flags,
    )


def _render(chain: "Chain", values: Mapping[str, Any]) -> tuple[Message, ...]:
    try:
        return chain.template.render(values)
    except Exception as error:
        raise InvalidRequest(
            f"template {chain.template.ref} raised {type(error).__name__} on this row"
        ) from None


def _excess(chain: "Chain", values: Mapping[str, Any], model: Model) -> float:
    """Return the prompt's length over the length that fits the window beside the answer.

    A token is at least one byte, so most prompts are seen to fit without counting.
    """
    if model.context_window is None:
        return 0.0
    room = model.context_window - chain.parameters.max_output_tokens
    messages = _render(chain, values)
    size = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
    if size + _ROOM_FOR_CHAT_TEMPLATE <= room:
        return 0.0
    return _count_tokens(model, messages) / room if room > 0 else math.inf


def _count_tokens(model: Model, messages: Sequence[Message]) -> int:
    try:
        return model.count_tokens(messages)
    except GristmillError:
        raise
    except Exception as error:
        raise ModelCrashed(f"the tokenizer raised {type(error).__name__} on this row") from None


def _too_long(
    chain: "Chain", values: dict[str, Any], model: Model, excess: float
) -> Question | Parts:
    cut = chain.long_variable
    if chain.on_long_input == "error" or cut is None:
        raise ContextLengthExceeded(
            f"the prompt is {excess:.2f} times what fits the model's window of "
            f"{model.context_window} tokens beside an answer of "
            f"{chain.parameters.max_output_tokens}"
        )

    def excess_of(text: str) -> float:
        return _excess(chain, {**values, cut: text}, model)

    if chain.on_long_input == "chunk":
        texts = long_input.split(values[cut], excess_of)
        return Parts(tuple(text for text in texts if not text.isspace()))
    return _question(
        chain, {**values, cut: long_input.truncate(values[cut], excess_of)}, model, (TRUNCATED,)
    )
