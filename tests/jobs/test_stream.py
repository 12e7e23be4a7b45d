"""The stream over a real broker, against the fake endpoint as the oracle of what is paid."""

import base64
import json
import shutil
import uuid
from contextlib import closing
from queue import Queue
from threading import Thread

import pytest
from confluent_kafka import Consumer
from messages import answers, document
from pyspark.sql import functions as F
from rounds import long

from chains.errors import JobError, TableError
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.log_chain import run_log_chain
from jobs.producer import produce
from jobs.replay import run_replay
from jobs.stream import Stream, Trigger
from jobs.stream_plan import run_stream_plan

pytestmark = [pytest.mark.spark, pytest.mark.process]


def test_every_message_ends_once(stream, send, read, endpoint):
    """In the target with its own answer, or in the dead letters with the message and the reason."""
    send(*(document(i) for i in range(20)))
    misfit = {"id": "x", "body": "text", "pages": "many"}
    send(b"no json {", b"\xff\xfe", misfit, None, {"id": "blank", "body": " "})
    totals = stream()
    rows, letters = read("target"), read("target_errors")
    places = [(it["kafka_partition"], it["kafka_offset"]) for it in [*rows, *letters]]
    assert len(places) == len(set(places)) == 25
    answered = [row for row in rows if row["error"] is None]
    assert answers(answered) == {f"r{i:03d}" for i in range(20)}
    assert {row["error"]["code"] for row in rows if row["error"]} == {"empty_input"}
    assert {row["error"]["code"] for row in letters} == {"undecodable"}
    kept = {base64.b64decode(row["raw_message"]) for row in letters}
    assert kept == {b"no json {", b"\xff\xfe", json.dumps(misfit).encode()}
    assert all(row["source"].endswith(f"@{row['kafka_offset']}") for row in letters)
    assert len(endpoint.calls()) == 20
    assert (totals.rows, totals.new, totals.skipped) == (25, 20, 2)
    assert totals.errors == {"undecodable": 3}


def test_equal_messages_are_asked_once_and_stay_two_rows(stream, send, read, endpoint):
    send(*[{"id": "a", "body": "key=x same"}] * 3)
    assert (stream().new, len(read("target"))) == (1, 3)
    send({"id": "b", "body": "key=x same"}, {"id": "c", "body": "key=y other"})
    totals = stream()
    assert (totals.new, totals.cached) == (1, 1)
    assert len(endpoint.calls()) == 2
    assert sorted(row["cached"] for row in read("target")) == [False, False, True, True, True]


def test_with_a_key_of_its_own_a_message_counts_once(stream, send, read):
    send(
        {"id": "a", "body": "key=a1"}, {"id": "b", "body": "key=b1"}, {"id": "a", "body": "key=a2"}
    )
    stream("source.key=id")
    send({"id": "a", "body": "key=a3"}, None)
    stream("source.key=id")
    assert {row["id"]: row["result"][:12] for row in read("target")} == {
        "a": "answer to a1",
        "b": "answer to b1",
    }
    assert [row["error"]["code"] for row in read("target_errors")] == ["empty_input"]


@long
def test_merge_keeps_the_last_message_of_a_key(stream, send, read):
    send({"id": "a", "body": "key=a1"}, {"id": "b", "body": "key=b1"})
    stream("source.key=id", "target.mode=merge")
    send({"id": "a", "body": "key=a2"})
    stream("source.key=id", "target.mode=merge")
    assert {row["id"]: row["result"][:12] for row in read("target")} == {
        "a": "answer to a2",
        "b": "answer to b1",
    }


def at(endpoint):
    return f"endpoints.fake.base_url={endpoint.base_url}"


