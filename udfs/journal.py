"""Answers on their way to the ledger: one Parquet folder a pass, beside the ledger's data.

A folder is whole once Spark has marked it; the ledger then takes it in one commit. Executors do not
yet write answer by answer: what a killed run had in unfinished folders is asked again.
"""

from dataclasses import dataclass
from datetime import timedelta
from time import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from udfs.files import Place

KEPT_AFTER_DEATH = timedelta(days=1)


@dataclass(frozen=True)
class Journal:
    """The journals of one ledger; `folder` is any path that Spark can write."""

    folder: str
    schema: T.StructType

    def write(self, name: str, completed: DataFrame) -> None:
        """Evaluate `completed` once and keep it; the only place where a job calls the model.

        What a killed run left unfinished under this name is replaced.
        """
        completed.write.mode("overwrite").parquet(self._path_of(name))

    def read(
        self, spark: SparkSession, *names: str, schema: T.StructType | None = None
    ) -> DataFrame:
        """Return what was written under the names; with `schema` also what is beside answers."""
        paths = [self._path_of(name) for name in names]
        return spark.read.schema(schema or self.schema).parquet(*paths)

    def is_whole(self, spark: SparkSession, name: str) -> bool:
        """Whether all answers of a name are here."""
        return self._finished_at(spark, name) is not None

    def drop(self, spark: SparkSession, name: str) -> None:
        """Forget answers that the ledger has taken."""
        Place(spark, self._path_of(name)).delete()

    def whole(self, spark: SparkSession) -> list[str]:
        """Return the names whose answers are all here, those of dead runs among them."""
        return [it for it in Place(spark, self.folder).names() if self.is_whole(spark, it)]

    def drop_old(self, spark: SparkSession, name: str) -> None:
        """Forget answers of a run that must be dead by now; a living one may still read them."""
        finished_at = self._finished_at(spark, name)
        if finished_at is not None and time() - finished_at > KEPT_AFTER_DEATH.total_seconds():
            self.drop(spark, name)

    def _finished_at(self, spark: SparkSession, name: str) -> float | None:
        """Return when a folder became whole, in seconds since 1970; None where it is not."""
        return Place(spark, self._path_of(name) + "/_SUCCESS").changed_at()

    def _path_of(self, name: str) -> str:
        return f"{self.folder}/{name}"
