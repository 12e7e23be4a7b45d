"""Memory of weights: tasks that share a model server, beside tasks with a model each."""

from functools import partial
from pathlib import Path

from bench import tables
from bench.asking import template_file
from bench.results import Section, settings, spread, weather
from bench.trials import Bench, Contender, Task, Trial, values
from bench.watching import DAEMON
from random_model import build_llama

from workloads.common import fresh

TASKS = (2, 4, 8)
REPEATS = 2
LIMITS = {"max_output_tokens": 2, "min_output_tokens": 2}
ROWS_A_TASK = {"process": 64, "sidecar": 16}  # at least, so that each task has some
SERVER = {
    "arguments": ["--cb-block-size", 16, "--cb-num-blocks", 512, "--cb-max-batch-tokens", 512],
    "threads": 2,
}


def contenders(folder: Path, tasks: tuple[int, ...]) -> list[Contender]:
    """Return both engines with each number of tasks at once."""
    ask = {"spec": f"path:{folder}", "parameters": LIMITS, "template": template_file()}
    return [
        Contender(
            f"{engine} {n}",
            "gristmill_batch",
            {"master": f"local[{n}]", "conf": DAEMON},
            {"ask": ask | {"engine": engine, "sidecar": SERVER if engine == "sidecar" else {}}},
        )
        for engine in ROWS_A_TASK
        for n in tasks
    ]


def run(bench: Bench) -> list[Section]:
    tasks = TASKS[:1] if bench.smoke else TASKS
    large = partial(build_llama, hidden=1024, layers=6)
    folder = (build_llama if bench.smoke else large)(bench.work / "sidecar-memory")
    weights = (folder / "model.safetensors").stat().st_size / 2**20
    rows = tables.prompts(max(ROWS_A_TASK.values()) * max(tasks), 10, 40)
    racing = contenders(folder, tasks)
    written = {
        n: tables.write(bench.work / f"sidecar-memory-{n}", rows[:n])
        for n in {_rows(it) for it in racing}
    }

    def steps(contender: Contender, repeat: int) -> list[Task]:
        return [{"table": written[_rows(contender)], "out": fresh(bench, "sidecar-memory")}]

    trials = bench.race(
        racing,
        steps,
        warm_up=lambda c, r: None,
        repeats=min(REPEATS, bench.repeats),
        memory=True,
        fresh=True,
    )
    columns = ["engine", "tasks at once", "copies", "MiB of servers", "MiB of workers"]
    columns += ["MiB a worker", "MiB together", "wall s"]
    notes = [
        f"Random-weight Llama, {weights:,.0f} MiB of weights; transformers serve as the server; "
        f"{ROWS_A_TASK['process']} rows a task in process, {ROWS_A_TASK['sidecar']} beside the "
        "server, 2 tokens each. A process a trial, not warmed up: wall s is no throughput.",
        "copies: processes that loaded the weights, servers included. MiB of servers, of workers: "
        "sum of each one's peak resident set, where pages that processes share count in each. MiB "
        "together: the most at a time, where they count once (sampled every 2 s).",
        weather(trials),
        *settings(racing),
    ]
    told = [_row(trials, it) for it in racing]
    return [Section("Sidecar memory", columns, told, [it for it in notes if it], trials)]


def _rows(contender: Contender) -> int:
    """Return how many rows a contender answers."""
    engine, _, tasks = contender.name.partition(" ")
    return ROWS_A_TASK[engine] * int(tasks)


def _row(trials: list[Trial], contender: Contender) -> list[str]:
    mine = [it for it in trials if it["contender"] == contender.name and "memory" in it]
    peaks = [it["memory"] for it in mine]
    copies = [float(it["loads"] + len(it["memory"]["servers"])) for it in mine]
    engine, _, tasks = contender.name.partition(" ")
    return [
        engine,
        tasks,
        spread(copies, 0),
        spread([sum(it["servers"]) for it in peaks], 0),
        spread([sum(it["workers"]) for it in peaks], 0),
        spread([max(it["workers"], default=0.0) for it in peaks], 0),
        spread([it["together"] for it in peaks], 0),
        spread(values(trials, contender.name, "wall"), 1),
    ]
