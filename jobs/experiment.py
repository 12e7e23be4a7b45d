"""The MLflow experiment that holds a job's runs and logged chains."""

import os
from typing import TYPE_CHECKING

from jobs.settings import JobSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DEFAULT = "gristmill"


def open_experiment(client: "MlflowClient", settings: JobSettings) -> str:
    """Return the id of the experiment, made where it is missing.

    It is `mlflow.experiment`, else $MLFLOW_EXPERIMENT_NAME; Databricks wants a path. Its files go
    to the work folder where the store is a database file: MLflow's own choice is ./mlruns,
    wherever that is.
    """
    name = settings.mlflow.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", _DEFAULT)
    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    local = settings.tracking_uri.startswith("sqlite:")
    files = (settings.work_dir.absolute() / "mlartifacts").as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=files))
