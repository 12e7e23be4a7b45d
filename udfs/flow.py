"""The one flow: rows to questions, misses to the model once, answers back to every row.

    source ─ render ─┬─ distinct fingerprints ─ anti-join ledger ─ misses ─ model ─ journal ─ ledger
                     └──────────────────────── join ledger ────────────────────────────── rows

A batch, a refresh and a micro-batch are this between different ends. It is made of passes
(udfs/passes.py): inputs longer than the model's window are asked by their parts first, the parts
as rows of their own, so that every call has its fingerprint and its place in the ledger.
"""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from chains.answering import MAX_ROUNDS, PART_SEPARATOR
from udfs.budget import UNLIMITED, Budget
from udfs.cascade import Passes, in_turn
from udfs.ledger import Ledger
from udfs.passes import Paid, Pass, Watch, unwatched
from udfs.work import PART_ERROR, Work, variable

_PART = "_flow_part"


def plan(source: DataFrame, work: Work, ledger: Ledger) -> Passes:
    """Return the passes that a run would begin with, tokens counted; spends nothing.

    Of several models, a later one has the rows for which the ledger has an error that goes on.
    """
    return in_turn(source, work, "", lambda rows, it: Pass(rows, it, ledger, count_tokens=True))


def plan_parts(planned: Pass) -> Pass:
    """Return the pass of the parts of a plan's long inputs, tokens counted; spends nothing."""
    return Pass(_parts(planned), _of_parts(planned.work), planned.ledger, count_tokens=True)


def run(
    source: DataFrame,
    work: Work,
    ledger: Ledger,
    run_id: str,
    watch: Watch = unwatched,
    budget: Budget = UNLIMITED,
) -> Passes:
    """Ask for all misses of the source that the budget holds; return the passes with its rows.

    `source` must give the same rows whenever it is read, and each key once. Raises TableError
    where it does not name each row by its key.
    """

    def ask(rows: DataFrame, mine: Work) -> Pass:
        nonlocal budget
        done = _run(rows, mine, ledger, run_id, watch, budget)
        budget = budget.of_next_model(done.paid.input_tokens, done.paid.output_tokens)
        return done

    return in_turn(source, work, run_id, ask)


def _run(
    rows: DataFrame, work: Work, ledger: Ledger, run_id: str, watch: Watch, budget: Budget
) -> Pass:
    paid, rounds = Paid(), 0
    of_parts = _of_parts(work)
    while True:
        current = Pass(rows, work, ledger, last=rounds == MAX_ROUNDS, budget=budget)
        if current.counts.long:
            with current, _run(_parts(current), of_parts, ledger, run_id, watch, budget) as parts:
                rows = _shortened(rows, work, parts.rows(run_id, typed=False))
                paid += parts.paid
                budget = budget.after(parts.paid.input_tokens, parts.paid.output_tokens)
            rounds += 1
        elif current.complete(run_id, watch):
            current.paid += paid
            return current
        else:
            with current:  # another run has asked some of it meanwhile
                ledger.open(current.spark)


def _of_parts(work: Work) -> Work:
    return replace(work, key=(*work.key, _PART), keep=())


def _parts(current: Pass) -> DataFrame:
    """Return a prepared row for each part of each long input."""
    cut = variable(str(current.work.chain.long_variable))
    key = list(current.work.key)
    long = current.questions.where("_flow_parts is not null")
    parts = long.select(*key, F.posexplode("_flow_parts").alias(_PART, "_flow_text"))
    return current.source.drop(cut).join(parts, key).withColumnRenamed("_flow_text", cut)


def _shortened(rows: DataFrame, work: Work, answered: DataFrame) -> DataFrame:
    """Return the rows with each long input replaced by its parts' answers, or their first error.

    The answers are held by the executors: the journal that they may come from is dropped.
    """
    cut = variable(str(work.chain.long_variable))
    in_order = F.transform(
        F.array_sort(F.collect_list(F.struct(_PART, "result"))), lambda part: part["result"]
    )
    stand_in = answered.groupBy(*work.key).agg(
        F.array_join(in_order, PART_SEPARATOR).alias("_flow_text"),
        F.expr(f"min_by(error, {_PART}) FILTER (WHERE error IS NOT NULL)").alias("_flow_failed"),
    )
    joined = rows.join(stand_in.localCheckpoint(), list(work.key), "left")
    return (
        joined.withColumn(cut, F.coalesce("_flow_text", cut))
        .withColumn(PART_ERROR, F.coalesce("_flow_failed", PART_ERROR))
        .drop("_flow_text", "_flow_failed")
    )
