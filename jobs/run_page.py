"""One HTML page of a run: its numbers, plots, versions and settings. It needs no network."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from chains.errors import SettingsError
from jobs.run_charts import bars, latency_histogram, line
from jobs.run_numbers import latencies, outcomes, prompts, quantiles
from jobs.run_record import RunRecord
from jobs.runs import LoggedRun, Series

_TEMPLATE = "run_page.html.j2"
_SERIES = {
    "seconds.all": ("Time of a micro-batch", "seconds"),
    "rows": ("Rows of a micro-batch", "rows"),
    "latency_ms.mean": ("Mean time of a call", "ms"),
    "lag_messages": ("Messages behind", "messages"),
}


def run_page(run: LoggedRun, record: RunRecord | None, series: Mapping[str, Series]) -> str:
    """Return the page. Raises SettingsError where matplotlib is not installed."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        resources.files("jobs").joinpath(_TEMPLATE).read_text("utf-8")
    )
    try:
        charts = {} if record is None else _charts(record)
        charts |= {
            _SERIES[name][0]: line(_SERIES[name][0], points, _SERIES[name][1])
            for name, points in series.items()
            if name in _SERIES
        }
    except ImportError as error:
        raise SettingsError(f"the page's plots: {error}; pip install 'gristmill[mlflow]'") from None
    return template.render(
        run=run,
        record=record,
        figures=_figures(run),
        charts=charts,
        numbers={name: _number(value) for name, value in run.numbers.items()},
    )


def _figures(run: LoggedRun) -> list[tuple[str, str, str]]:
    """Return what one looks for first: name, number, and a word about it."""
    found = run.numbers

    def number(*names: str) -> str:
        values = [found[it] for it in names if it in found]
        return f"{values[0]:,.0f}" if values else "-"

    cost = found.get("cost")
    asked = number("completed", "new")
    return [
        ("Rows", number("rows"), f"{number('answered')} answered"),
        ("Asked now", asked, f"{number('hits', 'cached')} from the ledger"),
        ("Errors", number("errors"), f"{number('skipped')} skipped"),
        ("Tokens in", number("input_tokens"), f"{number('output_tokens')} out"),
        ("Cost", "-" if cost is None else _money(cost), run.about.get("currency", "not known")),
        ("Time", "-" if run.seconds is None else _seconds(run.seconds), _pace(found)),
    ]


def _charts(record: RunRecord) -> dict[str, str]:
    report = record.report
    found: dict[str, str] = {}

    def add(
        title: str, values: Mapping[str, float], form: str = ",.0f", errors: bool = False
    ) -> None:
        if any(values.values()):
            found[title] = bars(title, values, form, errors)

    add("Rows by outcome", _some(outcomes(report)), errors=True)
    add("Prompts by who answered", prompts(report))
    add("Time by step, seconds", _steps(record), ",.1f")
    if timed := latencies(report):
        title = "Latency of calls"
        found[title] = latency_histogram(title, timed, quantiles(report))
    add("Tokens paid for", report["tokens"])
    if cost := report.get("cost"):
        parts = {"input": cost["input"], "output": cost["output"]}
        add(f"Cost, {cost['currency']}", parts, ",.2f" if cost["amount"] >= 1 else ",.6f")
    return found


def _some(values: Mapping[str, int]) -> dict[str, int]:
    """Return what there is, and the first in any case."""
    first = next(iter(values))
    return {name: it for name, it in values.items() if it or name == first}


def _steps(record: RunRecord) -> dict[str, float]:
    """Return seconds by step; of `complete`, the asking of models apart from what leads to it."""
    steps: dict[str, Any] = dict(record.report["seconds"])
    if "complete" in steps and record.asking_seconds:
        steps["ask"] = record.asking_seconds
        steps["complete"] = max(0.0, steps["complete"] - record.asking_seconds)
    named = {"complete": "plan" if record.asking_seconds else "complete"}
    order = ("pin", "changes", "complete", "ask", "write")
    known = [it for it in order if it in steps] + [it for it in steps if it not in order]
    return {named.get(it, it): steps[it] for it in known if it != "all"}


def _pace(found: Mapping[str, float]) -> str:
    asked, seconds = found.get("completed", found.get("new", 0.0)), found.get("seconds")
    return f"{asked / seconds:,.1f} prompts a second" if asked and seconds else ""


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:,.4f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
