"""What happens between two tokens: sampling by row, stop strings, how probable a token was."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any


class GumbelSampler:
    """Turns arg max over scores into sampling, with noise that belongs to a row and not its batch.

    Scores (rows, vocabulary) float32 get temperature, top_p and Gumbel noise; the arg max of the
    sum is a draw from their softmax (the Gumbel-max trick, in Maddison, Tarlow and Minka, "A*
    Sampling", NeurIPS 2014, section 2). Each row has a generator of its own, seeded by the row: the
    same row draws the same noise alone, in any batch and at any place in it.
    """

    def __init__(self, temperature: float, top_p: float, seeds: Sequence[int], device: Any) -> None:
        import torch
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        self.warpers: list[Any] = [TemperatureLogitsWarper(temperature)]
        if top_p < 1.0:
            self.warpers.append(TopPLogitsWarper(top_p))
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows alone."""
        self.generators = [self.generators[row] for row in rows]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores whose arg max is the sampled token."""
        import torch

        for warper in self.warpers:
            scores = warper(input_ids, scores)
        noise = torch.empty_like(scores)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores - noise.log_()  # -log of an Exp(1) draw is a standard Gumbel


class StopStrings:
    """Stops a row once its answer holds one of `stop`; `lengths` says at how many tokens.

    Unlike transformers' own criterion it does not look into the prompt, whose end could otherwise
    complete a stop string, and needs no table over the vocabulary.
    """

    def __init__(
        self, stop: Sequence[str], start: int, decode: Callable[[Any], Sequence[str]]
    ) -> None:
        self.stop, self.start, self.decode = stop, start, decode
        self.lengths: dict[int, int] = {}
        self.tail = max(len(text.encode()) for text in stop) + 4  # a token is a byte or more

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Return which rows (rows,) bool are complete."""
        import torch

        answers = input_ids[:, self.start :]
        tails = self.decode(answers[:, -self.tail :])
        done = [any(text in tail for text in self.stop) for tail in tails]
        for row in (row for row, is_done in enumerate(done) if is_done):
            self.lengths.setdefault(row, answers.shape[1])
        return torch.tensor(done, device=input_ids.device)


class HalfEnded:
    """Stops a batch once half of its rows have ended: at one of `ends`, or as `stop` says."""

    def __init__(self, ends: Sequence[int] | None, stop: StopStrings | None) -> None:
        self.ends, self.stop = frozenset(ends or ()), stop
        self.ended: set[int] = set()
        self.rows = 0

    def left(self) -> list[int]:
        """Return the rows that have not ended."""
        return [row for row in range(self.rows) if row not in self.ended]

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Return whether the batch is to stop, for each row (rows,) bool; `stop` comes before."""
        import torch

        last = input_ids[:, -1].tolist()
        self.rows = len(last)
        self.ended.update(row for row, token in enumerate(last) if token in self.ends)
        self.ended.update(self.stop.lengths if self.stop else ())
        return torch.full((self.rows,), 2 * len(self.ended) >= self.rows, device=input_ids.device)


class LogProbabilities:
    """Notes how probable the model found each token that its rows took (natural logarithm).

    It comes before all that changes the scores: schema, temperature and noise have no part in it.
    """

    def __init__(self, rows: int) -> None:
        self._running = list(range(rows))
        self._next: Any = None
        self._taken: list[tuple[list[int], Any]] = []
        self._last: dict[int, Any] = {}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Note the tokens of the step before; return the scores (rows, vocabulary) as they are."""
        if self._next is not None:
            self._taken.append((self._running, self._next.gather(1, input_ids[:, -1:])))
        self._next = scores.log_softmax(dim=-1)
        return scores

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone; the last token of the others is in what they gave."""
        for row in set(range(len(self._running))).difference(rows):
            self._last[self._running[row]] = self._next[row]
        self._running = [self._running[row] for row in rows]
        self._next = self._next[list(rows)]

    def of(self, answers: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability of every token that was generated for each row."""
        self.keep([])
        found: list[list[float]] = [[] for _ in answers]
        for running, taken in self._taken:
            for row, noted in zip(running, taken[:, 0].tolist(), strict=True):
                found[row].append(noted)
        for row, ids in enumerate(answers):
            found[row].append(self._last[row][ids[-1]].item())
        return found


def row_seed(seed: int, prompt: Sequence[int]) -> int:
    """Return the seed of one row's noise: the chain's seed and the prompt's ids decide it."""
    digest = sha256(f"{seed}:{','.join(map(str, prompt))}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
