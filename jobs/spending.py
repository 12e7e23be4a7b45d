"""The budget of a run, from its settings."""

from collections.abc import Callable, Sequence

from chains.errors import SettingsError
from chains.models.base import ModelRef
from jobs.prices import read_prices
from jobs.settings import JobSettings
from udfs.budget import Budget, Price, Spending

Confirm = Callable[[Spending], bool]


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


def _listed_price(settings: JobSettings, model: ModelRef) -> Price | None:
    if model.kind != "endpoint":
        return None
    return read_prices(settings.prices).price(model.name, model.location)
