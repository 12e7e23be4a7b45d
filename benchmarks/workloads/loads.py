"""W3: a model that takes 2 s to load: over 2, 8 and 32 partitions, and over 10 small runs."""

from collections.abc import Iterator
from itertools import count
from math import isnan, nan

from bench import tables
from bench.results import Section, agreement, cells, figure, settings, spread, weather
from bench.trials import Bench, Contender, Task, Trial, median, values

from workloads.common import CLUSTER, clean_out, out_for, warm_table

WORKERS = 2
FREE = " without load"


def contenders() -> list[Contender]:
    return [
        Contender("gristmill", "gristmill_batch", settings="local[2]; source of so many files"),
        Contender("mlflow spark_udf", "mlflow_udf", settings="local[2]; repartition(partitions)"),
        Contender(
            "mlflow spark_udf cluster",
            "mlflow_udf",
            {"master": CLUSTER},
            settings=f"{CLUSTER}; repartition(partitions)",
        ),
    ]


def run(bench: Bench) -> list[Section]:
    seconds = bench.size(2, 1)
    rows = tables.prompts(bench.size(512, 64), 20, 60)
    partitions = (2, 32) if bench.smoke else (2, 8, 32)
    runs = bench.size(10, 2)
    small = tables.write(bench.work / "loads-small", rows[:32], files=2)
    sources = {n: tables.write(bench.work / f"loads-{n}", rows, files=n) for n in partitions}
    warm = warm_table(bench, rows)
    names = count()

    def model(load: float) -> dict[str, str]:
        return {"spec": f"python:bench.models:Load_{load}_{next(names)}"}

    def steps(contender: Contender, repeat: int) -> list[Task]:
        tasks = [
            {"step": f"{n} partitions", "table": table, "partitions": n}
            for n, table in sources.items()
        ]
        tasks.append({"step": f"{runs} runs", "table": small, "partitions": 2, "runs": runs})
        both = [
            task | {"ask": model(load), "step": task["step"] + ("" if load else FREE)}
            for task in tasks
            for load in (seconds, 0)
        ]
        return [task | {"out": out_for(bench, contender)} | {"i": i} for i, task in enumerate(both)]

    def distinct(contender: Contender, repeat: int) -> list[Task]:
        """Give each step its own output."""
        return [it | {"out": f"{it['out']}-{it['i']}"} for it in steps(contender, repeat)]

    clean = clean_out(bench, warm)
    racing = contenders()
    trials = bench.race(
        racing,
        distinct,
        warm_up=lambda c, r: (clean(c, r) or {}) | {"ask": model(0), "partitions": 2},
    )
    told = [
        row
        for step in [*(f"{n} partitions" for n in partitions), f"{runs} runs"]
        for row in _rows(trials, racing, step, seconds)
    ]
    columns = ["trial", "contender", "wall s", "CPU s", "loads", "without load s", "over limit"]
    notes = [
        f"{len(rows)} rows, a load of {seconds} s, free answers; small runs of 32 rows. The model "
        "is new in each trial, the workers are warm.",
        "without load s: the same trial with a load of 0 s. over limit: wall over (one load, the "
        f"{WORKERS} workers at the same time, + the least `without load s` of all contenders).",
        agreement(trials),
        weather(trials),
        *settings(racing),
    ]
    return [Section("W3 model loads", columns, told, [it for it in notes if it], trials)]


def _rows(
    trials: list[Trial], racing: list[Contender], step: str, seconds: float
) -> Iterator[list[str]]:
    free = {it.name: median(trials, it.name, "wall", step + FREE) for it in racing}
    limit = seconds + min((it for it in free.values() if not isnan(it)), default=nan)
    for it in racing:
        loads = [float(n) for n in values(trials, it.name, "loads", step)]
        over = figure(median(trials, it.name, "wall", step) / limit)
        cells_of = cells(trials, it.name, step)
        yield [step, it.name, *cells_of, spread(loads, 0), figure(free[it.name]), over]
