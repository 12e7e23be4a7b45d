"""Contenders that share one GPU, one process and one model: gristmill, plain `generate`, paging."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chains.models.base import Answer, Parameters, Request, in_order
from chains.models.transformers.batching import pack
from chains.models.transformers.model import GPU_BATCH_TOKENS, TransformersModel

Run = Callable[[Sequence[str]], list[str]]
"""From prompts to answers, in order."""


def gristmill(model: TransformersModel, parameters: Parameters, schema: Any = None) -> Run:
    """Return our own model, asked for all prompts at once."""

    def run(prompts: Sequence[str]) -> list[str]:
        asked = [Request((_message(it),), parameters, {}, schema) for it in prompts]
        outcomes = in_order(model.stream(asked))
        for it in outcomes:
            if not isinstance(it, Answer):
                raise it
        return [it.text for it in outcomes]

    return run


def sorted_loop(model: TransformersModel, most: int) -> Run:
    """Return plain `generate` over length-sorted batches, under gristmill's budget of tokens."""
    return _loop(model, most, lambda lengths: pack(lengths, most, GPU_BATCH_TOKENS))


def arrival_loop(model: TransformersModel, most: int, rows: int) -> Run:
    """Return plain `generate` over batches of so many rows, as they come."""

    def cut(lengths: Sequence[int]) -> Iterator[list[int]]:
        for start in range(0, len(lengths), rows):
            yield list(range(start, min(start + rows, len(lengths))))

    return _loop(model, most, cut)


def paged(model: TransformersModel, most: int, sizes: dict[str, Any] | None) -> Run:
    """Return transformers' continuous batching; without `sizes` it sizes itself."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    network = model._network
    ends = network.generation_config.eos_token_id
    config = GenerationConfig(do_sample=False, max_new_tokens=most, eos_token_id=ends)

    def run(prompts: Sequence[str]) -> list[str]:
        given = network.generate_batch(
            _ids(model, prompts),
            generation_config=config,
            continuous_batching_config=ContinuousBatchingConfig(**(sizes or {})),
        )
        if len(given) < len(prompts) or any(it.error for it in given.values()):
            raise RuntimeError(f"{len(given)} of {len(prompts)} answers, or some with an error")
        return model._decode([it.generated_tokens for it in given.values()])

    return run


def _loop(model: TransformersModel, most: int, cut: Callable[..., Any]) -> Run:
    network, tokenizer = model._network, model._tokenizer

    def run(prompts: Sequence[str]) -> list[str]:
        ids = _ids(model, prompts)
        answers: dict[int, str] = {}
        for batch in cut([len(it) for it in ids]):
            inputs = tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt")
            inputs = inputs.to(network.device)
            given = network.generate(**inputs, do_sample=False, max_new_tokens=most)
            said = tokenizer.batch_decode(
                given[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
            answers.update(zip(batch, said, strict=True))
        return [answers[i] for i in range(len(prompts))]

    return run


def _ids(model: TransformersModel, prompts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = model._tokenizer.apply_chat_template(
        [[_message(it)] for it in prompts], add_generation_prompt=True, return_dict=False
    )
    return ids


def _message(text: str) -> Any:
    return {"role": "user", "content": text}
