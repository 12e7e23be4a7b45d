"""Settings: what overrides what, and what wrong ones are told."""

import pytest
from pydantic import ValidationError, model_validator
from pydantic_core import PydanticCustomError

from chains.errors import SettingsError
from jobs.pinning import pin_work
from jobs.settings import Section, Settings, load_settings, load_settings_of
from jobs.stream_settings import StreamSettings

SECRET = "sk-very-secret"
GOOD = """
source: {table: s, key: id, columns: {document: body}}
target: {table: t}
chain: {name: summarize}
ledger: {table: l}
"""


@pytest.fixture
def conf(tmp_path):
    """Return a function that writes a settings file."""

    def conf(text=GOOD):
        path = tmp_path / "job.yml"
        path.write_text(text)
        return path

    return conf


def test_command_line_over_environment_over_file_over_default(conf, monkeypatch):
    path = conf(GOOD + "on_error: fail")
    assert load_settings(path).on_error == "fail"
    assert load_settings(path).target.mode == "merge"
    monkeypatch.setenv("GRISTMILL_SOURCE__TABLE", "from_environment")
    monkeypatch.setenv("GRISTMILL_TARGET__MODE", "append")
    settings = load_settings(path, ["target.mode=overwrite"])
    assert settings.source.table == "from_environment"
    assert settings.target.mode == "overwrite"
    assert settings.source.columns == {"document": "body"}


def test_what_kubernetes_tells_of_a_service_is_no_setting(conf, monkeypatch):
    address = "tcp://10.0.0.1:4040"
    for name in (
        *("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_SPARK_DRIVER_UI_PORT", "PORT"),
        *("PORT_4040_TCP", "PORT_4040_TCP_PROTO", "PORT_4040_TCP_PORT", "PORT_4040_TCP_ADDR"),
    ):
        monkeypatch.setenv(f"GRISTMILL_BATCH_UI_SVC_{name}", address)
    assert load_settings(conf()).source.table == "s"


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("GRISTMILL_TARGET__MODUS", r"target\.modus: unknown key"),
        ("GRISTMILL_SOURCES__TABLE", "sources: unknown key"),
        ("GRISTMILL_CHAIN__PRICE__INPUT", r"chain\.price\.0\.input: "),
        ("GRISTMILL_CHAIN__PARAMETERS__NOPE", r"chain\.parameters\.nope: "),
    ],
)
def test_a_wrong_variable_of_the_environment_is_named(conf, monkeypatch, variable, message):
    monkeypatch.setenv(variable, "append")
    with pytest.raises(SettingsError, match=f"{message}.*; the environment has {variable}"):
        pin_work(load_settings(conf()))


@pytest.mark.parametrize("variable", ["GRISTMILL_", "GRISTMILL_SOURCE__"])
def test_a_variable_of_the_environment_that_names_no_key_is_named(conf, monkeypatch, variable):
    monkeypatch.setenv(variable, SECRET)
    with pytest.raises(SettingsError, match=f"the environment has {variable}: ") as caught:
        load_settings(conf())
    assert SECRET not in str(caught.value)


