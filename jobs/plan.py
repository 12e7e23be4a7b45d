"""What a run would do, before it is paid for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from pyspark.sql import SparkSession

from chains.outline import Outline, outline
from jobs.history import History, history
from jobs.pinning import pin_work
from jobs.reasons import reasons
from jobs.report import Stopwatch, versions
from jobs.settings import Settings
from jobs.source import open_source
from jobs.spending import price_of
from jobs.targets import Target
from udfs import flow
from udfs.budget import Price
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.passes import Counts


@dataclass(frozen=True)
class PlanReport:
    """The numbers of a plan; see RunReport.

    `tokens.input` counts the prompts of the misses by the model's own tokenizer (an endpoint's are
    estimated); `tokens.shared` are those of them with which a prompt begins as another one does: an
    estimate by the bytes of the template and of the variables that come first in it.
    `tokens.output` is the most that their answers can have, `tokens.expected_output`
    what they would have if they were as long as those of the newest runs with this model and
    template. `cost` has the same two where a price is known, and the date of the table of prices
    (`as_of`) where it is from there. `expected_seconds` is by the
    pace of those runs, None before the first. `reasons` says why rows have a prompt (see
    jobs/reasons.py). `long` rows are asked by their `parts` first, which a plan does not look up in
    the ledger. `sample` are prompts that would be asked, as the model would get them.
    """

    rows: int
    distinct: int
    hits: int
    misses: int
    completed: int
    skipped: int
    errors: int
    long: int
    parts: int
    reasons: Mapping[str, int]
    tokens: Mapping[str, int]
    cost: Mapping[str, float | str] | None
    expected_seconds: float | None
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    sample: Sequence[str] = ()

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


def run_plan(spark: SparkSession, settings: Settings, sample: int = 0) -> PlanReport:
    """Count what a batch or a refresh would ask; writes nothing and asks no model.

    `sample` prompts are shown as the model would get them.
    """
    clock = Stopwatch()
    with clock.step("pin"):
        work = pin_work(settings)
        source = open_source(spark, settings, work.chain)
        work = replace(work, source=source.ref)
        target = Target.of(settings.target, settings.source.key)
        target.check(spark)
    with clock.step("plan"):
        ledger = Ledger(Table.named(settings.ledger.table))
        with flow.plan(source.rows, work, ledger) as planned:
            counts, why = planned.counts, reasons(planned, target)
            prompts = planned.sample(sample)
        before = history(spark, ledger, work)
    asked = counts.misses + counts.parts
    most = asked * work.chain.parameters.max_output_tokens
    tokens = _tokens(counts, outline(work.chain.template), most, asked, before)
    return PlanReport(
        rows=counts.rows,
        distinct=counts.distinct,
        hits=counts.hits,
        misses=counts.misses,
        completed=0,
        skipped=counts.skipped,
        errors=counts.failed,
        long=counts.long,
        parts=counts.parts,
        reasons=why,
        tokens=tokens,
        cost=_cost(tokens, price_of(settings, work.pinned.model)),
        expected_seconds=_seconds(asked, before),
        seconds=clock.seconds,
        versions=versions(work),
        sample=prompts,
    )


def _tokens(
    counts: Counts, text: Outline, most: int, asked: int, before: History
) -> dict[str, int]:
    expected = most if before.output_tokens is None else round(asked * before.output_tokens)
    read = counts.input_tokens or 0
    shared = text.head * max(0, counts.misses - 1) + counts.repeated_bytes
    return {
        "input": read,
        "shared": round(read * shared / max(1, text.fixed * counts.misses + counts.text_bytes)),
        "output": most,
        "expected_output": min(expected, most),
    }


def _cost(tokens: Mapping[str, int], price: Price | None) -> dict[str, float | str] | None:
    if price is None:
        return None
    cost: dict[str, float | str] = {
        "expected": price.of(tokens["input"], tokens["expected_output"]),
        "most": price.of(tokens["input"], tokens["output"]),
        "currency": price.currency,
    }
    return cost | ({"as_of": str(price.as_of)} if price.as_of else {})


def _seconds(asked: int, before: History) -> float | None:
    if not asked:
        return 0.0
    pace = before.prompts_per_second
    return None if pace is None else round(asked / pace, 1)
