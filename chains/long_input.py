"""Documents longer than the model's window: cut to fit, or cut into parts."""

import math
import re
from collections.abc import Callable
from itertools import pairwise

from chains.errors import ContextLengthExceeded

_BOUNDARIES = (re.compile(r"\n\s*\n"), re.compile(r"(?<=[.!?])\s+"), re.compile(r"\s+"))


def split(text: str, excess: Callable[[str], float]) -> list[str]:
    """Cut a text into alike parts that fit, at paragraphs, sentences or words where possible.

    `excess(part)` is the part's length over the length that fits: 1.0 or less fits. The parts
    joined are the text again. Raises ContextLengthExceeded where not even one character fits.
    """
    over = excess(text)
    if over <= 1:
        return [text]
    if len(text) <= 1 or math.isinf(over):
        raise ContextLengthExceeded("the prompt does not fit the window even without its input")
    parts = _cut(text, min(math.ceil(over), len(text)))
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


def _cut(text: str, pieces: int) -> list[str]:
    size = len(text) / pieces
    cuts = [_boundary(text, round(size * i), reach=int(size / 4)) for i in range(1, pieces)]
    edges = [0, *cuts, len(text)]
    return [text[a:b] for a, b in pairwise(edges) if a < b]


def _boundary(text: str, at: int, reach: int) -> int:
    """Return the end of the best break within `reach` characters before `at`."""
    start = max(at - reach, 1)
    for kind in _BOUNDARIES:
        breaks = list(kind.finditer(text, start, at))
        if breaks:
            return breaks[-1].end()
    return at
