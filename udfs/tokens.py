"""On an executor: how many tokens a row's call may take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from chains.asking import prompt_tokens
from chains.base import Chain
from chains.completion import Parts, Question
from chains.models.base import Model
from udfs.arrow import Pinned


@dataclass(frozen=True)
class CountingTokens:
    """Turns structs of variables into tokens; asks no model."""

    pinned: Pinned

    def __call__(self, batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        """Return a batch of numbers for each batch of variables."""
        chain, model = self.pinned.load()
        for batch in batches:
            yield pa.array([tokens_of(chain, model, row) for row in batch.to_pylist()], pa.int64())


def tokens_of(chain: Chain, model: Model, variables: Mapping[str, Any]) -> int:
    """Return the prompt's tokens and the most that may be answered; 0 where nothing is asked.

    An input that is asked by its parts takes what they take. A prompt that breaks the tokenizer
    counts its answer alone: what is wrong with it becomes the row's error later.
    """
    asked = chain.ask(variables, model)
    if isinstance(asked, Parts):
        cut = str(chain.long_variable)
        return sum(tokens_of(chain, model, {**variables, cut: text}) for text in asked.texts)
    if not isinstance(asked, Question):
        return 0
    return prompt_tokens(model, asked) + chain.parameters.max_output_tokens
