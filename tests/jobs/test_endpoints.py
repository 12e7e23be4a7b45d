import json

import pytest

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.cli import main

KEY = "sk-canary-1f9a77"


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """Return a function from endpoints and a chain's model to the file of a job."""
    monkeypatch.setenv("ENDPOINT_KEY", KEY)

    def conf(model="endpoint:one/m", **endpoints):
        path = tmp_path / "job.yml"
        path.write_text(
            json.dumps(
                {
                    "chain": {"name": "summarize", "model": model},
                    "target": {"table": "t"},
                    "endpoints": endpoints,
                }
            )
        )
        return str(path)

    return conf


def run(capsys, *arguments):
    """Run a command; return its exit code, what it printed, and what it complained of."""
    code = main([*arguments])
    out, err = capsys.readouterr()
    assert KEY not in out + err
    return code, out, " ".join(err.split())


def test_endpoints_are_listed_with_their_models_tasks_and_states(conf, capsys):
    with FakeEndpoint() as gone:
        pass
    with (
        FakeEndpoint(FakeSettings(kind="databricks", token=KEY)) as databricks,
        FakeEndpoint(FakeSettings(kind="azure", api_key=KEY)) as azure,
    ):
        path = conf(
            lake={
                "base_url": databricks.base_url,
                "kind": "databricks",
                "token": "env:ENDPOINT_KEY",
            },
            azure={"base_url": azure.base_url, "kind": "azure", "api_key": "env:ENDPOINT_KEY"},
            nokey={"base_url": azure.base_url, "kind": "azure"},
            unset={"base_url": azure.base_url, "kind": "azure", "api_key": "env:NOT_SET_AT_ALL"},
            gone={"base_url": gone.base_url},
        )
        code, out, _ = run(capsys, "endpoints", path, "--json")
        found = [[it["name"], it["model"], it["task"], it["state"]] for it in json.loads(out)]
        assert run(capsys, "endpoints", path)[0] == 0
    assert code == 0
    assert found == [
        ["lake", "asleep", None, "not ready"],
        ["lake", "fake", "llm/v1/chat", "ready, external: openai/gpt"],
        ["azure", "fake", None, "ready"],
        ["nokey", None, None, "credential rejected: 401 authentication_error invalid_api_key"],
        [
            "unset",
            None,
            None,
            "secret env:NOT_SET_AT_ALL: the environment has no variable NOT_SET_AT_ALL",
        ],
        [
            "gone",
            None,
            None,
            "unreachable: no whole answer: ConnectError: All connection attempts failed",
        ],
    ]


def test_a_prompt_is_asked_once_and_its_answer_told(conf, capsys):
    with FakeEndpoint() as endpoint:
        path = conf(["extractive", "endpoint:one/m"], one={"base_url": endpoint.base_url})
        code, out, _ = run(capsys, "ask", path, "one", "key=r1 say hello", "--json")
        told = json.loads(out)
        assert run(capsys, "ask", path, "one/other", "key=r2")[0] == 0
        assert [call.key for call in endpoint.calls()] == ["r1", "r2"]
    assert code == 0
    assert told.pop("seconds") > 0
    assert told == {
        "model": "one/m",
        "answer": "answer to r1: key=r1 say hello",
        "finish_reason": "stop",
        "input_tokens": 3,
        "output_tokens": 6,
    }


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ("two", 2, "expected one of the endpoints ['one']: 'two'"),
        ("one", 2, "expected one/MODEL"),
        ("one/m", 1, "one/m gave no answer: invalid_request: 400"),
    ],
)
def test_what_cannot_be_asked_is_told(conf, capsys, asked, code, said):
    with FakeEndpoint(FakeSettings(faults={"*": {"status": 400}})) as endpoint:
        path = conf("extractive", one={"base_url": endpoint.base_url})
        found, _, err = run(capsys, "ask", path, asked, "key=r1")
    assert found == code
    assert said in err
