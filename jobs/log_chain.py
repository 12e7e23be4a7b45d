"""Log a chain with its model in MLflow: to be served, and to be named as `models:/NAME@ALIAS`."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import chains
import prompt_templates
from chains import Chain, ModelRef
from chains.errors import ModelLoadError, SettingsError
from chains.logged import (
    CHAIN_FILE,
    MODEL_FILE,
    OUTPUTS,
    WEIGHTS_FOLDER,
    LoggedModel,
    write_logged,
)
from chains.models.transformers.weights import DESCRIPTION, WEIGHTS, check_files, snapshot
from chains.tracking import asking_mlflow, connect, impatient, process_store
from jobs.experiment import open_experiment
from jobs.pinning import pin_chain
from jobs.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

# The files that are logged, by kind of model: nothing that is unpickled. The extractive model's
# digest is over all its files, and is checked again where it is loaded.
_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "extractive": ("**/*",),
    "transformers": (*DESCRIPTION, WEIGHTS),
}

_CHAINS = Path(chains.__file__).parent
_TEMPLATES = Path(prompt_templates.__file__).parent
_NEEDED = ("jinja2", "json-repair", "jsonschema", "mlflow", "pandas", "pydantic", "pyyaml")
_NEEDED_BY: Mapping[str, tuple[str, ...]] = {
    "extractive": ("numpy", "safetensors", "sentencex", "torch", "transformers"),
    "transformers": ("safetensors", "torch", "transformers"),
    "endpoint": ("httpx2", "openai", "tenacity"),
}
_USED_BY: Mapping[str, tuple[str, ...]] = {"transformers": ("xgrammar",)}  # where it is installed
_EXAMPLES: Mapping[str, Any] = {
    "string": "The mill was built in 1887. It ground forty tons a day. It is a museum now.",
    "integer": 3,
    "number": 0.5,
    "boolean": True,
    "any": "three sentences",
}
_COLUMN_TYPES = {"string": "string", "integer": "long", "number": "double", "boolean": "boolean"}


@dataclass(frozen=True)
class LoggedVersion:
    """A registered version; `uri` names it for ever, `alias` until the alias moves."""

    name: str
    version: str
    alias: str | None
    uri: str

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


def run_log_chain(settings: Settings, name: str, alias: str | None = None) -> LoggedVersion:
    """Log the settings' chain and model as the next version of `name`; ask no model.

    1. Pin both. 2. See that name and alias can be had, before the weights travel. 3. Upload.
    4. Register the version. 5. Set the alias, last: who resolves it finds all files.
    Raises SettingsError or TemplateError for what the settings name, SettingsError for an alias
    that is none, ModelLoadError where the model, a needed package or the store cannot be had.
    """
    chain, model = pin_chain(settings)
    if alias is not None:
        _check_alias(alias)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    store = settings.tracking_uri
    with asking_mlflow(f"cannot log {name!r}", store), process_store(store):
        client = connect(store)
        with impatient():  # but not where the weights are on their way
            _ensure_registered(client, name)
        tags = _tags(chain, model)
        model_id = _upload(client, settings, chain, model, tags)
        source = f"models:/{model_id}"
        created = client.create_model_version(name, source, tags=tags, model_id=model_id)
        version = str(created.version)
        if alias is not None:
            client.set_registered_model_alias(name, alias, version)
    return LoggedVersion(name, version, alias, f"models:/{name}/{version}")


def requirements(kind: str) -> list[str]:
    """Return what a chain with a model of this kind imports, at the versions installed here.

    Raises ModelLoadError where one is not installed. The public version alone is pinned: no index
    has `torch==2.15.0+cu130`.
    """
    try:
        return [
            f"{package}=={metadata.version(package).partition('+')[0]}"
            for package in sorted((*_NEEDED, *_NEEDED_BY.get(kind, ()), *_installed_for(kind)))
        ]
    except metadata.PackageNotFoundError as error:
        raise ModelLoadError(
            f"expected the packages that a logged {kind} model needs, {error.name} is not "
            f"installed; pip install 'gristmill[local,mlflow]'"
        ) from None


def _installed_for(kind: str) -> list[str]:
    return [package for package in _USED_BY.get(kind, ()) if find_spec(package)]


def signature(chain: Chain) -> "ModelSignature":
    """Return one column for each variable of the template, and the columns of an answer."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

    any_type = AnyType()  # type: ignore[no-untyped-call]
    inputs: list[Any] = [
        ColSpec(_COLUMN_TYPES.get(kind, any_type), name)
        for name, kind in chain.template.variables.items()
    ]
    strings = Array(DataType.string)
    outputs: list[Any] = [
        ColSpec(strings if kind == "strings" else kind, name, required=False)
        for name, kind in OUTPUTS.items()
    ]
    return ModelSignature(Schema(inputs), Schema(outputs))


