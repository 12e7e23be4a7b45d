import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chains.models.base import Answer, Parameters, Request
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.settings import resolve_endpoint

CACHE = ["--cb-block-size", "16", "--cb-num-blocks", "512", "--cb-max-batch-tokens", "512"]


@pytest.fixture
def served(tiny_model, tmp_path):
    """The base URL of a real server with a tiny random model; the process ends with the test."""
    command = [Path(sys.executable).parent / "transformers", "serve", tiny_model]
    options = ["--device", "cpu", "--host", "127.0.0.1", "--port", "0", "--continuous-batching"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = tmp_path / "serve.log"
    with (
        log.open("w") as stdout,
        subprocess.Popen(
            [*command, *options, *CACHE],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process,
    ):
        running = (re.search(r"running on (http://\S+)", line) for line in process.stderr)
        found = next((match for match in running if match), None)
        try:
            assert found, "the server ended before it listened"
            yield f"{found[1]}/v1"
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


@pytest.mark.process
def test_a_real_server_answers_every_row_in_order(served, tiny_model):
    settings = {"base_url": served, "concurrency": 8, "timeout_seconds": 300}
    ref = resolve_endpoint(f"endpoint:local/{tiny_model}", "local", str(tiny_model), settings)
    prompts = ["the mill", "a quick brown fox", "two sentences", "the river and the wheel"] * 3
    parameters = Parameters(max_output_tokens=8)
    requests = [Request(({"role": "user", "content": text},), parameters) for text in prompts]
    with contextlib.closing(EndpointModel(ref)) as model:
        outcomes = model.complete(requests)
        again = model.complete(requests[:1])
    assert [type(outcome) for outcome in outcomes] == [Answer] * 12
    assert {outcome.finish_reason for outcome in outcomes} <= {"stop", "length"}
    assert all(outcome.usage.output_tokens <= 8 for outcome in outcomes)
    lengths = [outcome.usage.input_tokens for outcome in outcomes]
    assert len(set(lengths[:4])) > 1
    assert lengths == lengths[:4] * 3
    assert again[0].text == outcomes[0].text
