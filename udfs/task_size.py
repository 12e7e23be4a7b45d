"""Into tasks of which size misses are cut, for each kind of model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LEAST_ROWS = 8  # for another core to take part
MOST_TASKS = 32  # for each core, of the same size


@dataclass(frozen=True)
class Round:
    """`tasks` tasks of equal work; `each` and what comes before, `begin`, are shares of all work.

    `first` is the number of the first of them.
    """

    begin: float
    each: float
    first: int
    tasks: int


@dataclass(frozen=True)
class TaskSize:
    """How misses are cut: in rounds, each of half of what is left, a task a core.

    So tasks are large, which batches well, and yet cores end together: the last tasks are small.
    This is factoring (Hummel, Schonberg and Flynn, CACM 35(8), 1992), as long as tasks have
    `least` to `most` rows of average length; the last round has `last` tasks a core. `by_length`
    is whether long rows come first. What a row costs besides its length is `fixed`, in average
    lengths.
    """

    least: float = 8
    most: int = 512
    last: int = 1
    by_length: bool = True
    fixed: float = 0.0

    @classmethod
    def of(cls, kind: str) -> "TaskSize":
        """Return what is best for a kind of model."""
        return _SIZES.get(kind, cls())

    def rounds(self, rows: int, cores: int) -> list[Round]:
        """Cut the work of so many rows, at least one."""
        busy = min(cores, math.ceil(rows / LEAST_ROWS))
        most = max(self.most / rows, 1 / (MOST_TASKS * cores))
        found: list[Round] = []
        left, first = 1.0, 0
        while True:
            each, tasks = left / (2 * busy), busy
            if each > most:
                each, tasks = most, busy * math.ceil((left / most - 2 * busy) / busy)
            elif each * rows < self.least:
                tasks = min(busy * self.last, math.ceil(left * rows / LEAST_ROWS))
                return [*found, Round(1 - left, left / tasks, first, tasks)]
            found.append(Round(1 - left, each, first, tasks))
            left, first = left - tasks * each, first + tasks

    def work(self, bounds: Sequence[int], rows: int, text_bytes: int) -> list[float]:
        """Return the shares of work of classes of equally many rows, of the longest ones first.

        `bounds` part the classes, in bytes, ascending; all rows together have `text_bytes`.
        """
        if not bounds:
            return [1.0]
        average = text_bytes / rows
        below = [bounds[0], *((low + high) / 2 for low, high in pairwise(bounds))]
        longest = max(bounds[-1], average * (len(bounds) + 1) - sum(below))
        works = [it + self.fixed * average for it in (longest, *reversed(below))]
        whole = sum(works)
        return [it / whole if whole else 1 / len(works) for it in works]


# A model that batches computes more tokens a second the more rows it has. A server answers each row
# by itself, and at each task's end some of its requests' slots stand empty.
_SERVED = TaskSize(least=math.inf, most=1024, last=2, by_length=False)
_SIZES = {
    "transformers": TaskSize(least=24, fixed=1.0),
    "extractive": TaskSize(least=16),
    "endpoint": _SERVED,
    "sidecar": _SERVED,
}
