"""Messages to token ids; what stands in the data never becomes a control token."""

from collections.abc import Sequence
from typing import Any

from chains.errors import InvalidRequest, ModelCrashed
from chains.models.base import Message


def encode(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return the prompt's ids: by the tokenizer's chat template, where it has one.

    Without a template the contents stand one below the other, a blank line between, and the
    tokenizer adds its own first and last tokens. Either way control tokens in a content
    (`<|im_start|>`, `</s>`) are encoded as the characters they are written with; two private-use
    characters, U+F0000 and U+F0001, are lost to transformers' marking of them. Raises
    `InvalidRequest` where the template refuses the messages' roles or the tokenizer knows no plain
    spelling of a control token (`</s>` in T5's vocabulary), `ModelCrashed` where it breaks.
    """
    has_template = tokenizer.chat_template is not None
    try:
        return (_encode_chat if has_template else _encode_plain)(tokenizer, messages)
    except InvalidRequest:
        raise
    except Exception as error:
        raise ModelCrashed(f"the tokenizer raised {type(error).__name__} on this row") from None


def _encode_chat(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    from jinja2 import TemplateError

    try:
        ids: list[int] = tokenizer.apply_chat_template(
            list(messages),
            add_generation_prompt=True,
            sanitize_control_tokens=True,
            return_dict=False,
        )
    except TemplateError:
        roles = ", ".join(message["role"] for message in messages)
        raise InvalidRequest(f"the model's chat template refuses the roles {roles}") from None
    return ids


def _encode_plain(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    text = "\n\n".join(message["content"] for message in messages)
    encoded = tokenizer(
        text, split_special_tokens=True, return_special_tokens_mask=True, verbose=False
    )
    ids: list[int] = encoded["input_ids"]
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    added = encoded["special_tokens_mask"]
    found = {i for i, own in zip(ids, added, strict=True) if i in control and not own}
    if found:
        tokens = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(sorted(found))))
        raise InvalidRequest(f"the tokenizer reads {tokens} in the data as a control token")
    return ids
