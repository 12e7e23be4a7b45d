import base64
import http.server
import json
import sys
import threading
import traceback

import pytest

from chains.errors import SettingsError
from chains.secrets import check_reference, resolve_secret

CANARY = "sk-canary-8d1f"


@pytest.fixture
def databricks(monkeypatch, tmp_path):
    """A Databricks workspace on loopback that knows one secret."""

    class Workspace(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/api/2.0/secrets/get?scope=llm&key=openai"
            value = base64.b64encode(CANARY.encode()).decode()
            unknown = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{CANARY}?"}
            body = json.dumps({"value": value} if known else unknown).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Workspace) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("DATABRICKS_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DATABRICKS_TOKEN", "token")
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
        yield
        server.shutdown()
        thread.join()


def test_a_variable_of_the_environment(monkeypatch):
    monkeypatch.setenv("GRISTMILL_KEY", CANARY)
    assert resolve_secret("env:GRISTMILL_KEY") == CANARY


def test_a_file_without_its_last_newline(tmp_path):
    (tmp_path / "key").write_text(CANARY + "\n")
    assert resolve_secret(f"file:{tmp_path / 'key'}") == CANARY


def test_a_databricks_secret(databricks):
    assert resolve_secret("secrets/llm/openai") == CANARY


def test_an_unknown_databricks_secret_is_named_and_the_response_is_not(databricks):
    with pytest.raises(SettingsError, match="secrets/llm/other") as caught:
        resolve_secret("secrets/llm/other")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_without_the_databricks_sdk_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "databricks.sdk", None)
    with pytest.raises(SettingsError, match="secrets/llm/openai: needs the package databricks-sdk"):
        resolve_secret("secrets/llm/openai")


def test_a_missing_variable_is_named(monkeypatch):
    monkeypatch.delenv("GRISTMILL_KEY", raising=False)
    with pytest.raises(SettingsError, match="env:GRISTMILL_KEY"):
        resolve_secret("env:GRISTMILL_KEY")


def test_an_empty_variable_is_no_secret(monkeypatch):
    monkeypatch.setenv("GRISTMILL_KEY", " \n")
    with pytest.raises(SettingsError, match="env:GRISTMILL_KEY: is empty"):
        resolve_secret("env:GRISTMILL_KEY")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none: cannot be read \(FileNotFoundError\)"):
        resolve_secret(f"file:{tmp_path / 'none'}")


def test_a_file_that_is_not_text_is_not_quoted(tmp_path):
    (tmp_path / "key").write_bytes(CANARY.encode() + b"\xff")
    with pytest.raises(SettingsError) as caught:
        resolve_secret(f"file:{tmp_path / 'key'}")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("value", [CANARY, "", "env:", f"env:{CANARY}", "file:", "secrets/a"])
def test_what_is_no_reference_is_refused_and_never_repeated(value):
    with pytest.raises(ValueError, match=r"^expected a reference") as caught:
        check_reference(value)
    assert CANARY not in str(caught.value)
    with pytest.raises(SettingsError, match=r"^secret: expected a reference") as caught:
        resolve_secret(value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("reference", ["env:KEY", "file:/run/key", "secrets/llm/openai"])
def test_a_reference_is_checked_without_being_resolved(reference):
    assert check_reference(reference) == reference
