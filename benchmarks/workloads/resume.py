"""W8: a job that is killed when half of its rows are answered, and run again."""

from dataclasses import replace
from pathlib import Path

from bench import tables
from bench.results import Section, figure, settings, spread, weather
from bench.trials import Bench, Contender, Task, Trial, median, values

from workloads.common import out_for

WHOLE, KILLED = "whole", "killed"
SLOTS = 16


def contenders(rows: int) -> list[Contender]:
    gristmill = Contender(
        "gristmill batch",
        "killed_job",
        task={"job": "gristmill", "rows": rows},
        settings=f"the command; local[2], 2 tasks with concurrency: {SLOTS // 2}",
    )
    longer = {"job": "gristmill", "rows": 4 * rows}
    return [
        gristmill,
        replace(gristmill, name=f"gristmill batch, {4 * rows:,} rows", task=longer),
        Contender(
            "spark udf",
            "killed_job",
            task={"job": "spark", "rows": rows},
            settings="scalar Arrow UDF to a Delta table, local[2], 2 tasks, "
            f"spark.sql.execution.pythonUDF.arrow.concurrency.level: {SLOTS // 2}",
        ),
        Contender(
            "daft udf",
            "killed_job",
            task={"job": "daft", "rows": rows},
            settings=f"asynchronous class UDF with {SLOTS} slots, write_deltalake; this release of "
            "Daft has no checkpointing",
        ),
    ]


def run(bench: Bench) -> list[Section]:
    count, latency = bench.size(1200, 64), 0.8 if not bench.smoke else 0.2
    asked = {"slots": SLOTS, "latency": latency, "digest": False}

    def table_of(rows: int) -> str:
        texts = [(f"{i:05d}", f"key={i:05d} text") for i in range(rows)]
        return tables.write(bench.work / f"resume-{rows}", texts)

    of_rows = {rows: table_of(rows) for rows in (count, 4 * count)}

    def steps(contender: Contender, repeat: int) -> list[Task]:
        out = Path(out_for(bench, contender))
        out.mkdir()
        told = asked | {"table": of_rows[contender.task["rows"]]}
        return [told | {"step": step, "out": str(out / step)} for step in (WHOLE, KILLED)]

    racing = contenders(count)
    trials = bench.race(racing, steps, warm_up=lambda c, r: None)
    columns = ["contender", "whole s", "resumed s", "of whole", "whole, in session s"]
    columns += ["resumed, in session s", "of whole, in session"]
    columns += ["calls", "asked again", f"beyond {SLOTS} in flight", "lost", "doubled"]
    notes = [
        f"{count:,} rows where nothing else is said, {SLOTS} slots, {latency} s an answer. kill -9 "
        "of the whole process group when the endpoint has answered half of the rows, then the same "
        "command again.",
        "s: of the command, from its start to its end. in session: without imports and start of "
        "the session, as the job says.",
        "calls, asked again: of both runs together, as the endpoint counts them. What was in "
        "flight at the kill has to be asked again. lost, doubled: rows of the target.",
        weather(trials),
        *settings(racing),
    ]
    told = [_row(trials, it) for it in racing]
    return [Section("W8 kill and resume", columns, told, [it for it in notes if it], trials)]


def _row(trials: list[Trial], contender: Contender) -> list[str]:
    name = contender.name
    counts = {
        of: [float(n) for n in values(trials, name, of, KILLED)]
        for of in ("asked", "again", "lost", "doubled")
    }
    beyond = [max(0.0, n - SLOTS) for n in counts["again"]]
    return [name, *_seconds(trials, name, "seconds"), *_seconds(trials, name, "of_job")] + [
        spread(it, 0)
        for it in (counts["asked"], counts["again"], beyond, counts["lost"], counts["doubled"])
    ]


def _seconds(trials: list[Trial], name: str, of: str) -> list[str]:
    """Return the seconds of the whole and the resumed run, and the resumed one's share."""
    share = median(trials, name, of, KILLED) / median(trials, name, of, WHOLE)
    return [*(spread(values(trials, name, of, it), 1) for it in (WHOLE, KILLED)), figure(share)]
