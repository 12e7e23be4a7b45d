"""Send the dead letters of a stream through again: all of them, or those of some reasons."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from uuid import uuid4

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from chains.errors import TableError
from jobs.leasing import leasing
from jobs.pinning import pin_stream
from jobs.stream_settings import COORDINATES, StreamSettings
from jobs.stream_source import StreamSource
from jobs.stream_target import check_target
from jobs.targets import ends, failures, is_dead
from udfs import flow
from udfs.commits import Commit
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.passes import Watch, unwatched
from udfs.straight_columns import MESSAGE


@dataclass(frozen=True)
class ReplayReport:
    """Dead letters that were taken, answered now, and left with their reason of now."""

    taken: int
    answered: int
    left: Mapping[str, int]

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


def run_replay(
    spark: SparkSession,
    settings: StreamSettings,
    reasons: Sequence[str] = (),
    watch: Watch = unwatched,
) -> ReplayReport:
    """Ask for dead letters again; those that have an answer now move to the target.

    1. The target, where a row whose key is there stays as it is. 2. The dead letters lose what the
    target has. A crash in between leaves rows in both; the next replay ends it. Reasons are codes
    of docs/errors.md. Raises TableError where the stream has no dead letters, or its tables cannot
    hold what would be written.
    """
    target = Table.named(settings.target.table)
    letters = target.beside("_errors")
    if not letters.exists(spark):
        raise TableError(f"table {letters.name!r}: the stream has no dead letters")
    taken = letters.read(spark, letters.version(spark))
    if reasons:
        taken = taken.where(F.col("error.code").isin(list(reasons)))
    run_id, source, work = uuid4().hex, StreamSource(settings), pin_stream(settings)
    ledger = Ledger(Table.named(settings.ledger.table))
    ledger.open(spark)
    # A letter without a key cannot become a row of the target.
    rows = source.decode(source.again(taken), work).dropna(subset=list(work.key))
    rows = rows.dropDuplicates(list(work.key))
    check_target(settings, work, rows)
    with (
        leasing(spark, settings, work) as leased,
        flow.run(rows, leased(work), ledger, run_id, watch) as answered,
    ):
        now = answered.rows(run_id).persist()
        good = now.where(~is_dead())
        new = target.lacks(good.drop("raw", MESSAGE), work.key)
        moved = target.append(new, Commit(f"replay/{letters.name}", target.version(spark), run_id))
        letters.delete(good, COORDINATES if set(COORDINATES) <= set(good.columns) else work.key)
        left = failures(ends(now))
        now.unpersist()
    return ReplayReport(answered.counts.rows, moved, left)
