"""What a run would do, before it is paid for."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from pyspark.sql import SparkSession

from jobs.pinning import pin_work
from jobs.report import Stopwatch, versions
from jobs.settings import Settings
from jobs.source import open_source
from jobs.targets import Target
from udfs import flow
from udfs.delta import Table
from udfs.ledger import Ledger


@dataclass(frozen=True)
class PlanReport:
    """The numbers of a plan; see RunReport.

    `tokens.input` counts the prompts of the misses by the model's own tokenizer (an endpoint's are
    estimated); `tokens.output` is the most that their answers can have. `long` rows are asked by
    their `parts` first, which a plan does not look up in the ledger.
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
    tokens: Mapping[str, int]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


def run_plan(spark: SparkSession, settings: Settings) -> PlanReport:
    """Count what a batch run would ask; writes nothing and asks no model."""
    clock = Stopwatch()
    with clock.step("pin"):
        work = pin_work(settings)
        source = open_source(spark, settings, work.chain)
        work = replace(work, source=source.ref)
        Target.of(settings.target, settings.source.key).check(spark)
    with clock.step("plan"):
        ledger = Ledger(Table.named(settings.ledger.table))
        with flow.plan(source.rows, work, ledger) as planned:
            counts = planned.counts
    asked = counts.misses + counts.parts
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
        tokens={
            "input": counts.input_tokens or 0,
            "output": asked * work.chain.parameters.max_output_tokens,
        },
        seconds=clock.seconds,
        versions=versions(work),
    )
