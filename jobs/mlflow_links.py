"""What an MLflow run is linked with: a model's version, a prompt's version, versions of tables."""

import json
from typing import TYPE_CHECKING

from chains.prompt_registry import PromptRegistry
from chains.templates import Template
from chains.tracking import database_is_there, process_store
from jobs.run_record import RunRecord
from jobs.settings import JobSettings
from udfs.work import Work

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MOST_CHARS_OF_DIGEST = 36
_LOGGED = "models:/"
_TABLES = ("source", "target")


def link_model(client: "MlflowClient", id: str, work: Work, settings: JobSettings) -> None:
    """Make the versions of logged models inputs of the run."""
    from mlflow.entities import LoggedModelInput

    models = []
    for spec, ref in zip(settings.chain.model, work.models, strict=True):
        if spec.startswith(_LOGGED):
            name, _, version = ref.name.rpartition("@")
            source = str(client.get_model_version(name, version).source)
            if source.startswith(_LOGGED):
                models.append(LoggedModelInput(source.removeprefix(_LOGGED)))
    if models:
        client.log_inputs(id, models=models)


def link_prompt(client: "MlflowClient", id: str, template: Template, tracking_uri: str) -> None:
    """Link the run with the version of the registry that has the template's text, if there is."""
    if not database_is_there(tracking_uri):
        return
    for version in PromptRegistry(tracking_uri).versions(template.name):
        found = version.template
        if isinstance(found, Template) and found.source == template.source:
            with process_store(tracking_uri):
                client.link_prompt_version_to_run(id, f"prompts:/{template.name}/{version.number}")
            return


def link_tables(client: "MlflowClient", id: str, record: RunRecord) -> None:
    """Make source and target, at their versions, data sets of the run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for role in _TABLES:
        name, _, version = record.versions.get(role, "").rpartition("@")
        if name:
            told = json.dumps({"table": name, "version": version})
            dataset = Dataset(name, version[:_MOST_CHARS_OF_DIGEST], "delta_table", told)
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", role)]))
    if inputs:
        client.log_inputs(id, datasets=inputs)
