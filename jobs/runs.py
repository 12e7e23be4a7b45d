"""The runs of a job's experiment in MLflow: listed, found and compared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from chains.errors import SettingsError, UsageError
from chains.tracking import NotThereError, asking_mlflow, check_database, connect, impatient
from jobs.mlflow_run import PREFIX, RECORD
from jobs.run_record import RunRecord
from jobs.settings import MlflowSettings, Section, store_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LAST = "last"
_OURS = f"tags.{PREFIX}run_id LIKE '%'"
_BATCH = "batch."
_SERIES = ("rows", "new", "seconds.all", "latency_ms.mean", "lag_messages")

Series = list[tuple[int, float]]
"""A number of each micro-batch, with the micro-batch's own number."""


class RunsConf(Section):
    """What is read of any job's file: where its runs are."""

    model_config = ConfigDict(extra="ignore")

    mlflow: MlflowSettings = MlflowSettings()
    work_dir: Path = Path(".gristmill")

    @property
    def store(self) -> str:
        """The MLflow store."""
        return store_of(self.mlflow, self.work_dir)


@dataclass(frozen=True)
class LoggedRun:
    """A run in the store. `run_id` is gristmill's, as rows carry it, `mlflow_id` the store's.

    `state` is MLflow's: RUNNING, FINISHED, FAILED or KILLED; one that was killed may be left as
    RUNNING. `began_at` is in ISO 8601, UTC; `seconds` are those of the run, None while it has no
    end. `numbers` are its metrics, `settings` what is set, by dotted keys; `about` is what it was
    pinned to, its error and its exit code.
    """

    run_id: str
    mlflow_id: str
    job: str
    state: str
    began_at: str
    seconds: float | None
    numbers: Mapping[str, float]
    settings: Mapping[str, str]
    about: Mapping[str, str]

    @classmethod
    def of(cls, run: "Run") -> "LoggedRun":
        """Read what a job logged."""
        tags = {
            name.removeprefix(PREFIX): value
            for name, value in run.data.tags.items()
            if name.startswith(PREFIX)
        }
        numbers = {it: n for it, n in run.data.metrics.items() if not it.startswith(_BATCH)}
        return cls(
            run_id=tags.pop("run_id"),
            mlflow_id=run.info.run_id,
            job=tags.pop("job", ""),
            state=run.info.status,
            began_at=_time(run.info.start_time),
            seconds=numbers.get("seconds"),
            numbers=numbers,
            settings=dict(run.data.params),
            about=tags,
        )


@dataclass(frozen=True)
class Difference:
    """One number of two runs; `ratio` is second to first, None where the first is 0 or lacks it."""

    first: float | None
    second: float | None
    ratio: float | None


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side: the settings and what they were pinned to where they differ."""

    first: LoggedRun
    second: LoggedRun
    settings: Mapping[str, tuple[str | None, str | None]]
    about: Mapping[str, tuple[str | None, str | None]]
    numbers: Mapping[str, Difference]

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


class Runs:
    """The runs of an experiment; errors name the store.

    Raises SettingsError where there is no such experiment, StoreError where none can be asked.
    """

    def __init__(self, conf: RunsConf) -> None:
        if conf.mlflow.experiment is None:
            raise SettingsError(
                "mlflow.experiment: expected the experiment that runs are logged to, found none; "
                "runs are logged where it is set: --set mlflow.experiment=NAME"
            )
        self.experiment, self.store = conf.mlflow.experiment, conf.store

    def newest(self, most: int) -> list[LoggedRun]:
        """Return the newest runs, the newest first."""
        with self._asking("cannot list runs") as client:
            return self._found(client, _OURS, most)

    def find(self, wanted: str) -> LoggedRun:
        """Return the run of a run id, of the beginning of one, or the `last` run.

        Raises UsageError where there is none, or more than one.
        """
        filtered = _OURS if wanted == LAST else f"tags.{PREFIX}run_id LIKE '{_plain(wanted)}%'"
        with self._asking(f"cannot find run {wanted!r}") as client:
            found = self._found(client, filtered, 1 if wanted == LAST else 2)
        if not found:
            raise UsageError(
                f"run {wanted!r}: none in experiment {self.experiment!r} begins so; "
                "`gristmill runs CONF` lists them"
            )
        if len(found) > 1:
            ids = " and ".join(it.run_id for it in found)
            raise UsageError(f"run {wanted!r}: expected one, {ids} begin so; write more of it")
        return found[0]

    def record(self, run: LoggedRun) -> RunRecord | None:
        """Return what the run did; None where it did not come to its end."""
        with self._asking(f"cannot read run {run.run_id!r}") as client, TemporaryDirectory() as to:
            if RECORD not in {it.path for it in client.list_artifacts(run.mlflow_id)}:
                return None
            file = client.download_artifacts(run.mlflow_id, RECORD, to)
            return RunRecord.read(Path(file).read_text("utf-8"))

    def series_of(self, run: LoggedRun) -> dict[str, Series]:
        """Return the numbers of a stream's micro-batches; of any other run there are none."""
        if run.job != "stream":
            return {}
        with self._asking(f"cannot read run {run.run_id!r}") as client:
            of_each = {it: client.get_metric_history(run.mlflow_id, _BATCH + it) for it in _SERIES}
        return {
            name: sorted((it.step, it.value) for it in history)
            for name, history in of_each.items()
            if history
        }

    def _found(self, client: "MlflowClient", filtered: str, most: int) -> list[LoggedRun]:
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            raise NotThereError(f"expected experiment {self.experiment!r}, found none of this name")
        found = client.search_runs(
            [experiment.experiment_id], filtered, max_results=most, order_by=["start_time DESC"]
        )
        return [LoggedRun.of(it) for it in found]

    @contextmanager
    def _asking(self, failure: str) -> "Iterator[MlflowClient]":
        remedy = "run a job with mlflow.experiment"
        with impatient(), asking_mlflow(failure, self.store, SettingsError, remedy):
            check_database(self.store)
            yield connect(self.store)


def compared(first: LoggedRun, second: LoggedRun) -> Comparison:
    """Return two runs side by side."""
    names = [*first.numbers, *(it for it in second.numbers if it not in first.numbers)]
    return Comparison(
        first,
        second,
        _differing(first.settings, second.settings),
        _differing(first.about, second.about),
        {it: _difference(first.numbers.get(it), second.numbers.get(it)) for it in names},
    )


def runs_json(runs: Sequence[LoggedRun]) -> str:
    """Return one JSON array."""
    return json.dumps([asdict(it) for it in runs])


def _difference(first: float | None, second: float | None) -> Difference:
    ratio = None if not first or second is None else second / first
    return Difference(first, second, ratio)


def _differing(
    first: Mapping[str, str], second: Mapping[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    names = sorted(first.keys() | second.keys())
    pairs: dict[str, Any] = {it: (first.get(it), second.get(it)) for it in names}
    return {it: (one, other) for it, (one, other) in pairs.items() if one != other}


def _plain(wanted: str) -> str:
    """Return the beginning of a run id; nothing else gets into MLflow's filter."""
    if not (wanted.isascii() and wanted.isalnum()):
        raise UsageError(f"run {wanted!r}: expected a run id, or the beginning of one, or {LAST!r}")
    return wanted.lower()


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
