"""Python workers that are started ahead."""

from dataclasses import replace

import pytest
from local_models import NOTES

from chains import load_chain, resolve_model
from udfs.completion import pin
from udfs.warming import start_workers

pytestmark = pytest.mark.spark


def test_workers_have_the_chain_and_its_model_and_no_model_is_asked(spark):
    NOTES.unlink(missing_ok=True)
    model = replace(resolve_model("python:local_models:Counted"), name="ahead")
    start_workers(spark, pin(load_chain("summarize"), model)).join()
    assert {line.split()[1] for line in NOTES.read_text().splitlines()} == {"load"}
