"""TransformersModel against a bare, length-sorted generate loop over the same batches.

Run: python benchmarks/transformers_batches.py tiny|llama [batch_tokens ...]. Prints output tokens/s
of process time on one torch thread, the best of the rounds, for each budget of tokens a batch.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from random_model import LINES, build_llama, build_tiny

from chains.models.base import Message, Parameters, Request
from chains.models.transformers.batching import pack
from chains.models.transformers.model import (
    CPU_BATCH_TOKENS,
    TransformersModel,
    resolve_transformers,
)

REQUESTS = 512
ROUNDS = 4
OUTPUT_TOKENS = 64


def main(name: str, budgets: list[int]) -> None:
    import torch

    torch.set_num_threads(1)
    build = {"tiny": build_tiny, "llama": build_llama}[name]
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        prompts = skewed_prompts()
        for budget in budgets:
            ref = resolve_transformers(f"path:{folder}", folder, budget)
            ours = TransformersModel(ref)
            bare = bare_loop(ours, budget)
            measure(f"{name} {budget:>7,}", {"ours": complete(ours), "bare": bare}, prompts)


def skewed_prompts() -> list[list[Message]]:
    """Return prompts of 20 to 800 tokens: most are short, a few are long."""
    pick = random.Random(0)
    words = " ".join(LINES).split()
    sizes = [min(300, int(pick.lognormvariate(3.4, 1.0)) + 2) for _ in range(REQUESTS)]
    return [[{"role": "user", "content": " ".join(pick.choices(words, k=n))}] for n in sizes]


def complete(model: TransformersModel) -> Callable[[list[list[Message]]], int]:
    limits = Parameters(max_output_tokens=OUTPUT_TOKENS, min_output_tokens=OUTPUT_TOKENS)

    def run(prompts: list[list[Message]]) -> int:
        outcomes = model.complete([Request(tuple(prompt), limits) for prompt in prompts])
        return sum(outcome.usage.output_tokens for outcome in outcomes)

    return run


def bare_loop(model: TransformersModel, budget: int) -> Callable[[list[list[Message]]], int]:
    tokenizer, network = model._tokenizer, model._network

    def run(prompts: list[list[Message]]) -> int:
        lengths = [len(encode(prompt)) for prompt in prompts]
        tokens = 0
        for batch in pack(lengths, OUTPUT_TOKENS, budget):
            inputs = tokenizer.apply_chat_template(
                [prompts[i] for i in batch],
                add_generation_prompt=True,
                padding=True,
                return_dict=True,
                return_tensors="pt",
            )
            answers = network.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=OUTPUT_TOKENS,
                min_new_tokens=OUTPUT_TOKENS,
            )[:, inputs["input_ids"].shape[1] :]
            tokenizer.batch_decode(answers, skip_special_tokens=True)
            tokens += answers.numel()
        return tokens

    def encode(prompt: list[Message]) -> list[int]:
        return tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)

    return run


def measure(
    title: str,
    candidates: dict[str, Callable[[list[list[Message]]], int]],
    prompts: list[list[Message]],
) -> None:
    for run in candidates.values():
        run(prompts[:32])
    speeds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(ROUNDS):
        for name, run in list(candidates.items())[:: (-1) ** turn]:
            started = time.process_time()
            tokens = run(prompts)
            speeds[name].append(tokens / (time.process_time() - started))
    ours, bare = (max(speeds[name]) for name in ("ours", "bare"))
    print(f"{title}: ours {ours:,.0f} tokens/s, bare {bare:,.0f}, ratio {ours / bare:.3f}")


if __name__ == "__main__":
    main(sys.argv[1], [int(budget) for budget in sys.argv[2:]] or [CPU_BATCH_TOKENS])
