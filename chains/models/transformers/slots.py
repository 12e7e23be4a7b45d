"""Places for rows on a GPU: keys and values that stay where they are, and steps as CUDA graphs."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from chains.models.transformers.prefix_cache import cache_of
from chains.models.transformers.prefixes import Ids, Prompt

LEAST_ROWS, LEAST_COLUMNS = 64, 256  # fewer are hardly faster
MOST_ROWS = 512  # more of them are hardly faster, and their logits fill the memory
TOLERANCE = 0.05  # of half precision
FILL_TOKENS = 16_384  # prompts that pass through the model at once, padding included

log = logging.getLogger("gristmill.models")


def above(number: int, least: int) -> int:
    """Return the power of two that `number` fits in, and not below `least`."""
    return max(least, 1 << (number - 1).bit_length())


class Slots:
    """Keys and values of up to `tokens` tokens, cut into rows of as many columns as a run needs.

    A small step of a model is less work for a GPU than for the Python that asks for it: recorded
    once for a number of rows and columns (powers of two), it is only replayed. That needs keys and
    values that never move: a row's token n is in column n, and a row that has ended leaves its
    place to another. `open` forgets what was kept.

    The model has to keep all of its tokens' keys and values (see `keeps_all`) and to take a mask of
    four dimensions; `agrees` tries. `pad` gives ids and mask of some prompts, left-padded, and
    `before` the cache of their first columns, where these were computed already. No more than half
    of a GPU's free memory is taken.
    """

    def __init__(
        self,
        network: Any,
        pad: Callable[[Sequence[Ids]], tuple[Any, Any]],
        before: Callable[[Sequence[Prompt]], Any],
        tokens: int,
    ) -> None:
        import torch
        from transformers import Cache

        self._network, self._pad, self._before = network, pad, before
        self._device = network.device
        token = torch.full((1, 1), network.generation_config.pad_token_id, device=self._device)
        kept = cache_of(network, token, torch.ones_like(token), None)
        size: int = sum(it.keys.nbytes + it.values.nbytes for it in kept.layers)
        self.tokens = min(tokens, _free(self._device) // 2 // size)
        self._layers = [_Layer(it.keys, it.values, self.tokens) for it in kept.layers]
        layers: list[Any] = list(self._layers)
        self._cache = Cache(layers=layers)
        self._at = torch.zeros(MOST_ROWS, dtype=torch.long, device=self._device)
        self._ids = torch.zeros((MOST_ROWS, 1), dtype=torch.long, device=self._device)
        self._scores: Any = None
        self._graphs: dict[tuple[int, int, int], Any] = {}
        self._pool: Any = None
        self._records = self._device.type == "cuda"
        self.open(LEAST_COLUMNS)

    def rows(self, columns: int) -> int:
        """Return how many rows of so many columns there is room for."""
        return min(MOST_ROWS, self.tokens // columns)

    def open(self, columns: int) -> None:
        """Begin a run whose rows have at most so many tokens, a power of two."""
        self._columns, self._lengths = columns, [0] * self.rows(columns)
        self._at.zero_()  # a free place of a wider run may be behind the last column of this one
        for layer in self._layers:
            layer.lay(self.rows(columns), columns)

    def fill(self, places: Sequence[int], prompts: Sequence[Prompt]) -> None:
        """Let prompts pass through the model, each into its place; their scores are in `scores`."""
        begin = 0
        while begin < len(prompts):
            end, longest = begin, 0
            while end < len(prompts):
                longest = max(longest, len(prompts[end].ids))
                if end > begin and (end - begin + 1) * longest > FILL_TOKENS:
                    break
                end += 1
            self._fill(places[begin:end], prompts[begin:end])
            begin = end

    def scores(self, rows: int) -> Any:
        """Return the scores (rows, vocabulary) float32 of the first places' next tokens."""
        return self._scores[:rows]

    def step(self, tokens: Any) -> None:
        """Take a token (rows,) int64 for each of the first places, and compute what comes next."""
        import torch

        count = len(tokens)
        rows = min(above(count, LEAST_ROWS), len(self._lengths))
        columns = min(self._columns, above(max(self._lengths[:count]) + 1, LEAST_COLUMNS))
        self._ids[:count, 0] = tokens
        with torch.no_grad():
            self._run(rows, columns)
        self._lengths[:count] = [it and it + 1 for it in self._lengths[:count]]

    def free(self, places: Sequence[int]) -> None:
        """Forget what is in these places."""
        self._at[list(places)] = 0
        for place in places:
            self._lengths[place] = 0

    def keep(self, places: Sequence[int]) -> None:
        """Move these places, in order, to the first ones, and forget the others."""
        import torch

        at = torch.tensor(places, device=self._device)
        kept = [self._lengths[place] for place in places]
        for layer in self._layers:
            layer.move(at, max(kept))
        lengths = self._at[at]
        self._at.zero_()
        self._at[: len(places)] = lengths
        self._lengths = kept + [0] * (len(self._lengths) - len(kept))

    def _fill(self, places: Sequence[int], prompts: Sequence[Prompt]) -> None:
        import torch
        from transformers import GenerationConfig

        ids, mask = self._pad([prompt.ids for prompt in prompts])
        once = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=1, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
        given = self._network.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=self._before(prompts),
            generation_config=once,
        )
        scores = given.logits[0].float()
        if self._scores is None:
            shape = (MOST_ROWS, scores.shape[1])
            self._scores = torch.zeros(shape, dtype=torch.float32, device=self._device)
        lengths = [len(prompt.ids) for prompt in prompts]
        at = torch.tensor(places, device=self._device)
        self._scores[at] = scores
        self._at[at] = torch.tensor(lengths, device=self._device)
        width = ids.shape[1]
        columns = torch.arange(width, device=self._device) + width - self._at[at][:, None]
        columns = columns.clamp(max=width - 1)
        for layer, computed in zip(self._layers, given.past_key_values.layers, strict=True):
            layer.put(at, columns, computed.keys, computed.values)
        for place, length in zip(places, lengths, strict=True):
            self._lengths[place] = length

    def _run(self, rows: int, columns: int) -> None:
        import torch

        key = (self._columns, rows, columns)
        if not self._records:
            self._step(rows, columns)
        elif key in self._graphs:
            self._graphs[key].replay()
        else:
            self._step(rows, columns)  # what a graph must not do at its first time is done here
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, pool=self._pool):
                    self._step(rows, columns)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._records = False
                log.warning("a step of the model cannot be recorded, and takes longer: %s", error)
            else:
                self._graphs[key], self._pool = graph, graph.pool()

    def _step(self, rows: int, columns: int) -> None:
        import torch

        at = self._at[:rows]
        order = torch.arange(max(rows, columns), device=self._device)
        for layer in self._layers:
            layer.view(order[:rows], at, columns)
        mask = order[:columns] <= at[:, None]
        given = self._network(
            input_ids=self._ids[:rows],
            attention_mask=mask[:, None, None],
            position_ids=at[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._scores[:rows] = given.logits[:, -1]
        at.add_(1).clamp_(max=self._columns - 1)  # a free place may be there for long


class _Layer:
    """One layer's keys and values, (rows, heads, columns, size of a head) each."""

    is_sliding = is_compileable = False
    is_initialized = True

    def __init__(self, keys: Any, values: Any, tokens: int) -> None:
        self._flat = [self._empty(states, tokens) for states in (keys, values)]

    def lay(self, rows: int, columns: int) -> None:
        """Cut the memory into rows of so many columns."""
        self._laid = [
            flat[: rows * columns].view(rows, columns, *flat.shape[1:]).transpose(1, 2)
            for flat in self._flat
        ]

    def view(self, rows: Any, at: Any, columns: int) -> None:
        """Let the next step write at these columns of `rows`, (rows,) both, and read so many."""
        self._rows, self._at, self._columns = rows, at, columns

    def update(self, keys: Any, values: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Keep one token for each row; return all that the rows have kept."""
        found = []
        for laid, states in zip(self._laid, (keys, values), strict=True):
            laid[self._rows, :, self._at] = states[:, :, 0]
            found.append(laid[: len(self._at), :, : self._columns])
        return found[0], found[1]

    def put(self, places: Any, columns: Any, keys: Any, values: Any) -> None:
        """Keep prompts, each from the first column of its place.

        `columns` (prompts, columns) says in which of theirs the first ones are; what is behind
        a prompt's end is hidden, and overwritten as its answer grows.
        """
        rows, width = self._order(columns), columns.shape[1]
        for laid, states in zip(self._laid, (keys, values), strict=True):
            laid.transpose(1, 2)[places, :width] = states.transpose(1, 2)[rows, columns]

    def move(self, places: Any, width: int) -> None:
        """Move the first `width` columns of these places to the first places."""
        for laid in self._laid:
            laid[: len(places), :, :width] = laid[places, :, :width]

    def get_seq_length(self) -> int:
        return self._columns

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._columns, 0

    def get_max_length(self) -> int:
        return self._columns

    @staticmethod
    def _order(columns: Any) -> Any:
        import torch

        return torch.arange(len(columns), device=columns.device)[:, None]

    @staticmethod
    def _empty(states: Any, tokens: int) -> Any:
        _, heads, _, size = states.shape
        return states.new_zeros((tokens, heads, size))


def _free(device: Any) -> int:
    """Return the free bytes of a GPU; of other memory, more than anyone asks for."""
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else sys.maxsize


def agrees(slots: Slots, network: Any) -> bool:
    """Return whether the model says the same by its places as in one pass over a whole text.

    Where a model counts positions by its mask, or takes none of four dimensions, it does not.
    """
    import torch

    tokens = list(range(network.config.get_text_config().vocab_size))[:12]
    begun = [tokens[:5], tokens[:8]]
    try:
        with torch.no_grad():
            whole = network(input_ids=torch.tensor([tokens], device=network.device)).logits[0]
            slots.open(LEAST_COLUMNS)
            slots.fill([0, 1], [Prompt(ids) for ids in begun])
            for said in range(3):
                at = [len(ids) + said for ids in begun]
                told = whole[[it - 1 for it in at]].float()
                if (slots.scores(2) - told).norm() > TOLERANCE * told.norm():
                    return False
                slots.step(torch.tensor([tokens[it] for it in at], device=network.device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        log.info("%s has no places for rows: %s", type(network).__name__, error)
        return False
    return True
