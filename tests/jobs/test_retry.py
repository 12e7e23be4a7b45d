"""Errors that last are asked again on request."""

import json

import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from pyarrow import table

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.cli import commands

pytestmark = pytest.mark.spark


@pytest.fixture
def gristmill(spark, job, tmp_path):
    """Return a function that runs a command of the job over two rows, by an endpoint's URL."""
    rows = table({"id": ["bad", "good"], "body": ["key=bad text", "key=good text"]})
    write_deltalake(f"{tmp_path}/source", rows)

    def gristmill(command, endpoint, *options):
        sets = ["chain.model=endpoint:fake/m", f"endpoints.fake.base_url={endpoint.base_url}"]
        line = [it for one in sets for it in ("--set", one)]
        conf = str(tmp_path / "job.yml")
        return CliRunner().invoke(commands, [command, conf, *line, *options])

    return gristmill


def test_a_lasting_error_is_asked_again_by_retry_alone(gristmill, tmp_path):
    with FakeEndpoint(FakeSettings(faults={"bad": {"status": 400}})) as endpoint:
        gristmill("batch", endpoint)
        gristmill("batch", endpoint)
        assert [call.key for call in endpoint.calls()].count("bad") == 1
        other = gristmill("retry", endpoint, "--error-code", "content_filter")
        assert other.exit_code == 0, other.output
        assert [call.key for call in endpoint.calls()].count("bad") == 1
    with FakeEndpoint() as mended:
        assert gristmill("retry", mended, "--error-code", "invalid_request").exit_code == 0
        assert [call.key for call in mended.calls()] == ["bad"]
    assert DeltaTable(f"{tmp_path}/target").to_pyarrow_table().num_rows == 2
    assert DeltaTable(f"{tmp_path}/target_errors").to_pyarrow_table().num_rows == 0


def test_a_refresh_asks_again_for_what_it_would_leave(gristmill, spark, tmp_path):
    def refreshed(command, endpoint):
        run = gristmill(command, endpoint, "--set", "target.on_delete=delete", "--json")
        assert run.exit_code == 0, run.output
        return json.loads(run.stdout)

    with FakeEndpoint(FakeSettings(faults={"bad": {"status": 400}})) as endpoint:
        refreshed("refresh", endpoint)
    with FakeEndpoint() as mended:
        assert refreshed("refresh", mended)["rows"]["candidates"] == 0
        retried = refreshed("retry", mended)
        assert (retried["how"], retried["rows"]["inserted"], retried["errors"]) == ("feed", 1, {})
        assert [call.key for call in mended.calls()] == ["bad"]
    rows = {
        it: spark.read.format("delta").load(f"{tmp_path}/{it}").count()
        for it in ("target", "target_errors")
    }
    assert rows == {"target": 2, "target_errors": 0}


def test_a_long_input_is_asked_again_by_the_part_that_failed(gristmill, tmp_path):
    body = "\n\n".join(f"key={key} " + "word " * 200 for key in ("good", "bad"))
    rows = table({"id": ["long"], "body": [body]})
    write_deltalake(f"{tmp_path}/source", rows, mode="overwrite")
    sets = ["chain.on_long_input=chunk", "endpoints.fake.context_window=500"]
    sets = [*sets, "chain.parameters.max_output_tokens=50"]
    options = [it for one in sets for it in ("--set", one)]
    with FakeEndpoint(FakeSettings(faults={"bad": {"status": 400}})) as endpoint:
        gristmill("batch", endpoint, *options)
        assert sorted(call.key for call in endpoint.calls()) == ["bad", "good"]
    with FakeEndpoint() as mended:
        said = gristmill("retry", mended, *options)
        assert said.exit_code == 0, said.output
        keys = [call.key for call in mended.calls()]
    assert (keys[0], len(keys)) == ("bad", 2)
    assert DeltaTable(f"{tmp_path}/target").to_pyarrow_table().num_rows == 1
