"""Rows through the places of a GPU: who has ended makes room for who waits."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from chains.models.base import Parameters
from chains.models.transformers.generation import Generated, RowProcessor
from chains.models.transformers.prefixes import Ids, Prompt
from chains.models.transformers.slots import Slots

REFILL = 8  # new rows are let in when one of so many places is free: each time costs a few steps


@dataclass
class Row:
    """A prompt that is being answered: its position, and what was generated so far."""

    position: int
    began: float
    ids: Ids = field(default_factory=list)
    stopped_at: int | None = None


@dataclass(frozen=True)
class Ended:
    """A row that has been answered; `seconds` since its prompt was let in."""

    position: int
    given: Generated
    seconds: float


class Running:
    """Answers prompts of a model, which all have the same parameters, as places become free.

    `processors` change the scores of all rows together: where there are any, there has to be a
    place for each prompt from the beginning, and rows leave when half of them have ended.
    """

    def __init__(
        self,
        slots: Slots,
        parameters: Parameters,
        processors: Sequence[RowProcessor],
        ends: Sequence[int],
        decode: Callable[[Any], Sequence[str]],
    ) -> None:
        self._slots, self._parameters, self._processors = slots, parameters, processors
        self._ends, self._decode = frozenset(ends), decode
        self._places: list[Row | None] = []
        self._last: Any = None
        # a token is a byte or more
        self._tail = max((len(it.encode()) + 4 for it in parameters.stop), default=0)

    def answer(self, prompts: Sequence[Prompt], columns: int) -> Iterator[list[Ended]]:
        """Yield the rows that have ended, as they do; each needs at most `columns` tokens."""
        self._slots.open(columns)
        waiting = deque(range(len(prompts)))
        while waiting or any(self._places):
            self._let_in(waiting, prompts, self._slots.rows(columns))
            tokens = self._take()
            if ended := self._leave():
                yield ended
            if not any(self._places):
                continue
            if not waiting:
                tokens = self._close_up(tokens)
            self._slots.step(tokens)

    def _let_in(self, waiting: deque[int], prompts: Sequence[Prompt], most: int) -> None:
        """Give free places to prompts that wait, the first ones first."""
        free = [place for place, row in enumerate(self._places) if row is None]
        free += range(len(self._places), most)
        if not waiting or len(free) * REFILL < most:
            return
        began = perf_counter()
        chosen = free[: len(waiting)]
        self._places += [None] * (max(chosen) + 1 - len(self._places))
        new = [waiting.popleft() for _ in chosen]
        self._slots.fill(chosen, [prompts[i] for i in new])
        for place, i in zip(chosen, new, strict=True):
            self._places[place] = Row(i, began)

    def _take(self) -> Any:
        """Give each row its next token; return the tokens (places,) int64."""
        import torch

        scores = self._slots.scores(len(self._places))
        last = (
            torch.zeros_like(scores[:, :1], dtype=torch.long) if self._last is None else self._last
        )
        for processor in self._processors:
            scores = processor(last, scores)
        young = self._parameters.min_output_tokens
        if held := [i for i, row in enumerate(self._places) if row and len(row.ids) < young]:
            scores[torch.tensor(held)[:, None], torch.tensor(sorted(self._ends))] = -torch.inf
        tokens = scores.argmax(dim=-1)
        self._last = tokens[:, None]
        for row, token in zip(self._places, tokens.tolist(), strict=True):
            if row:
                row.ids.append(token)
        return tokens

    def _leave(self) -> list[Ended]:
        """Take the rows that have ended from their places."""
        running = [row for row in self._places if row]
        tails = self._decode([it.ids[-self._tail :] for it in running]) if self._tail else ()
        for row, text in zip(running, tails, strict=False):
            if any(stop in text for stop in self._parameters.stop):
                row.stopped_at = len(row.ids)
        ended: dict[int, Row] = {
            place: row for place, row in enumerate(self._places) if row and self._has_ended(row)
        }
        for place in ended:
            self._places[place] = None
        if ended:
            self._slots.free(list(ended))
        now = perf_counter()
        return [
            Ended(row.position, Generated(row.ids, row.stopped_at), now - row.began)
            for row in ended.values()
        ]

    def _has_ended(self, row: Row) -> bool:
        whole = len(row.ids) >= self._parameters.max_output_tokens
        return whole or row.stopped_at is not None or row.ids[-1] in self._ends

    def _close_up(self, tokens: Any) -> Any:
        """Go on with fewer places once half of them are free; return the tokens of those left."""
        left = [place for place, row in enumerate(self._places) if row]
        if 2 * len(left) > len(self._places):
            return tokens
        self._places = [self._places[place] for place in left]
        self._slots.keep(left)
        for processor in self._processors:
            processor.keep(left)
        self._last = self._last[left]
        return tokens[left]
