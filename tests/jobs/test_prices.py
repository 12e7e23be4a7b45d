"""Which price a model has: the settings' own, a table's, or none."""

import datetime

import pytest
import yaml

from chains.errors import SettingsError
from jobs.cli_batch import _cost_line
from jobs.pinning import pin_work
from jobs.plan import OfModel, _cost
from jobs.prices import read_prices
from jobs.spending import budget_of
from udfs.budget import Price

ENDPOINT = "endpoints.azure.base_url=https://mine.example/v1"


@pytest.fixture
def price(job):
    """Return a function from a model and assignments to the price that a run reckons with."""

    def price(model, *more):
        settings = job(ENDPOINT, f"chain.model={model}", *more)
        return budget_of(settings, pin_work(settings).models).price

    return price


@pytest.fixture
def own_table(tmp_path):
    path = tmp_path / "prices.yml"
    models = {"m": {"input": 1, "output": 2}, "azure/m": {"input": 3, "output": 4}}
    table = {"date": datetime.date(2026, 2, 1), "currency": "EUR", "models": models}
    path.write_text(yaml.safe_dump(table))
    return path


def test_a_model_of_the_table_has_its_price_and_its_date(price):
    table = read_prices()
    listed = table.models["gpt-4o"]
    assert price("endpoint:azure/gpt-4o") == Price(
        listed.input, listed.output, table.currency, table.date
    )


def test_the_settings_own_price_comes_first(price):
    assert price("endpoint:azure/gpt-4o", "chain.price={input: 9, output: 9}") == Price(9, 9)


def test_a_table_of_ones_own_stands_for_all_of_ours(price, own_table):
    own = f"prices={own_table}"
    assert price("endpoint:azure/m", own) == Price(3, 4, "EUR", datetime.date(2026, 2, 1))
    assert price("endpoint:azure/gpt-4o", own) is None
    own_table.write_text("date: 2026-02-01\ncurrency: EUR\nmodels: {m: {input: 1}}")
    with pytest.raises(SettingsError, match=rf"{own_table}: models\.m\.output: missing key"):
        price("endpoint:azure/m", own)


def test_money_is_not_limited_where_the_price_is_unknown(price):
    assert price("endpoint:azure/unlisted") is None
    assert price("extractive") is None
    with pytest.raises(SettingsError, match=r"budget\.max_cost needs .* 'azure/unlisted' in the"):
        price("endpoint:azure/unlisted", "budget.max_cost=1")


def test_a_plan_says_of_which_date_its_prices_are():
    tokens = {"input": 10**6, "expected_output": 10**6, "output": 2 * 10**6}

    def cost(*prices):
        return _cost([OfModel("m", 1, tokens, price, None) for price in prices])

    listed = Price(1, 2, "EUR", datetime.date(2026, 2, 1))
    assert _cost_line(cost(listed)) == "3.0000 EUR, at most 5.0000; list prices of 2026-02-01"
    assert _cost_line(cost(Price(1, 2))) == "3.0000 USD, at most 5.0000"
    assert _cost_line(cost(None, listed, listed)).startswith("6.0000 EUR, at most 10.0000; list")
