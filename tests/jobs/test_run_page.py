from html.parser import HTMLParser

import pytest

from jobs.run_numbers import numbers, outcomes, prompts
from jobs.run_page import run_page
from jobs.run_record import RunRecord
from jobs.runs import LoggedRun

MARK = "<script>alert('$x_1$')</script>"
BATCH = {
    "rows": 12,
    "distinct": 9,
    "hits": 4,
    "misses": 5,
    "completed": 3,
    "skipped": 1,
    "errors": {"rate_limit": 2},
    "written": 10,
    "tokens": {"input": 300, "output": 40},
    "seconds": {"pin": 1.0, "complete": 6.0, "write": 2.0},
    "cost": {"amount": 0.5, "input": 0.3, "output": 0.2, "currency": "EUR"},
    "latencies": {"20": 2, "23": 1},
}
REFRESH = BATCH | {"rows": {"source": 50, "candidates": 12, "inserted": 3}, "cost": None}
STREAM = {
    **{"batches": 2, "rows": 12, "new": 5, "cached": 4, "skipped": 1, "cost": None},
    **{name: BATCH[name] for name in ("errors", "tokens", "seconds")},
}


class Page(HTMLParser):
    """What a page would load or run, its text, and the names of its plots."""

    def __init__(self, html):
        super().__init__()
        self.loads, self.text, self.plots = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ("script", "link", "img", "image", "iframe", "object"):
            self.loads.append(tag)
        refers = [it for name, it in given.items() if name in ("src", "href", "xlink:href")]
        self.loads += [it for it in refers if not it.startswith("#")]
        if tag == "svg":
            self.plots.append(given["aria-label"])

    def handle_data(self, data):
        self.text += data


def logged(report, job="batch", **given):
    found = {"run_id": "ab12" * 8, "mlflow_id": "cd" * 16, "job": job, "state": "FINISHED"}
    found |= {"began_at": "2026-01-01T10:00:00+00:00", "seconds": 9.5, "settings": {}, "about": {}}
    return LoggedRun(**{**found, "numbers": numbers(report, 9.5), **given})


def record_of(report, job="batch"):
    return RunRecord("ab12" * 8, job, "2026-01-01T10:00:00+00:00", 9.5, 4.0, False, {}, report)


def test_the_page_stands_alone_and_has_the_plots_of_a_run():
    page = Page(run_page(logged(BATCH), record_of(BATCH), {}))
    assert page.loads == []
    assert page.plots == [
        "Rows by outcome",
        "Prompts by who answered",
        "Time by step, seconds",
        "Latency of calls",
        "Tokens paid for",
        "Cost, EUR",
    ]
    assert all(it in page.text for it in ("rate_limit", "0.5000", "EUR", "9.5 s", "plan", "ask"))


def test_equal_runs_give_equal_pages():
    once, again = (run_page(logged(BATCH), record_of(BATCH), {}) for _ in range(2))
    assert once == again


def test_what_a_user_named_is_text_in_the_page():
    given = {"chain": MARK, "template": MARK, "model": MARK, "error": MARK, "exit_code": "1"}
    run = logged(BATCH, about=given, settings={MARK: MARK})
    odd = BATCH | {"errors": {MARK: 2}, "cost": BATCH["cost"] | {"currency": '"><img src=x>'}}
    page = Page(run_page(run, record_of(odd), {}))
    assert page.loads == []
    assert page.text.count(MARK) == 11
    assert 'Cost, "><img src=x>' in page.plots


def test_a_run_without_an_end_has_a_page_too():
    page = Page(run_page(logged(BATCH, numbers={}, seconds=None, state="RUNNING"), None, {}))
    assert page.plots == []
    assert "It has not come to its end" in page.text


def test_a_streams_page_has_lines_over_its_micro_batches():
    series = {"seconds.all": [(0, 1.5), (1, 0.5)], "rows": [(0, 8.0), (1, 4.0)]}
    page = Page(run_page(logged(STREAM, "stream"), record_of(STREAM, "stream"), series))
    assert page.plots[-2:] == ["Time of a micro-batch", "Rows of a micro-batch"]


@pytest.mark.parametrize(
    ("report", "rows", "asked"),
    [
        (
            BATCH,
            {"answered": 9, "skipped": 1, "rate_limit": 2},
            {"ledger": 4, "model": 3, "unanswered": 2},
        ),
        (
            REFRESH,
            {"answered": 9, "unchanged": 38, "skipped": 1, "rate_limit": 2},
            {"ledger": 4, "model": 3, "unanswered": 2},
        ),
        (STREAM, {"answered": 9, "skipped": 1, "rate_limit": 2}, {"ledger": 4, "model": 5}),
    ],
)
def test_outcomes_add_up_to_the_rows_of_every_job(report, rows, asked):
    assert outcomes(report) == rows
    assert prompts(report) == asked
    assert sum(outcomes(report).values()) == numbers(report, 1.0)["rows"]


def test_numbers_of_a_run_have_flat_names():
    found = numbers(BATCH, 9.5)
    assert found["errors"] == found["errors.rate_limit"] == 2
    assert (found["input_tokens"], found["cost"], found["seconds.write"]) == (300, 0.5, 2.0)
    assert 100 < found["latency_ms.p50"] < 126
