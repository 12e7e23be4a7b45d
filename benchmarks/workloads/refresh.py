"""W6: a refresh after 0.1 % of the rows changed, by the number of rows; beside a full recompute."""

from bench.results import Section, figure, settings, spread, weather
from bench.trials import Bench, Contender, Task, Trial, median, values

from workloads.common import generated, out_for

ASK = {"spec": "python:bench.models:Free"}
ONE_OF = 1000
FIRST, AFTER = "first", "after 0.1 % changed"
GRISTMILL = Contender(
    "gristmill refresh",
    "gristmill_refresh",
    task={"ask": ASK},
    settings="local[2]; change data feed on, target with deletion vectors",
)
PEER = Contender(
    "mlflow spark_udf",
    "mlflow_udf",
    task={"ask": ASK},
    settings="local[2], env_manager=local; computes all rows again",
)


def run(bench: Bench) -> list[Section]:
    sizes = bench.sizes(1_000_000, 10_000_000)
    racing, trials = [GRISTMILL, PEER], []
    warm = generated(bench, GRISTMILL, 1000, "refresh-warm")
    rehearsal = {"table": warm, "change": 10, "rehearse": True}
    for rows in sizes:
        table = generated(bench, GRISTMILL, rows, f"refresh-{rows}")

        def steps(contender: Contender, repeat: int) -> list[Task]:
            task = {"table": table, "out": out_for(bench, contender), "digest": False}  # noqa: B023
            first, after = f"{rows} {FIRST}", f"{rows} {AFTER}"  # noqa: B023
            if contender is PEER:
                return [task | {"step": after}]
            return [task | {"step": first}, task | {"step": after, "change": ONE_OF}]

        trials += bench.race(
            racing,
            steps,
            warm_up=lambda it, _: rehearsal | {"out": out_for(bench, it) + "-warm"},
            repeats=1 if rows == 10_000_000 else bench.repeats,
            fresh=True,
        )
    told = [row for rows in sizes for row in _rows(trials, rows, sizes[0])]
    columns = ["rows", "contender", "run", "wall s", "changes s", "complete s", "write s"]
    columns += ["of the first run", "of the smallest's", "of the recompute"]
    notes = [
        "Free model, rows of 70 characters that all differ; local[2], driver memory 4 GB; a "
        "process a trial. The change is one UPDATE of rows all over the table, not in the time.",
        weather(trials),
        *settings(racing),
    ]
    return [Section("W6 refresh", columns, told, [it for it in notes if it], trials)]


def _rows(trials: list[Trial], rows: int, smallest: int) -> list[list[str]]:
    first, after = f"{rows} {FIRST}", f"{rows} {AFTER}"
    recompute = median(trials, PEER.name, "wall", after)
    base = median(trials, GRISTMILL.name, "wall", f"{smallest} {AFTER}")
    of_first = median(trials, GRISTMILL.name, "wall", first)
    told = []
    for contender, step in ((GRISTMILL, first), (GRISTMILL, after), (PEER, after)):
        mine = [it for it in trials if (it["step"], it["contender"]) == (step, contender.name)]
        wall = median(trials, contender.name, "wall", step)
        refreshed = contender is GRISTMILL and step == after
        told.append(
            [
                f"{rows:,}",
                contender.name,
                step.partition(" ")[2],
                spread(values(trials, contender.name, "wall", step), 1),
                *(_seconds(mine, of) for of in ("changes", "complete", "write")),
                figure(wall / of_first) if refreshed else "",
                figure(wall / base) if refreshed else "",
                figure(wall / recompute) if refreshed else "",
            ]
        )
    return told


def _seconds(trials: list[Trial], step: str) -> str:
    found = [it["report"]["seconds"].get(step, 0.0) for it in trials if "report" in it]
    return spread(found, 1) if found else ""
