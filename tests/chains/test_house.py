import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import chains
import udfs

HEAVY = ["pyspark", "delta", "torch", "transformers", "openai", "mlflow", "opentelemetry"]
PACKAGES = ["chains", "chains.models", "udfs", "jobs", "prompt_templates"]


def files(package):
    folder = Path(package.__file__).parent
    return sorted(path.relative_to(folder.parent) for path in folder.rglob("*.py"))


def imported(path, root):
    """Return the top-level names that a file imports anywhere, inside functions too."""
    nodes = list(ast.walk(ast.parse((root / path).read_text("utf-8"))))
    plain = [it.name for node in nodes if isinstance(node, ast.Import) for it in node.names]
    from_ = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not any(node.level for node in nodes if isinstance(node, ast.ImportFrom)), path
    return {name.partition(".")[0] for name in plain + from_}


@pytest.mark.parametrize("path", files(chains), ids=str)
def test_chains_know_no_spark(path):
    found = imported(path, Path(chains.__file__).parents[1])
    assert found.isdisjoint({"pyspark", "delta", "py4j", "udfs", "jobs"})


@pytest.mark.parametrize("path", files(udfs), ids=str)
def test_udfs_know_no_jobs(path):
    assert "jobs" not in imported(path, Path(udfs.__file__).parents[1])


def test_importing_chains_imports_nothing_heavy():
    code = f"import sys, chains; print(sorted(sys.modules.keys() & set({HEAVY!r})))"
    root = Path(chains.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=root, capture_output=True, text=True
    )
    assert (run.stdout, run.stderr, run.returncode) == ("[]\n", "", 0)


@pytest.mark.parametrize("name", PACKAGES)
def test_all_of_a_package_is_its_public_names(name):
    package = importlib.import_module(name)
    public = {
        key
        for key, value in vars(package).items()
        if not key.startswith("_") and not inspect.ismodule(value)
    }
    listed = getattr(package, "__all__", [])
    assert listed == sorted(set(listed))
    assert set(listed) == public
