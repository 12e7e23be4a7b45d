"""One writer at a time, where the storage does not refuse a second commit of one version.

Delta's log store for S3 looks whether a version is there before it writes it, so of two drivers at
once one may overwrite what the other has committed. Jobs take turns at such a table, by numbers as
in udfs/claims.py, which ask of the storage no more than that a written file is seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from pyspark.sql import SparkSession

from udfs.claims import Claims
from udfs.files import Place
from udfs.lease import LEASE, Lease

FOLDER = "_writers"
_SCHEMES = ("s3://", "s3a://", "s3n://")
# A log store of the user's choice, or a platform's own, refuses the second commit itself.
_REFUSING = (
    "spark.delta.logStore.class",
    "spark.delta.logStore.s3a.impl",
    "spark.databricks.clusterUsageTags.clusterId",
)


@contextmanager
def alone(spark: SparkSession, table: str) -> Iterator[None]:
    """Let the block write to the table in this folder while no other job does."""
    if not table.startswith(_SCHEMES) or any(spark.conf.get(it, None) for it in _REFUSING):
        yield
        return
    folder, me = Place(spark, f"{table.rstrip('/')}/{FOLDER}"), uuid4().hex
    writers = Claims(folder)
    try:
        with Lease(folder / me / LEASE):
            before = writers.make(me, "commit", None)
            writers.wait(before, f"a run that writes to {table}")
            for ended in before:
                (folder / ended).delete()
            yield
    finally:
        (folder / me).delete()
