"""Templates of a real registry, in a store that is copied for each test."""

import logging
import socket
from dataclasses import replace

import pytest

from chains import load_chain, resolve_model
from chains.errors import SettingsError, StoreError, TemplateError
from chains.models.registry import load
from chains.prompt_registry import PromptRegistry
from chains.registered import find_template, follow_template
from chains.templates import load_template, parse_template
from chains.tracking import asking_mlflow, connect

# SQLAlchemy, about MLflow's tables.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


def text_of(version="1", body="Hello {{ document }}", name="greeting", variables="document"):
    types = ", ".join(f"{it}: string" for it in variables.split())
    return (
        f"---\nname: {name}\nversion: '{version}'\n# as it is\n"
        f"description: d\nvariables: {{{types}}}\n---\n{body}"
    )


def template(version="1", body="Hello {{ document }}", name="greeting"):
    return parse_template(text_of(version, body, name), where="t.md")


def register(registry, name, *prompts):
    """Register prompts as another tool would."""
    with asking_mlflow("cannot register", registry.tracking_uri):
        client = connect(registry.tracking_uri)
        client.create_prompt(name)
        for prompt in prompts:
            client.create_prompt_version(name, prompt, description="by hand")


# -- which place


def test_a_version_of_a_file_needs_no_registry(tmp_path):
    nowhere = f"sqlite:///{tmp_path}/none.db"
    assert find_template("summarize@1", nowhere) == load_template("summarize@1")
    assert not list(tmp_path.iterdir())


def test_a_version_that_no_file_has_is_the_registrys_byte_for_byte(registry):
    text = text_of(
        "2", "[[system]]\r\nBe {{ document }}.\r\n\n[[user]]\nÄ\u2028 x  \n\n", "summarize"
    )
    registry.add(parse_template(text, "t.md"))
    found = find_template("summarize@2", registry.tracking_uri)
    assert (found.source, found.ref) == (text, "summarize@2")


def test_versions_are_those_of_the_templates_whatever_mlflow_counts(registry):
    for version in ("7", "10", "3"):
        registry.add(template(version, f"{version} {{{{ document }}}}"))
    registry.set_alias("greeting", "live", registry.number("greeting", "7"))
    uri = registry.tracking_uri
    assert [find_template(f"greeting@{it}", uri).version for it in ("3", "7", "10")] == [
        "3",
        "7",
        "10",
    ]
    assert find_template("greeting@live", uri).ref == "greeting@7"


def test_one_template_has_one_fingerprint_in_both_places(registry):
    own = load_template("summarize_few_shot@1")
    registry.add(own)
    registry.set_alias(own.name, "live", 1)
    found = find_template(f"{own.name}@live", registry.tracking_uri)
    assert found == own
    chains = [replace(load_chain("summarize"), template=it) for it in (own, found)]
    model = load(resolve_model("python:local_models:Echo", {}))
    asked = [it.ask({"document": "Sales rose."}, model) for it in chains]
    assert asked[0].fingerprint == asked[1].fingerprint


# -- what is wrong


def test_all_wrong_variables_of_a_registered_text_are_named(registry):
    register(registry, "greeting", text_of(body="{{ b }} {{ a }}", variables="z y"))
    registry.set_alias("greeting", "live", 1)
    with pytest.raises(TemplateError) as caught:
        find_template("greeting@live", registry.tracking_uri)
    assert "version 1 of prompt 'greeting': variables used but not declared: ['a', 'b']" in str(
        caught.value
    )
    assert "not used: ['y', 'z']" in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("other@live", "'other': expected the alias 'live' .* found no prompt of this name"),
        ("greeting@stage", r"'stage' .* versions \['1'\] and the aliases \['live'\]; set it with"),
        ("greeting@9", r"'greeting@9': the files have .* \[\], the MLflow registry has .* \['1'\]"),
        ("summarize@9", r"the files have the versions \['1'.*registry has no prompt of this name"),
        ("greeting", "'greeting'; there are: .*summarize.* with its version or alias, greeting@1"),
    ],
)
def test_what_is_not_there_is_told_with_what_there_is(registry, ref, message):
    registry.add(template())
    registry.set_alias("greeting", "live", 1)
    with pytest.raises(TemplateError, match=message):
        find_template(ref, registry.tracking_uri)


def test_without_a_database_a_version_that_no_file_has_is_told_with_those_there_are(tmp_path):
    with pytest.raises(
        TemplateError, match=r"no version '99'; it has \['1'.*; no database at mlflow"
    ):
        find_template("summarize@99", f"sqlite:///{tmp_path}/none.db")


def test_a_store_without_database_is_a_wrong_setting_and_stays_missing(tmp_path):
    with pytest.raises(SettingsError, match=r"'greeting@live': expected a database.*prompts push"):
        find_template("greeting@live", f"sqlite:///{tmp_path}/typo.db")
    assert not list(tmp_path.iterdir())