def test_an_outage_stops_the_stream_and_costs_no_second_answer(stream, send, read):
    send(*(document(i) for i in range(12)))
    faults = {f"r{i:03d}": {"status": 500} for i in range(4, 12)}
    with FakeEndpoint(FakeSettings(faults=faults)) as broken:
        with pytest.raises(JobError, match=r"endpoint failed for .*'server_error': 8"):
            stream(at(broken))
        assert len(broken.calls()) == 12
    assert (read("target"), read("target_errors")) == ([], [])
    with FakeEndpoint() as healed:
        stream(at(healed))
        assert {call.key for call in healed.calls()} == set(faults)
    assert answers(read("target")) == {f"r{i:03d}" for i in range(12)}


def test_equal_messages_that_fail_count_once_towards_an_outage(stream, send, read):
    faults = {name: {"status": 500} for name in ("x", "y", "z")}
    equal = [{"id": name, "body": f"key={name}"} for name in faults] * 4
    send(*(document(i) for i in range(8)), *equal)
    with FakeEndpoint(FakeSettings(faults=faults)) as endpoint:
        totals = stream(at(endpoint))
    assert (totals.new, totals.errors) == (11, {"server_error": 12})
    assert len(read("target")) == 8


def test_a_message_that_breaks_the_server_holds_up_no_others(stream, send, read):
    """Nor do two; a third in a row is an outage, and so is one that finds no server."""
    small = "max_rows_per_batch=1"
    faults = {f"r{i:03d}": {"status": 500} for i in (0, 2, 3, 4)}
    send(*({**document(i), "id": "one partition"} for i in range(5)))
    with (
        FakeEndpoint(FakeSettings(faults=faults)) as endpoint,
        pytest.raises(JobError, match=r"batch 4: .*'server_error': 1.* of 1 prompts"),
    ):
        stream(at(endpoint), small)
    assert answers(read("target")) == {"r001"}
    assert len(read("target_errors")) == 3
    with pytest.raises(JobError, match=r"batch 4: .*'connection': 1"):
        stream(at(endpoint), small)


def test_a_few_failures_are_dead_letters_that_a_replay_moves(spark, stream, settings, send, read):
    send(*(document(i) for i in range(8)), b"\xff")
    faults = {"r001": {"status": 500}, "r002": {"status": 400}}
    kept = "target.keep=[pages]"
    with FakeEndpoint(FakeSettings(faults=faults)) as endpoint:
        stream(at(endpoint), kept)
    assert sorted(row["error"]["code"] for row in read("target_errors")) == [
        "invalid_request",
        "server_error",
        "undecodable",
    ]
    with FakeEndpoint() as healed:
        other = "source.kafka.schema=id string, body string, pages string"
        with pytest.raises(TableError, match="pages: int there, string now"):
            run_replay(spark, settings(at(healed), kept, other))
        report = run_replay(spark, settings(at(healed), kept), ["server_error"])
        assert [call.key for call in healed.calls()] == ["r001"]
    assert (report.taken, report.answered, report.left) == (1, 1, {})
    assert answers(read("target")) == {f"r{i:03d}" for i in range(8) if i != 2}
    report = run_replay(spark, settings(at(healed)))
    assert (report.answered, report.left) == (0, {"invalid_request": 1, "undecodable": 1})
    assert len(read("target_errors")) == 2
    assert len(read("target")) == 7


@pytest.mark.parametrize("blocked", ["target", "target_errors"])
def test_a_failed_row_ends_once_where_a_stream_dies_between_its_two_tables(
    stream, send, read, tmp_path, blocked
):
    """Also where another row fails when the micro-batch comes again: here of another model."""
    (tmp_path / blocked).write_text("in the way")
    send(*(document(i) for i in range(6)), b"no json")
    with (
        FakeEndpoint(FakeSettings(faults={"r001": {"status": 500}})) as endpoint,
        pytest.raises(JobError),
    ):
        stream(at(endpoint))
    (tmp_path / blocked).unlink()
    with FakeEndpoint(FakeSettings(faults={"r002": {"status": 500}})) as endpoint:
        stream(at(endpoint), "chain.model=endpoint:fake/m2")
    letters = read("target_errors")
    assert sorted(it["error"]["code"] for it in letters) == ["server_error", "undecodable"]
    assert {it["kafka_key"] for it in letters} == {"r002", "other"}
    assert answers(read("target")) == {f"r{i:03d}" for i in range(6) if i != 2}
    assert len(read("target")) == 5


