"""The refresh: keeps a table of completions in step with its source, at the cost of the change."""

from dataclasses import replace

from pyspark.sql import SparkSession

from jobs.in_step import recall
from jobs.leasing import leasing
from jobs.observing import Run, observed
from jobs.pinning import pin_work
from jobs.refresh_report import RefreshReport
from jobs.refresh_settings import RefreshSettings
from jobs.refresh_source import find_changes
from jobs.refresh_target import Kinds, RefreshTarget
from jobs.source import open_source
from jobs.spending import Confirm, budget_of, cost_of
from udfs import flow
from udfs.background import in_background
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.passes import Watch, unwatched


def run_refresh(
    spark: SparkSession,
    settings: RefreshSettings,
    watch: Watch = unwatched,
    confirm: Confirm | None = None,
    job: str = "refresh",
) -> RefreshReport:
    """Bring the target in step with the source: inserts, updates and deletions in one commit.

    Rows that did not change are not read where the source's change data feed tells so. Killed at
    any point and run again, it loses nothing and doubles nothing. Raises JobError where another
    run has written to the target meanwhile; what was answered is in the ledger then. Those who are
    told of it know the run as one of `job`.
    """
    with observed(spark, settings, job) as run:
        return run.reports(_run(spark, settings, run, run.watching(watch), confirm))


def _run(
    spark: SparkSession, settings: RefreshSettings, run: Run, watch: Watch, confirm: Confirm | None
) -> RefreshReport:
    clock = run.stopwatch()
    with clock.step("pin"):
        work = pin_work(settings)
        target = RefreshTarget.open(spark, settings)
        source = open_source(spark, settings, work.chain)
        target.target.check(spark, work, source.rows)
        work = run.pinned(replace(work, source=source.ref))
        ledger = Ledger(Table.named(settings.ledger.table))
        ledger.open(spark)
        step = target.step(spark, settings, work, source, run.id)
        memory = recall(spark, target.target.table)
    with clock.step("changes"):
        changes = find_changes(spark, settings, work, source, ledger, target, memory, step)
    report = RefreshReport.of(run.id, settings, changes, work)
    rows = Table.named(settings.source.table).read(spark, source.version)
    counted = in_background(rows.count)
    with changes:
        if changes.is_nothing:
            if memory.last is None or memory.last.version != source.version:
                target.note(spark, step)
            return report.ended(counted.result(), None, Kinds(), target.errors(spark), clock)
        budget = budget_of(settings, work.models, confirm)
        with clock.step("complete"), leasing(spark, settings, work) as leased:
            answered = flow.run(changes.rows, leased(work), ledger, run.id, watch, budget)
        with clock.step("write"), answered:
            kinds = target.write(answered, changes, step)
        cost = cost_of(settings, answered.paid_by_model)
        errors = target.errors(spark)
        return report.ended(counted.result(), answered, kinds, errors, clock, cost)
