"""Several models in turn: which rows go on, who answers them, and that nothing is paid twice."""

from collections import Counter
from types import SimpleNamespace

import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import table
from rounds import long

from chains.errors import JobError, SettingsError
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.batch import run_batch
from jobs.in_step import makings_of
from jobs.leasing import leasing
from jobs.pinning import pin_chain, pin_work
from jobs.plan import run_plan
from jobs.refresh import run_refresh
from jobs.refresh_settings import RefreshSettings
from jobs.replay_row import run_replay_row
from jobs.settings import BudgetSettings, load_settings_of
from jobs.spending import budget_of
from jobs.stream_settings import StreamSettings
from udfs.budget import Budget, Price

SMALL, LARGE = "endpoint:fake/small", "endpoint:fake/large"
BOTH = f"chain.model=[{SMALL}, {LARGE}]"
SURE = "chain.parameters.min_log_probability=-1.0"
PRICES = "chain.price=[{input: 1, output: 2}, {input: 10, output: 20}]"
AT = "endpoints.fake={{base_url: '{}', attempts: 1}}"
# Each strikes once: the first model that is asked for the row.
FAULTS = {
    "refused": {"fault": "refusal", "times": 1},
    "unsure": {"fault": "unsure", "times": 1},
    "rejected": {"status": 400, "times": 1},
    "broken": {"status": 500, "times": 1},
}
GO_ON = {"refused", "unsure", "rejected"}


@pytest.fixture
def unasked(job):
    """Return a function from assignments to the settings of a job whose endpoint is not there."""
    return lambda *more: job(AT.format("http://127.0.0.1:9/v1"), *more)


def test_one_model_or_several_are_pinned_in_their_order(unasked):
    alone, both = pin_work(unasked(f"chain.model={SMALL}")), pin_work(unasked(BOTH))
    assert [it.pinned.model.name for it in alone.in_turn()] == ["fake/small"]
    assert [it.pinned.model.name for it in both.in_turn()] == ["fake/small", "fake/large"]
    assert both.pinned == alone.pinned  # its answers of before count
    small, large = both.in_turn()
    assert "refused" in small.next_model_on
    assert "rate_limit" not in small.next_model_on
    assert large.next_model_on == frozenset()


def test_the_last_of_several_models_is_held_to_no_confidence(unasked):
    small, large = pin_work(unasked(BOTH, SURE)).in_turn()
    assert small.chain.parameters.min_log_probability == -1.0
    assert large.chain.parameters.min_log_probability is None
    [alone] = pin_work(unasked(f"chain.model={LARGE}", SURE)).in_turn()
    assert alone.chain.parameters.min_log_probability == -1.0


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("chain.model=[]", r"chain\.model"),
        ("chain.next_model_on=[refusal]", r"chain\.next_model_on.*'low_confidence'.*\['refusal'\]"),
        ("chain.next_model_on=[empty_input]", r"chain\.next_model_on.*not \['empty_input'\]"),
        ("chain.next_model_on=[pending]", r"chain\.next_model_on.*not \['pending'\]"),
        ("chain.next_model_on=[cap_reached]", r"chain\.next_model_on.*not \['cap_reached'\]"),
        ("chain.price={input: 1, output: 2}", "a price for each of 2 models.*found 1"),
        (PRICES.replace("}]", ", currency: EUR}]"), "in one currency"),
        ("chain.parameters.min_log_probability=0.5", "min_log_probability"),
    ],
)
def test_settings_of_several_models_that_cannot_be_are_named(unasked, assignment, message):
    with pytest.raises(SettingsError, match=message):
        pin_work(unasked(BOTH, assignment))


def test_a_stream_and_a_logged_chain_have_one_model(unasked, tmp_path):
    with pytest.raises(SettingsError, match="expected one model"):
        pin_chain(unasked(BOTH))
    stream = ["checkpoint=c", BOTH]
    with pytest.raises(SettingsError, match="expected one model for a stream, found 2"):
        load_settings_of(StreamSettings, tmp_path / "job.yml", stream)


