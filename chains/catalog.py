"""Chains by name: one file each in this package, or a function of the user's own."""

from inspect import signature
from typing import Any

from chains.base import Chain
from chains.errors import ModelLoadError, SettingsError
from chains.models.registry import import_object


def load_chain(name: str) -> Chain:
    """Return the chain `summarize` (of chains/summarize.py) or `my_package.module:function`.

    Raises SettingsError where there is no such chain.
    """
    try:
        function = import_object(name if ":" in name else f"chains.{name}:chain")
    except ModelLoadError as error:
        raise SettingsError(
            f"chain.name: no chain {name!r}; expected a file of chains/ that has a "
            f"function chain(), or MODULE:FUNCTION ({error})"
        ) from error
    if not _needs_no_arguments(function):
        raise SettingsError(f"chain.name: {name!r} is no function without arguments")
    built = function()
    if not isinstance(built, Chain):
        raise SettingsError(f"chain.name: {name!r} returned {type(built).__name__}, not a Chain")
    return built


def _needs_no_arguments(function: Any) -> bool:
    try:
        signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True
