"""The cluster demo: the reports summarized by a job that is submitted to a cluster."""

import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path

from chains.errors import JobError
from jobs.cluster import Cluster

LOG = logging.getLogger("gristmill")


def run_demo_cluster(dist: Path, folder: Path, words: Sequence[str]) -> None:
    """Start a cluster, submit the demo to it, stop it; `dist` is what `make dist` made.

    Raises JobError where the job fails.
    """
    with Cluster(folder) as cluster:
        LOG.info("master %s, workers in %s", cluster.master, folder)
        command = cluster.submission(dist, ["demo", *words])
        log = folder / "driver.log"
        with log.open("wb") as said:
            done = subprocess.run(command, env=cluster.environment, stderr=said)  # noqa: S603
    if done.returncode:
        raise JobError(f"the job ended with code {done.returncode}; its log is {log}")
