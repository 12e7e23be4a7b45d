"""The command as a user runs it: a process, its exit code, its output."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from chains.errors import CredentialRejected
from chains.models.fake.endpoint import FakeEndpoint
from jobs.cli import main
from jobs.cli_common import error_lines

pytestmark = pytest.mark.process

COMMAND = [str(Path(sys.executable).parent / "gristmill")]


def gristmill(*arguments, cwd, **options):
    """Run the command away from the checkout; return the finished process."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


@pytest.fixture
def conf(tmp_path):
    """Return settings of a job over three reports."""
    path = tmp_path / "job.yml"
    path.write_text(
        "source: {table: ./source, key: id, columns: {document: body}}\n"
        "target: {table: ./target}\n"
        "chain: {name: summarize, model: extractive, parameters: {sentences: 1}}\n"
        "ledger: {table: ./ledger}\n"
    )
    rows = {"id": ["a", "b", "c"], "body": ["Sales rose. It rained.", "Costs fell.", None]}
    write_deltalake(f"{tmp_path}/source", pa.table(rows))
    return path


def test_plan_then_batch_then_nothing_more(conf, tmp_path):
    planned = gristmill("plan", conf, "--json", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["misses"] == 2
    first = gristmill("batch", conf, "--json", cwd=tmp_path)
    second = gristmill("batch", conf, "--json", cwd=tmp_path)
    reports = [json.loads(it.stdout) for it in (first, second)]
    assert [it["completed"] for it in reports] == [2, 0]
    assert reports[1]["hits"] == 2
    assert set(reports[0]) >= {
        *("rows", "distinct", "hits", "misses", "completed", "skipped", "errors", "tokens"),
        *("seconds", "versions"),
    }
    assert DeltaTable(f"{tmp_path}/target").to_pyarrow_table().num_rows == 3
    assert "answering 2 prompts" in first.stderr
    assert "Sales" not in first.stderr + second.stderr


def test_wrong_settings_exit_2_and_start_nothing(conf, tmp_path):
    done = gristmill("batch", conf, "--set", "chain.modle=x", cwd=tmp_path)
    assert done.returncode == 2
    assert "chain.modle: unknown key" in done.stderr
    assert "job.yml" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / ".gristmill").exists()


def test_a_work_folder_that_cannot_be_written_exits_2_and_is_named(conf, tmp_path):
    (tmp_path / "file").touch()
    done = gristmill("batch", conf, "--set", f"work_dir={tmp_path}/file", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("SettingsError: work_dir: expected a folder")


@pytest.mark.parametrize("arguments", [["batch"], ["bake", "x"], ["batch", "x", "--jason"]])
def test_wrong_usage_exits_2(arguments, tmp_path):
    assert gristmill(*arguments, cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("plan", "--sample", "-2"),
        ("replay", "--reason", "invalid_reqest"),
        ("retry", "--error-code", "bad_luck"),
        *(("ledger forget", "--older-than", days) for days in ("-1", "900000", "inf", "nan")),
        ("ledger compact", "--keep-hours", "-1"),
    ],
)
def test_a_wrong_value_of_an_option_is_named(command, option, value, capsys):
    assert main([*command.split(), "job.yml", option, value]) == 2
    assert f"Invalid value for '{option}': " in capsys.readouterr().err


def test_what_cannot_be_written_exits_1_and_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRISTMILL_MLFLOW__TRACKING_URI", raising=False)
    (tmp_path / ".gristmill").touch()
    assert main(["prompts", "push"]) == 1
    assert "File exists: '.gristmill'" in capsys.readouterr().err


def test_what_libraries_tell_of_requests_is_not_shown(conf, tmp_path):
    with FakeEndpoint() as endpoint:
        at = f"endpoints.fake.base_url={endpoint.base_url}"
        done = gristmill("ask", conf, "fake/m", "hello", "--set", at, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_table_exits_2_and_is_named(conf, tmp_path):
    done = gristmill("batch", conf, "--set", "source.table=./nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_to_do_about_rows_without_an_answer_is_told_where_it_is_known():
    told = error_lines({"credential": 48, "refused": 1})
    assert told["dead letters"] == "48 credential, 1 refused"
    assert told["what to do"] == f"credential: {CredentialRejected.hint}"
    assert error_lines({}) == {"dead letters": "none"}
