import json
import os
import re
import shutil
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from chains.completion import Question
from chains.errors import ModelLoadError, SettingsError, StoreError
from chains.logged import load_logged
from chains.models.registry import load
from chains.tracking import connect
from jobs.log_chain import run_log_chain
from jobs.pinning import pin_chain

# SQLAlchemy, about MLflow's tables.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

ECHO = "chain.model=python:local_models:Echo"
ROW = {"document": "The mill was built in 1887."}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def settings(job, store, tmp_path, monkeypatch):
    """A function from assignments to settings that share one store; the cache is the test's own."""
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "support")
    return lambda *assignments: job(f"work_dir={store}", *assignments)


def test_a_moved_alias_changes_the_next_load_and_nothing_before(settings):
    first = run_log_chain(settings(ECHO), "moving", "champion")
    uri = settings().tracking_uri
    chain_before, model_before = load_logged("models:/moving@champion", uri)
    run_log_chain(settings(ECHO, "chain.parameters.seed=7"), "moving", "champion")
    chain_after, model_after = load_logged("models:/moving@champion", uri)
    assert (first.version, model_before.name, model_after.name) == ("1", "moving@1", "moving@2")
    assert (chain_before.parameters.seed, chain_after.parameters.seed) == (0, 7)
    assert load_logged("models:/moving/1", uri)[0] == chain_before


def test_the_same_model_logged_again_is_the_same_question(settings):
    pinned = pin_chain(settings(ECHO))
    run_log_chain(settings(ECHO), "again")
    run_log_chain(settings(ECHO), "again")
    loaded = [load_logged(f"models:/again/{v}", settings().tracking_uri) for v in (1, 2)]
    asked = [chain.ask(ROW, load(model)) for chain, model in [pinned, *loaded]]
    assert all(isinstance(it, Question) for it in asked)
    assert len({it.fingerprint for it in asked}) == 1
    assert [model.name for _, model in loaded] == ["again@1", "again@2"]


def test_settings_change_a_logged_chain_but_not_its_model(settings):
    run_log_chain(settings(ECHO), "changed", "champion")
    of_logged = settings("chain.model=models:/changed@champion", "chain.parameters.sentences=5")
    chain, model = pin_chain(of_logged)
    assert chain.parameters.sentences == 5
    assert model.name == "changed@1"


def test_weights_are_fetched_once_and_answer_alike(settings, store, tiny_model, tmp_path):
    weights = shutil.copytree(tiny_model, tmp_path / "weights")
    (weights / "pytorch_model.bin").write_bytes(b"a pickle")
    of_folder = settings(f"chain.model=path:{weights}", "chain.parameters.max_output_tokens=8")
    run_log_chain(of_folder, "tiny", "champion")
    chain, model = load_logged("models:/tiny@champion", of_folder.tracking_uri)
    (store / "mlartifacts").rename(store / "away")
    try:
        again = load_logged("models:/tiny@champion", of_folder.tracking_uri)
    finally:
        (store / "away").rename(store / "mlartifacts")
    assert again == (chain, model)
    folder = Path(model.location)
    assert folder.is_relative_to(tmp_path / "cache" / "models")
    assert {"config.json", "model.safetensors"} <= {file.name for file in folder.iterdir()}
    assert not (folder / "pytorch_model.bin").exists()
    _, original = pin_chain(of_folder)
    assert model.digest == original.digest
    here, there = (chain.complete([ROW], load(ref))[0] for ref in (original, model))
    assert (there.result, there.raw, there.fingerprint) == (here.result, here.raw, here.fingerprint)
    assert here.result or here.raw


