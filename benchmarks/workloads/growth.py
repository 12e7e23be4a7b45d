"""Growth: plan, dedup, ledger join and write with a free model, by the number of rows."""

from bench.results import Section, figure, spread, weather
from bench.trials import Bench, Contender, Task, Trial, median

from workloads.common import generated, out_for

ASK = {"spec": "python:bench.models:Free"}
GRISTMILL = Contender("gristmill", "gristmill_batch", task={"ask": ASK})


def run(bench: Bench) -> list[Section]:
    sizes = bench.sizes(100_000, 1_000_000, 10_000_000)
    trials: list[Trial] = []
    for rows in sizes:
        table = generated(bench, GRISTMILL, rows, f"growth-{rows}")

        def steps(contender: Contender, repeat: int) -> list[Task]:
            out = out_for(bench, contender)
            task = {"table": table, "out": out, "digest": False, "plan": True}  # noqa: B023
            return [task | {"step": f"{rows} first"}, task | {"step": f"{rows} again"}]  # noqa: B023

        warm = str(bench.work / f"growth-{sizes[0]}")
        trials += bench.race(
            [GRISTMILL],
            steps,
            warm_up=lambda *_: {"table": warm, "out": out_for(bench, GRISTMILL) + "-warm"},  # noqa: B023
            repeats=1 if rows == 10_000_000 else bench.repeats,
            memory=True,
            fresh=True,
        )
    told = [_row(trials, rows, step, sizes[0]) for step in ("first", "again") for rows in sizes]
    columns = [
        "rows",
        "run",
        "plan s",
        "pin s",
        "complete s",
        "write s",
        "us/row",
        "of the smallest",
        "driver MiB",
        "JVM MiB",
        "workers MiB",
    ]
    notes = [
        "Free model, rows of 70 characters that all differ; local[2], driver memory 4 GB; a "
        "process a trial. again: the ledger knows every answer and the target is as it should be.",
        "us/row: plan and run. Memory: peak resident set; of the Python workers the largest.",
        weather(trials),
    ]
    return [Section("Growth", columns, told, [it for it in notes if it], trials)]


def _row(trials: list[Trial], rows: int, run: str, smallest: int) -> list[str]:
    step, name = f"{rows} {run}", GRISTMILL.name
    mine = [it for it in trials if it["step"] == step and "error" not in it]
    per_row = median(trials, name, "wall", step) / rows
    base = median(trials, name, "wall", f"{smallest} {run}") / smallest
    seconds = [it["plan_seconds"] | it["report"]["seconds"] for it in mine]
    peaks = [it["memory"] for it in mine]
    return [
        f"{rows:,}",
        run,
        *(spread([it[of] for it in seconds], 1) for of in ("plan", "pin", "complete", "write")),
        figure(1e6 * per_row, 1),
        figure(per_row / base),
        spread([it["driver"] for it in peaks], 0),
        spread([it["jvm"] for it in peaks], 0),
        spread([max(it["workers"], default=0.0) for it in peaks], 0),
    ]
