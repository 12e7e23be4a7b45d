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


class LogProbabilities:
    """Notes how probable the model found each token that its rows took (natural logarithm).

    It comes before all that changes the scores: schema, temperature and noise have no part in it.
    """

    def __init__(self) -> None:
        self._taken: list[Any] = []
        self._next: Any = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Note the tokens of the step before; return the scores (rows, vocabulary) as they are."""
        if self._next is not None:
            self._note(input_ids[:, -1:])
        self._next = scores.log_softmax(dim=-1)
        return scores

    def of(self, answers: Any) -> list[list[float]]:
        """Return (rows, tokens) log-probabilities of what `generate` gave behind the prompts."""
        import torch

        self._note(answers[:, -1:])
        rows: list[list[float]] = torch.cat(self._taken, dim=1).tolist()
        return rows

    def _note(self, tokens: Any) -> None:
        self._taken.append(self._next.gather(1, tokens))


def row_seed(seed: int, prompt: Sequence[int]) -> int:
    """Return the seed of one row's noise: the chain's seed and the prompt's ids decide it."""
    digest = sha256(f"{seed}:{','.join(map(str, prompt))}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
