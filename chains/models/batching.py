"""Cut rows into batches under a token budget."""

from collections.abc import Sequence


def pack(lengths: Sequence[int], output_tokens: int, budget: int) -> list[list[int]]:
    """Return batches of positions in `lengths`, longest prompts first.

    A batch costs rows * (its longest prompt + `output_tokens`) tokens, padding included, and stays
    within `budget`; a row that is above it alone is a batch of its own. Equal lengths keep their
    order. Longest first, so that a budget too large for the memory shows in the first batch.
    """
    batches: list[list[int]] = []
    rows = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or len(batches[-1]) == rows:
            batches.append([])
            rows = max(1, budget // max(1, lengths[position] + output_tokens))
        batches[-1].append(position)
    return batches
