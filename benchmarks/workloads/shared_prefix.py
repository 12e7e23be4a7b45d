"""W2: a shared instruction, then shuffled groups of rows with a shared document."""

from itertools import pairwise
from pathlib import Path

from bench import tables
from bench.asking import template_file
from bench.results import Section, agreement, cells, figure, settings, spread, weather
from bench.trials import Bench, Trial, median, values
from bench.watching import DAEMON
from random_model import build_llama

from chains.models.transformers.prefixes import common
from chains.models.transformers.prompts import encode
from chains.models.transformers.weights import load_tokenizer
from chains.templates import load_template
from workloads.common import clean_out, shared_steps, warm_table
from workloads.generating import OUTPUT_TOKENS, best_sorted, contenders

QUESTIONS = 8


def run(bench: Bench) -> list[Section]:
    folder = build_llama(bench.work / "shared-prefix")
    rows = tables.questions(bench.size(40, 4), QUESTIONS, 150)
    table = tables.write(bench.work / "questions", rows)
    ours = {"template": template_file("questions"), "columns": {}}
    options = {"conf": DAEMON}
    racing = contenders(folder, template_file("instructed"), ours, options=options)
    trials = bench.race(
        racing, shared_steps(bench, table), warm_up=clean_out(bench, warm_table(bench, rows))
    )
    read, needed = prompt_tokens(folder, rows)
    best = best_sorted(trials, racing)
    bound = (read + len(rows) * OUTPUT_TOKENS) / (needed + len(rows) * OUTPUT_TOKENS)
    told = [
        [
            it.name,
            *cells(trials, it.name),
            figure(best / median(trials, it.name)),
            figure(best / median(trials, it.name) / bound),
            *(_computed(trials, it.name, of, read) for of in ("computed", "padded")),
            figure(100 * needed / read, 1) + " %",
            spread([float(n) for n in values(trials, it.name, "rows")], 0),
        ]
        for it in racing
    ]
    columns = ["contender", "wall s", "CPU s", "times bare loop", "of the bound"]
    columns += ["of prompt tokens computed", "with padding", "at least", "answers"]
    notes = [
        f"{len(rows):,} prompts, {QUESTIONS} about each document, shuffled; {read:,} tokens, of "
        f"which {needed:,} must pass the model; {OUTPUT_TOKENS} output tokens each. The bound on "
        f"the speed-up over the bare loop is {bound:.2f}: the ratio of tokens, answers included.",
        "The bare loop is plain `generate` over length-sorted batches; it shares no prefix.",
        "of prompt tokens computed: those that pass the model before the first token of an answer, "
        "counted at the model's forward in all workers, over the tokens of all prompts. at least: "
        "where none passes twice.",
        agreement(trials),
        weather(trials),
        *settings(racing),
    ]
    title = "W2 shared prefixes, 31M parameters"
    return [Section(title, columns, told, [it for it in notes if it], trials)]


def prompt_tokens(folder: Path, rows: tables.Rows) -> tuple[int, int]:
    """Return the tokens of all prompts, and those left when none is computed twice."""
    tokenizer, template = load_tokenizer(folder), load_template(template_file("instructed"))
    prompts = (template.render({"document": body}) for _, body, *_ in rows)
    ids = sorted(encode(tokenizer, messages) for messages in prompts)
    needed = len(ids[0]) + sum(len(b) - common(a, b) for a, b in pairwise(ids))
    return sum(map(len, ids)), needed


def _computed(trials: list[Trial], contender: str, of: str, read: int) -> str:
    """Return which share of the prompts' tokens a contender has computed."""
    mine = [it for it in trials if it["contender"] == contender and "prefill" in it]
    return spread([100 * it["prefill"][of] / read for it in mine], 1) + " %" if mine else "-"
