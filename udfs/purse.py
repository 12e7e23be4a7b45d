"""What a run's budget still has, while it is spent."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from chains.errors import CapReached
from udfs.budget import Budget, Price, Spending


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
    """Reserves the most that a request may take, until what it took is known.

    `prices` are by model; one that is not among them has the budget's own price.
    """

    def __init__(self, budget: Budget, prices: Mapping[str, Price | None] | None = None) -> None:
        self._left, self._prices = budget, prices or {}
        self._reserved: dict[Price | None, Tokens] = {}  # sums of money would not come back to 0

    def wait(self, most: Tokens, model: str = "") -> float:
        """Return 0 where a request may be paid for, inf where it may when another one has ended.

        Raises CapReached where the budget does not hold it any more.
        """
        price = self._price(model)
        if not self._holds({price: most}):
            raise CapReached("not asked: the run's budget does not hold this prompt any more")
        return 0.0 if self._holds(self._reserved | {price: self._of(price) + most}) else math.inf

    def reserve(self, most: Tokens, model: str = "") -> None:
        """Keep it for a request that is let go."""
        price = self._price(model)
        self._reserved[price] = self._of(price) + most

    def settle(self, most: Tokens, used: Tokens, model: str = "") -> None:
        """Take what a request took, and give back what was reserved for it."""
        price, own = self._price(model), self._left.price
        self._reserved[price] = self._of(price) - most
        left = replace(self._left, price=price).after(used.input, used.output)
        self._left = replace(left, price=own)

    def _price(self, model: str) -> Price | None:
        return self._prices.get(model, self._left.price)

    def _of(self, price: Price | None) -> Tokens:
        return self._reserved.get(price, Tokens(0, 0))

    def _holds(self, taken: Mapping[Price | None, Tokens]) -> bool:
        tokens = sum(it.total for it in taken.values())
        cost = sum(price.of(it.input, it.output) for price, it in taken.items() if price)
        return self._left.holds(Spending(1, tokens, cost))
