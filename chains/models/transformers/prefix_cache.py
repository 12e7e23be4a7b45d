"""Keys and values of what prompts begin with: computed once, laid out before each batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chains.models.transformers.prefixes import LEAST_SHARED, Ids, Prompt, common


@dataclass(frozen=True)
class _Computed:
    """The cache of some token ids, padded on the left."""

    rows: Sequence[Ids]
    cache: Any


class PrefixCache:
    """Computes shared prefixes ahead of `generate`, for one causal model.

    Batches stay as they are without it, padded on the left. As many of their first columns as no
    row has tokens of its own in come from the cache of its prefix, and `generate` computes the
    others: it never sees padding between tokens, and its answers do not change. The model has to
    keep all keys and values: see `keeps_all`.

    `pad` gives ids and mask of some prompts, each (rows, longest prompt) int64.
    """

    def __init__(self, network: Any, pad: Callable[[Sequence[Ids]], tuple[Any, Any]]) -> None:
        self._network, self._pad = network, pad
        self._head: _Computed | None = None

    def before(self, prompts: Sequence[Prompt]) -> Any:
        """Return the DynamicCache of a batch's first columns; None where none is shared."""
        self._keep(prompts[0].ids[: prompts[0].head])
        ids = [prompt.ids for prompt in prompts]
        shared, beginning = [prompt.shared for prompt in prompts], self._of_head(ids)
        if max(shared) <= beginning:
            return self._laid_out(self._head, ids, [0] * len(ids), [beginning] * len(ids))
        prefixes = {prompt.group: prompt.ids[: prompt.shared] for prompt in prompts}
        rows, place = list(prefixes.values()), {group: i for i, group in enumerate(prefixes)}
        past = self._laid_out(self._head, rows, [0] * len(rows), [self._of_head(rows)] * len(rows))
        places = [place[prompt.group] for prompt in prompts]
        return self._laid_out(self._computed(rows, past), ids, places, shared)

    def _keep(self, head: Ids) -> None:
        """Compute the head of a call's prompts, unless what is kept from before begins so."""
        is_kept = self._head is not None and common(self._head.rows[0], head) == len(head)
        if len(head) >= LEAST_SHARED and not is_kept:
            self._head = self._computed([head], None)

    def _of_head(self, prompts: Sequence[Ids]) -> int:
        """Return how many tokens of the head all prompts begin with; each keeps one of its own."""
        if self._head is None:
            return 0
        return min(common(self._head.rows[0], prompt[:-1]) for prompt in prompts)

    def _computed(self, rows: Sequence[Ids], past: Any) -> _Computed:
        """Let the rows pass through the model, behind the `past` of their first columns."""
        return _Computed(rows, cache_of(self._network, *self._pad(rows), past))

    def _laid_out(
        self,
        source: _Computed | None,
        prompts: Sequence[Ids],
        places: Sequence[int],
        shared: Sequence[int],
    ) -> Any:
        """Return the cache of the prompts' first columns, from the row of `source` for each.

        `shared` tokens of a prompt are those of its row; a column is laid out where every prompt
        has a shared token, or padding, which the mask hides.
        """
        import torch
        from transformers import DynamicCache

        longest = max(map(len, prompts))
        columns = longest - max(len(it) - n for it, n in zip(prompts, shared, strict=True))
        if source is None or columns <= 0:
            return None
        width = max(map(len, source.rows))
        moved = [
            (width - len(source.rows[at])) - (longest - len(prompt))
            for at, prompt in zip(places, prompts, strict=True)
        ]
        device = self._network.device
        rows = torch.tensor(places, device=device)[:, None]
        at = torch.arange(columns, device=device) + torch.tensor(moved, device=device)[:, None]
        at = at.clamp(min=0)

        def spread(states: Any) -> Any:  # (rows, heads, columns, size of a head)
            return states.transpose(1, 2)[rows, at].transpose(1, 2)

        layers = source.cache.layers
        return DynamicCache([(spread(it.keys), spread(it.values)) for it in layers])


def keeps_all(network: Any) -> bool:
    """Return whether all that a model keeps of its tokens is keys and values, of each of them.

    Sliding windows drop some, recurrent layers keep a state; an encoder reads a prompt whole.
    """
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    token = torch.full((1, 1), network.generation_config.pad_token_id, device=network.device)
    cache = cache_of(network, token, torch.ones_like(token), None)
    if not isinstance(cache, DynamicCache):
        return False
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def cache_of(network: Any, ids: Any, mask: Any, past: Any) -> Any:
    """Return what `generate` keeps of the tokens behind `past`; None where it gives nothing."""
    from transformers import GenerationConfig

    once = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=1, do_sample=False, return_dict_in_generate=True
    )
    given = network.generate(
        input_ids=ids, attention_mask=mask, past_key_values=past, generation_config=once
    )
    return given.get("past_key_values")
