"""Cut rows into batches under a token budget, and into runs through places of equal width."""

from collections.abc import Callable, Sequence

JOINED = 8  # rows for a place; of fewer, the end of a run costs more than narrow places save


def pack(
    lengths: Sequence[int], output_tokens: int, budget: int, groups: Sequence[int] | None = None
) -> list[list[int]]:
    """Return batches of positions in `lengths`, longest prompts first.

    A batch costs rows * (its longest prompt + `output_tokens`) tokens, padding included, and stays
    within `budget`; a row that is above it alone is a batch of its own. Equal lengths keep their
    order. Longest first, so that a budget too large for the memory shows in the first batch. Rows
    of one group, where `groups` names each row's, stay together at the place of their longest.
    """
    group = range(len(lengths)) if groups is None else groups
    longest: dict[int, int] = {}
    for name, length in zip(group, lengths, strict=True):
        longest[name] = max(length, longest.get(name, 0))
    order = sorted(range(len(lengths)), key=lambda i: (-longest[group[i]], group[i], -lengths[i]))
    batches: list[list[int]] = []
    widest = 0
    for position in order:
        needed = lengths[position] + output_tokens
        widest = max(widest, needed)
        if not batches or (len(batches[-1]) + 1) * widest > budget:
            batches.append([])
            widest = needed
        batches[-1].append(position)
    return batches


def cut_runs(
    columns: Sequence[int], places: Callable[[int], int], together: bool
) -> list[list[int]]:
    """Return runs of positions in `columns`, which are what each row needs, widest rows first.

    `places` says how many rows there is room for, if they have so many columns. The rows of a run
    take turns at its places, unless they have to be answered `together`. A run takes the widest
    row's columns for all, so rows that need fewer are a run of their own where they are many.
    """
    alike: dict[int, list[int]] = {}
    for position, needed in enumerate(columns):
        alike.setdefault(needed, []).append(position)
    runs: list[list[int]] = []
    room = 0
    for needed in sorted(alike, reverse=True):
        if not runs or len(runs[-1]) + len(alike[needed]) > room * (1 if together else JOINED):
            room = places(needed)
            runs.append([])
        runs[-1].extend(alike[needed])
    if not together:
        return runs
    return [
        run[begin : begin + most]
        for run in runs
        for most in [max(1, places(columns[run[0]]))]
        for begin in range(0, len(run), most)
    ]
