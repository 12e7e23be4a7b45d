"""The bare loop of the transformers workload: batches of rows through plain `generate`."""

from collections.abc import Sequence
from typing import Any

from bench.models import note
from bench.watching import count_prompts

from chains.models.transformers.batching import pack
from chains.models.transformers.model import CPU_BATCH_TOKENS
from chains.templates import load_template


class GenerateLoop:
    """AutoModel, AutoTokenizer, `generate`; the same budget of tokens a batch as gristmill's.

    Batches are length-sorted; with `"order": "arrival"` they are rows as they come, in as many
    batches.
    """

    def __init__(self, ask: dict[str, Any]) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._template = load_template(ask["template"])
        folder = ask["spec"].removeprefix("path:")
        self._arrival = ask.get("order") == "arrival"
        self._tokens = ask["parameters"]["max_output_tokens"]
        self._least = ask["parameters"].get("min_output_tokens", 0)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        count_prompts(self._network)
        note("asker")

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        prompts = [list(self._template.render({"document": text})) for text in texts]
        ids = self._tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, return_dict=False
        )
        results: dict[int, str] = {}
        for batch in self._batches([len(it) for it in ids]):
            inputs = self._tokenizer.pad(
                {"input_ids": [ids[i] for i in batch]}, padding=True, return_tensors="pt"
            )
            answers = self._network.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=self._tokens,
                min_new_tokens=self._least,
            )[:, inputs["input_ids"].shape[1] :]
            told = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
            results.update(zip(batch, told, strict=True))
        return [results[i] for i in range(len(texts))]

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        """Return the positions of each batch's rows."""
        by_length = pack(lengths, self._tokens, CPU_BATCH_TOKENS)
        if not self._arrival:
            return by_length
        size = -(-len(lengths) // len(by_length))
        return [list(range(len(lengths)))[i : i + size] for i in range(0, len(lengths), size)]
