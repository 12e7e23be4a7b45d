"""The demo: a Delta table of invented financial reports, summarized by the batch job."""

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as Grid

from jobs.batch import run_batch
from jobs.report import RunReport
from jobs.sample.reports import demo_rows
from jobs.settings import Settings
from udfs.commits import Commit
from udfs.delta import Table
from udfs.passes import Watch

_SHOWN = 4


def run_demo(spark: SparkSession, settings: Settings, watch: Watch) -> RunReport:
    """Write the reports where there are none yet, then run the batch job over them."""
    source = Table.named(settings.source.table)
    if not source.exists(spark):
        rows = spark.createDataFrame(
            demo_rows(), "id string, company string, period string, body string"
        )
        source.overwrite(rows, Commit("demo", -1, "demo"))
    return run_batch(spark, settings, watch)


def show_summaries(spark: SparkSession, settings: Settings, console: Console) -> None:
    """Print the first summaries, and the table's rows by outcome."""
    rows = Table.named(settings.target.table).read(spark)
    for row in rows.where("error is null and not cached").orderBy("id").limit(_SHOWN).collect():
        console.print(f"[bold]{row['company']}, {row['period']}[/]", highlight=False)
        console.print(row["result"], markup=False, highlight=False, end="\n\n")
    grid = Grid("rows", "outcome", box=None)
    outcome = F.coalesce("error.code", F.lit("summary")).alias("outcome")
    for row in rows.groupBy(outcome).count().orderBy(F.desc("count")).collect():
        grid.add_row(str(row["count"]), row["outcome"])
    console.print(grid, "")
