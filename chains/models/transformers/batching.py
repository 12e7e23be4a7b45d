"""Cut rows into batches under a token budget."""

from collections.abc import Sequence


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
