"""The batch job: a Delta table of inputs becomes a Delta table of completions."""

from dataclasses import replace

from pyspark.sql import SparkSession

from jobs.leasing import leasing
from jobs.observing import Run, observed
from jobs.pinning import pin_work
from jobs.report import RunReport
from jobs.settings import Settings
from jobs.source import open_source
from jobs.spending import Confirm, budget_of
from jobs.targets import Target, ends, failures, refuse_failures
from udfs import flow
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.passes import Watch, unwatched


def run_batch(
    spark: SparkSession,
    settings: Settings,
    watch: Watch = unwatched,
    confirm: Confirm | None = None,
    job: str = "batch",
) -> RunReport:
    """Answer every row of the source once and write the target.

    Killed at any point and run again, it loses nothing and doubles nothing; answers that reached
    the ledger are not asked for again. Raises JobError where `on_error: fail` finds a failed row;
    the ledger has been written then, the target has not. Rows that the budget does not hold are
    left pending. Those who are told of it know the run as one of `job`.
    """
    with observed(spark, settings, job) as run:
        return run.reports(_run(spark, settings, run, run.watching(watch), confirm))


def _run(
    spark: SparkSession, settings: Settings, run: Run, watch: Watch, confirm: Confirm | None
) -> RunReport:
    clock = run.stopwatch()
    with clock.step("pin"):
        work = pin_work(settings)
        source = open_source(spark, settings, work.chain)
        work = run.pinned(replace(work, source=source.ref))
        target = Target.of(settings.target, settings.source.key)
        target.check(spark, work, source.rows)
        ledger = Ledger(Table.named(settings.ledger.table))
        ledger.open(spark)
    budget = budget_of(settings, work.models, confirm)
    with clock.step("complete"), leasing(spark, settings, work) as leased:
        answered = flow.run(source.rows, leased(work), ledger, run.id, watch, budget)
    with clock.step("write"), answered:
        if settings.on_error == "fail":
            refuse_failures(failures(ends(answered.rows(run.id))))
        written = target.write(answered, run.id)
    return RunReport.of(run.id, settings, answered, written, clock)
