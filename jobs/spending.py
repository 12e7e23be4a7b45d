"""The budget of a run, from its settings, and what it has cost."""

from collections.abc import Callable, Mapping, Sequence

from chains.errors import SettingsError
from chains.models.base import ModelRef
from jobs.prices import read_prices
from jobs.settings import JobSettings
from udfs.budget import Budget, Price, Spending
from udfs.passes import Paid

Confirm = Callable[[Spending], bool]
Cost = Mapping[str, float | str]
"""`amount`, of it `input` and `output`, `currency`, and `as_of`, the date of a price's table."""


def budget_of(
    settings: JobSettings, models: Sequence[ModelRef], confirm: Confirm | None = None
) -> Budget:
    """Return what a run may spend on its models in turn; `confirm` is asked of known prices.

    Raises SettingsError where money is limited and a price is not known.
    """
    prices, limits = prices_of(settings, models), settings.budget
    if limits.max_cost is not None and None in prices:
        raise SettingsError(
            f"budget.max_cost needs chain.price, or {models[prices.index(None)].name!r} in the "
            "table of prices"
        )
    return Budget(limits.max_tokens, limits.max_cost, prices[0], confirm, prices[1:])


def prices_of(settings: JobSettings, models: Sequence[ModelRef]) -> tuple[Price | None, ...]:
    """Return the price of each model: `chain.price`, or what the table of prices has."""
    given = settings.chain.price
    if given is not None:
        return tuple(Price(it.input, it.output, it.currency) for it in given)
    return tuple(_listed_price(settings, it) for it in models)


def cost_of(settings: JobSettings, paid: Sequence[tuple[ModelRef, Paid]]) -> Cost | None:
    """Return the price of what models were paid for, in turn; None where one's is not known."""
    prices = prices_of(settings, [model for model, _ in paid])[: len(paid)]
    known = [it for it in prices if it is not None]
    if not known or len(known) < len(prices):
        return None
    each = list(zip(known, (tokens for _, tokens in paid), strict=True))
    read = sum(price.of(it.input_tokens, 0) for price, it in each)
    written = sum(price.of(0, it.output_tokens) for price, it in each)
    cost: Cost = {
        "amount": read + written,
        "input": read,
        "output": written,
        "currency": known[0].currency,
    }
    dates = [str(it.as_of) for it in known if it.as_of]
    return {**cost, "as_of": dates[0]} if dates else cost


def _listed_price(settings: JobSettings, model: ModelRef) -> Price | None:
    if model.kind != "endpoint":
        return None
    return read_prices(settings.prices).price(model.name, model.location)
