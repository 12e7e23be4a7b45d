"""W6: a third of the rows are duplicates; then again after 1 % new rows."""

from random import Random

from bench import tables
from bench.results import Section, agreement, cells, figure, settings, spread, weather
from bench.trials import Bench, Contender, Task, median, values

from workloads.common import clean_out, out_for, warm_table

ASK = {"spec": "python:bench.models:CountedExtractive", "parameters": {"sentences": 3}}
MIDDLE_WORDS = 60
STEPS = ("first", "after 1 % new rows")
PEER = "mlflow spark_udf"


def contenders() -> list[Contender]:
    return [
        Contender(
            "gristmill",
            "gristmill_batch",
            task={"ask": ASK},
            settings="local[2]; the second run finds ledger and target of the first",
        ),
        Contender(
            PEER,
            "mlflow_udf",
            task={"ask": ASK},
            settings="local[2], env_manager=local; the second run computes all rows again",
        ),
    ]


def run(bench: Bench) -> list[Section]:
    total, new = bench.size(2000, 40), bench.size(20, 4)
    rows, more = rows_of(total, new)
    first = tables.write(bench.work / "duplicates", rows)
    second = tables.write(bench.work / "duplicates-more", [*rows, *more])
    warm = warm_table(bench, rows)

    def steps(contender: Contender, repeat: int) -> list[Task]:
        out = out_for(bench, contender)
        again = out if contender.file == "gristmill_batch" else out + "-again"
        return [
            {"step": STEPS[0], "table": first, "out": out},
            {"step": STEPS[1], "table": second, "out": again},
        ]

    racing = contenders()
    trials = bench.race(racing, steps, warm_up=clean_out(bench, warm), fresh=True)
    wanted = dict(zip(STEPS, (len({text for _, text in rows}), new), strict=True))
    told = [
        [
            step,
            it.name,
            *cells(trials, it.name, step),
            spread([float(n) for n in values(trials, it.name, "calls", step)], 0),
            f"{wanted[step]:,}",
            figure(median(trials, PEER, "wall", step) / median(trials, it.name, "wall", step))
            + " x",
        ]
        for step in STEPS
        for it in racing
    ]
    columns = ["run", "contender", "wall s", "CPU s", "calls", "distinct or new", "speed-up"]
    notes = [
        f"{total:,} rows, {wanted[STEPS[0]]:,} distinct texts; then {new} rows with new texts.",
        agreement(trials),
        weather(trials),
        *settings(racing),
    ]
    return [Section("W6 duplicates", columns, told, [it for it in notes if it], trials)]


def rows_of(total: int, new: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return rows of which a third repeat others (some often, most once), and new ones."""
    rng = Random(7)
    distinct = total - total // 3
    found = tables.reports(distinct + new, MIDDLE_WORDS)
    texts = [text for _, text in found]
    often = [1 / (1 + rank) for rank in range(distinct)]  # Zipf
    copies = rng.choices(texts[:distinct], weights=often, k=total // 3)
    mixed = [*texts[:distinct], *copies]
    rng.shuffle(mixed)
    rows = [(f"{i:05d}", text) for i, text in enumerate(mixed)]
    return rows, [(f"new-{i}", text) for i, text in enumerate(texts[distinct:])]