def test_a_replay_finds_rows_of_a_table_that_are_named_by_a_time(
    spark, stream, settings, read, tmp_path
):
    table = f"{tmp_path}/documents"
    times = [f"2026-01-01 00:00:00.00000{i}" for i in range(4)]
    rows = spark.createDataFrame(
        [(it, f"key=r{i}") for i, it in enumerate(times)], "at string, body string"
    )
    rows.withColumn("at", F.to_timestamp("at")).write.format("delta").save(table)
    chosen = f"source={{table: {table}, key: at, columns: {{document: body}}}}"
    with FakeEndpoint(FakeSettings(faults={"r1": {"status": 500}})) as endpoint:
        stream(chosen, at(endpoint))
        assert len(read("target")) == 3
    report = run_replay(spark, settings(chosen))
    assert (report.answered, report.left) == (1, {})
    assert [it["at"].microsecond for it in sorted(read("target"), key=lambda it: it["at"])] == [
        0,
        1,
        2,
        3,
    ]
    assert read("target_errors") == []


def test_a_row_of_a_table_ends_once_where_the_stream_dies_between_its_two_tables(
    spark, settings, read, tmp_path
):
    table = f"{tmp_path}/documents"
    rows = [(f"r{i}", f"key=r{i}") for i in range(4)] + [(None, "key=none")]
    spark.createDataFrame(rows, "id string, body string").write.format("delta").save(table)
    chosen = f"source={{table: {table}, key: id, columns: {{document: body}}}}"

    def run(endpoint):
        Stream(spark, settings(chosen, at(endpoint))).run(Trigger(available_now=True))

    (tmp_path / "target").write_text("in the way")
    with (
        FakeEndpoint(FakeSettings(faults={"r1": {"status": 500}})) as endpoint,
        pytest.raises(JobError),
    ):
        run(endpoint)
    (tmp_path / "target").unlink()
    with FakeEndpoint() as endpoint:
        run(endpoint)
    assert sorted(row["id"] for row in read("target")) == ["r0", "r1", "r2", "r3"]
    assert [row["error"]["code"] for row in read("target_errors")] == ["undecodable"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"api_key": "right"}, "'credential': .*renew the credential"),
        ({"faults": {"*": {"status": 404}}}, "'not_found': 6.*check .* the model's name"),
        ({"faults": {"r001": {"status": 404}}}, "'not_found': 1"),
    ],
    ids=["credential", "model", "model now and then"],
)
def test_what_is_wrong_for_all_messages_is_an_outage_whatever_its_share(
    stream, send, read, wrong, message
):
    send(*(document(i) for i in range(6)))
    with (
        FakeEndpoint(FakeSettings(**wrong)) as endpoint,
        pytest.raises(JobError, match=message),
    ):
        stream(at(endpoint), "outage_share=1")
    assert (read("target"), read("target_errors")) == ([], [])


@pytest.fixture
def streamed(stream, send, endpoint):
    """Have a stream that has answered five messages in two micro-batches."""
    send(*(document(i) for i in range(3)))
    stream()
    send(*(document(i) for i in range(3, 5)))
    stream()
    assert len(endpoint.calls()) == 5


def test_a_deleted_checkpoint_is_refused_or_goes_on_without_doubles(
    streamed, stream, send, read, endpoint, tmp_path
):
    shutil.rmtree(tmp_path / "checkpoint")
    send(document(5))
    with pytest.raises(JobError, match=r"it is new, but target .* has rows"):
        stream()
    for _ in range(2):
        stream("on_new_checkpoint=continue")
    assert sorted(row["result"][:14] for row in read("target")) == [
        f"answer to r{i:03d}"[:14] for i in range(6)
    ]
    assert len(read("target")) == 6
    assert len(endpoint.calls()) == 6


