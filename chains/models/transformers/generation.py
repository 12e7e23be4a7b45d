"""One batch through `generate`; on a CPU, rows that have ended leave it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chains.models.base import Parameters
from chains.models.transformers.decoding import HalfEnded, StopStrings
from chains.models.transformers.prefixes import Ids


class RowProcessor(Protocol):
    """A logits processor of transformers that can go on with some of its rows."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores (rows, vocabulary) of the next tokens."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        ...


@dataclass(frozen=True)
class Batch:
    """Padded prompts, ids and mask (rows, longest prompt) int64; `past` is a cache of columns.

    With `shrinks`, which needs a DynamicCache of full attention, half of the rows go on alone when
    the other half has ended.
    """

    rows: Any
    mask: Any
    past: Any
    shrinks: bool


@dataclass(frozen=True)
class Generated:
    """What was generated for a row: token ids, and at how many of them it held a stop string."""

    ids: Ids
    stopped_at: int | None


def generate(
    network: Any,
    batch: Batch,
    parameters: Parameters,
    processors: Sequence[RowProcessor],
    decode: Callable[[Any], Sequence[str]],
) -> list[Generated]:
    """Return what the model generates for each row; tokens behind its end are padding."""
    from torch.nn.functional import pad

    rows, mask, past = batch.rows, batch.mask, batch.past
    start = 1 if network.config.is_encoder_decoder else rows.shape[1]
    found: dict[int, Generated] = {}
    running = list(range(len(rows)))
    said = 0
    while running:
        stop = StopStrings(parameters.stop, start, decode) if parameters.stop else None
        half = HalfEnded(network.generation_config.eos_token_id, stop) if batch.shrinks else None
        given = network.generate(
            input_ids=rows,
            attention_mask=mask,
            past_key_values=past,
            generation_config=_config(parameters, said, batch.shrinks),
            logits_processor=list(processors),
            stopping_criteria=[it for it in (stop, half) if it],
        )
        rows = given.sequences if batch.shrinks else given
        said = rows.shape[1] - start
        left = half.left() if half and said < parameters.max_output_tokens else []
        for i in set(range(len(rows))).difference(left):
            ids = rows[i, start:].tolist()
            found[running[i]] = Generated(ids, stop.lengths.get(i) if stop else None)
        running = [running[i] for i in left]
        if running:
            past = given.past_key_values
            past.batch_select_indices(left)
            mask = pad(mask, (0, rows.shape[1] - mask.shape[1]), value=1)[left]
            rows = rows[left]
            for processor in processors:
                processor.keep(left)
    return [found[i] for i in range(len(found))]


def _config(parameters: Parameters, said: int, returns_cache: bool) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,  # the sampler makes arg max a draw
        max_new_tokens=parameters.max_output_tokens - said,
        min_new_tokens=max(0, parameters.min_output_tokens - said),
        return_dict_in_generate=returns_cache,
    )
