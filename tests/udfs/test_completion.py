"""A chain as Spark functions."""

import pytest
from pydantic import BaseModel
from small_chain import chain_of

from chains import JsonParser, load_chain, load_model, resolve_model
from chains.models.endpoint.settings import EndpointSettings
from udfs.completion import complete, completion_udf, pin, register, variables_struct

pytestmark = pytest.mark.spark

SUMMARIZE = load_chain("summarize")
ECHO = resolve_model("python:local_models:Echo")


class Offer(BaseModel):
    """What a marketing answer holds."""

    subject: str
    score: int
    tags: list[str]


def test_transform_adds_the_completion_struct(spark):
    rows = spark.createDataFrame([("a", "one"), ("b", None)], "id string, body string")
    answered = rows.transform(complete(SUMMARIZE, ECHO, {"document": "body"}))
    found = {row["id"]: row["completion"] for row in answered.collect()}
    assert found["a"]["result"] == "ONE"
    assert found["a"]["error"] is None
    assert found["b"]["error"]["code"] == "empty_input"


def test_sql_function_answers_in_a_query(spark):
    register(spark, SUMMARIZE, ECHO)
    found = spark.sql("SELECT summarize(body).result AS r FROM VALUES ('one'), ('two') AS t(body)")
    assert sorted(row["r"] for row in found.collect()) == ["ONE", "TWO"]


def test_sql_function_takes_the_variables_of_its_template(spark):
    chain = chain_of("{{ document }} {{ year }}", "{document: string, year: integer}")
    register(spark, chain, ECHO, "dated")
    assert spark.sql("SELECT dated('x', 2024).result AS r").first()["r"] == "X"


def test_answers_stay_with_their_rows_over_many_arrow_batches(spark):
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 7)
    rows = spark.range(3000).selectExpr("id", "concat('n', id) as document").repartition(3)
    answered = rows.transform(complete(SUMMARIZE, ECHO))
    wrong = answered.where("completion.result != upper(document)").count()
    spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert (answered.count(), wrong) == (3000, 0)


def test_a_filter_on_the_completion_does_not_ask_twice(spark, tmp_path, monkeypatch, endpoint):
    settings = EndpointSettings(base_url=endpoint.base_url)
    model = resolve_model("endpoint:fake/m", {"fake": settings})
    rows = spark.createDataFrame([(f"key=k{i}",) for i in range(8)], "document string")
    answered = rows.transform(complete(SUMMARIZE, model))
    good = answered.where("completion.error is null").select(
        "completion.result", "completion.model"
    )
    assert len(good.collect()) == 8
    assert len(endpoint.calls()) == 8


def test_structured_answers_are_typed(spark, endpoint):
    settings = EndpointSettings(base_url=endpoint.base_url)
    model = resolve_model("endpoint:fake/m", {"fake": settings})
    chain = chain_of("{{ document }}", "{document: string}", parser=JsonParser.of(Offer))
    rows = spark.createDataFrame([("key=a",)], "document string")
    answered = rows.transform(complete(chain, model)).select("completion.*")
    assert answered.schema["result"].dataType.simpleString() == (
        "struct<subject:string,score:bigint,tags:array<string>>"
    )
    assert answered.first()["error"] is None


def test_an_enum_without_a_type_has_that_of_its_values(spark):
    chain = chain_of("{{ document }}", "{document: string}", parser=JsonParser({"enum": [1, 2]}))
    rows = spark.createDataFrame([("1",), ("2.0",), ("3",)], "document string")
    done = rows.transform(complete(chain, ECHO)).select("document", "completion.result")
    assert done.schema["result"].dataType.simpleString() == "bigint"
    assert {row["document"]: row["result"] for row in done.collect()} == {
        "1": 1, "2.0": 2, "3": None
    }  # fmt: skip


def test_a_poisoned_row_stands_alone(spark):
    model = resolve_model("python:local_models:Poisoned")
    texts = [f"text {i}" for i in range(40)] + ["a poison one"]
    rows = spark.createDataFrame([(it,) for it in texts], "document string").coalesce(1)
    answered = rows.transform(complete(SUMMARIZE, model)).select("document", "completion.*")
    failed = [row for row in answered.collect() if row["error"] is not None]
    assert [(row["document"], row["error"]["code"]) for row in failed] == [
        ("a poison one", "model_crashed")
    ]
    assert "poison" not in failed[0]["error"]["message"]


def test_half_an_emoji_does_not_kill_the_batch(spark):
    model = resolve_model("python:local_models:Surrogates")
    rows = spark.createDataFrame([("a",), ("b",)], "document string")
    answered = rows.transform(complete(SUMMARIZE, model)).select("completion.*").collect()
    assert [row["result"] for row in answered] == ["cut �", "cut �"]
    assert answered[0]["flags"] == ["replaced_surrogates"]


def test_values_reach_the_template_as_they_are_in_the_table(spark, endpoint):
    settings = EndpointSettings(base_url=endpoint.base_url)
    model = resolve_model("endpoint:fake/m", {"fake": settings})
    chain = chain_of("key={{ year }}/{{ share }}", "{year: integer, share: any}")
    rows = spark.createDataFrame([(2024, None), (2025, "1.50")], "year int, share string")
    rows.transform(complete(chain, model)).collect()
    assert [call.key for call in endpoint.calls()] == ["2025/1.50"]


def test_bytes_that_are_no_text_arrive_as_replacement_characters(spark):
    rows = spark.range(1).selectExpr("cast(X'61ff62' as string) as document")
    answered = rows.transform(complete(SUMMARIZE, ECHO)).first()["completion"]
    assert answered["result"] == "A�B"


def test_a_giant_cell_is_cut_before_python_and_refused(spark):
    rows = spark.range(1).selectExpr("repeat('x', 100000000) as document")
    answered = rows.select(
        completion_udf(pin(SUMMARIZE, ECHO))(variables_struct(SUMMARIZE, {})).alias("c")
    )
    assert answered.first()["c"]["error"]["code"] == "input_too_large"


def test_same_instant_in_any_session_time_zone(spark):
    rows = spark.createDataFrame([("a",)], "document string")
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    answered = rows.transform(complete(SUMMARIZE, ECHO))
    age = answered.selectExpr("abs(timestampdiff(MINUTE, completion.completed_at, now())) AS m")
    minutes = age.first()["m"]
    spark.conf.set("spark.sql.session.timeZone", zone)
    assert minutes <= 5


def test_udf_and_laptop_give_the_same_answers(spark):
    texts = [
        "Revenue rose 4 %. Costs fell. The board met in May. It rained. Guidance stands at $3.2 "
        f"million for segment {i}."
        for i in range(6)
    ]
    model = resolve_model("extractive")
    rows = spark.createDataFrame([(it,) for it in texts], "document string").repartition(2)
    answered = rows.transform(complete(SUMMARIZE, model)).collect()
    by_udf = {row["document"]: row["completion"] for row in answered}
    for text, laptop in zip(
        texts,
        SUMMARIZE.complete([{"document": it} for it in texts], load_model(model)),
        strict=True,
    ):
        assert by_udf[text]["result"] == laptop.result
        assert by_udf[text]["fingerprint"] == laptop.fingerprint
