"""Delta's commits: what makes one land once, and what it tells in the table's history."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import SparkSession

_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


@dataclass(frozen=True)
class Commit:
    """What makes a commit happen once: of all commits computed on one version, one lands.

    `app` names the writer (the same for every run of a job), `base` is the table's version that
    the rows were computed on (-1 before the first), `run_id` is written into the table's history,
    and so is `told`.
    """

    app: str
    base: int
    run_id: str
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """Session settings that make Delta refuse a second commit computed on the same version.

        As options of a writer, merges and catalog tables would not take them.
        """
        return {
            "spark.databricks.delta.write.txnAppId": f"gristmill/{self.app}",
            "spark.databricks.delta.write.txnVersion": str(self.base + 1),
            _USER_METADATA: json.dumps({"gristmill_run_id": self.run_id, **self.told}),
        }


@dataclass(frozen=True)
class Told:
    """A commit with `metadata` in the table's history; its writer sees to it that it lands once."""

    metadata: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, str]:
        """Session settings that put the metadata into the commit."""
        return {_USER_METADATA: json.dumps(self.metadata)}


AnyCommit = Commit | Told


@contextmanager
def session_conf(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Set a session's settings while the block runs."""
    before: dict[str, str | None] = {key: spark.conf.get(key, None) for key in settings}
    try:
        for key, value in settings.items():
            spark.conf.set(key, value)
        yield
    finally:
        for key, earlier in before.items():
            if earlier is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, earlier)
