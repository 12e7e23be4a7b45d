"""Which prompts begin alike, so that what they share passes through the model once."""

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_SHARED = 32  # tokens; fewer save less than a pass of their own costs

Ids = list[int]


@dataclass(frozen=True)
class Prompt:
    """A prompt's token ids, and how many of them others have too.

    The first `head` are those of all prompts asked together, the first `shared` those of its
    `group`; a prompt that shares no more than the head is a group of its own.
    """

    ids: Ids
    head: int = 0
    shared: int = 0
    group: int = 0


def common(a: Ids, b: Ids) -> int:
    """Return with how many tokens both begin."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


def share(prompts: Sequence[Ids]) -> list[Prompt]:
    """Return the prompts in order, with what they share.

    Rows are a group where they begin with LEAST_SHARED tokens more than all prompts do, and where
    these, with the longest rest for each row, are fewer than the tokens of all rows: rests of very
    different lengths are better padded among their like.
    """
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    if len(order) < 2:
        return [Prompt(ids) for ids in prompts]
    head = _shared(prompts, order)
    runs: list[list[int]] = []
    for i in order:
        if not runs or common(prompts[runs[-1][-1]], prompts[i]) < head + LEAST_SHARED:
            runs.append([])
        runs[-1].append(i)
    made = [Prompt(ids, head, head, i) for i, ids in enumerate(prompts)]
    for run in runs:
        lengths = [len(prompts[i]) for i in run]
        shared = _shared(prompts, run)
        together = shared - head + len(run) * (max(lengths) - shared)
        if together < sum(lengths) - len(run) * head:
            for i in run:
                made[i] = Prompt(prompts[i], head, shared, run[0])
    return made


def _shared(prompts: Sequence[Ids], run: Sequence[int]) -> int:
    """Return with how many tokens a sorted run begins; each prompt keeps one of its own."""
    shortest = min(len(prompts[i]) for i in run)
    return min(common(prompts[run[0]], prompts[run[-1]]), max(0, shortest - 1))
