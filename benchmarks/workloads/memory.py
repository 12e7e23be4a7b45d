"""Memory: peaks of the worker processes and of the driver; copies of the weights."""

from bench import tables
from bench.results import Section, spread, weather
from bench.trials import Bench, Contender, Task, values

from workloads.common import out_for

ASK = {"spec": "python:bench.models:CountedExtractive", "parameters": {"sentences": 3}}


def run(bench: Bench) -> list[Section]:
    few, many = bench.size(500, 16), bench.size(2000, 40)
    rows = tables.reports(many, 60)
    small = tables.write(bench.work / "memory-few", rows[:few])
    large = tables.write(bench.work / "memory-many", rows)
    one = Contender("1 worker", "gristmill_batch", {"master": "local[1]"}, {"ask": ASK})
    two = Contender("2 workers", "gristmill_batch", {"master": "local[2]"}, {"ask": ASK})
    wanted = {one.name: [(many, large)], two.name: [(few, small), (many, large)]}
    racing = [one, two]
    trials = []
    for n, table in ((few, small), (many, large)):

        def steps(contender: Contender, repeat: int) -> list[Task]:
            return [{"step": str(n), "table": table, "out": out_for(bench, contender)}]  # noqa: B023

        chosen = [it for it in racing if (n, table) in wanted[it.name]]
        trials += bench.race(chosen, steps, warm_up=lambda *_: None, memory=True, fresh=True)
    told = []
    for it in racing:
        for n, _ in wanted[it.name]:
            mine = [t for t in trials if t["contender"] == it.name and t["step"] == str(n)]
            peaks = [t["memory"] for t in mine if "error" not in t]
            told.append(
                [
                    it.name,
                    f"{n:,}",
                    spread([max(p["workers"], default=0.0) for p in peaks], 0),
                    spread([float(c) for c in values(trials, it.name, "loads", str(n))], 0),
                    spread([p["driver"] for p in peaks], 0),
                    spread([p["jvm"] for p in peaks], 0),
                ]
            )
    columns = ["workers", "documents", "MiB a worker", "copies of weights", "driver MiB", "JVM MiB"]
    notes = [
        "Extractive model; peak resident set, pages shared with the parent included; a process a "
        "trial, not warmed up, so that every load is counted. MiB a worker: the largest.",
        weather(trials),
    ]
    return [Section("Memory", columns, told, [it for it in notes if it], trials)]
