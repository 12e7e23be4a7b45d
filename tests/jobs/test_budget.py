"""What a run costs is told before it is spent, and a budget is kept."""

import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import table
from rounds import long

from chains.errors import JobError, SettingsError
from chains.outline import outline
from chains.templates import load_template
from jobs.batch import run_batch
from jobs.pinning import pin_work
from jobs.plan import run_plan
from udfs.budget import Budget, Price

pytestmark = pytest.mark.spark

PRICE = "chain.price={input: 2.0, output: 10.0, currency: EUR}"
MOST = "chain.parameters.max_output_tokens=50"
TEXTS = {f"r{i}": f"key=r{i} " + "and more " * i for i in range(6)}

LONG = "key=long " + " ".join(f"Sentence number {i} is here." for i in range(200))
IN_PARTS = ("chain.on_long_input=chunk", "endpoints.fake.context_window=700")


@pytest.fixture
def priced(job, endpoint, tmp_path):
    """Return a function from assignments to settings of a job whose model has a price."""
    write(tmp_path, TEXTS)

    def priced(*more):
        return job(
            "chain.model=endpoint:fake/m",
            f"endpoints.fake.base_url={endpoint.base_url}",
            PRICE,
            MOST,
            *more,
        )

    return priced


def write(folder, texts):
    rows = table({"id": list(texts), "body": list(texts.values())})
    write_deltalake(f"{folder}/source", rows, mode="overwrite")


def read(path):
    return DeltaTable(str(path)).to_pyarrow_table().to_pylist()


def test_a_plan_tells_the_cost_and_a_run_stays_below_it(spark, priced, endpoint):
    planned = run_plan(spark, priced())
    assert planned.tokens["output"] == 6 * 50
    head = outline(load_template("summarize")).fixed  # its one variable comes last
    share = head * 5 / (head * 6 + sum(map(len, TEXTS.values())))
    assert planned.tokens["shared"] == round(planned.tokens["input"] * share)
    most = planned.cost["most"]
    assert most == pytest.approx((planned.tokens["input"] * 2 + 300 * 10) / 1e6)
    assert planned.cost["currency"] == "EUR"
    assert planned.expected_seconds is None
    spent = run_batch(spark, priced()).tokens
    assert (spent["input"] * 2 + spent["output"] * 10) / 1e6 <= most


def test_a_budget_asks_what_fits_and_the_next_run_asks_the_rest(spark, priced, endpoint, tmp_path):
    planned = run_plan(spark, priced())
    half = priced(f"budget.max_cost={planned.cost['most'] / 2}")
    first = run_batch(spark, half)
    asked = {call.key for call in endpoint.calls()}
    assert 0 < len(asked) < 6
    assert asked == {f"r{i}" for i in range(len(asked))}  # the shortest
    assert first.errors == {"pending": 6 - len(asked)}
    assert first.is_pending
    assert {row["id"] for row in read(tmp_path / "target")} == asked
    second = run_batch(spark, priced())
    assert not second.is_pending
    assert sorted(call.key for call in endpoint.calls()) == sorted(TEXTS)
    assert len(read(tmp_path / "target")) == 6


@long
def test_no_token_of_the_budget_no_call(spark, priced, endpoint, tmp_path):
    report = run_batch(spark, priced("budget.max_tokens=10"))
    assert endpoint.calls() == []
    assert report.errors == {"pending": 6}


def test_who_does_not_confirm_pays_nothing_and_writes_nothing(spark, priced, endpoint, tmp_path):
    told = []
    with pytest.raises(JobError, match="nothing more was asked"):
        run_batch(spark, priced(), confirm=lambda it: told.append(str(it)))
    assert endpoint.calls() == []
    assert not (tmp_path / "target").exists()
    assert "6 prompts" in told[0]
    assert "EUR" in told[0]


