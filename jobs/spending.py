"""The budget of a run, from its settings."""

from collections.abc import Callable

from jobs.settings import ChainSettings, JobSettings
from udfs.budget import Budget, Price, Spending

Confirm = Callable[[Spending], bool]


def budget_of(settings: JobSettings, confirm: Confirm | None = None) -> Budget:
    """Return what a run may spend; `confirm` is asked where the price is known."""
    price, *others = prices_of(settings.chain) or (None,)
    limits = settings.budget
    asked = confirm if price else None
    return Budget(limits.max_tokens, limits.max_cost, price, asked, tuple(others))


def prices_of(settings: ChainSettings) -> tuple[Price, ...]:
    """Return the price of each model, nothing where the settings have none."""
    return tuple(Price(it.input, it.output, it.currency) for it in settings.price or ())
