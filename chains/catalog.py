"""Chains by name: one file each in this package, or a function of the user's own."""

from importlib.util import find_spec

from chains.base import Chain
from chains.errors import SettingsError
from chains.models.registry import import_object


def load_chain(name: str) -> Chain:
    """Return the chain `summarize` (of chains/summarize.py) or `my_package.module:function`.

    Raises SettingsError where there is no such chain.
    """
    if ":" in name:
        built = import_object(name)()
    elif name.isidentifier() and find_spec(f"chains.{name}"):
        built = import_object(f"chains.{name}:chain")()
    else:
        raise SettingsError(
            f"chain.name: no chain {name!r}; expected a file of chains/ that has a "
            "function chain(), or MODULE:FUNCTION"
        )
    if not isinstance(built, Chain):
        raise SettingsError(f"chain.name: {name!r} returned {type(built).__name__}, not a Chain")
    return built
