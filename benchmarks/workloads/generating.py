"""W1b: prompts of skewed lengths through a random-weight model; tokens/s beside a bare loop."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from bench import tables
from bench.asking import template_file
from bench.results import Section, agreement, cells, figure, settings, spread, weather
from bench.trials import Bench, Contender, best_of, median, values
from counting_model import build_counting, prompt, skewed

from workloads.common import clean_out, shared_steps, warm_table

OUTPUT_TOKENS = 32
EXACTLY = {"max_output_tokens": OUTPUT_TOKENS, "min_output_tokens": OUTPUT_TOKENS}
ARRIVAL = "arrival order 2x1"
LONGEST_ANSWER = 128
LLAMA_31M = {
    "vocab_size": 8_192,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 9,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
}


def contenders(
    folder: Path,
    template: str,
    ours: dict[str, Any],
    limits: Mapping[str, int] = EXACTLY,
    options: Mapping[str, Any] | None = None,
) -> list[Contender]:
    """Return who races; `template` makes prompts of `body`, `ours` changes what gristmill asks.

    `options` are those of contenders with a Spark session.
    """
    ask = {"ask": {"spec": f"path:{folder}", "parameters": dict(limits), "template": template}}
    loop = {"ask": {**ask["ask"], "loop": "generate"}}
    arrival = {"ask": {**loop["ask"], "order": "arrival"}}
    sorted_loop = "generate over length-sorted batches, same budget of tokens a batch"
    spark = dict(options or {})
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
            ARRIVAL,
            "bare",
            {**arrival, "processes": 2},
            settings="generate over rows as they come, in as many batches as the sorted loop has, "
            "of equally many rows; 2 processes, 1 torch thread each",
        ),
        Contender(
            "gristmill",
            "gristmill_batch",
            spark,
            {"ask": ask["ask"] | ours},
            settings="local[2], new target and ledger",
        ),
        Contender(
            "mlflow spark_udf", "mlflow_udf", spark, ask, settings="local[2], env_manager=local"
        ),
        Contender(
            "predict_batch_udf default",
            "predict_batch",
            spark,
            {**ask, "batch_size": 100},
            settings="local[2], batch_size 100",
        ),
        Contender(
            "predict_batch_udf tuned",
            "predict_batch",
            spark,
            {**ask, "batch_size": 1000},
            settings="local[2], batch_size 1000",
        ),
    ]


def best_sorted(trials: list[dict[str, Any]], racing: list[Contender]) -> float:
    """Return the seconds of the faster bare loop over length-sorted batches."""
    return best_of(trials, [it.name for it in racing if it.file == "bare" and it.name != ARRIVAL])


def race(
    bench: Bench, title: str, build: Callable[[Path], Path], rows: int, middle: float, longest: int
) -> Section:
    """Race over `rows` prompts of at most `longest` words with the model that `build` makes."""
    folder = build(bench.work / build.__name__)
    texts = tables.prompts(rows, middle, longest)
    note = (
        f"{rows:,} prompts, log-normal, {OUTPUT_TOKENS} output tokens each, no end of sequence. "
        "The peers run gristmill's model class by hand; the bare loop is plain `generate`. "
        "Padding differs with the batches, so greedy answers may differ in late tokens; white "
        "space around them does not count."
    )
    racing = contenders(folder, template_file(), {})
    return _race(bench, title, racing, texts, rows * OUTPUT_TOKENS, note)


def race_of_skewed_answers(bench: Bench, title: str, rows: int) -> Section:
    """Race over prompts whose answers end by themselves, after a log-normal number of tokens."""
    rng = Random(7)
    folder = build_counting(bench.work / "counting", LLAMA_31M, "cpu")
    answers = [skewed(rng, 30, LONGEST_ANSWER) for _ in range(rows)]
    asked = [(f"{i:05d}", prompt(rng, skewed(rng, 40, 240), n)) for i, n in enumerate(answers)]
    note = (
        f"{rows:,} prompts and answers, both log-normal: answers of {min(answers)} to "
        f"{max(answers)} tokens, {sum(answers) / rows:.0f} on average, end by themselves "
        f"(max_output_tokens {LONGEST_ANSWER}); tokens/s counts the tokens of answers."
    )
    racing = contenders(folder, template_file(), {}, {"max_output_tokens": LONGEST_ANSWER})
    return _race(
        bench, title, racing, [(id, text.strip()) for id, text in asked], sum(answers), note
    )


def _race(
    bench: Bench,
    title: str,
    racing: list[Contender],
    texts: list[tuple[str, str]],
    tokens: int,
    note: str,
) -> Section:
    table = tables.write(bench.work / f"prompts-{len(list(bench.work.iterdir()))}", texts)
    warm = warm_table(bench, texts)
    trials = bench.race(racing, shared_steps(bench, table), warm_up=clean_out(bench, warm))
    best, arrival = best_sorted(trials, racing), median(trials, ARRIVAL)
    told = [
        [
            it.name,
            *cells(trials, it.name),
            figure(tokens / median(trials, it.name), 0),
            figure(100 * best / median(trials, it.name), 1) + " %",
            figure(arrival / median(trials, it.name)),
            figure(1000 * median(trials, it.name, "cpu") / len(texts), 1),
            spread([float(n) for n in values(trials, it.name, "rows")], 0),
        ]
        for it in racing
    ]
    columns = ["contender", "wall s", "CPU s", "tokens/s", "of bare loop", "times arrival order"]
    columns += ["CPU ms/row", "answers"]
    notes = [
        note,
        agreement(trials).replace("OUTPUTS DIFFER", "Outputs"),
        weather(trials),
        *settings(racing),
    ]
    return Section(title, columns, told, [it for it in notes if it], trials)
