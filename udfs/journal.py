"""Answers on their way to the ledger: one Parquet folder a pass, beside the ledger's data.

A folder is whole once Spark has marked it; the ledger then takes it in one commit. Executors do not
yet write answer by answer: what a killed run had in unfinished folders is asked again.
"""

from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

KEPT_AFTER_DEATH = timedelta(days=1)


@dataclass(frozen=True)
class Journal:
    """The journals of one ledger; `folder` is any path that Spark can write."""

    folder: str
    schema: T.StructType

    def write(self, name: str, completed: DataFrame) -> None:
        """Evaluate `completed` once and keep it; the only place where a job calls the model."""
        completed.write.parquet(self._path_of(name))

    def read(self, spark: SparkSession, name: str) -> DataFrame:
        """Return what was written under a name."""
        return spark.read.schema(self.schema).parquet(self._path_of(name))

    def drop(self, spark: SparkSession, name: str) -> None:
        """Forget answers that the ledger has taken."""
        path = self._hadoop_path(spark, self._path_of(name))
        path.getFileSystem(self._hadoop_conf(spark)).delete(path, True)

    def whole(self, spark: SparkSession) -> list[str]:
        """Return the names whose answers are all here, those of dead runs among them."""
        path = self._hadoop_path(spark, self.folder)
        files = path.getFileSystem(self._hadoop_conf(spark))
        if not files.exists(path):
            return []
        names = [status.getPath().getName() for status in files.listStatus(path)]
        return [it for it in names if self._finished_at(spark, it) is not None]

    def drop_old(self, spark: SparkSession, name: str) -> None:
        """Forget answers of a run that must be dead by now; a living one may still read them."""
        finished_at = self._finished_at(spark, name)
        if finished_at is not None and time() - finished_at > KEPT_AFTER_DEATH.total_seconds():
            self.drop(spark, name)

    def _finished_at(self, spark: SparkSession, name: str) -> float | None:
        """Return when a folder became whole, in seconds since 1970; None where it is not."""
        mark = self._hadoop_path(spark, self._path_of(name) + "/_SUCCESS")
        files = mark.getFileSystem(self._hadoop_conf(spark))
        return (
            files.getFileStatus(mark).getModificationTime() / 1000 if files.exists(mark) else None
        )

    def _path_of(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def _hadoop_path(self, spark: SparkSession, path: str) -> Any:
        jvm: Any = spark._jvm
        return jvm.org.apache.hadoop.fs.Path(path)

    def _hadoop_conf(self, spark: SparkSession) -> Any:
        return spark._jsc.hadoopConfiguration()
