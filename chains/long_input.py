"""Documents longer than the model's window: cut to fit, or cut into parts."""

import math
import re
from collections.abc import Callable
from itertools import accumulate, pairwise

import numpy as np

from chains.errors import ContextLengthExceeded

_BOUNDARIES = (re.compile(r"\n\s*\n"), re.compile(r"(?<=[.!?])\s+"), re.compile(r"\s+"))

# How much room parts get beyond the least, and how far back a break may be, as shares of a part.
_ATTEMPTS = ((1.0, 1 / 4), (9 / 8, 1 / 4), (9 / 8, 1 / 8))


def split(text: str, excess: Callable[[str], float]) -> list[str]:
    """Cut a text into alike parts that fit, at paragraphs, sentences or words where possible.

    `excess(part)` is the part's length over the length that fits: 1.0 or less fits. The parts
    joined are the text again; there are few more than the least possible. Each attempt measures
    its parts, and the next one cuts where these measures tell. Raises ContextLengthExceeded where
    not even one character fits.
    """
    over = excess(text)
    if over <= 1:
        return [text]
    if math.isinf(over) or excess(text[:1]) > 1:
        raise ContextLengthExceeded("the prompt does not fit the window even without its input")
    parts, sizes = [text], [over]
    for slack, reach in _ATTEMPTS:
        parts = _cut(text, _edges(parts, sizes, slack), reach)
        sizes = [excess(part) for part in parts]
        if max(sizes) <= 1:
            return parts
    return [whole for part in parts for whole in split(part, excess)]


def truncate(text: str, excess: Callable[[str], float]) -> str:
    """Return the longest beginning that fits, found by bisection over characters."""
    fits, misfits = 0, len(text) + 1
    while misfits - fits > 1:
        middle = (fits + misfits) // 2
        if excess(text[:middle]) <= 1:
            fits = middle
        else:
            misfits = middle
    if fits == 0:
        raise ContextLengthExceeded("the prompt does not fit the window even without its input")
    return text[:fits]


def _edges(parts: list[str], sizes: list[float], slack: float) -> list[int]:
    """Return where to cut the parts' text so that every new part has the same size."""
    lengths = [len(part) for part in parts]
    sizes = [min(size, length) for size, length in zip(sizes, lengths, strict=True)]
    ends, marks = list(accumulate(lengths, initial=0)), list(accumulate(sizes, initial=0.0))
    pieces = math.ceil(min(marks[-1] * slack, ends[-1]))
    edges = np.interp(np.linspace(0, marks[-1], pieces + 1), marks, ends).round()
    return [0, *(int(it) for it in edges[1:-1].clip(1, ends[-1] - 1)), ends[-1]]


def _cut(text: str, edges: list[int], reach: float) -> list[str]:
    ends = [_boundary(text, b, int((b - a) * reach)) for a, b in pairwise(edges[:-1])]
    return [text[a:b] for a, b in pairwise([0, *ends, len(text)]) if a < b]


def _boundary(text: str, at: int, reach: int) -> int:
    """Return the end of the best break within `reach` characters before `at`."""
    start = max(at - reach, 1)
    for kind in _BOUNDARIES:
        breaks = list(kind.finditer(text, start, at))
        if breaks:
            return breaks[-1].end()
    return at
