"""The budget of a run, from its settings."""

from collections.abc import Callable

from jobs.settings import JobSettings, PriceSettings
from udfs.budget import Budget, Price, Spending

Confirm = Callable[[Spending], bool]


def budget_of(settings: JobSettings, confirm: Confirm | None = None) -> Budget:
    """Return what a run may spend; `confirm` is asked where the price is known."""
    price = price_of(settings.chain.price)
    limits = settings.budget
    return Budget(limits.max_tokens, limits.max_cost, price, confirm if price else None)


def price_of(settings: PriceSettings | None) -> Price | None:
    """Return the price of the model, if the settings have it."""
    return None if settings is None else Price(settings.input, settings.output, settings.currency)
