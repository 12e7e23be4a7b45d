"""W1b: prompts of skewed lengths through a random-weight model; tokens/s beside a bare loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import tables
from bench.asking import template_file
from bench.results import Section, agreement, cells, figure, settings, spread, weather
from bench.trials import Bench, Contender, best_of, median, values

from workloads.common import clean_out, shared_steps, warm_table

OUTPUT_TOKENS = 32


def contenders(folder: Path, template: str, ours: dict[str, Any]) -> list[Contender]:
    """Return who races; `template` makes prompts of `body`, `ours` changes what gristmill asks."""
    limits = {"max_output_tokens": OUTPUT_TOKENS, "min_output_tokens": OUTPUT_TOKENS}
    ask = {"ask": {"spec": f"path:{folder}", "parameters": limits, "template": template}}
    loop = {"ask": {**ask["ask"], "loop": "generate"}}
    sorted_loop = "generate over length-sorted batches, same budget of tokens a batch"
    return [
        Contender(
            "bare loop 1x2",
            "bare",
            {**loop, "processes": 1},
            threads=2,
            settings=f"{sorted_loop}; 1 process, 2 torch threads",
        ),
        Contender(
            "bare loop 2x1",
            "bare",
            {**loop, "processes": 2},
            settings=f"{sorted_loop}; 2 processes, 1 torch thread each",
        ),
        Contender(
            "gristmill",
            "gristmill_batch",
            task={"ask": ask["ask"] | ours},
            settings="local[2], new target and ledger",
        ),
        Contender(
            "mlflow spark_udf", "mlflow_udf", task=ask, settings="local[2], env_manager=local"
        ),
        Contender(
            "predict_batch_udf default",
            "predict_batch",
            task={**ask, "batch_size": 100},
            settings="local[2], batch_size 100",
        ),
        Contender(
            "predict_batch_udf tuned",
            "predict_batch",
            task={**ask, "batch_size": 1000},
            settings="local[2], batch_size 1000",
        ),
    ]


def race(
    bench: Bench, title: str, build: Callable[[Path], Path], rows: int, middle: float, longest: int
) -> list[Section]:
    """Race over `rows` prompts of at most `longest` words with the model that `build` makes."""
    folder = build(bench.work / build.__name__)
    texts = tables.prompts(rows, middle, longest)
    table = tables.write(bench.work / f"prompts-{build.__name__}", texts)
    racing = contenders(folder, template_file(), {})
    warm = warm_table(bench, texts)
    trials = bench.race(racing, shared_steps(bench, table), warm_up=clean_out(bench, warm))
    best = best_of(trials, [it.name for it in racing if it.file == "bare"])
    told = [
        [
            it.name,
            *cells(trials, it.name),
            figure(rows * OUTPUT_TOKENS / median(trials, it.name), 0),
            figure(100 * best / median(trials, it.name), 1) + " %",
            figure(1000 * median(trials, it.name, "cpu") / rows, 1),
            spread([float(n) for n in values(trials, it.name, "rows")], 0),
        ]
        for it in racing
    ]
    columns = ["contender", "wall s", "CPU s", "tokens/s", "of bare loop", "CPU ms/row", "answers"]
    notes = [
        f"{rows:,} prompts, log-normal, {OUTPUT_TOKENS} output tokens each, no end of sequence. "
        "The peers run gristmill's model class by hand; the bare loop is plain `generate`.",
        "Padding differs with the batches, so greedy answers may differ in late tokens; white "
        "space around them does not count. "
        + agreement(trials).replace("OUTPUTS DIFFER", "Outputs"),
        weather(trials),
        *settings(racing),
    ]
    return [Section(title, columns, told, [it for it in notes if it], trials)]
