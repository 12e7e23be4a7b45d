"""Which chain and which model a run uses: resolved once, before anything starts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from chains import Chain, ModelRef, Parameters, Template, load_chain, resolve_model
from chains.errors import SettingsError
from chains.models.endpoint_settings import asks_in_batches
from chains.models.sidecar_settings import behind_sidecar
from chains.registered import find_template
from chains.secrets import resolve_secret
from jobs.settings import ChainSettings, JobSettings, Settings
from jobs.source import variable_columns
from jobs.spending import budget_of
from jobs.stream_settings import StreamSettings
from jobs.stream_source import StreamSource
from udfs.completion import pin
from udfs.work import Work


def pin_work(settings: Settings) -> Work:
    """Return what the job does with each row.

    Aliases of model and prompt are resolved here, once: what they name later changes nothing in
    this run.
    Raises SettingsError, TemplateError or ModelLoadError before Spark starts.
    """
    source = settings.source
    return _pin(settings, source.key, source.columns, settings.target.keep)


def pin_stream(settings: StreamSettings, template: Template | None = None) -> Work:
    """Return what a stream does with each message of its next micro-batch; see `pin_work`.

    `template` is what `chain.template` names, where that has been looked up already.
    """
    source = StreamSource(settings)
    work = _pin(settings, source.key, settings.source.columns, source.kept, template)
    model = work.pinned.model
    if budget_of(settings, model).is_limited and model.kind != "endpoint":
        raise SettingsError(
            f"budget: a stream keeps it only for a model behind an endpoint, and {model.name!r} is "
            "none. Remove it; max_tokens_per_batch keeps micro-batches small"
        )
    if asks_in_batches(model):
        raise SettingsError(
            f"{settings.chain.model}: expected an endpoint of mode online, since a stream cannot "
            "wait for the provider's batches; found mode batch. Set endpoints.NAME.mode"
        )
    return work


def _pin(
    settings: JobSettings,
    key: tuple[str, ...],
    columns: Mapping[str, str],
    keep: tuple[str, ...],
    template: Template | None = None,
) -> Work:
    chain, model = pin_chain(settings, template)
    _check_secret(model)
    budget_of(settings, model)
    if settings.chain.engine == "sidecar":
        model = behind_sidecar(model, settings.sidecar)
    mapped = variable_columns(columns, chain)
    return Work(pin(chain, model), key, mapped, keep, settings.ledger.reuse)


def pin_chain(settings: JobSettings, template: Template | None = None) -> tuple[Chain, ModelRef]:
    """Return the chain with the settings' changes, and the model; `template` as above."""
    if template is None and settings.chain.template is not None:
        template = find_template(settings.chain.template, settings.tracking_uri)
    if settings.chain.model.startswith("models:/"):
        from chains.logged import load_logged

        chain, model = load_logged(settings.chain.model, settings.tracking_uri)
        if chain.name != settings.chain.name:
            raise SettingsError(
                f"chain.name: {settings.chain.model} is a logged chain {chain.name!r}, not "
                f"{settings.chain.name!r}"
            )
    else:
        chain = load_chain(settings.chain.name)
        model = resolve_model(settings.chain.model, settings.endpoints)
    return _changed(chain, settings.chain, template), model


def _check_secret(model: ModelRef) -> None:
    """Raise SettingsError where the endpoint's key cannot be had; workers resolve it again."""
    options = dict(model.options)
    reference = options.get("token") or options.get("api_key")
    if reference is not None:
        resolve_secret(reference)


def _changed(chain: Chain, settings: ChainSettings, template: Template | None) -> Chain:
    changes: dict[str, Any] = {
        name: value
        for name in ("on_long_input", "max_input_chars")
        if (value := getattr(settings, name)) is not None
    }
    if template is not None:
        changes["template"] = template
    if settings.parameters:
        changes["parameters"] = _parameters(chain.parameters, settings.parameters)
    return replace(chain, **changes)


def _parameters(defaults: Parameters, given: dict[str, Any]) -> Parameters:
    try:
        return Parameters.model_validate({**defaults.model_dump(), **given})
    except ValidationError as error:
        told = "; ".join(
            f"chain.parameters.{'.'.join(map(str, it['loc']))}: {it['msg']}"
            for it in error.errors()
        )
        raise SettingsError(told) from None
