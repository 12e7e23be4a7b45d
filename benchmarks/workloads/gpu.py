"""W10: what a GPU makes of skewed answers, shared prefixes, half precision and schemas.

All contenders share one process and its model, since a GPU's memory does not divide well; they take
turns as elsewhere. No Spark: `python benchmarks/run.py --only gpu` runs on any machine with torch.
"""

import gc
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from random import Random

import jsonschema
from bench.results import Section, agreement, cells, figure, spread
from bench.trials import Bench, Trial, median, values
from contenders.on_gpu import Run, arrival_loop, gristmill, paged, sorted_loop
from counting_model import LARGER, QWEN3_06B, TINY, build_counting, prompt, skewed

from chains.models.base import Parameters
from chains.models.transformers.model import TransformersModel, resolve_transformers

MOST = 96  # tokens of an answer
ARRIVAL_ROWS = 64
QUESTIONS = 16
SMALLEST = "Qwen3-0.6B"
SHARE = 15.0  # seconds of a contender's trials, of which there are at least two: see `race`
SIZES = {"page_size": 64, "num_blocks": 2048, "max_batch_tokens": 4096}
SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["good", "bad", "neither"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 99},
        "reasons": {
            "type": "array",
            "items": {"type": "string", "maxLength": 24},
            "minItems": 2,
            "maxItems": 3,
        },
    },
    "required": ["verdict", "score", "reasons"],
    "additionalProperties": False,
}


def run(bench: Bench) -> list[Section]:
    import torch

    gpu = torch.cuda.is_available()
    if not gpu and not bench.smoke:
        return [Section("W10 GPU", ["skipped"], [["no GPU that torch can use is here"]])]
    device = "cuda" if gpu else "cpu"
    folder = build_counting(bench.work / "counting", QWEN3_06B if gpu else TINY, device)
    model = TransformersModel(resolve_transformers(f"path:{folder}", str(folder)))
    model.complete([])
    sections: list[Section] = []
    try:
        parts = (_structured, _precision, _shared, _skewed)  # the longest race comes last
        sections.extend(part(bench, model) for part in parts)
    except KeyboardInterrupt:
        bench.notes.append("interrupted; what comes behind was not run")
    return sections or [Section("W10 GPU", ["interrupted"], [])]


def _skewed(bench: Bench, model: TransformersModel) -> Section:
    weights = sum(it.nbytes for it in model._network.parameters()) / 2**30
    rng = Random(7)
    lengths = [skewed(rng, 24, MOST) for _ in range(bench.size(160, 16))]
    prompts = [prompt(rng, skewed(rng, 120, 500), n) for n in lengths]
    limits = Parameters(max_output_tokens=MOST)
    racing = {
        "gristmill": gristmill(model, limits),
        "generate, sorted": sorted_loop(model, MOST),
        f"generate, {ARRIVAL_ROWS} as they come": arrival_loop(model, MOST, ARRIVAL_ROWS),
        "continuous batching, sized": paged(model, MOST, SIZES),
        "continuous batching, default": paged(model, MOST, None if model_on_gpu(model) else SIZES),
    }
    held = _gib() - weights
    trials = race(bench, racing, prompts, "skewed")
    notes = [
        f"{len(prompts):,} prompts and answers of log-normal lengths: {sum(lengths):,} tokens of "
        f"answers, at most {MOST}, of which the longest is {max(lengths)}.",
        f"Continuous batching, sized: {SIZES}.",
        f"GPU GiB: what a trial takes at most, without the weights ({weights:.1f}). Gristmill "
        f"holds {held:.1f} between trials, for keys and values.",
    ]
    return _told("W10a skewed answers", trials, list(racing), sum(lengths), notes)


def _shared(bench: Bench, model: TransformersModel) -> Section:
    """Race sharing beside not sharing, by the size of the model: it decides whether it pays."""
    rng = Random(8)
    documents = [prompt(rng, 600, 2) for _ in range(bench.size(8, 2))]
    answers = 32
    prompts = [prompt(rng, 12, answers, it) for it in documents for _ in range(QUESTIONS)]
    rng.shuffle(prompts)
    trials = _sharing(bench, model, prompts, answers, SMALLEST)
    for name, shape in LARGER.items() if model_on_gpu(model) else ():
        folder = build_counting(bench.work / name, shape, "cuda")
        larger = TransformersModel(resolve_transformers(f"path:{folder}", str(folder)))
        trials += _sharing(bench, larger, prompts, answers, name)
        shutil.rmtree(folder)
    names = list(dict.fromkeys(it["contender"] for it in trials))
    notes = [
        f"{len(prompts):,} prompts, {QUESTIONS} about each of {len(documents)} documents of 600 "
        f"tokens, shuffled; {answers} tokens of answer each. Random weights in these shapes."
    ]
    return _told("W10b shared prefixes", trials, names, answers * len(prompts), notes)


def _sharing(
    bench: Bench, model: TransformersModel, prompts: Sequence[str], answers: int, name: str
) -> list[Trial]:
    limits = Parameters(max_output_tokens=answers)
    sharing, alone = TransformersModel(model.ref), TransformersModel(model.ref)
    for it, shares in ((sharing, True), (alone, False)):
        it._network, it._shares = model._network, shares
    racing = {
        f"{name}, prefixes shared": gristmill(sharing, limits),
        f"{name}, not shared": gristmill(alone, limits),
    }
    if name == SMALLEST:
        racing["continuous batching, sized"] = paged(model, answers, SIZES)
    return race(bench, racing, prompts, f"shared {name}")


