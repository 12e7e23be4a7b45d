import json
import logging
import sys
from dataclasses import replace

import jsonschema
import pytest
from random_model import build_seq2seq

from chains.models.base import Parameters, Request
from chains.models.transformers.model import TransformersModel, resolve_transformers

VERDICT = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["good", "bad", "neither"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["corn", "mill"]}, "maxItems": 1},
    },
    "required": ["verdict", "score", "tags"],
    "additionalProperties": False,
}
IMPOSSIBLE = {"type": "integer", "minimum": 5, "maximum": 2}
TEXTS = [f"Judge report {i} of the mill. " * (1 + i * 7 % 12) for i in range(8)]


def load(folder):
    return TransformersModel(resolve_transformers(f"path:{folder}", str(folder)))


@pytest.fixture(scope="module")
def model(tiny_model):
    return load(tiny_model)


def requests(schema=VERDICT, **parameters):
    given = Parameters(**{"max_output_tokens": 64} | parameters)
    return [Request(({"role": "user", "content": it},), given, {}, schema) for it in TEXTS]


def said(outcomes):
    """Return all of the answers but their time."""
    return [(it.text, it.finish_reason, it.usage) for it in outcomes]


def check(outcomes):
    for outcome in outcomes:
        jsonschema.validate(json.loads(outcome.text), VERDICT)
        assert outcome.finish_reason == "stop"


def test_every_row_of_a_batch_fits_the_schema_and_ends_when_it_is_whole(model):
    outcomes = model.complete(requests())
    check(outcomes)
    assert len({it.usage.output_tokens for it in outcomes}) > 1  # rows ended before others


def test_what_the_schema_forbids_is_never_sampled(model):
    asked = requests(temperature=2.0, top_p=0.9)
    together = model.complete(asked)
    check(together)
    assert len({it.text for it in together}) > len(TEXTS) / 2
    assert said(model.complete(asked[:1])) == said(together[:1])


def test_a_stop_string_ends_its_row_and_not_the_others(model):
    free = model.complete(requests(temperature=1.0))
    stopped = model.complete(requests(temperature=1.0, stop=("bad",)))
    assert [it.text for it in stopped] == [it.text.partition("bad")[0] for it in free]
    assert 0 < sum("bad" in it.text for it in free) < len(TEXTS)


def test_an_answer_that_its_limit_cuts_says_so(model):
    assert {it.finish_reason for it in model.complete(requests(max_output_tokens=6))} == {"length"}


def test_requests_with_other_schemas_answer_each_its_own(model):
    asked, other = requests(max_output_tokens=8), {"enum": ["yes", "no"]}
    mixed = [replace(it, response_schema=(other, None)[i % 2]) for i, it in enumerate(asked)]
    outcomes = model.complete(mixed)
    assert {it.text for it in outcomes[::2]} <= {'"yes"', '"no"'}
    assert said(outcomes[1::2]) == said(model.complete(mixed[1::2]))


def test_an_encoder_decoder_is_held_to_its_schema_too(tmp_path):
    check(load(build_seq2seq(tmp_path / "t5")).complete(requests(temperature=1.0)))


@pytest.mark.parametrize(
    ("schema", "installed", "why"),
    [
        (VERDICT, False, "pip install 'gristmill[structured]'"),
        (IMPOSSIBLE, True, "minimum greater than maximum"),
    ],
)
def test_without_a_grammar_the_model_answers_freely_and_says_so_once(
    tiny_model, monkeypatch, caplog, schema, installed, why
):
    if not installed:
        monkeypatch.setitem(sys.modules, "xgrammar", None)
    model = load(tiny_model)
    free = said(model.complete(requests(None, max_output_tokens=8)))
    caplog.clear()
    for _ in range(2):
        assert said(model.complete(requests(schema, max_output_tokens=8))) == free
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{model.ref.name} is not held to its response schema")
    assert why in record.getMessage()