def test_an_unreachable_store_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://me:hidden@127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(StoreError, match=r"cannot get prompt .*see mlflow\.tracking_uri") as it:
            find_template("greeting@live", uri)
    assert "hidden" not in str(it.value)


def test_a_version_with_two_texts_is_refused(registry):
    """Rows say only the version: it must name one text."""
    edited = load_template("summarize@1").source + "\nMore."
    register(registry, "summarize", edited)
    register(registry, "greeting", text_of(), text_of(body="Bye {{ document }}"))
    for name, where in (("summarize", "a file"), ("greeting", "MLflow's version 1")):
        registry.set_alias(name, "live", len(registry.versions(name)))
        with pytest.raises(TemplateError, match=f"and so is {where}, with another text"):
            find_template(f"{name}@live", registry.tracking_uri)


@pytest.mark.parametrize("name", ["../x", "greeting2"])
def test_a_text_that_says_another_name_is_refused(registry, name):
    register(registry, "greeting", text_of(name=name))
    registry.set_alias("greeting", "live", 1)
    with pytest.raises(TemplateError, match=f"expected the name 'greeting' .* found '{name}@1'"):
        find_template("greeting@live", registry.tracking_uri)


# -- prompts of other tools


def test_prompts_of_other_tools_are_templates_too(registry):
    chat = [{"role": "system", "content": "Be {{ tone }}."}, {"role": "user", "content": "{{ q }}"}]
    register(registry, "foreign", "Say {{ q }}", chat)
    text, messages = (find_template(f"foreign@{it}", registry.tracking_uri) for it in ("1", "2"))
    assert text.render({"q": "x"}) == ({"role": "user", "content": "Say x"},)
    assert (text.ref, text.variables, text.description) == ("foreign@1", {"q": "any"}, "by hand")
    assert [it["content"] for it in messages.render({"tone": "kind", "q": "x"})] == [
        "Be kind.",
        "x",
    ]
    assert messages.variables == {"q": "any", "tone": "any"}


@pytest.mark.parametrize(
    "content", [[{"type": "text", "text": "x"}], "a\n[[system]]\nb"], ids=["parts", "role line"]
)
def test_messages_that_no_template_can_hold_are_refused(registry, content):
    register(registry, "foreign", [{"role": "user", "content": content}])
    with pytest.raises(TemplateError, match="version 1 of prompt 'foreign': "):
        registry.load_number("foreign", 1)


# -- an alias that is followed


class Counting(PromptRegistry):
    """Counts what is asked for."""

    def __init__(self, tracking_uri):
        super().__init__(tracking_uri)
        self.asked = []

    def number_of(self, name, alias):
        self.asked.append("number")
        return super().number_of(name, alias)

    def load_number(self, name, number):
        self.asked.append("template")
        return super().load_number(name, number)


@pytest.fixture
def followed(registry):
    """Return greeting@live, which names version 1 of 2."""
    for version in ("1", "2"):
        registry.add(template(version))
    registry.set_alias("greeting", "live", 1)
    followed = follow_template("greeting@live", registry.tracking_uri)
    followed.registry = Counting(registry.tracking_uri)
    return followed


def test_a_look_is_one_question_and_the_template_is_loaded_when_the_alias_moved(registry, followed):
    assert [followed.look().version for _ in range(3)] == ["1"] * 3
    assert followed.registry.asked == ["number"] * 3
    registry.set_alias("greeting", "live", 2)
    assert [followed.look().version for _ in range(2)] == ["2"] * 2
    assert followed.registry.asked == [*["number"] * 4, "template", "number"]


def test_a_registry_that_is_gone_leaves_the_template_and_is_told_once(
    registry, followed, tmp_path, caplog
):
    registry.set_alias("greeting", "live", 2)
    (tmp_path / "mlflow.db").rename(tmp_path / "away")
    with caplog.at_level(logging.WARNING):
        assert [followed.look().version for _ in range(3)] == ["1"] * 3
        assert followed.registry.asked == ["number"]
        followed.seconds_between_failures = 0
        followed._not_before = 0.0
        assert followed.look().version == "1"
        (tmp_path / "away").rename(tmp_path / "mlflow.db")
        assert [followed.look().version for _ in range(2)] == ["2"] * 2
    assert [it.message.partition(":")[0] for it in caplog.records] == [
        "greeting@1 goes on as it is",
        "the prompt registry answers again",
    ]


def test_an_alias_that_is_removed_is_an_error(registry, followed):
    with asking_mlflow("cannot remove", registry.tracking_uri):
        connect(registry.tracking_uri).delete_prompt_alias("greeting", "live")
    with pytest.raises(TemplateError, match="expected the alias 'live'"):
        followed.look()


@pytest.mark.parametrize("ref", [None, "summarize", "summarize@1", "a@b/mine.md", "mine.md"])
def test_what_cannot_move_is_not_followed(ref):
    assert follow_template(ref, "sqlite:////nowhere.db") is None