def _check_alias(alias: str) -> None:
    """Raise SettingsError for what MLflow would refuse when the version is there."""
    if not re.fullmatch(r"[\w-]{1,255}", alias) or re.fullmatch(r"latest|v\d+", alias, re.I):
        raise SettingsError(
            "--alias: expected letters, digits, _ and -, but neither latest nor v and a number; "
            f"found {alias!r}"
        )


def _tags(chain: Chain, model: ModelRef) -> dict[str, str]:
    """Return what a version is found by; Unity Catalog allows no dots in a tag's name."""
    return {
        "gristmill_chain": chain.ref,
        "gristmill_template": chain.template.ref,
        "gristmill_model": model.name,
        "gristmill_model_digest": model.digest,
    }


def _upload(
    client: "MlflowClient",
    settings: Settings,
    chain: Chain,
    model: ModelRef,
    tags: dict[str, str],
) -> str:
    """Write the model's files and store them; return the id MLflow gave them."""
    from mlflow.entities import LoggedModelStatus

    with TemporaryDirectory(dir=settings.work_dir, prefix="log-") as staging:
        files = _stage(Path(staging), chain, model)
        experiment = open_experiment(client, settings)
        logged = client.create_logged_model(experiment, chain.name, tags=tags)
        status = LoggedModelStatus.FAILED
        try:
            saved = Path(staging) / "saved"
            _save(saved, chain, model.kind, files, logged)
            client.log_model_artifacts(logged.model_id, str(saved))
            status = LoggedModelStatus.READY
        finally:
            client.finalize_logged_model(logged.model_id, status)
    return str(logged.model_id)


def _stage(folder: Path, chain: Chain, model: ModelRef) -> dict[str, str]:
    """Lay out the artifacts; MLflow copies them from here."""
    with_weights = model.kind in _WEIGHTS
    write_logged(folder, chain, LoggedModel.of(model, with_weights))
    files = {"chain": str(folder / CHAIN_FILE), "model": str(folder / MODEL_FILE)}
    if with_weights:
        files["weights"] = str(folder / WEIGHTS_FOLDER)
        _stage_weights(model, folder / WEIGHTS_FOLDER)
    return files


def _stage_weights(model: ModelRef, target: Path) -> None:
    folder = Path(model.location)
    if not folder.is_absolute():  # the name of a hub model
        folder = snapshot(model.location, model.digest, weights=True)
    check_files(folder)
    for pattern in _WEIGHTS[model.kind]:
        for file in filter(Path.is_file, folder.glob(pattern)):
            staged = target / file.relative_to(folder)
            staged.parent.mkdir(parents=True, exist_ok=True)
            _link(file, staged)


def _link(file: Path, link: Path) -> None:
    """Make a hard link, or a copy on another file system; MLflow refuses symbolic links."""
    try:
        link.hardlink_to(file.resolve())
    except OSError:
        shutil.copyfile(file, link)


def _save(folder: Path, chain: Chain, kind: str, files: dict[str, str], logged: Any) -> None:
    """Write an MLflow model folder.

    `log_model` would also run the model on the example: an endpoint wants money for that.
    """
    import pandas as pd
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    example = {name: _EXAMPLES[kind] for name, kind in chain.template.variables.items()}
    save_model(
        path=str(folder),
        python_model=str(_CHAINS / "pyfunc.py"),
        code_paths=[str(_CHAINS), str(_TEMPLATES)],
        artifacts=files,
        signature=signature(chain),
        input_example=pd.DataFrame([example]),
        pip_requirements=requirements(kind),
        mlflow_model=Model(artifact_path=logged.artifact_location, model_id=logged.model_id),
    )


def _ensure_registered(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
