"""What only a GPU shows; skipped where torch finds none."""

import json
from random import Random

import jsonschema
import pytest
from counting_model import TINY, build_counting, prompt, skewed

from chains.models.base import Answer, Parameters, Request
from chains.models.transformers import weights
from chains.models.transformers.model import TransformersModel, resolve_transformers

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

MOST = 96
LENGTHS = [skewed(Random(i), 16, MOST) for i in range(40)]
TEXTS = [prompt(Random(i), 3 + i * 7 % 40, length) for i, length in enumerate(LENGTHS)]
VERDICT = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["good", "bad", "neither"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["verdict", "score"],
    "additionalProperties": False,
}


def request(text, schema=None, **parameters):
    limits = {"max_output_tokens": MOST} | parameters
    return Request(({"role": "user", "content": text},), Parameters(**limits), {}, schema)


def load(folder, **options):
    return TransformersModel(resolve_transformers(f"path:{folder}", str(folder), **options))


@pytest.fixture(scope="module", autouse=True)
def half():
    """Load weights as outside of tests."""
    before, weights.GPU_PRECISION = weights.GPU_PRECISION, "bfloat16"
    yield
    weights.GPU_PRECISION = before


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """Return the folder of a model that counts down, so that answers have known lengths."""
    return build_counting(tmp_path_factory.mktemp("models") / "counting", TINY, "cuda")


@pytest.fixture
def scarce():
    """Leave this process 256 MiB more of the GPU than it has taken."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    left = torch.cuda.memory_reserved() + 2**28
    torch.cuda.set_per_process_memory_fraction(left / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_weights_are_bfloat16_on_the_gpu(counting):
    network = load(counting)._network
    assert {it.device.type for it in network.parameters()} == {"cuda"}
    assert {it.dtype for it in network.parameters()} == {torch.bfloat16}


def test_greedy_answers_are_those_of_plain_generate(counting):
    model = load(counting)
    tokenizer, network = model._tokenizer, model._network
    outcomes = model.complete([request(text) for text in TEXTS])
    for text, outcome in zip(TEXTS, outcomes, strict=True):
        ids = torch.tensor([tokenizer.encode(text)], device="cuda")
        plain = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=MOST,
            do_sample=False,
        )[0, ids.shape[1] :]
        assert outcome.text == tokenizer.decode(plain, skip_special_tokens=True)
        assert outcome.usage.output_tokens == len(plain)


def test_rows_that_end_early_have_their_own_length(counting):
    outcomes = load(counting).complete([request(text) for text in TEXTS])
    assert [it.usage.output_tokens for it in outcomes] == LENGTHS
    assert {it.finish_reason for it in outcomes} == {"stop"}
    cut = load(counting).complete([request(text, max_output_tokens=8) for text in TEXTS])
    assert [it.usage.output_tokens for it in cut] == [min(8, length) for length in LENGTHS]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 2.0, "top_p": 0.9}])
def test_answers_fit_their_schema(tiny_model, sampling):
    pytest.importorskip("xgrammar")
    asked = [request(f"Judge report {i} of the mill.", VERDICT, **sampling) for i in range(24)]
    for outcome in load(tiny_model).complete(asked):
        jsonschema.validate(json.loads(outcome.text), VERDICT)
        assert outcome.finish_reason == "stop"


def test_steps_are_recorded_once_and_replayed(counting):
    model = load(counting)
    asked = [request(text) for text in TEXTS]
    model.complete([*asked, request(prompt(Random(0), 300, 200), max_output_tokens=200)])
    recorded = dict(model._slots._graphs)
    assert model._slots._records
    assert 1 < len(recorded) < 8
    assert [it.usage.output_tokens for it in model.complete(asked)] == LENGTHS
    assert model._slots._graphs == recorded


@pytest.mark.parametrize("places", [True, False])
def test_rows_beyond_the_memory_are_run_in_halves_and_answered(counting, scarce, places):
    model = load(counting, batch_tokens=2**21)  # of 256 bytes each
    if not places:
        model._slots = None
    texts = [prompt(Random(i), 1000, 5) for i in range(512)]
    outcomes = model.complete([request(text, max_output_tokens=8) for text in texts])
    assert all(isinstance(it, Answer) for it in outcomes)
    assert {it.text for it in outcomes} == {" 3 2 1 0"}
    assert not places or 0 < model._slots.tokens < 2**21
