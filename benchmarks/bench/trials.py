"""Contenders as processes, kept alive over interleaved trials."""

import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from bench.models import NOTES
from bench.processes import Memory, cpu_seconds, end

HERE = Path(__file__).parent.parent
Task = dict[str, Any]
Trial = dict[str, Any]
Steps = Callable[["Contender", int], list[Task]]


@dataclass(frozen=True)
class Contender:
    """A row of a table: the process (its file, options, threads) and what each task adds."""

    name: str
    file: str
    options: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    settings: str = ""
    threads: int = 1
    environment: dict[str, str] = field(default_factory=dict)


class Process:
    """A running contender; `start_seconds` is the time until it was ready."""

    def __init__(self, contender: Contender, work: Path) -> None:
        name = contender.name.replace(" ", "-").replace("/", "-")
        self._notes, log = work / f"{name}.notes", work / f"{name}.log"
        command = [sys.executable, "-m", f"contenders.{contender.file}"]
        begin = time.perf_counter()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, json.dumps(contender.options | {"work": str(work), "name": name})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=work,
                env=environment(contender) | {NOTES: str(self._notes)},
            )
        self.pid = self._process.pid
        self.warm = False
        self._receive(log)
        self.start_seconds = time.perf_counter() - begin

    def run(self, task: Task, memory: bool = False) -> Trial:
        """Run one trial; CPU seconds and memory are those of the whole tree of processes."""
        self._notes.write_text("")
        before = cpu_seconds(self.pid)
        with Memory(self.pid) if memory else nullcontext() as sampled:
            assert self._process.stdin is not None
            print(json.dumps(task), file=self._process.stdin, flush=True)
            said = self._receive(self._notes)
        trial = said | {"cpu": cpu_seconds(self.pid) - before} | self._noted()
        return trial | ({"memory": sampled.peaks} if sampled else {})

    def close(self) -> None:
        """End the contender and what it has started."""
        with suppress(OSError, subprocess.TimeoutExpired):
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=20)
        end(self.pid)
        self._process.wait()

    def _receive(self, log: Path) -> Trial:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"the process has ended; see {log}"}

    def _noted(self) -> Trial:
        lines = [it.split() for it in self._notes.read_text().splitlines()]
        loads = [pid for pid, what, *_ in lines if what == "load"]
        calls = [int(it[2]) for it in lines if it[1] == "call"]
        askers = sum(what == "asker" for _, what, *_ in lines)
        return {
            "loads": len(loads),
            "loaders": len(set(loads)),
            "askers": askers,
            "calls": sum(calls),
        }


@dataclass
class Bench:
    """What workloads share: where to work, how often, how small, and how to tell."""

    work: Path
    repeats: int
    smoke: bool
    say: Callable[[str], None]
    wait: float = 300.0
    chosen: str = ""
    most_rows: int = 10_000_000
    notes: list[str] = field(default_factory=list)

    def size(self, full: int, smoke: int) -> int:
        """Return the full size, or the tiny one of a smoke run."""
        return smoke if self.smoke else full

    def sizes(self, *full: int) -> list[int]:
        """Return the numbers of rows up to `most_rows`, or tiny ones of a smoke run."""
        return [1_000, 4_000] if self.smoke else [it for it in full if it <= self.most_rows]

    def race(
        self,
        contenders: Sequence[Contender],
        steps: Steps,
        *,
        warm_up: Callable[[Contender, int], Task | None],
        repeats: int | None = None,
        memory: bool = False,
        fresh: bool = False,
    ) -> list[Trial]:
        """Run `steps` of each contender in turn, A B B A; return the trials, named by `step`.

        `fresh` starts a process for each turn. One that fails is told of and left out from there.
        """
        trials: list[Trial] = []
        contenders = [it for it in contenders if re.search(self.chosen, it.name)]
        running: dict[str, Process] = {}
        failed: set[str] = set()
        with ExitStack() as opened:
            for repeat in range(repeats or self.repeats):
                for contender in contenders if repeat % 2 == 0 else reversed(contenders):
                    if contender.name in failed:
                        continue
                    with ExitStack() as turn:
                        process = self._process(
                            running, contender, turn if fresh else opened, fresh
                        )
                        made = self._turn(process, contender, repeat, steps, warm_up, memory)
                    trials += made
                    if any("error" in it for it in made):
                        failed.add(contender.name)
        return trials

    def _process(
        self, running: dict[str, Process], contender: Contender, stack: ExitStack, fresh: bool
    ) -> Process:
        """Return the process; contenders of the same file and options share one."""
        key = json.dumps(
            [contender.file, contender.options, contender.threads, contender.environment]
        )
        if fresh or key not in running:
            running[key] = Process(contender, self.work)
            stack.callback(running[key].close)
        return running[key]

    def _turn(
        self,
        process: Process,
        contender: Contender,
        repeat: int,
        steps: Steps,
        warm_up: Callable[[Contender, int], Task | None],
        memory: bool,
    ) -> list[Trial]:
        made: list[Trial] = []
        for task in steps(contender, repeat):
            waited, quiet = machine.wait_until_quiet(self.wait)
            warm = warm_up(contender, repeat) if not made else None
            said = process.run(contender.task | warm) if warm is not None else {}
            if "error" not in said:
                said = process.run(contender.task | task, memory)
            trial = {"contender": contender.name, "repeat": repeat, "step": task.get("step", "")}
            trial["table"] = task.get("table", "")
            trial |= said | {"start_seconds": process.start_seconds}
            trial |= {"put_off": round(waited, 1), "quiet": quiet}
            if "error" not in said and "out" in task and task.get("digest", True):
                from bench import tables  # needs Delta, which a machine for the GPU may lack

                trial["rows"], trial["hash"] = tables.digest(task["out"])
            made.append(trial)
            self._tell(trial)
            if "error" in said:
                break
        return made

    def _tell(self, trial: Trial) -> None:
        head = f"{trial['repeat']} {trial['contender']} {trial['step']}".rstrip()
        if "error" in trial:
            self.notes.append(f"{trial['contender']} failed: {_last_line(trial)}")
            self.say(f"{head}: FAILED {trial['error'][-3000:]}")
        else:
            self.say(f"{head}: {trial['wall']:.2f} s, CPU {trial['cpu']:.2f} s")


def _last_line(trial: Trial) -> str:
    return trial["error"].strip().splitlines()[-1][:300]


def environment(contender: Contender) -> dict[str, str]:
    """Return the environment: threads pinned, nothing phoned, workers find `bench`."""
    import pyspark

    threads = str(contender.threads)
    return os.environ | {
        "PYTHONPATH": str(HERE),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # Ray gives its workers 15
        "DAFT_ANALYTICS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        **contender.environment,
    }


def median(trials: Sequence[Trial], contender: str, of: str = "wall", step: str = "") -> float:
    """Return the median of a figure over a contender's trials; nan where there are none."""
    found = values(trials, contender, of, step)
    return statistics.median(found) if found else float("nan")


def best_of(trials: Sequence[Trial], contenders: Sequence[str]) -> float:
    """Return the least median wall time of those contenders that ran."""
    found = [median(trials, name) for name in contenders]
    return min((it for it in found if not math.isnan(it)), default=math.nan)


def values(trials: Sequence[Trial], contender: str, of: str, step: str = "") -> list[float]:
    """Return a figure of a contender's good trials."""
    mine = [it for it in trials if it["contender"] == contender and it["step"] == step]
    return [it[of] for it in mine if of in it and "error" not in it]