def test_a_refresh_compares_all_rows_where_the_models_have_changed(unasked, tmp_path):
    unasked()

    def makings(*more):
        given = [AT.format("http://127.0.0.1:9/v1"), *more]
        settings = load_settings_of(RefreshSettings, tmp_path / "job.yml", given)
        return makings_of(pin_work(settings), settings)

    several = [BOTH, f"chain.model=[{SMALL}, extractive]", f"chain.model={SMALL}"]
    rule = (BOTH, "chain.next_model_on=[refused]")
    assert len({makings(it) for it in several} | {makings(*rule)}) == 4


def test_a_budget_goes_on_to_the_next_model_at_its_price():
    asked = []
    confirm = lambda most: asked.append(most) or True  # noqa: E731
    budget = Budget(None, 10.0, Price(1, 2), confirm, (Price(10, 20),))
    left = budget.of_next_model(1_000_000, 1_000_000)
    assert left.max_cost == 7.0
    left.ask(left.spending(1, 100_000, 100_000))
    assert asked[0].cost == 3.0
    last = left.of_next_model(100_000, 100_000)
    assert last.price is None
    last.ask(last.spending(1, 1, 1))
    assert len(asked) == 1  # where no price is known there is nothing to confirm


def test_every_model_that_may_be_asked_has_a_price_where_money_is_limited(unasked, tmp_path):
    table = tmp_path / "prices.yml"
    table.write_text(
        "{date: 2026-02-01, currency: EUR, models: {small: {input: 1, output: 2}, "
        "fake/large: {input: 10, output: 20}}}"
    )
    limited = [f"prices={table}", "budget.max_cost=1"]
    settings = unasked(BOTH, *limited)
    budget = budget_of(settings, pin_work(settings).models)
    assert [it.input for it in (budget.price, *budget.next_prices)] == [1, 10]
    for models in ("[extractive, endpoint:fake/large]", "[endpoint:fake/large, endpoint:fake/new]"):
        with pytest.raises(SettingsError, match=r"max_cost needs .* '(extractive.*|fake/new)' in"):
            pin_work(unasked(f"chain.model={models}", *limited))


def test_every_model_behind_an_endpoint_leases_its_requests(unasked):
    settings = unasked(
        f"chain.model=[extractive, {SMALL}, {LARGE}]", "endpoints.fake.quota.concurrent_requests=1"
    )
    work = pin_work(settings)
    driver = SimpleNamespace(conf={"spark.driver.host": "127.0.0.1"})
    with leasing(driver, settings, work) as leased:
        local, small, large = leased(work).models
    assert [it.quota is None for it in (local, small, large)] == [True, False, False]
    assert small.quota == large.quota


def test_with_a_sidecar_every_model_has_one(unasked):
    with pytest.raises(SettingsError, match=r"sidecar serves .*'endpoint:fake/small'"):
        pin_work(unasked(BOTH, "chain.engine=sidecar"))


# -- with Spark


@pytest.fixture
def cascade(job, tmp_path):
    """Return the endpoint, and a function from assignments to the settings of a job."""
    with FakeEndpoint(FakeSettings(faults=FAULTS)) as endpoint:
        write(tmp_path, ["good", *FAULTS])
        at = AT.format(endpoint.base_url)
        yield endpoint, lambda *more: job(at, BOTH, SURE, PRICES, *more)


def write(folder, keys):
    rows = table({"id": list(keys), "body": [f"key={it} what" for it in keys]})
    write_deltalake(f"{folder}/source", rows, mode="overwrite")


def read(path):
    return {row["id"]: row for row in DeltaTable(str(path)).to_pyarrow_table().to_pylist()}


def calls(endpoint):
    return Counter(call.key for call in endpoint.calls())


