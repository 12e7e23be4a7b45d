"""Model servers that the tasks of an executor share; the server here is a small command."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ending import assert_ended, wait_until

from chains.errors import EndpointDown, ModelLoadError
from chains.models.base import Answer, Request
from chains.models.registry import make
from chains.models.sidecar.settings import SidecarSettings, behind_sidecar
from chains.models.transformers.model import resolve_transformers

pytestmark = pytest.mark.process

SMALL = Path(__file__).parents[3] / "support" / "small_server.py"
REQUESTS = [Request(({"role": "user", "content": f"r{n} says {n}"},)) for n in range(4)]


@pytest.fixture
def owner():
    """Return a process that stands for an executor; servers end with it."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def hold(tmp_path):
    """Return the file that keeps servers from answering while it is there."""
    return tmp_path / "hold"


@pytest.fixture
def place(tmp_path, monkeypatch, owner, hold):
    """Return a function that opens a model for a task of the executor, and the servers' folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(b"")
    ref = resolve_transformers(f"path:{weights}", str(weights))

    def open_model(gpus=(), **settings):
        command = ("{python}", str(SMALL), "{port}", "{token}", str(hold))
        settings = {"kind": "command", "command": command, **settings}
        served = behind_sidecar(ref, SidecarSettings(**settings))
        where = (("owner", owner.pid), ("gpus", gpus))
        return make(replace(served, options=(*served.options, *where)))

    yield open_model, tmp_path / f"gristmill-{os.getuid()}" / "sidecars" / str(owner.pid)
    owner.kill()
    left = {state["pid"] for state in states_in(tmp_path)} & set(psutil.pids())
    assert_ended(*map(psutil.Process, left))


def states_in(folder):
    return [json.loads(path.read_text()) for path in folder.rglob("state.json")]


def server_and_keeper(folder):
    (state,) = wait_until(lambda: [it for it in states_in(folder) if it["ready"]])
    server = psutil.Process(state["pid"])
    return server, server.parent()


def in_flight(folder):
    state = next((it for it in states_in(folder) if it["ready"]), None)
    if state is None:
        return 0
    with urllib.request.urlopen(f"http://127.0.0.1:{state['port']}/stats") as page:
        return json.load(page)


def used_until(folder):
    return max((path.stat().st_mtime for path in folder.rglob("use")), default=0)


def all_answered(outcomes):
    return [it.text for it in outcomes if isinstance(it, Answer)] == ["r0", "r1", "r2", "r3"]


def test_tasks_share_a_server_that_is_restarted_and_ends_with_their_executor(place, owner, hold):
    open_model, folder = place
    tasks = [open_model() for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        assert all(all_answered(it) for it in pool.map(lambda it: it.complete(REQUESTS), tasks))
        first, keeper = server_and_keeper(folder)
        hold.touch()
        asked = pool.submit(tasks[0].complete, REQUESTS)
        wait_until(lambda: in_flight(folder) == len(REQUESTS))
        first.kill()
        hold.unlink()
        assert all_answered(asked.result())
    second, same_keeper = server_and_keeper(folder)
    assert (second.pid != first.pid, same_keeper) == (True, keeper)
    (log,) = folder.rglob("server.log")
    assert len(re.findall(r"server \d+ started", log.read_text())) == 2
    owner.kill()
    assert_ended(second, keeper)


def test_an_idle_server_ends_another_is_started_and_dies_with_its_keeper(place, hold):
    open_model, folder = place
    model = open_model(idle_seconds=0.1)
    with ThreadPoolExecutor() as pool:
        hold.touch()
        began = time.time()
        asked = pool.submit(model.complete, REQUESTS)
        wait_until(lambda: used_until(folder) > began + 0.5 and in_flight(folder))
        hold.unlink()
        assert all_answered(asked.result())
    first, keeper = server_and_keeper(folder)
    assert_ended(first, keeper)
    assert all_answered(model.complete(REQUESTS))
    second, keeper = server_and_keeper(folder)
    keeper.kill()
    assert_ended(second)


def test_what_waits_for_a_server_does_not_wait_for_another_keeper_s(place, hold):
    """A keeper is killed, but not what a script had started: its requests break off later."""
    open_model, folder = place
    script = f"{sys.executable} {SMALL} {{port}} {{token}} {hold} & wait"
    tasks = [open_model(command=("sh", "-c", script)) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        hold.touch()
        asked = pool.submit(tasks[0].complete, REQUESTS)
        wait_until(lambda: in_flight(folder) == len(REQUESTS))
        shell, keeper = server_and_keeper(folder)
        (left,) = shell.children()
        left.suspend()
        keeper.kill()
        assert_ended(shell)
        hold.unlink()
        assert all_answered(tasks[1].complete(REQUESTS))
        left.kill()
        assert {type(it) for it in asked.result(30)} == {EndpointDown}


def test_the_folder_of_servers_may_have_the_group_of_the_one_above(place, tmp_path):
    """Hadoop's local folders are such."""
    open_model, _ = place
    tmp_path.chmod(0o2755)
    assert all_answered(open_model().complete(REQUESTS))


def test_each_gpu_has_a_server_that_sees_only_this_gpu(place, monkeypatch, tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 70000\n")
    smi.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    open_model, folder = place
    models = [open_model(gpus=(gpu,)) for gpu in ("0", "3", "0")]
    with ThreadPoolExecutor() as pool:
        assert all(all_answered(it) for it in pool.map(lambda it: it.complete(REQUESTS), models))
    states = states_in(folder)
    seen = [psutil.Process(state["pid"]).environ() for state in states]
    assert sorted(it["CUDA_VISIBLE_DEVICES"] for it in seen) == ["0", "3"]
    assert {it["CUDA_DEVICE_ORDER"] for it in seen} == {"PCI_BUS_ID"}
    assert [state["gpu_memory_mb"] for state in states] == [70_000] * 2
    assert all(state["memory_mb"] > 0 for state in states)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("exit('no such weights')", "exit code 1 before it was ready.*server.log.*no such weights"),
        ("import time; time.sleep(600)", "no 200 to GET /v1/models for 0.5 s before it was ready"),
    ],
)
def test_a_server_that_does_not_become_ready_is_told_with_the_end_of_its_log(place, code, said):
    open_model, _ = place
    model = open_model(command=("{python}", "-c", code, "{port}"), ready_seconds=0.5)
    with pytest.raises(ModelLoadError, match=re.compile(said, re.DOTALL)):
        model.complete(REQUESTS)


def test_a_task_that_asks_a_server_holds_no_torch(tiny_model):
    """Of a worker's memory torch would be the most, and there is a worker for each task."""
    asks = f"""
import sys
from chains import load_chain
from chains.models.registry import load
from chains.models.sidecar.settings import SidecarSettings, behind_sidecar
from chains.models.transformers.model import resolve_transformers

ref = resolve_transformers("path:{tiny_model}", "{tiny_model}")
model = load(behind_sidecar(ref, SidecarSettings()))
chain = load_chain("summarize")
chain.ask({{"document": "short"}}, model)
print(model.context_window, "torch" in sys.modules)
"""
    said = subprocess.run(
        [sys.executable, "-c", asks], capture_output=True, text=True, check=True
    ).stdout
    ref = resolve_transformers(f"path:{tiny_model}", str(tiny_model))
    window = make(ref).context_window
    assert said.split() == [str(window), "False"]
