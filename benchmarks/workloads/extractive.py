"""W1a: Delta to summaries to Delta by the extractive model; rows/s beside a bare loop."""

from bench import tables
from bench.results import Section, agreement, cells, figure, settings, spread, weather
from bench.trials import Bench, Contender, Task, best_of, median, values

from workloads.common import CLUSTER, clean_out, out_for, warm_table

ASK = {"spec": "extractive", "parameters": {"sentences": 3}}
MIDDLE_WORDS = 60


def contenders() -> list[Contender]:
    ask = {"ask": ASK}
    return [
        Contender(
            "bare loop 1x2",
            "bare",
            {**ask, "processes": 1},
            threads=2,
            settings="1 process, 2 torch threads",
        ),
        Contender(
            "bare loop 2x1",
            "bare",
            {**ask, "processes": 2},
            settings="2 processes, 1 torch thread each, rows dealt by length",
        ),
        Contender(
            "gristmill", "gristmill_batch", task=ask, settings="local[2], new target and ledger"
        ),
        Contender(
            "mlflow spark_udf", "mlflow_udf", task=ask, settings="local[2], env_manager=local"
        ),
        Contender(
            "mlflow spark_udf cluster",
            "mlflow_udf",
            {"master": CLUSTER},
            ask,
            settings=f"{CLUSTER}, env_manager=local",
        ),
        Contender(
            "predict_batch_udf default",
            "predict_batch",
            task={**ask, "batch_size": 100},
            settings="local[2], batch_size 100 (it has no default; Spark's examples: 100)",
        ),
        Contender(
            "predict_batch_udf tuned",
            "predict_batch",
            task={**ask, "batch_size": 1000},
            settings="local[2], batch_size 1000, as many rows as a task has",
        ),
        Contender(
            "ray data default",
            "ray_data",
            task={**ask, "blocks": tables.FILES},
            settings="2 actors of 1 CPU, 8 blocks, default batch size",
        ),
        Contender(
            "ray data tuned",
            "ray_data",
            task={**ask, "blocks": 2, "batch_size": 1000},
            settings="2 actors of 1 CPU, 2 blocks, batch_size 1000",
        ),
        Contender(
            "daft default", "daft_udf", task=ask, settings="class UDF, native runner, all defaults"
        ),
        Contender(
            "daft tuned",
            "daft_udf",
            task={
                **ask,
                "partitions": 250,
                "batch_size": 250,
                "udf": {"use_process": True, "max_concurrency": 2},
            },
            settings="class UDF, use_process, max_concurrency 2, batch_size 250",
        ),
    ]


def run(bench: Bench) -> list[Section]:
    rows = tables.reports(bench.size(2000, 40), MIDDLE_WORDS)
    warm = warm_table(bench, rows)
    racing = contenders()

    def steps(contender: Contender, repeat: int) -> list[Task]:
        """Take other documents each time: a model keeps the sentences that it has met."""
        path = bench.work / f"extractive-{repeat}"
        if not path.exists():
            tables.write(path, tables.reports(len(rows), MIDDLE_WORDS, seed=8 + repeat))
        return [{"table": str(path), "out": out_for(bench, contender)}]

    trials = bench.race(racing, steps, warm_up=clean_out(bench, warm))
    best = best_of(trials, [it.name for it in racing if it.file == "bare"])
    told = [
        [
            it.name,
            *cells(trials, it.name),
            figure(len(rows) / median(trials, it.name), 1),
            figure(100 * best / median(trials, it.name), 1) + " %",
            figure(1000 * median(trials, it.name, "cpu") / len(rows), 2),
            spread(values(trials, it.name, "start_seconds"), 1),
            spread([float(n) for n in values(trials, it.name, "askers")], 0),
        ]
        for it in racing
    ]
    columns = [
        "contender",
        "wall s",
        "CPU s",
        "rows/s",
        "of bare loop",
        "CPU ms/row",
        "start s",
        "loads",
    ]
    words = sum(len(text.split()) for _, text in rows)
    notes = [
        f"{len(rows):,} distinct documents of {words / len(rows):.0f} words on average, "
        "log-normal; source and target are Delta tables of 8 files.",
        "start s is apart from wall s. loads: model loads within the timed part (not counted for "
        "gristmill here; see the workloads loads and memory).",
        agreement(trials),
        weather(trials),
        *settings(racing),
    ]
    return [Section("W1a extractive", columns, told, [it for it in notes if it], trials)]
