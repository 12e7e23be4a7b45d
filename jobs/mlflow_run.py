"""The MLflow run of a job: begun before anything is paid, ended when everything is written."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Lock
from time import monotonic, time
from typing import TYPE_CHECKING

from chains.errors import INTERRUPTED, GristmillError, JobError, SettingsError, StoppedAtCap
from chains.tracking import asking_mlflow, connect, impatient
from jobs.experiment import open_experiment
from jobs.mlflow_links import link_model, link_prompt, link_tables
from jobs.redaction import flat, shown
from jobs.run_numbers import numbers
from jobs.run_record import RunRecord
from jobs.settings import JobSettings
from udfs.work import Work

if TYPE_CHECKING:
    from mlflow.entities import Metric

LOG = logging.getLogger("gristmill")
PREFIX, RECORD, SETTINGS = "gristmill_", "run.json", "settings.json"
SECONDS_A_BATCH = 5.0
_PARAMS_A_BATCH, _METRICS_A_BATCH = 100, 1000
_MOST_CHARS = 500


class MlflowRun:
    """A run in the store. Once it has begun, no failure of the store reaches the job.

    Between begin and end it is told of in the background. A job that is killed leaves its run as
    RUNNING.
    """

    def __init__(self, settings: JobSettings, job: str, run_id: str) -> None:
        """Begin it. Raises StoreError where the store cannot be had."""
        self._settings = settings
        self._failure: Exception | None = None
        self._metrics: list[Metric] = []
        self._lock, self._sent_at = Lock(), monotonic()
        store = settings.tracking_uri
        with ExitStack() as held:
            held.enter_context(impatient())
            told = "mlflow.experiment: the run cannot be logged, so nothing was asked"
            with asking_mlflow(told, store, SettingsError):
                settings.work_dir.mkdir(parents=True, exist_ok=True)
                self._client = connect(store)
                self._id = self._begin(job, run_id)
            self._held = held.pop_all()
        self._pool = ThreadPoolExecutor(1, "mlflow-run")

    def pinned(self, work: Work, versions: Mapping[str, str]) -> None:
        """Link the run with its versions of model and prompt; again when a stream's move."""

        def link() -> None:
            self._set_tags(versions)
            link_model(self._client, self._id, work, self._settings)
            link_prompt(self._client, self._id, work.chain.template, self._settings.tracking_uri)

        self._guarded(link)

    def measured(self, values: Mapping[str, float], step: int) -> None:
        """Add the numbers of a micro-batch; they are sent beside the job, some at a time."""
        with self._lock:
            self._metrics += _metrics(values, step)
            if monotonic() - self._sent_at < SECONDS_A_BATCH:
                return
            metrics, self._metrics, self._sent_at = self._metrics, [], monotonic()
        self._pool.submit(self._guarded, lambda: self._send(metrics))

    def end(self, record: RunRecord | None, error: BaseException | None) -> None:
        """End the run, `record` is what it did; warn where the store does not have all of it."""
        self._pool.shutdown()
        store = self._settings.tracking_uri
        try:
            with self._held, asking_mlflow("the store was not told", store, JobError):
                self._end(record, error)
            if self._failure is not None:
                LOG.warning("MLflow's run %s lacks some of it: %s", self._id, self._failure)
        except GristmillError as failure:
            kept = self._keep(record)
            LOG.warning("the job is done and its tables are written, but %s.%s", failure, kept)

    def _begin(self, job: str, run_id: str) -> str:
        from mlflow.entities import Param

        tags = {f"{PREFIX}run_id": run_id, f"{PREFIX}job": job}
        experiment = open_experiment(self._client, self._settings)
        name = f"{job}-{run_id[:8]}"
        id = str(self._client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        settings = shown(self._settings)
        self._client.log_dict(id, settings, SETTINGS)
        params = [Param(_key(key), it[:_MOST_CHARS]) for key, it in flat(settings).items()]
        for first in range(0, len(params), _PARAMS_A_BATCH):
            self._client.log_batch(id, params=params[first : first + _PARAMS_A_BATCH])
        return id

    def _end(self, record: RunRecord | None, error: BaseException | None) -> None:
        """Log first what matters most."""
        status = "FINISHED"
        tags = {"exit_code": "0" if record is None or not record.is_pending else "3"}
        if error is not None:
            status = _status(error)
            tags = {"error": type(error).__name__, "exit_code": str(_exit_code(error))}
        self._send(self._metrics)
        self._set_tags(tags)
        if record is not None:
            self._send(_metrics(numbers(record.report, record.seconds)))
            self._client.log_text(self._id, record.json(), RECORD)
            cost = record.report.get("cost")
            currency = {"currency": str(cost["currency"])} if cost else {}
            self._set_tags({**record.versions, **currency})
            link_tables(self._client, self._id, record)
        self._client.set_terminated(self._id, status)

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        listed = [RunTag(f"{PREFIX}{name}", value[:_MOST_CHARS]) for name, value in tags.items()]
        self._client.log_batch(self._id, tags=listed)

    def _send(self, metrics: "list[Metric]") -> None:
        for first in range(0, len(metrics), _METRICS_A_BATCH):
            self._client.log_batch(self._id, metrics=metrics[first : first + _METRICS_A_BATCH])

    def _guarded(self, tell: Callable[[], None]) -> None:
        """Tell the store something; after a failure it is left alone until the end."""
        if self._failure is None:
            try:
                tell()
            except Exception as error:  # of MLflow, the database, the network
                self._failure = error

    def _keep(self, record: RunRecord | None) -> str:
        """Leave what the store lacks in a file; return where it is."""
        if record is None:
            return ""
        folder = self._settings.work_dir / "runs"
        file = folder / f"{record.run_id}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(record.json(), "utf-8")
        except OSError as error:
            return f" Its numbers were lost: {error}"
        return f" Its numbers are in {file}; log them when the store answers"


def _metrics(values: Mapping[str, float], step: int = 0) -> "list[Metric]":
    from mlflow.entities import Metric

    now = int(time() * 1000)
    return [Metric(_key(name), float(value), now, step) for name, value in values.items()]


def _key(name: str) -> str:
    """Return a name that MLflow takes for a metric or a parameter."""
    return "".join(it if it.isalnum() or it in "_-. /" else "_" for it in name)


def _status(error: BaseException) -> str:
    if isinstance(error, StoppedAtCap):
        return "FINISHED"
    return "FAILED" if isinstance(error, Exception) else "KILLED"


def _exit_code(error: BaseException) -> int:
    if isinstance(error, GristmillError):
        return error.exit_code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
