"""What a run may spend, in tokens and in money, told before any of it is spent."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from chains.errors import JobError

_MILLION = 1_000_000
_Tokens = TypeVar("_Tokens", float, Column)


@dataclass(frozen=True)
class Price:
    """Money for a million tokens; `as_of` is the date of the table that it is from."""

    input: float
    output: float
    currency: str = "USD"
    as_of: date | None = None

    def of(self, input_tokens: _Tokens, output_tokens: _Tokens) -> _Tokens:
        """Return what so many tokens cost: numbers, or columns of them."""
        return (input_tokens * self.input + output_tokens * self.output) / _MILLION


@dataclass(frozen=True)
class Spending:
    """The most that a number of prompts may take; `cost` is None where no price is known."""

    prompts: int
    tokens: int
    cost: float | None
    currency: str = ""

    def __str__(self) -> str:
        money = "" if self.cost is None else f", {self.cost:,.4f} {self.currency}"
        return f"{self.prompts:,} prompts, at most {self.tokens:,} tokens{money}"


@dataclass(frozen=True)
class Budget:
    """The most that a run may spend; None is no limit. `max_cost` needs a `price`.

    A prompt is asked only where its tokens and the most that its answer may have still fit. What
    an endpoint counts differently, or answers for a second time for its form's sake, comes on top.
    `confirm` is called with the spending of each pass that asks a model with a price, before it
    does: one for each model, and before it one for the parts of long inputs.
    `next_prices` are those of the models that get the rows which the first one leaves.
    """

    max_tokens: int | None = None
    max_cost: float | None = None
    price: Price | None = None
    confirm: Callable[[Spending], bool] | None = None
    next_prices: tuple[Price | None, ...] = ()

    @property
    def prices(self) -> tuple[Price | None, ...]:
        """The price of each model in turn."""
        return (self.price, *self.next_prices)

    @property
    def is_limited(self) -> bool:
        """Whether there is anything that may be reached."""
        return self.max_tokens is not None or self.max_cost is not None

    @property
    def needs_tokens(self) -> bool:
        """Whether the tokens of prompts have to be counted before they are asked."""
        return self.is_limited or (self.confirm is not None and self.price is not None)

    def spending(self, prompts: int, input_tokens: int, output_tokens: int) -> Spending:
        """Return the most that prompts may take whose answers have at most so many tokens each."""
        answers = prompts * output_tokens
        price = self.price
        return Spending(
            prompts,
            input_tokens + answers,
            None if price is None else price.of(input_tokens, answers),
            "" if price is None else price.currency,
        )

    def holds(self, most: Spending) -> bool:
        """Whether all of it fits."""
        too_many = self.max_tokens is not None and most.tokens > self.max_tokens
        too_dear = self.max_cost is not None and (most.cost or 0.0) > self.max_cost
        return not (too_many or too_dear)

    def fitting(self, prompts: DataFrame, output_tokens: int) -> DataFrame:
        """Return those of the prompts (fingerprint, input_tokens) that fit, the shortest first."""
        given, answer = F.coalesce("input_tokens", F.lit(0)), F.lit(output_tokens)
        shortest = Window.orderBy("input_tokens", "fingerprint").rowsBetween(
            Window.unboundedPreceding, Window.currentRow
        )
        fits = F.lit(True)
        if self.max_tokens is not None:
            fits = fits & (F.sum(given + answer).over(shortest) <= self.max_tokens)
        if self.max_cost is not None and self.price is not None:
            fits = fits & (F.sum(self.price.of(given, answer)).over(shortest) <= self.max_cost)
        return prompts.withColumn("_fits", fits).where("_fits").drop("_fits")

    def ask(self, spending: Spending) -> None:
        """Let the user confirm what has a price. Raises JobError where they do not."""
        if self.confirm is None or self.price is None:
            return
        if not self.confirm(spending):
            raise JobError("not confirmed: nothing more was asked, and the target was not written")

    def after(self, input_tokens: int, output_tokens: int) -> "Budget":
        """Return what is left; what is asked of it is confirmed once more."""
        tokens, cost = self.max_tokens, self.max_cost
        if tokens is not None:
            tokens = max(0, tokens - input_tokens - output_tokens)
        if cost is not None and self.price is not None:
            cost = max(0.0, cost - self.price.of(input_tokens, output_tokens))
        return replace(self, max_tokens=tokens, max_cost=cost)

    def of_next_model(self, input_tokens: int, output_tokens: int) -> "Budget":
        """Return what is left for the next model, at its price."""
        left = self.after(input_tokens, output_tokens)
        price = self.next_prices[0] if self.next_prices else None
        return replace(left, price=price, next_prices=self.next_prices[1:])


UNLIMITED = Budget()
