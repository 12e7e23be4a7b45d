"""The table of prices: what models of endpoints cost, on a date."""

from contextlib import nullcontext
from datetime import date
from pathlib import Path

from jobs.jvm import conf_file
from jobs.settings import Section, TokenPrice, read_section
from udfs.budget import Price


class PriceTable(Section):
    """Prices of `date`, by ENDPOINT/MODEL or by MODEL alone."""

    date: date
    currency: str
    models: dict[str, TokenPrice]

    def price(self, endpoint_model: str, model: str) -> Price | None:
        """Return the price of a model behind an endpoint, if the table has it."""
        found = self.models.get(endpoint_model) or self.models.get(model)
        if found is None:
            return None
        return Price(found.input, found.output, self.currency, self.date)


def read_prices(path: Path | None = None) -> PriceTable:
    """Read a table; by default conf/prices.yml. Raises SettingsError naming file and key."""
    with conf_file("prices.yml") if path is None else nullcontext(path) as file:
        return read_section(PriceTable, file)