def test_an_older_copy_of_a_checkpoint_is_refused(stream, send, read, tmp_path):
    send(document(0))
    stream()
    shutil.copytree(tmp_path / "checkpoint", tmp_path / "copy")
    send(document(1))
    stream()
    shutil.rmtree(tmp_path / "checkpoint")
    shutil.copytree(tmp_path / "copy", tmp_path / "checkpoint")
    send(document(2))
    with pytest.raises(JobError, match="older than target"):
        stream()
    assert len(read("target")) == 2


def test_a_checkpoint_of_another_stream_is_refused(streamed, stream, tmp_path):
    with pytest.raises(JobError, match="belongs to another stream"):
        stream(f"target.table={tmp_path}/elsewhere")


def test_a_checkpoint_is_refused_while_another_stream_goes_on_from_it(
    spark, settings, stream, send, read, endpoint
):
    done = Queue()
    first = Stream(spark, settings(), done.put)
    running = Thread(target=lambda: first.run(Trigger()))
    running.start()
    try:
        send(document(0))
        done.get(timeout=120)
        with pytest.raises(JobError, match="another stream goes on from it"):
            stream()
    finally:
        first.stop()
        running.join(120)
    send(document(1))
    stream()
    assert len(read("target")) == len(endpoint.calls()) == 2


def test_a_folder_that_is_no_checkpoint_is_refused(stream, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "notes.txt").write_text("mine")
    with pytest.raises(JobError, match="no gristmill stream made it"):
        stream()


def test_a_damaged_checkpoint_is_refused(streamed, stream, tmp_path):
    file = tmp_path / "checkpoint" / "gristmill.json"
    (tmp_path / "checkpoint" / ".gristmill.json.crc").unlink(missing_ok=True)
    file.write_text(file.read_text()[:20])
    with pytest.raises(JobError, match="is damaged"):
        stream()


def test_offsets_that_are_cut_short_are_never_read_past(streamed, stream, send, read, tmp_path):
    newest = max((tmp_path / "checkpoint" / "offsets").glob("[0-9]*"), key=lambda it: int(it.name))
    (newest.parent / f".{newest.name}.crc").unlink(missing_ok=True)
    newest.write_text("v1\n")
    send(document(5))
    with pytest.raises(JobError):
        stream()
    assert len(read("target")) == 5


def test_a_table_is_a_source_too(spark, settings, endpoint, read, tmp_path):
    table = f"{tmp_path}/documents"
    rows = [(f"r{i}", f"key=r{i}") for i in range(4)]
    spark.createDataFrame(rows, "id string, body string").write.format("delta").save(table)
    chosen = (f"source={{table: {table}, key: id, columns: {{document: body}}}}",)
    for _ in range(2):
        totals = Stream(spark, settings(*chosen)).run(Trigger(available_now=True))
    assert totals.batches == 0
    assert answers(read("target")) == {f"r{i}" for i in range(4)}
    assert len(endpoint.calls()) == 4


@pytest.fixture
def output(broker, topic):
    """Return the setting of a topic for answers."""
    produce(broker.bootstrap, f"{topic}-answers", [])
    return f"output={{bootstrap: '{broker.bootstrap}', topic: {topic}-answers}}"


@pytest.fixture
def answered(broker, topic):
    """Return a function that reads some messages of the topic of answers."""

    def read(count):
        options = {"bootstrap.servers": broker.bootstrap, "auto.offset.reset": "earliest"}
        with closing(Consumer(options | {"group.id": uuid.uuid4().hex})) as consumer:
            consumer.subscribe([f"{topic}-answers"])
            return [consumer.poll(30) for _ in range(count)]

    return read


