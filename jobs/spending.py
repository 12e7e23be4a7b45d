"""The budget of a run, from its settings."""

from collections.abc import Callable

from chains.errors import SettingsError
from chains.models.base import ModelRef
from jobs.prices import read_prices
from jobs.settings import JobSettings
from udfs.budget import Budget, Price, Spending

Confirm = Callable[[Spending], bool]


def budget_of(settings: JobSettings, model: ModelRef, confirm: Confirm | None = None) -> Budget:
    """Return what a run may spend; `confirm` is asked where the price is known.

    Raises SettingsError where money is limited and the price is not known.
    """
    price, limits = price_of(settings, model), settings.budget
    if limits.max_cost is not None and price is None:
        raise SettingsError(
            f"budget.max_cost needs chain.price, or {model.name!r} in the table of prices"
        )
    return Budget(limits.max_tokens, limits.max_cost, price, confirm if price else None)


def price_of(settings: JobSettings, model: ModelRef) -> Price | None:
    """Return the price of the model: `chain.price`, or what the table of prices has."""
    given = settings.chain.price
    if given is not None:
        return Price(given.input, given.output, given.currency)
    if model.kind != "endpoint":
        return None
    return read_prices(settings.prices).price(model.name, model.location)
