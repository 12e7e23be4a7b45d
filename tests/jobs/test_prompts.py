"""Templates between files and a real registry, and jobs whose prompt's alias moves."""

import json
from contextlib import contextmanager
from queue import Queue
from threading import Thread

import pytest
from deltalake import DeltaTable
from rounds import long

from chains.errors import SettingsError, TableError, TemplateError
from chains.templates import load_template, parse_template, released_names
from jobs.batch import run_batch
from jobs.cli import main
from jobs.pinning import pin_work
from jobs.prompts import Files, diff, listed, pull, push, set_alias
from jobs.settings import load_settings_of
from jobs.stream import Stream, Trigger
from jobs.stream_settings import StreamSettings

# SQLAlchemy, about MLflow's tables.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

PACKAGE = Files.of(None)


def text_of(version="1", body="Sum up {{ document }}", variables="document"):
    types = ", ".join(f"{it}: string" for it in variables.split())
    return (
        f"---\nname: brief\nversion: '{version}'\ndescription: d\n"
        f"variables: {{{types}}}\n---\n{body}\n"
    )


@pytest.fixture
def folder(tmp_path):
    """Return a folder of brief@1 and brief@2."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for version in ("1", "2"):
        text = text_of(version, f"Version {version}: {{{{ document }}}}")
        (folder / f"brief@{version}.md").write_bytes(text.replace(": d\n", ": d\r\n").encode())
    (folder / "README.md").write_text("no template")
    return folder


@pytest.fixture
def pushed(registry, folder):
    """Return the registry with both versions; brief@live is the first."""
    push(registry, Files.of(folder).chosen([]))
    set_alias(registry, "brief@live", "1")
    return registry


# -- push and pull


def test_a_second_push_does_nothing_and_says_so(registry):
    templates = PACKAGE.chosen([])
    assert set(push(registry, templates).values()) == {"pushed"}
    assert set(push(registry, templates).values()) == {"is there already, unchanged"}
    assert registry.names() == released_names()
    assert [len(registry.versions(it)) for it in registry.names()] == [1] * len(templates)


def test_push_and_pull_give_the_same_bytes(pushed, folder, tmp_path):
    done = pull(pushed, ["brief"], tmp_path / "pulled")
    assert set(done.values()) == {"written"}
    for version in ("1", "2"):
        name = f"brief@{version}.md"
        assert (tmp_path / "pulled" / name).read_bytes() == (folder / name).read_bytes()
    again = pull(pushed, ["brief@live"], tmp_path / "pulled")
    assert again == {str(tmp_path / "pulled" / "brief@1.md"): "is there already, unchanged"}


def test_a_folder_of_files_without_versions_has_nothing_to_push_and_says_so(tmp_path):
    (tmp_path / "brief.md").write_text(text_of())
    with pytest.raises(TemplateError, match=r"expected files NAME@VERSION\.md, found none"):
        Files.of(tmp_path).chosen([])


def test_an_edited_version_is_refused_before_anything_is_pushed(pushed, folder):
    (folder / "brief@2.md").write_text(text_of("2", "Edited: {{ document }}"))
    (folder / "brief@3.md").write_text(text_of("3"))
    (folder / "first@1.md").write_text(text_of().replace("brief", "first"))
    with pytest.raises(TemplateError, match=r"'brief@2': is registered with another text.*next"):
        push(pushed, Files.of(folder).chosen([]))
    assert len(pushed.versions("brief")) == 2
    assert pushed.names() == ["brief"]


def test_two_files_of_one_version_are_refused(registry, tmp_path):
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(text_of(body=f"{name} {{{{ document }}}}"))
    paths = [str(tmp_path / "a.md"), str(tmp_path / "b.md")]
    with pytest.raises(TemplateError, match=r"'brief@1'.*another text"):
        push(registry, Files.of(tmp_path).chosen(paths))
    assert registry.names() == []


def test_a_version_that_is_no_number_is_refused_for_it_could_be_an_alias(registry):
    with pytest.raises(TemplateError, match=r"'brief@new': .* whole number"):
        push(registry, [parse_template(text_of("new"), "t.md")])


def test_a_file_that_says_it_is_another_one_is_named(registry, folder):
    (folder / "brief@3.md").write_text(text_of("4"))
    with pytest.raises(TemplateError, match=r"brief@3\.md: its front matter says .* brief@4"):
        Files.of(folder).chosen(["brief"])


def test_pull_overwrites_no_other_text_and_writes_nothing_then(pushed, tmp_path):
    (tmp_path / "brief@2.md").write_text("mine")
    with pytest.raises(TemplateError, match=r"brief@2\.md: is there with another text"):
        pull(pushed, ["brief"], tmp_path)
    assert not (tmp_path / "brief@1.md").exists()
    assert (tmp_path / "brief@2.md").read_text() == "mine"


# -- diff, list, alias


def test_diff_shows_what_is_not_the_same(pushed, folder):
    files = Files.of(folder)
    assert {it.state for it in diff(pushed, files)} == {"same"}
    edited = folder / "brief@2.md"
    edited.write_bytes(edited.read_bytes().replace(b"Version 2", b"Second"))
    (folder / "brief@1.md").unlink()
    (folder / "brief@3.md").write_text(text_of("3"))
    one, two, three = diff(pushed, files, ["brief"])
    assert (one.state, two.state, three.state) == (
        "only in the registry",
        "different",
        "only in the files",
    )
    changed = [it for it in two.lines if it[0] in "+-"]
    assert changed == [
        "--- registry/brief@2\n",
        "+++ files/brief@2\n",
        "-Version 2: {{ document }}\n",
        "+Second: {{ document }}\n",
    ]
    assert diff(pushed, PACKAGE, [str(edited)]) == [two]


def test_list_has_both_places_and_no_store_is_an_empty_one(pushed, folder, tmp_path):
    (folder / "brief@10.md").write_text(text_of("10"))
    (brief,) = listed(pushed, Files.of(folder))
    assert (brief.files, brief.registry) == (("1", "2", "10"), ("1", "2"))
    assert brief.aliases == {"live": "1"}
    (tmp_path / "mlflow.db").unlink()
    assert listed(pushed, Files.of(folder))[0].registry == ()


@pytest.mark.parametrize(
    ("ref", "version", "message"),
    [
        ("brief@live", "9", r"'brief@9': .* registry has the versions \['1', '2'\]"),
        ("brief@7", "1", "an alias that is no number, found 'brief@7'"),
        ("brief", "1", "expected NAME@ALIAS"),
        ("other@live", "1", "no prompt of this name"),
    ],
)
def test_an_alias_of_nothing_is_refused(pushed, ref, version, message):
    with pytest.raises(TemplateError, match=message):
        set_alias(pushed, ref, version)
    assert pushed.aliases("brief") == {"live": 1}


def test_the_commands_tell_what_they_did(registry, folder, tmp_path, capsys):
    def prompts(*words):
        code = main(["prompts", *words, "--store", registry.tracking_uri])
        return code, capsys.readouterr().out

    files = ("--folder", str(folder))
    assert prompts("diff", *files)[0] == 1
    assert prompts("push", "brief@1", *files) == (0, "brief@1: pushed\n")
    assert prompts("push", *files)[1].startswith("brief@1: is there already, unchanged\nbrief@2: ")
    assert prompts("diff", *files) == (0, "brief@1: same\nbrief@2: same\n")
    assert prompts("alias", "brief@live", "2") == (0, "brief@live: names version 2\n")
    code, out = prompts("list", "--json", *files)
    assert (code, json.loads(out)) == (
        0,
        {
            "prompts": [
                {
                    "name": "brief",
                    "files": ["1", "2"],
                    "registry": ["1", "2"],
                    "aliases": {"live": "2"},
                }
            ]
        },
    )
    assert "live: 2" in prompts("list", *files)[1]
    assert prompts("pull", "brief@live", "--folder", str(tmp_path))[0] == 0
    (folder / "brief@2.md").write_text(text_of("2", "Edited {{ document }}"))
    code, out = prompts("diff", "brief@2", *files)
    assert (code, out.splitlines()[0]) == (1, "brief@2: different")
    assert prompts("pull", "brief@2", *files)[0] == 2


# -- jobs


def test_a_job_without_its_prompt_ends_before_spark_starts(pushed, job):
    with pytest.raises(TemplateError, match="expected the alias 'stage'"):
        pin_work(job("chain.template=brief@stage"))
    with pytest.raises(SettingsError, match=r"no such file.*prompts push"):
        pin_work(job("chain.template=brief@live", "mlflow.tracking_uri=sqlite:////no/where.db"))


def test_a_variable_that_the_columns_do_not_fit_is_named(pushed, job):
    with pytest.raises(SettingsError, match=r"brief@1 has the variables \['document'\]"):
        pin_work(job("chain.template=brief@live", "source.columns.text=body"))


def asking(endpoint):
    return (
        "chain.model=endpoint:fake/m",
        f"endpoints.fake.base_url={endpoint.base_url}",
        "endpoints.fake.attempts=1",
    )


def rows_of(path):
    return DeltaTable(str(path)).to_pyarrow_table().to_pylist()


@long
@pytest.mark.spark
def test_an_alias_that_moves_during_a_batch_changes_the_next_run(
    spark, job, pushed, endpoint, tmp_path
):
    rows = [(f"r{i}", f"key=r{i}") for i in range(3)]
    frame = spark.createDataFrame(rows, "id string, body string")
    frame.write.format("delta").save(f"{tmp_path}/source")
    settings = job(*asking(endpoint), "chain.template=brief@live")
    moved = []

    @contextmanager
    def moving(*_):
        """Move the alias when the model is about to be asked."""
        set_alias(pushed, "brief@live", "2")
        moved.append(True)
        yield

    run_batch(spark, settings, moving)
    assert moved
    assert {it["template"] for it in rows_of(tmp_path / "target")} == {"brief@1"}
    assert len(endpoint.calls()) == 3
    assert pin_work(settings).chain.template.ref == "brief@2"


@pytest.fixture
def stream_settings(tmp_path, endpoint):
    """Return the settings of a stream over a table that asks what brief@live names."""
    conf = tmp_path / "stream.yml"
    conf.write_text(
        f"""
        source: {{table: {tmp_path}/documents, key: id, columns: {{document: body}}}}
        target: {{table: {tmp_path}/target, mode: append}}
        chain: {{name: summarize, template: brief@live}}
        ledger: {{table: {tmp_path}/ledger}}
        checkpoint: {tmp_path}/checkpoint
        work_dir: {tmp_path}
        """
    )
    return load_settings_of(StreamSettings, conf, asking(endpoint))


@long
@pytest.mark.spark
def test_a_stream_follows_the_alias_until_it_needs_a_column_that_is_not_there(
    spark, pushed, stream_settings, tmp_path
):
    """Nothing is asked with half a prompt."""

    def send(name):
        frame = spark.createDataFrame([(name, f"key={name}")], "id string, body string")
        frame.write.format("delta").mode("append").save(f"{tmp_path}/documents")

    pushed.add(parse_template(text_of("3", "{{ document }} {{ tone }}", "document tone"), "t.md"))
    send("r0")
    done = Queue()
    stream = Stream(spark, stream_settings, done.put)

    def run():
        try:
            stream.run(Trigger())
        except TableError as error:
            done.put(error)

    running = Thread(target=run)
    running.start()
    try:
        assert done.get(timeout=120).template == "brief@1"
        set_alias(pushed, "brief@live", "2")
        send("r1")
        assert done.get(timeout=120).template == "brief@2"
        set_alias(pushed, "brief@live", "3")
        send("r2")
        assert "no column 'tone'" in str(done.get(timeout=120))
    finally:
        stream.stop()
        running.join(120)
    assert {it["id"]: it["template"] for it in rows_of(tmp_path / "target")} == {
        "r0": "brief@1",
        "r1": "brief@2",
    }


def test_a_file_of_the_package_and_its_registered_text_ask_the_same(registry, job):
    push(registry, [load_template("summarize_few_shot@1")])
    set_alias(registry, "summarize_few_shot@live", "1")
    by_file, by_alias = (
        pin_work(job(f"chain.template=summarize_few_shot@{it}")) for it in ("1", "live")
    )
    assert by_file.pinned == by_alias.pinned
