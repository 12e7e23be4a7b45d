"""What workloads share: where outputs go, and the small table that warms a contender up."""

from collections.abc import Callable
from itertools import count
from shutil import rmtree

from bench import tables
from bench.trials import Bench, Contender, Steps, Task

CLUSTER = "local-cluster[2,1,2048]"
WARM_ROWS = 200  # enough for two tasks of any model, so that both workers load it

WarmUp = Callable[[Contender, int], Task | None]


def warm_table(bench: Bench, rows: tables.Rows) -> str:
    """Return a small table, written once for each workload."""
    path = next(it for i in count() if not (it := bench.work / f"warm-{i}").exists())
    return tables.write(path, rows[:WARM_ROWS])


def generated(bench: Bench, contender: Contender, rows: int, name: str) -> str:
    """Let a contender write a table of so many short rows that differ; return its path."""
    table = str(bench.work / name)
    task: Task = {"generate": rows, "table": table}
    bench.race([contender], lambda *_: [task], warm_up=lambda *_: None, repeats=1)
    return table


def fresh(bench: Bench, name: str) -> str:
    """Return a path of the work folder that nothing was written to."""
    parent = bench.work / "out"
    parent.mkdir(exist_ok=True)
    return str(next(it for i in count() if not (it := parent / f"{name}-{i}").exists()))


def out_for(bench: Bench, contender: Contender) -> str:
    """Return where a trial writes."""
    return fresh(bench, contender.name.replace(" ", "-"))


def shared_steps(bench: Bench, table: str) -> Steps:
    """Return the steps of a workload that has one: from this table to a new one."""
    return lambda contender, repeat: [{"table": table, "out": out_for(bench, contender)}]


def clean_out(bench: Bench, warm: str) -> WarmUp:
    """Return the warm-up: forget the outputs so far, then the 16 rows to a new table."""

    def warm_up(contender: Contender, repeat: int) -> Task:
        rmtree(bench.work / "out", ignore_errors=True)
        return {"table": warm, "out": out_for(bench, contender) + "-warm"}

    return warm_up
