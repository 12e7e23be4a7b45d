"""Which chain and which model a run uses: resolved once, before anything starts."""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from chains import Chain, ModelRef, Parameters, load_chain, load_template, resolve_model
from chains.errors import SettingsError
from chains.secrets import resolve_secret
from jobs.settings import ChainSettings, Settings
from jobs.source import variable_columns
from udfs.completion import pin
from udfs.passes import Work


def pin_work(settings: Settings) -> Work:
    """Return what the job does with each row.

    An alias of a model is resolved here, once: what it names later changes nothing in this run.
    Raises SettingsError, TemplateError or ModelLoadError before Spark starts.
    """
    chain, model = pin_chain(settings)
    _check_secret(model)
    return Work(
        pinned=pin(chain, model),
        key=settings.source.key,
        columns=variable_columns(settings, chain),
        keep=settings.target.keep,
        reuse=settings.ledger.reuse,
    )


def pin_chain(settings: Settings) -> tuple[Chain, ModelRef]:
    """Return the chain with the settings' changes, and the model."""
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
    return _changed(chain, settings.chain), model


def _check_secret(model: ModelRef) -> None:
    """Raise SettingsError where the endpoint's key cannot be had; workers resolve it again."""
    reference = dict(model.options).get("api_key")
    if reference is not None:
        resolve_secret(reference)


def _changed(chain: Chain, settings: ChainSettings) -> Chain:
    changes: dict[str, Any] = {
        name: value
        for name in ("on_long_input", "max_input_chars")
        if (value := getattr(settings, name)) is not None
    }
    if settings.template is not None:
        changes["template"] = load_template(settings.template)
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