def test_any_key_can_be_set(conf):
    settings = load_settings(
        conf(),
        ["source.columns.document=text", "chain.parameters.sentences=5", "source.key=[a, b]"],
    )
    assert settings.source.columns == {"document": "text"}
    assert settings.chain.parameters == {"sentences": 5}
    assert settings.source.key == ("a", "b")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("chain.modell=x", "chain.modell: unknown key"),
        ("target.mode=replace", "target.mode: .*append.*merge.*found 'replace'"),
        ("colour=red", "colour: unknown key"),
        ("source.version=new", "source.version: .*integer.*found 'new'"),
        ("on_error=explode", "on_error: .*found 'explode'"),
        ("spark.packages=maybe", "spark.packages: .*found 'maybe'"),
        ("chain.price=5", r"chain\.price\.0: .*found 5"),
        ("target.table=S", "target.table: expected a table apart from source.table"),
        ("source.table=T_errors", "source.table: .* apart from target.table's dead letters"),
        ("ledger.table=`t`", "ledger.table: expected a table apart from target.table"),
        ("endpoints.a.base_url=http://h:abc/v1", r"endpoints\.a\.base_url: expected http"),
        ("source.version=2024-02-30", r"source\.version: .*integer.*found '2024-02-30'"),
        ("nonsense", "expected KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(conf, assignment, message):
    path = conf()
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(path, [assignment])
    assert "=" not in assignment or str(path) in str(caught.value)


def test_all_wrong_settings_are_named_at_once(conf):
    with pytest.raises(SettingsError) as caught:
        load_settings(conf(), ["target.mode=x", "on_error=y"])
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["a: [", "- a list", "", "date: 2026-02-30"])
def test_a_file_that_holds_no_settings_is_named(conf, text):
    with pytest.raises(SettingsError, match=r"job\.yml"):
        load_settings(conf(text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yml"):
        load_settings(tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("chain.name=summarise", "chain.name.*'summarise'"),
        ("chain.model=gpt", "chain.model.*'gpt'"),
        ("chain.model=endpoint:azure/gpt", r"chain.model.*endpoints"),
        ("chain.template=summarize@99", "no version '99'"),
        ("chain.parameters.heat=1", "chain.parameters.heat"),
        ("source.columns.text=body", "has the variables"),
    ],
)
def test_a_chain_that_cannot_be_is_refused_before_spark(conf, assignment, message):
    from chains.errors import UsageError

    with pytest.raises(UsageError, match=message):
        pin_work(load_settings(conf(), [assignment]))


def test_a_response_schema_without_a_column_type_is_refused_before_spark(
    conf, tmp_path, monkeypatch
):
    (tmp_path / "chain_of_anything.py").write_text(
        "from dataclasses import replace\n"
        "from chains import load_chain\n"
        "from chains.parsers import JsonParser\n"
        "def chain(): return replace(load_chain('summarize'), parser=JsonParser({}))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match="response schema at the top level"):
        pin_work(load_settings(conf(), ["chain.name=chain_of_anything:chain"]))


def test_a_secret_that_is_not_there_is_named_before_spark(conf):
    given = ["endpoints.a.base_url=https://x.example/v1", "endpoints.a.api_key=env:NO_SUCH_KEY"]
    with pytest.raises(SettingsError, match="NO_SUCH_KEY"):
        pin_work(load_settings(conf(), [*given, "chain.model=endpoint:a/m"]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoints.a.api_key", SECRET),
        ("endpoints.a", SECRET),
        ("chain.api_key", SECRET),
        ("spark.conf", f"spark.hadoop.fs.s3a.secret.key={SECRET}"),
        ("source.table", f"{{a: {SECRET}}}"),
        ("sidecar.arguments", f"--api-key={SECRET}"),
        ("source.version", f"s3a://me:{SECRET}@bucket/t"),
        ("mlflow", f"https://user:{SECRET}@x.example"),
        ("mlflow.tracking_uri", f"[https://user:{SECRET}@x.example]"),
    ],
)
def test_a_secret_in_the_settings_is_refused_and_not_repeated(conf, key, value):
    with pytest.raises(SettingsError, match=key) as caught:
        load_settings(conf(), [f"{key}={value}"])
    assert SECRET not in str(caught.value)


def test_a_secret_among_the_options_of_a_topic_is_not_repeated(conf):
    kafka = f"{{bootstrap: b, topic: t, options: {{ssl.keystore.password: {SECRET}}}}}"
    with pytest.raises(SettingsError, match="format json needs schema") as caught:
        load_settings_of(StreamSettings, conf(), [f"source={{kafka: {kafka}}}"])
    assert SECRET not in str(caught.value)
    with pytest.raises(SettingsError, match="options: Input") as caught:
        load_settings_of(StreamSettings, conf(), [f"source.kafka.options={SECRET}"])
    assert SECRET not in str(caught.value)


class Together(Section):
    a: str
    b: str

    @model_validator(mode="after")
    def _are_equal(self):
        if self.a != self.b:
            raise PydanticCustomError("together", "expected a and b to be equal")
        return self


def test_what_keys_have_wrong_together_repeats_none_of_them(tmp_path):
    path = tmp_path / "job.yml"
    path.write_text(f"a: {SECRET}\nb: none")
    with pytest.raises(SettingsError, match="expected a and b to be equal") as caught:
        load_settings_of(Together, path)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("section", ["source", "chain", "spark", "mlflow"])
def test_the_validation_error_itself_repeats_no_value(section):
    with pytest.raises(ValidationError, match=section) as caught:
        Settings.model_validate({section: {"key": [{"token": SECRET}], "token": SECRET}})
    assert SECRET not in repr(caught.value) + str(caught.value)
