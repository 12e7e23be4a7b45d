"""What a target is in step with: each refresh writes it into the commit that brings it there."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import Row, SparkSession

from jobs.refresh_settings import PlanSettings
from udfs.delta import Table
from udfs.work import Work

_TOLD = "gristmill_refresh"
RETRIED = "gristmill_retry"
"""Says of a commit of dead letters that a retry made: theirs are all errors that may pass now."""
_NEWEST_COMMITS = 100
_SAME_ROWS = {
    *("OPTIMIZE", "REORG", "VACUUM START", "VACUUM END", "COMPUTE STATS", "CLUSTER BY"),
    *("SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "ADD COLUMNS", "CHANGE COLUMN"),
    *("ADD CONSTRAINT", "DROP CONSTRAINT", "ADD FEATURE", "UPGRADE PROTOCOL"),
}


@dataclass(frozen=True)
class InStep:
    """A version of a source, and all else that decided what the target holds.

    `source` is the source table's identity, `makings` a digest (see `makings_of`), `base` the
    target's version before the commit, `letters_base` that of the dead letters (-1: no table),
    and `writes_letters` whether they are written after it.
    """

    run_id: str
    source: str
    version: int
    makings: str
    base: int
    letters_base: int
    writes_letters: bool = False

    @property
    def told(self) -> Mapping[str, Any]:
        """The metadata of the commit."""
        return {_TOLD: asdict(self)}


@dataclass(frozen=True)
class Memory:
    """What the last refresh told, and whether others have changed rows of the target since."""

    last: InStep | None
    disturbed: bool


def makings_of(work: Work, settings: PlanSettings) -> str:
    """Return the digest of all that decides what rows of the same source end as."""
    makings: dict[str, Any] = {
        "chain": work.pinned.chain.model_dump(mode="json"),
        "model": work.pinned.model.digest,
        "columns": dict(work.columns),
        "rows": [work.key, work.keep, settings.source.duplicates, settings.source.order_by],
        "on_delete": settings.target.on_delete,
    }
    if work.next_models:
        others = [(it.chain.model_dump(mode="json"), it.model.digest) for it in work.next_models]
        makings["next"] = [others, sorted(work.next_model_on)]
    return hashlib.sha256(json.dumps(makings, sort_keys=True).encode()).hexdigest()


def recall(spark: SparkSession, target: Table) -> Memory:
    """Read the history of a target, as far back as its last refresh."""
    if not target.exists(spark):
        return Memory(None, disturbed=False)
    commits = _commits(spark, target, _NEWEST_COMMITS)
    if _last(commits) is None and len(commits) == _NEWEST_COMMITS:
        commits = _commits(spark, target, None)
    found = _last(commits)
    if found is None:
        return Memory(None, disturbed=False)
    at, last = found
    others = [it for it in commits if it["version"] > last.base and it["version"] != at]
    return Memory(last, any(it["operation"] not in _SAME_ROWS for it in others))


def letters_in_step(spark: SparkSession, letters: Table, version: int, last: InStep) -> bool:
    """Whether the dead letters of a version are those that the last refresh left.

    It may have been killed before it wrote them; others may have changed or dropped them.
    """
    since = version - last.letters_base
    if since <= 0:
        return since == 0 and not last.writes_letters
    commits = [it for it in _commits(spark, letters, since) if it["operation"] not in _SAME_ROWS]
    told = [it["userMetadata"] or "" for it in commits]
    of_refresh = [last.run_id in it for it in told if RETRIED not in it]
    return of_refresh == ([True] if last.writes_letters else [])


def _commits(spark: SparkSession, table: Table, newest: int | None) -> list[Row]:
    history = table.history(spark, newest)
    return history.select("version", "operation", "userMetadata").collect()


def _last(commits: Sequence[Row]) -> tuple[int, InStep] | None:
    for commit in commits:
        told = _told(commit["userMetadata"])
        if told is not None:
            return int(commit["version"]), told
    return None


def _told(metadata: str | None) -> InStep | None:
    """Read what a refresh told; None of another writer, or in the form of another release."""
    if not metadata or _TOLD not in metadata:
        return None
    try:
        return InStep(**json.loads(metadata)[_TOLD])
    except (ValueError, TypeError, KeyError):
        return None
