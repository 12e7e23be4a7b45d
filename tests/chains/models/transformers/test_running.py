"""Answers by places for rows; on a CPU the same steps run without being recorded."""

import json
from random import Random
from types import SimpleNamespace

import jsonschema
import pytest
from counting_model import TINY, build_counting, prompt, skewed

from chains.errors import JobError
from chains.models.base import Answer, Parameters, Request
from chains.models.transformers import model as transformers_model
from chains.models.transformers.model import TransformersModel, resolve_transformers
from chains.models.transformers.slots import Slots, agrees

TEXTS = [f"Summarize report {i} of the mill. " * (1 + i * 7 % 12) for i in range(24)]
VERDICT = {
    "type": "object",
    "properties": {"verdict": {"enum": ["good", "bad"]}, "kinds": {"enum": ["corn", "mill"]}},
    "required": ["verdict", "kinds"],
    "additionalProperties": False,
}


def request(text, schema=None, **parameters):
    limits = {"max_output_tokens": 16} | parameters
    return Request(({"role": "user", "content": text},), Parameters(**limits), {}, schema)


def said(outcomes):
    """Return all of the answers but their time."""
    return [(it.text, it.finish_reason, it.usage) for it in outcomes]


@pytest.fixture(scope="module", params=[4096, 1024])
def models(tiny_model, request):
    """Return a model that runs batches, and the same with places for some rows."""
    return pair(tiny_model, request.param)


def pair(folder, tokens):
    plain, placed = (
        TransformersModel(resolve_transformers(f"path:{folder}", str(folder))) for _ in range(2)
    )
    plain._network = placed._network = plain._network
    plain._slots = None
    placed._slots = Slots(placed._network, placed._pad, placed._prefixes.before, tokens)
    return plain, placed


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_output_tokens": 48},
        {"max_output_tokens": 48, "min_output_tokens": 40},
        {"stop": ("es", "u")},
        {"temperature": 1.0, "top_p": 0.9, "seed": 5, "max_output_tokens": 48},
    ],
)
def test_answers_are_those_of_batches(models, parameters):
    asked = [request(text, **parameters) for text in TEXTS]
    plain, placed = (model.complete(asked) for model in models)
    assert said(placed) == said(plain)
    assert len({it.usage.output_tokens for it in placed}) > 1 or "min_output_tokens" in parameters


def test_answers_are_as_probable_as_in_batches(models):
    asked = [
        request(t, max_output_tokens=60, stop=("e",), min_log_probability=-99.0) for t in TEXTS
    ]
    plain, placed = ([it.log_probability for it in model.complete(asked)] for model in models)
    assert placed == pytest.approx(plain, abs=1e-4)


def test_answers_about_shared_documents_are_those_of_batches(models):
    head = "Answer the question about the document, in one sentence, from the document alone. "
    documents = [f"Document {n}: " + f"the mill of {n} ground corn. " * (6 + n) for n in range(4)]
    asked = [request(f"{head}{it}Who {n} times?") for n in range(6) for it in documents]
    plain, placed = (model.complete(asked) for model in models)
    assert said(placed) == said(plain)


def test_answers_fit_their_schema(models):
    pytest.importorskip("xgrammar")
    asked = [request(text, VERDICT, max_output_tokens=64) for text in TEXTS]
    plain, placed = (model.complete(asked) for model in models)
    assert said(placed) == said(plain)
    for outcome in placed:
        jsonschema.validate(json.loads(outcome.text), VERDICT)


def test_rows_that_wait_take_the_places_of_those_that_ended(tmp_path):
    folder = build_counting(tmp_path / "counting", TINY, "cpu")
    _, model = pair(folder, 4096)
    steps = []
    lengths = [skewed(Random(i), 16, 96) for i in range(60)]
    texts = [prompt(Random(i), 3 + i * 7 % 20, length) for i, length in enumerate(lengths)]
    steps = []
    model._slots.step, step = (
        lambda tokens: (steps.append(len(tokens)), step(tokens)),
        (model._slots.step),
    )
    seen = [
        [i for i, _ in some]
        for some in model.stream([request(text, max_output_tokens=96) for text in texts])
    ]
    assert sorted(i for some in seen for i in some) == list(range(60))
    assert len(seen) > 20  # as they end
    outcomes = model.complete([request(text, max_output_tokens=96) for text in texts])
    assert [it.usage.output_tokens for it in outcomes] == lengths
    assert max(steps) == 16
    assert len(steps) / 2 < 2 * sum(lengths) / 16


def test_narrow_rows_are_answered_after_a_long_run_of_wide_ones(models):
    plain, placed = models
    placed.complete([request("Mill?", max_output_tokens=300, min_output_tokens=300)])
    asked = [request(text) for text in TEXTS[:2]]  # which leave places free
    assert said(placed.complete(asked)) == said(plain.complete(asked))


def test_a_row_beyond_all_places_is_answered_alone(models):
    plain, placed = models
    asked = [request("mill " * 900), request("Mill?")]
    assert said(placed.complete(asked)) == said(plain.complete(asked))


def test_where_the_memory_does_not_suffice_the_next_run_has_half(tiny_model, models):
    import torch

    plain, _ = models
    _, placed = pair(tiny_model, 4096)
    placed._slot_tokens, fill, failed = 4096, placed._slots.fill, []

    def scarce(places, prompts):
        if len(places) > 3:
            failed.append(placed._slot_tokens)
            placed._slots = placed._slots if placed._slot_tokens > 512 else None
            raise torch.OutOfMemoryError("the GPU is full")
        fill(places, prompts)

    placed._slots.fill = scarce
    asked = [request(text) for text in TEXTS]
    outcomes = placed.complete(asked)
    assert all(isinstance(it, Answer) for it in outcomes)
    assert said(outcomes) == said(plain.complete(asked))
    assert failed == [4096]
    assert placed._slot_tokens == 2048


def test_a_gpu_that_fails_stops_the_job_and_blames_no_row(tiny_model):
    import torch

    def broken(tokens):
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error")

    _, placed = pair(tiny_model, 1024)
    placed._slots.step = broken
    with pytest.raises(JobError, match=r"the GPU failed under .*ECC"):
        placed.complete([request(text) for text in TEXTS])


@pytest.mark.parametrize(
    ("device", "parameters", "shares"),
    [("cpu", 100, True), ("cuda", 600, False), ("cuda", 2000, True)],
)
def test_a_small_model_shares_no_prefixes_on_a_gpu(
    tiny_model, monkeypatch, device, parameters, shares
):
    monkeypatch.setattr(transformers_model, "GPU_SHARES_FROM", 2000)
    model = TransformersModel(resolve_transformers(f"path:{tiny_model}", str(tiny_model)))
    model._prefixes = object()
    model._network = SimpleNamespace(
        device=SimpleNamespace(type=device), num_parameters=lambda: parameters
    )
    assert model._shares is shares


def test_a_model_whose_places_disagree_has_none(tiny_model):
    _, placed = pair(tiny_model, 1024)
    slots, network = placed._slots, placed._network
    assert agrees(slots, network)
    taken = slots.step
    slots.step = lambda tokens: taken(tokens + 1)
    assert not agrees(slots, network)
