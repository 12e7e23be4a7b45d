"""One writer at a time, where the storage does not refuse a second commit of one version.

Delta's log store for S3 looks whether a version is there before it writes it, so of two drivers at
once one may overwrite what the other has committed. Jobs take turns at such a table, by numbers as
in udfs/claims.py, which ask of the storage no more than that a written file is seen.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


def alone(spark: SparkSession, table: str) -> AbstractContextManager[None]:
    """Return what lets a block write to the table in this folder while no other job does."""
    if not table.startswith(_SCHEMES) or any(spark.conf.get(it, None) for it in _REFUSING):
        return nullcontext()
    return in_turn(Place(spark, f"{table.rstrip('/')}/{FOLDER}"))


@contextmanager
def in_turn(writers: Place) -> Iterator[None]:
    """Run the block when those that came before have ended, or died; `writers` is their folder."""
    claims, me = Claims(writers), uuid4().hex
    try:
        with Lease(writers / me / LEASE):
            before = claims.make(me, "commit", None)
            claims.wait(before, f"what writes by {writers.path}")
            for ended in before:
                (writers / ended).delete()
            yield
    finally:
        (writers / me).delete()