def _precision(bench: Bench, model: TransformersModel) -> Section:
    import torch
    from transformers import AutoModelForCausalLM

    rng = Random(9)
    lengths = [skewed(rng, 40, 64) for _ in range(bench.size(96, 8))]
    prompts = [prompt(rng, skewed(rng, 300, 900), n) for n in lengths]
    limits = Parameters(max_output_tokens=64)
    whole = TransformersModel(model.ref)
    whole._network = AutoModelForCausalLM.from_pretrained(
        model.ref.location, dtype=torch.float32
    ).to(model._network.device)
    whole._network.generation_config = model._network.generation_config
    whole._budget = model._budget // 2  # as much memory for what is kept of tokens
    racing = {
        "gristmill, bfloat16": gristmill(model, limits),
        "gristmill, float32": gristmill(whole, limits),
    }
    if not model_on_gpu(model):
        racing.popitem()
    trials = race(bench, racing, prompts, "precision")
    notes = [f"{len(prompts):,} prompts of about 300 tokens. The model is the same in both."]
    return _told("W10c half precision", trials, list(racing), sum(lengths), notes)


def _structured(bench: Bench, model: TransformersModel) -> Section:
    rng = Random(10)
    prompts = [prompt(rng, skewed(rng, 120, 600), 100) for _ in range(bench.size(128, 8))]
    limits = Parameters(max_output_tokens=128)
    racing = {
        "free": gristmill(model, limits),
        "held to a schema": gristmill(model, limits, SCHEMA),
    }
    trials = race(bench, racing, prompts, "structured", keep=True)
    told = []
    for name in racing:
        mine = [it for it in trials if it["contender"] == name and "error" not in it]
        fits = [sum(map(_fits, it["answers"])) for it in mine]
        tokens = [sum(len(i) for i in _encoded(model, it["answers"])) for it in mine]
        speed = [n / it["wall"] for it, n in zip(mine, tokens, strict=True)]
        told.append(
            [name, *cells(trials, name), spread(tokens, 0), spread(speed, 0), spread(fits, 0)]
        )
    for it in trials:
        it.pop("answers", None)
    columns = ["gristmill", "wall s", "CPU s", "tokens", "tokens/s", "fit the schema"]
    notes = [f"{len(prompts):,} prompts, greedy; held by xgrammar where the package is installed."]
    return Section("W10d answers by a schema", columns, told, notes, trials)


def _encoded(model: TransformersModel, answers: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = model._tokenizer(list(answers))["input_ids"]
    return ids


def _fits(answer: str) -> bool:
    try:
        jsonschema.validate(json.loads(answer), SCHEMA)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def _gib() -> float:
    import torch

    return torch.cuda.memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def model_on_gpu(model: TransformersModel) -> bool:
    return bool(model._network.device.type == "cuda")


def race(
    bench: Bench,
    racing: dict[str, Run],
    prompts: Sequence[str],
    table: str,
    keep: bool = False,
) -> list[Trial]:
    """Run the contenders in turn, A B B A, each after a warm-up; one that fails is left out.

    Time on a GPU is short: who has had its share of it sits the other repeats out.
    """
    gc.collect()  # a model and its places, which are large, know each other
    trials: list[Trial] = []
    failed: set[str] = set()
    for name, answer in racing.items() if bench.repeats else ():
        try:
            answer(prompts[:8])
        except Exception as error:
            bench.notes.append(f"{name} failed: {type(error).__name__}: {str(error)[:200]}")
            failed.add(name)
    try:
        for repeat in range(bench.repeats):
            for name in list(racing)[:: (-1) ** repeat]:
                before = values(trials, name, "wall")
                if name in failed or (len(before) > 1 and sum(before) > SHARE):
                    continue
                trial = {"contender": name, "repeat": repeat, "step": "", "table": table}
                trials.append(trial | _trial(racing[name], prompts, keep))
                told = trials[-1]
                bench.say(f"{repeat} {name}: {told['wall']:.2f} s, {told['peak']:.1f} GiB")
    except KeyboardInterrupt:
        bench.notes.append(f"{table}: interrupted; what comes behind was not run")
        bench.repeats = 0
    return trials


def _trial(answer: Run, prompts: Sequence[str], keep: bool) -> Trial:
    """Run one trial; `peak` is what it takes of the GPU beyond what is held before, GiB."""
    import torch

    gpu, held = torch.cuda.is_available(), 0
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    begin, cpu = time.perf_counter(), time.process_time()
    answers = answer(prompts)
    trial: Trial = {"wall": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
    trial["peak"] = (torch.cuda.max_memory_allocated() - held) / 2**30 if gpu else 0.0
    trial["rows"] = len(answers)
    trial["hash"] = hashlib.sha256(json.dumps(answers).encode()).hexdigest()[:16]
    return trial | ({"answers": answers} if keep else {})


def _told(
    title: str, trials: list[Trial], racing: Sequence[str], tokens: int, notes: list[str]
) -> Section:
    first = median(trials, racing[0])
    told = [
        [
            name,
            str(len(values(trials, name, "wall"))),
            *cells(trials, name),
            figure(tokens / median(trials, name), 0),
            figure(first / median(trials, name)),
            spread(values(trials, name, "peak"), 1),
        ]
        for name in racing
    ]
    columns = ["contender", "trials", "wall s", "CPU s", "tokens/s", "times the first", "GPU GiB"]
    return Section(title, columns, told, [*notes, agreement(trials)], trials)
