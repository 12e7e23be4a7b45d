"""The same chain by every kind of model, as executors run it; needs no Spark session."""

from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, Field
from pyspark.sql.pandas.types import to_arrow_type

from chains import Chain, JsonParser, Parameters, resolve_model
from chains.models.endpoint.settings import EndpointSettings
from chains.models.registry import load
from chains.templates import parse_template
from udfs.arrow import Answering, Pinned
from udfs.columns import completion_type
from udfs.schema import result_type

FRONT = "---\nname: t\nversion: '1'\ndescription: d\nvariables: {document: string}\n---\n"
DOCUMENTS = [f"The mill ground {n} tons of corn." for n in range(8)]


class Verdict(BaseModel):
    """What a judge says of a report."""

    verdict: Literal["good", "bad"]
    score: int = Field(ge=0, le=9)
    sure: bool


CHAIN = Chain(
    "judge",
    "1",
    parse_template(f"{FRONT}Judge: {{{{ document }}}}", "test"),
    JsonParser.of(Verdict),
    Parameters(max_output_tokens=48),
)


def answers(model):
    """Return the completions as rows of their Arrow struct."""
    kind = to_arrow_type(completion_type(result_type(CHAIN.spec().response_schema)), timezone="UTC")
    batch = pa.array([{"document": it} for it in DOCUMENTS])
    [given] = Answering(Pinned(CHAIN.spec(), model), kind)(iter([batch]))
    assert given.type == kind
    return given.to_pylist()


def check(rows, flags):
    for row in rows:
        assert row["error"] is None
        assert Verdict.model_validate(row["result"], strict=True)
        assert row["flags"] == flags
    assert len(rows) == len(DOCUMENTS)


def test_a_server_that_enforces_the_schema_gives_the_typed_struct(endpoint):
    model = resolve_model("endpoint:e/m", {"e": EndpointSettings(base_url=endpoint.base_url)})
    check(answers(model), [])
    load(model).close()
    assert len(endpoint.calls()) == len(DOCUMENTS)


def test_a_model_in_the_process_that_is_held_to_it_gives_the_typed_struct(tiny_model):
    check(answers(resolve_model(f"path:{tiny_model}")), [])


def test_an_answer_that_has_to_be_repaired_gives_the_typed_struct():
    check(answers(resolve_model("python:local_models:Fenced")), ["repaired"])
