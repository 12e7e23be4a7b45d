"""A refresh by Delta's change data feed: only rows that changed are read."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.changes import MARK, Changes, comparable, has_marks, with_keys
from jobs.source import Source
from udfs.ledger import retryable
from udfs.names import column_of, quoted
from udfs.work import Work


def from_feed(
    source: Source,
    work: Work,
    feed: DataFrame | None,
    target: DataFrame,
    letters: DataFrame | None,
    any_key_twice: bool,
) -> Changes:
    """Return the rows that changed since the target was in step, and letters that may pass.

    The feed alone tells what became of a key while each key is there once. Where it might not be,
    and for the letters, the rows of these keys are read from the source itself.
    """
    key = list(work.key)
    if feed is None and letters is None:
        return Changes("feed", "", source.rows.where("false"), to_answer=0)
    net = _net(feed if feed is not None else _none(source.rows), work).persist()
    to_answer, to_remove, new, doubts = _counted(net)
    if letters is None and not (any_key_twice or new or doubts):
        rows, gone = _told(net, key)
        return Changes("feed", "", rows, gone, None, None, to_answer, to_remove, (net,), adds=False)
    doubtful = net if any_key_twice else _doubtful(net, new > 0, target, letters, work)
    looked_up = doubtful.select(*key)
    if letters is not None:
        looked_up = looked_up.unionByName(letters.where(retryable()).select(*key))
    looked_up = looked_up.distinct().localCheckpoint()
    rows, gone = _told(with_keys(net, looked_up, key, "left_anti"), key)
    if not looked_up.isEmpty():
        found = with_keys(source.rows, looked_up, key, "left_semi").select(
            *map(quoted, rows.columns)
        )
        rows = rows.unionByName(found)
        gone = gone.unionByName(with_keys(looked_up, found, key, "left_anti"))
    rows, gone = rows.persist(), gone.persist()
    to_answer, to_remove = rows.count(), gone.count()
    left = None if letters is None else _left(letters, rows, gone, key)
    return Changes("feed", "", rows, gone, left, None, to_answer, to_remove, (net, rows, gone))


def _counted(net: DataFrame) -> tuple[int, int, int, int]:
    """Count rows to answer, keys that are gone, those that are new, and those in doubt."""
    wanted = (
        "_flow_net.alive and _flow_net.changed",
        "not _flow_net.alive",
        "not _flow_net.existed",
        "_flow_net.doubtful",
    )
    counts = net.agg(*(F.count_if(F.expr(it)).alias(it) for it in wanted)).first()
    assert counts is not None
    return counts[0], counts[1], counts[2], counts[3]


def _told(net: DataFrame, key: Sequence[str]) -> tuple[DataFrame, DataFrame]:
    """Return the rows to answer, and the keys that are gone."""
    wanted = net.where("_flow_net.alive and _flow_net.changed").select("_flow_net.row.*")
    return wanted, net.where("not _flow_net.alive").select(*key)


def _net(feed: DataFrame, work: Work) -> DataFrame:
    """Return a row for each key of the feed, with `_flow_net`: what became of it in the end.

    `alive` and `existed` are whether it is there after and before, `changed` whether what a row of
    the target is made of differs, `doubtful` whether rows came and went as they would not where
    each key is there once.
    """
    used = _used(feed, work)
    content = F.struct(*(comparable(feed, it) for it in (*work.columns.values(), *work.keep)))
    is_row = F.col("_change_type").isin("insert", "update_postimage")
    order = F.struct("_commit_version", is_row)
    came = F.when(F.col("_change_type") == "insert", 1).when(F.col("_change_type") == "delete", -1)
    state = F.struct(is_row.alias("is_row"), F.struct(*used).alias("row"), content.alias("content"))
    began = F.struct(is_row.alias("is_row"), content.alias("content"))
    net = feed.groupBy(*work.key).agg(
        F.struct(
            F.max_by(state, order).alias("last"),
            F.min_by(began, order).alias("first"),
            F.sum(F.coalesce(came, F.lit(0))).alias("came"),
        ).alias("_flow_net")
    )
    existed, alive = ~F.col("_flow_net.first.is_row"), F.col("_flow_net.last.is_row")
    same = existed & F.col("_flow_net.first.content").eqNullSafe(F.col("_flow_net.last.content"))
    became = F.struct(
        F.col("_flow_net.last.row").alias("row"),
        existed.alias("existed"),
        alive.alias("alive"),
        (~same).alias("changed"),
        (existed.cast("int") + F.col("_flow_net.came") != alive.cast("int")).alias("doubtful"),
    )
    return net.select(*work.key, became.alias("_flow_net"))


def _used(feed: DataFrame, work: Work) -> list[str]:
    """Return the columns that the flow reads, in backticks. Spark's names have no case."""
    used = {column_of(it).lower() for it in (*work.key, *work.keep, *work.columns.values())}
    return [quoted(it) for it in feed.columns if it.lower() in used]


def _doubtful(
    net: DataFrame, any_new: bool, target: DataFrame, letters: DataFrame | None, work: Work
) -> DataFrame:
    """Return the keys of which there may be two rows: the feed calls some new that are known."""
    key = list(work.key)
    doubtful = net.where("_flow_net.doubtful").select(*key)
    if not any_new:
        return doubtful
    marked = has_marks(target, work.keep)
    known = (target.where(F.col(MARK).isNull()) if marked else target).select(*key)
    if letters is not None:
        known = known.unionByName(letters.select(*key))
    return doubtful.unionByName(
        with_keys(known, net.where("not _flow_net.existed"), key, "left_semi")
    )


def _left(letters: DataFrame, rows: DataFrame, gone: DataFrame, key: Sequence[str]) -> DataFrame:
    touched = rows.select(*key).unionByName(gone.select(*key))
    return with_keys(letters, touched, key, "left_anti").localCheckpoint()


def _none(rows: DataFrame) -> DataFrame:
    """Return the feed of nothing."""
    types: dict[str, Column] = {
        "_change_type": F.lit("insert"),
        "_commit_version": F.lit(0).cast("long"),
    }
    return rows.where("false").withColumns(types)