def test_what_comes_after_the_parts_of_long_inputs_is_confirmed_too(
    spark, priced, endpoint, tmp_path
):
    write(tmp_path, TEXTS | {"long": LONG})
    told = []

    def only_parts(spending):
        told.append(spending.prompts)
        return len(told) == 1

    for calls in (3, 3):  # the second run finds the parts in the ledger
        with pytest.raises(JobError, match="nothing more was asked"):
            run_batch(spark, priced(*IN_PARTS), confirm=only_parts)
        assert len(endpoint.calls()) == calls
    assert told == [3, 7, 7]


def test_a_plan_counts_the_parts_of_long_inputs_and_promises_no_most(
    spark, priced, endpoint, tmp_path
):
    write(tmp_path, {"long": LONG})
    planned = run_plan(spark, priced(*IN_PARTS))
    run_batch(spark, priced(*IN_PARTS))
    parts = endpoint.calls()[: planned.parts]
    assert (planned.long, planned.parts, len(endpoint.calls())) == (1, 3, 4)
    assert planned.tokens["input"] >= sum(call.input_tokens for call in parts)
    assert planned.cost["expected"] > planned.tokens["input"] * 2 / 1e6
    assert (planned.tokens["output"], planned.cost["most"]) == (None, None)
    again = run_plan(spark, priced(*IN_PARTS))
    assert (again.parts, again.tokens["input"], again.cost["expected"]) == (3, 0, 0)


def test_a_plan_tells_why_rows_are_asked(spark, priced, endpoint, tmp_path):
    assert run_plan(spark, priced()).reasons == {"new": 6}
    run_batch(spark, priced())
    write(tmp_path, TEXTS | {"r1": "key=r1 otherwise", "r9": "key=r9 new", "r2": ""})
    again = run_plan(spark, priced())
    assert again.reasons == {"unchanged": 4, "changed": 1, "new": 1}
    assert again.expected_seconds is not None
    assert 0 < again.tokens["expected_output"] <= again.tokens["output"]
    assert run_plan(spark, priced("chain.template=summarize_few_shot@1")).reasons == {
        "new_template": 5,
        "new": 1,
    }
    other = run_plan(spark, priced("chain.model=endpoint:fake/other"))
    assert other.reasons == {"new_model": 5, "new": 1}


@long
def test_a_plan_tells_what_failed_before(spark, priced, tmp_path):
    run_batch(spark, priced("budget.max_tokens=10"))
    assert run_plan(spark, priced()).reasons == {"pending": 6}


def test_a_sample_shows_prompts_as_the_model_gets_them(spark, priced, endpoint):
    shown = run_plan(spark, priced(), sample=2).sample
    assert len(shown) == 2
    assert all("key=r" in prompt for prompt in shown)
    assert endpoint.calls() == []


def test_a_cost_needs_a_price(job):
    with pytest.raises(SettingsError, match=r"budget\.max_cost needs chain\.price"):
        pin_work(job("budget.max_cost=1"))


@long
def test_what_was_estimated_too_low_stops_at_the_budget(spark, priced, endpoint, tmp_path):
    """Each word is a letter: the endpoint counts more tokens than its characters tell."""
    write(tmp_path, {key: f"key={key} " + "a " * 400 for key in TEXTS})
    planned = run_plan(spark, priced())
    most = planned.tokens["input"] + planned.tokens["output"]
    report = run_batch(spark, priced(f"budget.max_tokens={most}", "endpoints.fake.concurrency=1"))
    spent = sum(call.input_tokens + call.output_tokens for call in endpoint.calls())
    assert 0 < report.completed < 6
    assert report.errors == {"cap_reached": 6 - report.completed}
    assert report.is_pending
    assert len(read(tmp_path / "target")) == report.completed
    assert spent <= most + 400
    run_batch(spark, priced())
    assert sorted(call.key for call in endpoint.calls()) == sorted(TEXTS)


def test_what_parts_took_is_taken_from_the_budget():
    left = Budget(max_tokens=100, max_cost=1.0, price=Price(1.0, 2.0)).after(60, 20)
    assert left.max_tokens == 20
    assert left.max_cost == pytest.approx(1.0 - 100 / 1e6)
    assert left.after(10**9, 0).max_tokens == 0
    assert not left.holds(left.spending(1, 15, 10))
    assert left.holds(left.spending(1, 10, 10))
