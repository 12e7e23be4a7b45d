"""Which chain and which model a run uses: resolved once, before anything starts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from chains import Chain, ModelRef, Parameters, Template, load_chain, resolve_model
from chains.errors import SettingsError
from chains.models.endpoint.settings import asks_in_batches
from chains.models.sidecar.settings import behind_sidecar
from chains.registered import find_template
from chains.secrets import resolve_secret
from jobs.settings import ChainSettings, JobSettings, Settings, in_environment
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
    Raises SettingsError, TemplateError or ModelLoadError before Spark starts; a response schema
    that has no column type is told here, not when its answers have been paid for.
    """
    source = settings.source
    return _pin(settings, source.key, source.columns, settings.kept)


def pin_stream(settings: StreamSettings, template: Template | None = None) -> Work:
    """Return what a stream does with each message of its next micro-batch; see `pin_work`.

    `template` is what `chain.template` names, where that has been looked up already.
    """
    source = StreamSource(settings)
    work = _pin(settings, source.key, settings.source.columns, source.kept, template)
    model = work.pinned.model
    if budget_of(settings, work.models).is_limited and model.kind != "endpoint":
        raise SettingsError(
            f"budget: a stream keeps it only for a model behind an endpoint, and {model.name!r} is "
            "none. Remove it; max_tokens_per_batch keeps micro-batches small"
        )
    if asks_in_batches(model):
        raise SettingsError(
            f"{model.spec}: expected an endpoint of mode online, since a stream cannot "
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
    chains = _pin_chains(settings, template)
    for _, model in chains:
        _check_secret(model)
    budget_of(settings, [model for _, model in chains])
    if settings.chain.engine == "sidecar":
        chains = [(chain, behind_sidecar(model, settings.sidecar)) for chain, model in chains]
    first, *others = (pin(chain, model) for chain, model in chains)
    mapped = variable_columns(columns, chains[0][0])
    on = frozenset(settings.chain.next_model_on)
    return Work(
        first, key, mapped, keep, settings.ledger.reuse, next_models=tuple(others), next_model_on=on
    )


def pin_chain(settings: JobSettings) -> tuple[Chain, ModelRef]:
    """Return the chain with the settings' changes, and its one model."""
    if len(settings.chain.model) > 1:
        raise SettingsError(f"chain.model: expected one model, found {list(settings.chain.model)}")
    return _pin_chains(settings, None)[0]


def _pin_chains(settings: JobSettings, template: Template | None) -> list[tuple[Chain, ModelRef]]:
    """Return the chain as each model is asked it.

    The last of several models has the last word: it is not held to `min_log_probability`.
    """
    if template is None and settings.chain.template is not None:
        template = find_template(settings.chain.template, settings.tracking_uri)
    chains = [_pin_one(spec, settings, template) for spec in settings.chain.model]
    first, (last, model) = chains[0][0], chains[-1]
    for chain, other in chains:
        same = chain.template.variables == first.template.variables
        if not same or chain.parser.schema != first.parser.schema:
            raise SettingsError(
                f"chain.model: {other.spec} is a logged chain with other variables or another "
                f"schema than that of {chains[0][1].spec}; one target needs them alike"
            )
    if len(chains) > 1:
        parameters = last.parameters.model_copy(update={"min_log_probability": None})
        chains[-1] = replace(last, parameters=parameters), model
    return chains


def _pin_one(spec: str, settings: JobSettings, template: Template | None) -> tuple[Chain, ModelRef]:
    if spec.startswith("models:/"):
        from chains.logged import load_logged

        chain, model = load_logged(spec, settings.tracking_uri)
        if chain.name != settings.chain.name:
            raise SettingsError(
                f"chain.name: {spec} is a logged chain {chain.name!r}, not {settings.chain.name!r}"
            )
    else:
        chain = load_chain(settings.chain.name)
        model = resolve_model(spec, settings.endpoints)
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
            + in_environment(("chain", "parameters", *it["loc"]))
            for it in error.errors()
        )
        raise SettingsError(told) from None
