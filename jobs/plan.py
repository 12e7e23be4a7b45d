"""What a run would do, before it is paid for."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from pyspark.sql import SparkSession

from chains.outline import outline
from jobs.changes import Changes
from jobs.history import History, history
from jobs.in_step import recall
from jobs.pinning import pin_work
from jobs.reasons import reasons
from jobs.refresh_settings import PlanSettings
from jobs.refresh_source import find_changes
from jobs.refresh_target import RefreshTarget
from jobs.report import Stopwatch, versions
from jobs.settings import JobSettings, Settings
from jobs.source import Source, open_source
from jobs.spending import prices_of
from jobs.targets import Target
from udfs import flow
from udfs.budget import Price
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.passes import Counts, Pass
from udfs.work import Work


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
    jobs/reasons.py); of a refresh, all rows that it leaves as they are count as `unchanged`, and
    only the others are looked at. `long` rows are asked by their `parts` first; those that the
    ledger lacks are paid for.
    What is asked of their answers nobody knows before: `tokens.output` and the most that it costs
    are None then. `asked_of` has the prompts and parts for each model: a later one is asked the
    rows for which the ledger has an error that goes on; what else goes on is not known before.
    `sample` are prompts that would be asked, as the model would get them.
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
    tokens: Mapping[str, int | None]
    cost: Mapping[str, float | str | None] | None
    expected_seconds: float | None
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    asked_of: Mapping[str, int]
    sample: Sequence[str] = ()

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class OfModel:
    """What one model would be asked; see PlanReport."""

    model: str
    asked: int
    tokens: Mapping[str, int]
    price: Price | None
    seconds: float | None


def run_plan(spark: SparkSession, settings: Settings, sample: int = 0) -> PlanReport:
    """Count what a batch or a refresh would ask; writes nothing and asks no model.

    The file is a refresh's where it sets `target.on_delete`. `sample` prompts are shown as the
    model would get them.
    """
    clock = Stopwatch()
    with clock.step("pin"):
        work = pin_work(settings)
        source = open_source(spark, settings, work.chain)
        work = replace(work, source=source.ref)
        target = Target.of(settings.target, settings.source.key)
        target.check(spark, work, source.rows)
    with clock.step("plan"):
        ledger = Ledger(Table.named(settings.ledger.table))
        found = _found(spark, settings, work, source, ledger)
        with found as changes, flow.plan(changes.rows, work, ledger) as planned:
            counts, why = planned.counts, reasons(planned, target)
            if changes.how != "all":
                rows = source.rows.count()
                why = dict(Counter(why) + Counter(unchanged=rows - counts.rows))
                counts = replace(counts, rows=rows)
            prompts = planned.sample(sample)
            counted = [(it.work, counts_to_pay(it)) for it in planned.passes]
            of_each = of_models(spark, settings, ledger, work, counted)
    return report_of(work, counts, why, of_each, prompts, clock)


def _found(
    spark: SparkSession, settings: Settings, work: Work, source: Source, ledger: Ledger
) -> Changes:
    """Return the rows that a run looks at: of a refresh, those that it would find changed."""
    if not (isinstance(settings, PlanSettings) and settings.is_refresh):
        return Changes("all", "", source.rows)
    target = RefreshTarget.open(spark, settings)
    memory = recall(spark, target.target.table)
    now = target.step(spark, settings, work, source, run_id="plan")
    return find_changes(spark, settings, work, source, ledger, target, memory, now)


def counts_to_pay(planned: Pass) -> Counts:
    """Return the counts of a pass, its parts and tokens as those that are yet to be paid."""
    counts = planned.counts
    if not counts.long:
        return counts
    with flow.plan_parts(planned) as parts:
        tokens = (counts.input_tokens or 0) + (parts.counts.input_tokens or 0)
        return replace(counts, parts=parts.counts.misses, input_tokens=tokens)


def report_of(
    work: Work,
    counts: Counts,
    why: Mapping[str, int],
    of_each: Sequence[OfModel],
    prompts: Sequence[str],
    clock: Stopwatch,
) -> PlanReport:
    """Gather what was counted for all models, and for each."""
    tokens: dict[str, int | None] = {**_sum(it.tokens for it in of_each)}
    cost = _cost(of_each)
    if counts.long:
        tokens["output"] = None
        cost = cost and cost | {"most": None}
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
        cost=cost,
        expected_seconds=_seconds(of_each),
        seconds=clock.seconds,
        versions=versions(work),
        asked_of=dict.fromkeys((it.name for it in work.models), 0)
        | {it.model: it.asked for it in of_each},
        sample=prompts,
    )


def of_models(
    spark: SparkSession,
    settings: JobSettings,
    ledger: Ledger,
    work: Work,
    counted: Iterable[tuple[Work, Counts]],
) -> list[OfModel]:
    """Return what each model that was reached would be asked."""
    return [
        _of_model(counts, its_work, history(spark, ledger, its_work), price)
        for (its_work, counts), price in zip(
            counted, prices_of(settings, work.models), strict=False
        )
    ]


def _of_model(counts: Counts, work: Work, before: History, price: Price | None) -> OfModel:
    asked, pace = counts.misses + counts.parts, before.prompts_per_second
    most = asked * work.chain.parameters.max_output_tokens
    expected = most if before.output_tokens is None else round(asked * before.output_tokens)
    text, read = outline(work.chain.template), counts.input_tokens or 0
    shared = text.head * max(0, counts.misses - 1) + counts.repeated_bytes
    whole = text.fixed * counts.misses + counts.text_bytes
    tokens = {
        "input": read,
        "shared": round(read * shared / max(1, whole)),
        "output": most,
        "expected_output": min(expected, most),
    }
    seconds = asked / pace if asked and pace else None
    return OfModel(work.pinned.model.name, asked, tokens, price, seconds if asked else 0.0)


def _sum(counted: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for it in counted:
        total.update(it)
    return dict(total)


def _cost(of_each: Sequence[OfModel]) -> dict[str, float | str | None] | None:
    priced = [(it.price, it.tokens) for it in of_each if it.price is not None]
    if not priced:
        return None
    dates = [it.as_of for it, _ in priced if it.as_of]
    cost: dict[str, float | str | None] = {
        "expected": sum(it.of(n["input"], n["expected_output"]) for it, n in priced),
        "most": sum(it.of(n["input"], n["output"]) for it, n in priced),
        "currency": priced[0][0].currency,
    }
    return cost | ({"as_of": str(dates[0])} if dates else {})


def _seconds(of_each: Sequence[OfModel]) -> float | None:
    seconds = [it.seconds for it in of_each]
    return None if None in seconds else round(sum(it or 0.0 for it in seconds), 1)