def test_answers_go_to_a_topic_too(stream, send, topic, output, answered):
    send(*(document(i) for i in range(3)), b"no json")
    stream(output)
    messages = answered(3)
    assert {json.loads(it.value())["result"][:14] for it in messages} == {
        f"answer to r{i:03d}"[:14] for i in range(3)
    }
    assert all(it.key().decode().startswith(topic) for it in messages)


UNREACHABLE = "output={bootstrap: '127.0.0.1:1', topic: none, options: {kafka.max.block.ms: '100'}}"


@pytest.mark.parametrize("limit", [[], ["max_tokens_per_batch=800"]], ids=["whole", "in slices"])
def test_what_the_target_has_is_not_asked_again(
    spark, settings, stream, send, read, output, answered, limit
):
    """A stream that died behind its target's commit, here at the topic of answers, goes on there.

    Not even what had failed is asked again: it is among the dead letters. Nor is what is equal.
    """
    few = ["chain.parameters.max_output_tokens=10", *limit]
    send(*({**document(i), "id": "one partition"} for i in range(12)))
    with (
        FakeEndpoint(FakeSettings(faults={"r001": {"status": 500}})) as endpoint,
        pytest.raises(JobError),
    ):
        stream(at(endpoint), UNREACHABLE, *few)
    asked, written = {it.key for it in endpoint.calls()}, len(read("target"))
    assert written == len(asked) - 1
    send({**document(0), "id": "one partition"})
    assert run_stream_plan(spark, settings(*few)).rows == (13 if limit else 1)
    with FakeEndpoint() as endpoint:
        totals = stream(at(endpoint), output, *few)
        assert asked.isdisjoint(it.key for it in endpoint.calls())
    assert totals.new == 12 - len(asked)
    assert answers(read("target")) == {f"r{i:03d}" for i in range(12) if i != 1}
    assert len(read("target")) == 12
    assert [row["error"]["code"] for row in read("target_errors")] == ["server_error"]
    sent = [json.loads(it.value()) for it in answered(12)]
    assert answers(sent) == answers(read("target"))


# SQLAlchemy, about MLflow's tables.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_an_alias_that_moves_answers_from_the_next_micro_batch(
    spark, settings, job, send, read, endpoint
):
    def log(model):
        run_log_chain(job(f"chain.model=endpoint:fake/{model}", at(endpoint)), "writer", "live")

    log("m1")
    done = Queue()
    stream = Stream(spark, settings("chain.model=models:/writer@live"), done.put)
    running = Thread(target=lambda: stream.run(Trigger()))
    running.start()
    send(document(0))
    assert done.get(timeout=120).model == "writer@1"
    log("m2")
    send(document(1))
    assert done.get(timeout=120).model == "writer@2"
    stream.stop()
    running.join(120)
    assert {row["result"][:14]: row["model"] for row in read("target")} == {
        "answer to r000": "writer@1",
        "answer to r001": "writer@2",
    }


def test_each_micro_batch_leaves_its_numbers(stream, send, read):
    send(*(document(i) for i in range(5)))
    stream("max_rows_per_batch=2")
    rows = sorted(read("target_metrics"), key=lambda it: it["batch"])
    assert [row["batch"] for row in rows] == [0, 1, 2]
    assert [row["rows"] for row in rows] == [2, 2, 1]
    assert sum(row["new"] for row in rows) == 5
    assert [row["lag_messages"] for row in rows][-1] == 0
    assert all(dict(row["seconds"]).keys() >= {"pin", "answer", "write", "all"} for row in rows)
    assert all(row["lag_seconds"] > 1_000_000 for row in rows)


def test_the_summarize_chain_runs_on_text_unchanged(stream, send, read):
    send(b"key=a plain", b"key=b text")
    stream("source.kafka.format=text", "source.kafka.schema=", "source.columns.document=value")
    assert answers(read("target")) == {"a", "b"}
