"""Unix sockets to Python: they are used, and nothing of them stays behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jobs import sockets

SESSION = """
import os
from pathlib import Path
from jobs.session import open_session
from jobs.settings import SparkSettings
from pyspark.sql import functions as F

spark = open_session(SparkSettings(master="local[1]"), Path("logs"))
twice = F.udf(lambda it: 2 * it, "long")
assert [row[0] for row in spark.range(3).select(twice("id")).collect()] == [0, 2, 4]
(folder,) = Path(os.environ["TMPDIR"]).glob("gristmill-*")
print(sum(it.is_socket() for it in folder.iterdir()))
"""


@pytest.mark.spark
def test_sockets_go_with_the_process(tmp_path):
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        ran = subprocess.run(
            [sys.executable, "-c", SESSION],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": temporary},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(ran.stdout) > 0
        assert list(Path(temporary).glob("gristmill-*")) == []


def test_without_a_short_path_there_are_none(monkeypatch, tmp_path):
    (deep := tmp_path / ("d" * 100)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    sockets._folder.cache_clear()
    assert sockets.socket_settings() == {}
    sockets._folder.cache_clear()
