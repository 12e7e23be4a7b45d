"""A chain logged in MLflow with its model: what its files say, and where they are found again."""

import logging
import os
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from chains.base import Chain, ChainSpec
from chains.errors import ModelLoadError, SettingsError, UsageError
from chains.models.base import ModelRef
from chains.tracking import (
    ABSENT,
    NotThereError,
    asking_mlflow,
    check_database,
    connect,
    impatient,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAIN_FILE = "chain.json"
MODEL_FILE = "model.json"
WEIGHTS_FOLDER = "weights"

# What a logged chain answers, one row for each input row.
OUTPUTS = {
    "result": "string",
    "error_code": "string",
    "error_message": "string",
    "finish_reason": "string",
    "input_tokens": "long",
    "output_tokens": "long",
    "flags": "strings",
}

log = logging.getLogger("gristmill.models")

_FORM = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")


class LoggedModel(BaseModel):
    """The model of a logged chain; `location` is None where its weights were logged too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    name: str
    digest: str
    location: str | None
    options: dict[str, bool | int | float | str | tuple[str, ...] | None]

    @classmethod
    def of(cls, ref: ModelRef, with_weights: bool) -> "LoggedModel":
        """Describe `ref` for another machine: a folder of this one means nothing there."""
        return cls(
            kind=ref.kind,
            name=ref.name,
            digest=ref.digest,
            location=None if with_weights else ref.location,
            options=dict(ref.options),
        )

    def ref(self, folder: Path) -> ModelRef:
        """Return the model again, its weights in `folder`."""
        return ModelRef(
            spec=self.name,
            kind=self.kind,
            name=self.name,
            location=self.location or str(folder / WEIGHTS_FOLDER),
            digest=self.digest,
            options=tuple(sorted(self.options.items())),
        )


def write_logged(folder: Path, chain: Chain, model: LoggedModel) -> None:
    """Write what `read_logged` reads, the weights apart."""
    (folder / CHAIN_FILE).write_text(chain.spec().model_dump_json(indent=1), "utf-8")
    (folder / MODEL_FILE).write_text(model.model_dump_json(indent=1), "utf-8")


def read_logged(folder: Path) -> tuple[Chain, ModelRef]:
    """Return the chain and the model that were logged; reads data, runs nothing of it.

    Raises ModelLoadError where the files are not those of this version.
    """
    try:
        spec = ChainSpec.model_validate_json((folder / CHAIN_FILE).read_bytes())
        model = LoggedModel.model_validate_json((folder / MODEL_FILE).read_bytes())
        return Chain.from_spec(spec), model.ref(folder)
    except (OSError, ValidationError, UsageError) as error:
        raise ModelLoadError(
            f"{folder}: expected {CHAIN_FILE} and {MODEL_FILE} of this version of gristmill, "
            f"found {_wrong(error)}; log the chain again"
        ) from None


def load_logged(spec: str, tracking_uri: str) -> tuple[Chain, ModelRef]:
    """Return the chain and the model of `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    An alias is resolved once, here: the model's name is `NAME@VERSION`. Its digest is the one that
    was logged, so the same weights logged again are the same question. Files are fetched once into
    `$GRISTMILL_CACHE/models`; no code of the logged model is run. Raises SettingsError for another
    form, StoreError where the store cannot be asked, ModelLoadError for what it has not.
    """
    wanted = _FORM.fullmatch(spec)
    if wanted is None:
        raise SettingsError(
            f"chain.model: expected models:/NAME@ALIAS or models:/NAME/VERSION; found {spec!r}"
        )
    with asking_mlflow(f"cannot get {spec!r}", tracking_uri):
        check_database(tracking_uri)
        client = connect(tracking_uri)
        with impatient():  # but not where gigabytes of weights are on their way
            version = _resolve(client, **wanted.groupdict())
        chain, model = read_logged(_fetch(client, version, tracking_uri))
    return chain, replace(model, spec=spec, name=f"{version.name}@{version.version}")


def _resolve(
    client: "MlflowClient", name: str, alias: str | None, version: str | None
) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    try:
        if alias is not None:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
    wanted = f"version {version}" if alias is None else f"alias {alias!r}"
    raise NotThereError(f"expected {wanted} of {name!r}, found {_known(client, name)}")


def _known(client: "MlflowClient", name: str) -> str:
    """Say what a registered model has instead; versions come with every alias."""
    from mlflow.exceptions import MlflowException

    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException:
        return "no model of this name"
    named = ", ".join(f"{alias} (version {version})" for alias, version in aliases.items())
    return f"the aliases {named}" if named else "a model without aliases"


def _fetch(client: "MlflowClient", version: "ModelVersion", tracking_uri: str) -> Path:
    """Return the folder with the version's files; what was fetched once is not fetched again."""
    from mlflow.artifacts import download_artifacts

    folder = _cached(version)
    if folder.is_dir():
        return folder
    artifacts = f"{_files_uri(client, version, tracking_uri)}/artifacts"
    _check_own(artifacts, version, tracking_uri)
    log.info("fetching models:/%s/%s to %s", version.name, version.version, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".partial-") as partial:
        fetched = download_artifacts(artifacts, dst_path=partial, tracking_uri=tracking_uri)
        # In one step: a folder that is there is whole, whoever is killed.
        try:
            Path(fetched).rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first
                raise
    return folder


def _cached(version: "ModelVersion") -> Path:
    """Name the version's folder so that no other store's version can have the same name."""
    cache = Path(os.environ.get("GRISTMILL_CACHE") or Path.home() / ".cache" / "gristmill")
    identity = sha256(f"{version.source} {version.creation_timestamp}".encode()).hexdigest()
    return cache / "models" / f"{version.name}@{version.version}-{identity[:16]}"


def _files_uri(client: "MlflowClient", version: "ModelVersion", tracking_uri: str) -> str:
    """Return where the files are; Databricks hands them out by the registered name only."""
    if tracking_uri.startswith("databricks"):
        return f"models:/{version.name}/{version.version}"
    return str(client.get_model_version_download_uri(version.name, version.version))


def _check_own(artifacts: str, version: "ModelVersion", tracking_uri: str) -> None:
    """Raise where another tool logged the model, before its weights are fetched."""
    from mlflow.artifacts import list_artifacts

    listed = list_artifacts(artifact_uri=artifacts, tracking_uri=tracking_uri) or []
    names = {Path(file.path).name for file in listed}
    if not {CHAIN_FILE, MODEL_FILE} <= names:
        raise ModelLoadError(
            f"models:/{version.name}/{version.version} is an MLflow model, but not a chain that "
            f"gristmill logged: expected {CHAIN_FILE} and {MODEL_FILE} among its artifacts, found "
            f"{', '.join(sorted(names)) or 'none'}; log a chain with `gristmill log`"
        )


def _wrong(error: Exception) -> Any:
    """Say what is wrong without the values: a chain's file holds its prompt."""
    if isinstance(error, ValidationError):
        return ", ".join(f"{'.'.join(map(str, it['loc']))}: {it['type']}" for it in error.errors())
    return error
