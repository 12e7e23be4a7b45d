"""From the one string that names a model to the model: resolve on the driver, load in a worker."""

import gc
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from chains.errors import ModelLoadError, SettingsError
from chains.models.base import Model, ModelRef

_LOADERS = {
    "extractive": "chains.models.extractive:ExtractiveModel",
    "transformers": "chains.models.transformers.model:TransformersModel",
    "endpoint": "chains.models.endpoint.model:EndpointModel",
    "sidecar": "chains.models.sidecar.model:SidecarModel",
}
_NAMED: dict[str, str] = {}
FORMS = (
    "extractive, hf:ID, path:FOLDER, models:/NAME@ALIAS, endpoint:NAME/MODEL, python:MODULE:CLASS"
)


def resolve(spec: str, endpoints: Mapping[str, Any] | None = None) -> ModelRef:
    """Return what `spec` names now; `endpoints` maps endpoint names to EndpointSettings.

    Raises SettingsError for a spec of no known form, ModelLoadError where it cannot be had.
    `models:/...` names a logged chain with its model: see chains/logged.py.
    """
    kind, _, rest = spec.partition(":")
    resolver = _RESOLVERS.get(kind)
    if resolver is None:
        raise _unknown(spec)
    return resolver(spec, rest, endpoints or {})


def load(ref: ModelRef) -> Model:
    """Return the model, made once in each process.

    Where its spec named another one before, as an alias that has moved, that one is given up first.
    """
    if _NAMED.setdefault(ref.spec, ref.name) != ref.name:
        _NAMED[ref.spec] = ref.name
        _made.cache_clear()
        gc.unfreeze()  # a task leaves what is loaded out of collections
        gc.collect()
    return _made(ref)


def make(ref: ModelRef) -> Model:
    """Return the model, made anew."""
    model: Model = import_object(_LOADERS.get(ref.kind, ref.location))(ref)
    return model


_made = lru_cache(maxsize=4)(make)


def import_object(path: str) -> Any:
    """Import `module:attribute`. Raises ModelLoadError with the path where there is none."""
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ModelLoadError(f"cannot import {path!r}: {error}") from error


def _unknown(spec: str) -> SettingsError:
    return SettingsError(f"chain.model: expected one of {FORMS}; found {spec!r}")


def _extractive(spec: str, rest: str, endpoints: Mapping[str, Any]) -> ModelRef:
    from chains.models.extractive import resolve_extractive

    if rest:
        raise _unknown(spec)
    return resolve_extractive()


def _transformers(spec: str, rest: str, endpoints: Mapping[str, Any]) -> ModelRef:
    from chains.models.transformers.model import resolve_transformers

    return resolve_transformers(spec, rest)


def _endpoint(spec: str, rest: str, endpoints: Mapping[str, Any]) -> ModelRef:
    from chains.models.endpoint.settings import resolve_endpoint

    name, _, model = rest.partition("/")
    if name not in endpoints or not model:
        raise SettingsError(
            f"chain.model: expected endpoint:NAME/MODEL with NAME among the settings' endpoints "
            f"{sorted(endpoints)}; found {spec!r}"
        )
    return resolve_endpoint(spec, name, model, endpoints[name])


def _python(spec: str, rest: str, endpoints: Mapping[str, Any]) -> ModelRef:
    """Name a class of the user's own that follows the Model protocol; `version` identifies it."""
    version = getattr(import_object(rest), "version", "0")
    return ModelRef(spec, "python", f"{rest}@{version}", rest, f"{spec}@{version}")


_Resolver = Callable[[str, str, Mapping[str, Any]], ModelRef]
_RESOLVERS: dict[str, _Resolver] = {
    "extractive": _extractive,
    "hf": _transformers,
    "path": _transformers,
    "endpoint": _endpoint,
    "python": _python,
}
