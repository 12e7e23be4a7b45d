"""Every completion ever paid for, by fingerprint: a Delta table."""

from collections.abc import Sequence
from dataclasses import dataclass

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.errors import TableError
from udfs.columns import ledger_type
from udfs.commits import session_conf
from udfs.conflicts import past_conflicts
from udfs.delta import Table
from udfs.journal import Journal

FORMAT = "1"
_FORMAT_KEY = "gristmill.format"
_FIRST_ANSWERS = 1  # version 0 is the empty table

# Sorted files of small pages: a look-up of a few fingerprints reads the pages that they are in.
_LAID_OUT = {
    "spark.databricks.io.skipping.mdc.sortWithinFiles": "true",
    "spark.databricks.io.skipping.mdc.rangeId.max": "100000",  # of so many parts each is in order
    "parquet.page.row.count.limit": "2000",
}


@dataclass(frozen=True)
class Ledger:
    """The ledger table and the journals on their way to it.

    Kept: answers, and errors that asking again would not change. Not kept: rows that were not
    asked, and errors that may pass. A fingerprint may stand here more than once (two runs at the
    same time, a run that was taken for dead, or `ledger.reuse: false`); the newest success counts.
    """

    table: Table

    def open(self, spark: SparkSession) -> None:
        """Create the table where there is none, and take in what dead runs left in the journal.

        Raises TableError where the table is not a ledger of this format.
        """
        if self.table.version(spark) < 0:
            self.table.check_home(spark)
            past_conflicts(self.table, lambda: self._create(spark))
            return
        self.table.read_ahead(spark)
        self._check_format(spark)
        journal = self.journal(spark)
        for name in journal.left():
            try:
                journal.told_taken(name, self.take(spark, name))
            except (PySparkException, Py4JJavaError):
                if journal.exists(name):  # else its own run has taken it meanwhile
                    raise

    def journal(self, spark: SparkSession) -> Journal:
        """Return the journals beside the ledger's data: same storage, same permissions."""
        return Journal(spark, f"{self.table.location(spark)}/_journal")

    def batches(self, spark: SparkSession) -> str:
        """Return the folder that keeps which prompts are in which batch of a provider."""
        return f"{self.table.location(spark)}/_batches"

    def take(self, spark: SparkSession, name: str) -> str:
        """Copy a journal's lasting answers into the ledger, in one commit; return what it took.

        Safe to repeat and to race: Delta lands the commit of a journal once, and once more when it
        has got newer answers, where its run had been taken for dead and went on.
        """
        content = self.journal(spark).content_of(name)  # before it is read: what comes is newer
        self.table.append_once(self.lasting(spark, [name]), f"journal/{name}/{content}")
        return content

    def take_all(
        self, spark: SparkSession, names: Sequence[str], writer: str, number: int = 0
    ) -> None:
        """Copy the lasting answers of several journals in one commit.

        It lands once: `writer` numbers its commits, each higher than the one before.
        """
        self.table.append_once(self.lasting(spark, names), f"journals/{writer}", number)

    def lasting(self, spark: SparkSession, names: Sequence[str]) -> DataFrame:
        """Return those answers of journals that are worth keeping."""
        return self.journal(spark).read(*names).where(~retryable())

    def journalled(self, spark: SparkSession, name: str) -> DataFrame:
        """Return what a journal has, one row a fingerprint, errors that may pass among them."""
        journal = self.journal(spark)
        return newest(journal.read(name)) if journal.has_retries(name) else journal.read(name)

    def rows(self, spark: SparkSession, version: int | None = None) -> DataFrame | None:
        """Return what is answered as of a version, by default the newest; None while nothing is.

        Later commits change nothing of it: an answer that lands meanwhile makes no miss a hit.
        """
        version = self.table.version(spark) if version is None else version
        return self.table.read(spark, version) if version >= _FIRST_ANSWERS else None

    def compact(self, spark: SparkSession) -> None:
        """Write small files as large ones, in the order of their fingerprints."""
        with session_conf(spark, _LAID_OUT):
            self.table.optimize(spark)

    def _create(self, spark: SparkSession) -> None:
        """Create the table if it is not there; as SQL, for Delta's builder takes no catalog.

        Nobody takes turns here: of two runs at once each would write the same.
        """
        properties = {
            _FORMAT_KEY: FORMAT,
            "delta.dataSkippingStatsColumns": "fingerprint,completed_at",
        }
        told = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
        spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.table.relation} ({ledger_type().toDDL()}) "
            f"USING delta CLUSTER BY (fingerprint) TBLPROPERTIES ({told})"
        )

    def _check_format(self, spark: SparkSession) -> None:
        found = self.table.properties(spark).get(_FORMAT_KEY)
        if found != FORMAT:
            raise TableError(
                f"ledger.table {self.table.name!r}: expected a ledger of format {FORMAT}, found "
                + ("a table that is no ledger" if found is None else f"format {found}")
            )


def answers_to(asked: DataFrame, rows: DataFrame) -> DataFrame:
    """Return the rows of a ledger that answer one of the `asked` fingerprints."""
    wanted = asked.select("fingerprint").where("fingerprint is not null").distinct()
    return rows.join(wanted, "fingerprint", "left_semi")


def newest(answers: DataFrame) -> DataFrame:
    """Return one row a fingerprint: a success before an error, the newest of them."""
    rank = F.struct(F.col("error").isNull(), F.col("completed_at"), F.col("run_id"))
    row = F.max_by(F.struct(*answers.columns), rank)
    return answers.groupBy("fingerprint").agg(row.alias("row")).select("row.*")


def payer(key: T.StructType) -> Column:
    """Return the key of the row that paid, written as `key_json` writes it here and now.

    A part of a long input has its row's key. What a row's `paid_by` lacks of the key is left out.
    """
    return F.to_json(F.from_json("paid_by", key))


def retryable() -> Column:
    """Return the condition that a row's error may pass."""
    return F.coalesce(F.col("error.retryable"), F.lit(False))
