"""The MLflow store: how it is reached, kept silent, and how its failures are told."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chains.errors import GristmillError, ModelLoadError, StoreError
from chains.secrets import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What MLflow says of a name, a version or an alias that is not there.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")

_QUIET = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# MLflow's own are 7 attempts over four minutes.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_SHOWN = 150  # characters of each end of what a store says


class NotThereError(Exception):
    """Says what was expected in the store and what was found."""


def connect(tracking_uri: str) -> "MlflowClient":
    """Return a client of the store; MLflow's process-wide settings stay as they are."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


@contextmanager
def asking_mlflow(
    failure: str,
    tracking_uri: str,
    raised: type[GristmillError] = ModelLoadError,
    remedy: str = "log a chain with `gristmill log CONF --name NAME --alias ALIAS`",
) -> Iterator[None]:
    """Keep MLflow silent, and translate whatever it raises to StoreError.

    What is not there is `raised`; `remedy` says what to do about it.
    """
    store = without_credentials(tracking_uri)
    try:
        with _silence():
            yield
    except NotThereError as error:
        raise raised(
            f"{failure}: {error}, in the MLflow store {store!r}; set mlflow.tracking_uri to "
            f"another store, or {remedy}"
        ) from None
    except GristmillError:
        raise
    except ImportError as error:
        raise raised(f"{failure}: {error}; pip install 'gristmill[mlflow]'") from error
    except Exception as error:  # of MLflow, of the database, of the network, of the artifact store
        # What follows is the values of an SQL statement, a prompt's text among them.
        said = str(error).partition("[parameters:")[0]
        said = " ".join(without_credentials(said).split())
        raise StoreError(
            f"{failure}: the MLflow store {store!r} was asked, and {type(error).__name__} raised: "
            f"{_ends(said)}; see mlflow.tracking_uri"
        ) from error


@contextmanager
def process_store(tracking_uri: str) -> Iterator[None]:
    """Make the store MLflow's default: its registry looks models and runs up there, and only there.

    The environment variable goes along with what MLflow has been told in this process.
    """
    import mlflow

    before: Any = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # None is MLflow's own default


@contextmanager
def impatient() -> Iterator[None]:
    """Give up on a server within a minute, where the environment does not say otherwise."""
    with _environment({k: v for k, v in _IMPATIENT.items() if k not in os.environ}):
        yield


def check_database(tracking_uri: str) -> None:
    """Raise NotThereError where a database file is missing: MLflow would create an empty one."""
    if not database_is_there(tracking_uri):
        raise NotThereError("expected a database, found no such file")


def database_is_there(tracking_uri: str) -> bool:
    """Tell whether the file of an sqlite store exists; true for any other store."""
    path = tracking_uri.partition("?")[0].removeprefix("sqlite:///")
    return not tracking_uri.startswith("sqlite:///") or Path(path).is_file()


def _ends(text: str) -> str:
    """Return a long text without its middle: it begins with what failed, and ends with why."""
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]} ... {text[-_SHOWN:]}"


@contextmanager
def _silence() -> Iterator[None]:
    """Keep log lines, warnings and progress bars of MLflow and its parts off the terminal."""
    import mlflow  # noqa: F401  # sets up its loggers

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _environment(_QUIET):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, then put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