def test_a_secret_stays_a_reference(settings, store, monkeypatch):
    monkeypatch.setenv("MILL_KEY", "sk-not-to-be-written")
    endpoint = "{base_url: 'http://127.0.0.1:9/v1', api_key: 'env:MILL_KEY', attempts: 2}"
    of_endpoint = settings(
        f"endpoints={{local: {endpoint}}}",
        "endpoints.local.omit_parameters=[seed]",
        "chain.model=endpoint:local/m",
    )
    _, pinned = pin_chain(of_endpoint)
    run_log_chain(of_endpoint, "remote")
    _, loaded = load_logged("models:/remote/1", of_endpoint.tracking_uri)
    load(loaded)
    same = ("kind", "location", "digest", "options")
    assert [getattr(loaded, it) for it in same] == [getattr(pinned, it) for it in same]
    assert dict(loaded.options)["api_key"] == "env:MILL_KEY"
    files = [file for file in store.rglob("*") if file.is_file()]
    assert not [file for file in files if b"not-to-be-written" in file.read_bytes()]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("models:/nobody@champion", "found no model of this name"),
        ("models:/known@nope", "expected alias 'nope' of 'known', found the aliases champion (ver"),
        ("models:/known/99", "expected version 99 of 'known', found the aliases champion (version"),
    ],
)
def test_a_wrong_name_is_told_with_what_there_is(settings, spec, found):
    uri = settings().tracking_uri
    run_log_chain(settings(ECHO), "known", "champion")
    with pytest.raises(ModelLoadError) as raised:
        load_logged(spec, uri)
    said = str(raised.value)
    assert said.startswith(f"cannot get {spec!r}: ")
    assert found in said
    assert f"{uri!r}; set mlflow.tracking_uri" in said
    assert "gristmill log" in said


@pytest.mark.parametrize("spec", ["models:/a", "models:/a@", "models:/a/b", "models:/a/1/b"])
def test_another_form_is_a_wrong_setting(spec):
    with pytest.raises(SettingsError, match=r"models:/NAME@ALIAS or models:/NAME/VERSION; found"):
        load_logged(spec, "sqlite:////nowhere")


def test_a_missing_database_is_not_created(tmp_path):
    with pytest.raises(ModelLoadError, match="expected a database, found no such file"):
        load_logged("models:/a@b", f"sqlite:///{tmp_path}/typo.db")
    assert not list(tmp_path.iterdir())


def test_an_unreachable_store_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(StoreError) as raised:
            load_logged("models:/a@b", f"http://me:hidden@127.0.0.1:{port}")
    said = str(raised.value)
    assert f"the MLflow store 'http://***@127.0.0.1:{port}' was asked" in said
    assert "see mlflow.tracking_uri" in said
    assert "hidden" not in said


@pytest.mark.parametrize(
    "ask",
    [
        lambda job, uri: load_logged("models:/any@champion", uri),
        lambda job, uri: run_log_chain(job(ECHO, f"mlflow.tracking_uri={uri}"), "any"),
    ],
)
def test_a_server_that_is_down_is_not_waited_for(settings, ask):
    asked = []

    class Down(BaseHTTPRequestHandler):
        def log_request(self, code="-", size="-"):
            asked.append(self.path)

        def do_GET(self):
            self.send_error(503)

        do_POST = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Down) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(StoreError, match="too many 503"):
            ask(settings, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert len(asked) == 3


def test_a_model_of_another_tool_is_refused_before_it_is_fetched(settings, tmp_path):
    uri = settings().tracking_uri
    run_log_chain(settings(ECHO), "ours")
    foreign = tmp_path / "foreign"
    (foreign / "artifacts").mkdir(parents=True)
    (foreign / "artifacts" / "model.pkl").write_bytes(b"")
    client = connect(uri)
    client.create_registered_model("foreign")
    client.create_model_version("foreign", foreign.as_uri())
    with pytest.raises(ModelLoadError, match=re.escape("found model.pkl")) as raised:
        load_logged("models:/foreign/1", uri)
    assert "models:/foreign/1 is an MLflow model, but not a chain" in str(raised.value)
    assert not (tmp_path / "cache").exists()


def test_files_of_another_version_are_told_without_the_prompt(settings):
    uri = settings().tracking_uri
    run_log_chain(settings(ECHO), "old")
    load_logged("models:/old/1", uri)
    (chain_file,) = Path(os.environ["GRISTMILL_CACHE"]).rglob("chain.json")
    chain_file.write_text(json.dumps({**json.loads(chain_file.read_text()), "max_input_chars": []}))
    with pytest.raises(ModelLoadError, match="max_input_chars: int_type; log the chain again") as e:
        load_logged("models:/old/1", uri)
    assert "You summarize" not in str(e.value)


@pytest.mark.process
def test_loading_needs_no_spark_and_prints_nothing(settings):
    run_log_chain(settings(ECHO), "quiet", "champion")
    script = f"""
import logging, sys
logging.basicConfig(level=logging.INFO)
logging.getLogger("gristmill").setLevel(logging.WARNING)
sys.modules["pyspark"] = None
from chains.logged import load_logged
chain, model = load_logged("models:/quiet@champion", {settings().tracking_uri!r})
assert model.name == "quiet@1"
assert not {{"udfs", "jobs", "delta"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
