"""One row asked again with exactly what it was asked with."""

import json

import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from pyarrow import table
from rounds import long

from chains.errors import JobError, TableError
from jobs.batch import run_batch
from jobs.cli import commands
from jobs.replay_row import run_replay_row

pytestmark = pytest.mark.spark


def write(folder, texts):
    rows = table({"id": list(texts), "body": list(texts.values())})
    write_deltalake(f"{folder}/source", rows, mode="overwrite")


@pytest.fixture
def ran(spark, job, endpoint, tmp_path):
    """Return a function from assignments to the settings of a job that has run over two rows."""

    def settings(*more):
        at = f"endpoints.fake.base_url={endpoint.base_url}"
        return job("chain.model=endpoint:fake/m", at, *more)

    write(tmp_path, {"a": "key=a as it was", "b": "key=b"})
    run_batch(spark, settings())
    return settings


def test_a_row_is_asked_with_what_it_was_asked_with(spark, ran, endpoint, tmp_path):
    write(tmp_path, {"a": "key=a as it is now"})
    ledger = DeltaTable(f"{tmp_path}/ledger").version()
    replay = run_replay_row(spark, ran("chain.template=summarize_few_shot@1"), {"id": "a"})
    assert "as it was" in replay.prompt
    assert (replay.source, replay.template) == (f"{tmp_path}/source@0", "summarize@1")
    assert [call.key for call in endpoint.calls()].count("a") == 2
    assert replay.then is not None
    assert "answer to a" in replay.then.result
    assert "answer to a" in replay.now.result
    assert replay.is_same == (replay.then.result == replay.now.result)
    assert DeltaTable(f"{tmp_path}/ledger").version() == ledger


def test_another_question_is_not_asked(spark, ran, endpoint):
    asked = len(endpoint.calls())
    with pytest.raises(JobError, match="nothing was asked"):
        run_replay_row(spark, ran("chain.parameters.max_output_tokens=7"), {"id": "a"})
    assert len(endpoint.calls()) == asked


def test_times_and_maps_are_in_the_prompt_as_they_were(spark, job, tmp_path):
    variables = "{document: string, at: any, tags: any}"
    (tmp_path / "timed.md").write_text(
        f"---\nname: timed\nversion: '1'\ndescription: With a time.\nvariables: {variables}\n---\n"
        "{{ document }} {{ at }} {{ tags }}\n"
    )
    rows = spark.sql("select 'a' id, 'text' body, timestamp'2024-01-01' at, map('k', 'v') tags")
    rows.write.format("delta").save(f"{tmp_path}/source")
    settings = job(f"chain.template={tmp_path}/timed.md")
    run_batch(spark, settings)
    assert "[('k', 'v')]" in run_replay_row(spark, settings, {"id": "a"}).prompt


@long
@pytest.mark.parametrize(
    ("key", "told"), [({"id": "nobody"}, "no row"), ({"name": "a"}, "expected the columns")]
)
def test_a_row_that_is_not_there_is_named(spark, ran, key, told):
    with pytest.raises(TableError, match=told):
        run_replay_row(spark, ran(), key)


@long
def test_the_command_prints_one_object(spark, ran, endpoint, tmp_path):
    more = ["chain.model=endpoint:fake/m", f"endpoints.fake.base_url={endpoint.base_url}"]
    sets = [it for one in more for it in ("--set", one)]
    line = ["replay", str(tmp_path / "job.yml"), "--key", "id=b", "--json", *sets]
    said = json.loads(CliRunner().invoke(commands, line).stdout)
    assert "key=b" in said["prompt"]
    assert said["now"]["error"] is None
