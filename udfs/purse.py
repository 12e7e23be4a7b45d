"""What a run's budget still has, while it is spent."""

import math
from dataclasses import dataclass

from chains.errors import CapReached
from udfs.budget import Budget


@dataclass(frozen=True)
class Tokens:
    """Tokens of a prompt and of its answer."""

    input: int
    output: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.input + self.output

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.input + other.input, self.output + other.output)

    def __sub__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.input - other.input, self.output - other.output)


class Purse:
    """Reserves the most that a request may take, until what it took is known."""

    def __init__(self, budget: Budget) -> None:
        self._left = budget
        self._reserved = Tokens(0, 0)

    def wait(self, most: Tokens) -> float:
        """Return 0 where a request may be paid for, inf where it may when another one has ended.

        Raises CapReached where the budget does not hold it any more.
        """
        if not self._holds(most):
            raise CapReached("not asked: the run's budget does not hold this prompt any more")
        return 0.0 if self._holds(most + self._reserved) else math.inf

    def reserve(self, most: Tokens) -> None:
        """Keep it for a request that is let go."""
        self._reserved += most

    def settle(self, most: Tokens, used: Tokens) -> None:
        """Take what a request took, and give back what was reserved for it."""
        self._reserved -= most
        self._left = self._left.after(used.input, used.output)

    def _holds(self, tokens: Tokens) -> bool:
        return self._left.holds(self._left.spending(1, tokens.input, tokens.output))