@long
@pytest.mark.spark
def test_only_rows_of_the_rule_go_on_and_each_says_who_answered(spark, cascade, tmp_path):
    endpoint, settings = cascade
    report = run_batch(spark, settings())
    rows = read(tmp_path / "target")
    assert {it for it, row in rows.items() if row["model"] == "fake/large"} == GO_ON
    assert rows["good"]["model"] == "fake/small"
    assert report.errors == {"server_error": 1}  # it may pass, and is not of the rule
    assert report.completed_by == {"fake/small": 1, "fake/large": 3}
    assert calls(endpoint) == {"good": 1, "broken": 1} | dict.fromkeys(GO_ON, 2)
    kept = DeltaTable(f"{tmp_path}/ledger").to_pyarrow_table().to_pylist()
    [unsure] = [row for row in kept if row["error"] and row["error"]["code"] == "low_confidence"]
    assert (unsure["model"], unsure["raw"][:9]) == ("fake/small", "answer to")

    planned = run_plan(spark, settings())
    assert planned.asked_of == {"fake/small": 1, "fake/large": 0}
    assert planned.reasons == {"unchanged": 4, "pending": 1}
    again = run_batch(spark, settings())
    assert (again.written, again.errors) == (1, {})
    version = DeltaTable(f"{tmp_path}/target").version()
    assert run_batch(spark, settings()).written == 0
    assert DeltaTable(f"{tmp_path}/target").version() == version
    assert calls(endpoint) == {"good": 1, "broken": 2} | dict.fromkeys(GO_ON, 2)

    replay = run_replay_row(spark, settings(), {"id": "refused"})
    assert (replay.now.model, replay.is_same) == ("fake/large", True)


@long
@pytest.mark.spark
def test_a_run_stopped_between_two_models_goes_on_at_the_second(spark, cascade, tmp_path):
    endpoint, settings = cascade
    told = []
    with pytest.raises(JobError, match="not confirmed"):
        run_batch(spark, settings(), confirm=lambda most: told.append(most) or len(told) == 1)
    assert [most.prompts for most in told] == [5, 3]
    assert told[1].cost / told[1].tokens > 5 * told[0].cost / told[0].tokens
    assert calls(endpoint) == dict.fromkeys(["good", *FAULTS], 1)
    planned = run_plan(spark, settings())
    assert planned.asked_of == {"fake/small": 1, "fake/large": 3}
    report = run_batch(spark, settings())
    assert report.completed_by == {"fake/small": 1, "fake/large": 3}
    assert calls(endpoint) == {"good": 1} | dict.fromkeys(FAULTS, 2)
    assert len(read(tmp_path / "target")) == 5


@long
@pytest.mark.spark
def test_a_budget_leaves_rows_pending_at_the_second_model(spark, cascade, tmp_path):
    endpoint, settings = cascade
    dear = settings(PRICES.replace("20", "200000"))
    most = run_plan(spark, dear).cost["most"]
    limit = dear.model_copy(update={"budget": BudgetSettings(max_cost=most)})
    report = run_batch(spark, limit)
    assert report.errors == {"server_error": 1, "pending": 3}
    assert report.is_pending
    assert {row["model"] for row in read(tmp_path / "target").values()} == {"fake/small"}
    run_batch(spark, settings())
    assert set(read(tmp_path / "target")) == {"good", *FAULTS}
    assert calls(endpoint) == {"good": 1} | dict.fromkeys(FAULTS, 2)


@long
@pytest.mark.spark
def test_a_refresh_goes_on_to_the_next_model_too(spark, cascade, tmp_path):
    endpoint, _ = cascade
    given = [AT.format(endpoint.base_url), BOTH, SURE]

    def refresh():
        return run_refresh(spark, load_settings_of(RefreshSettings, tmp_path / "job.yml", given))

    assert refresh().completed_by == {"fake/small": 1, "fake/large": 3}
    write(tmp_path, ["good", *FAULTS, "new"])
    report = refresh()
    assert report.how == "comparison"
    assert (report.rows["inserted"], report.rows["updated"]) == (2, 0)  # broken, and new
    assert report.completed_by["fake/small"] == 2
    assert max(calls(endpoint).values()) == 2
    found = spark.read.format("delta").load(f"{tmp_path}/target").select("id").collect()
    assert sorted(row["id"] for row in found) == sorted(["good", *FAULTS, "new"])
