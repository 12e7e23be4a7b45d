"""Settings as plain data that may be shown: with references to secrets, and without secrets."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from chains.secrets import HIDDEN, is_reference, without_credentials

# Maps whose keys the user chose: what is a secret there is told by its name.
_FREE = frozenset({"conf", "options", "headers"})
_SECRET = re.compile(
    r"secret|password|passwd|token|credential|access[._-]?key|api[._-]?key|account[._-]?key"
    r"|signature|authorization|jaas|(?<![a-z])sas(?![a-z])",
    re.I,
)
_NAMED_VALUE = re.compile(rf"((?:{_SECRET.pattern})[\w.-]*\s*[=:]\s*)\S+", re.I)


def shown(settings: BaseModel) -> dict[str, Any]:
    """Return all settings, what stands for itself hidden where it may be a secret."""
    plain: dict[str, Any] = _shown(settings.model_dump(mode="json", by_alias=True), free=False)
    return plain


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return settings that have a value by their dotted keys, as text."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif value is not None and value != []:
            found[name] = str(value)
    return found


def _shown(value: Any, free: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            key: HIDDEN
            if free and _SECRET.search(key) and not _is_reference(it)
            else _shown(it, free=key in _FREE)
            for key, it in value.items()
        }
    if isinstance(value, list):
        return [_shown(it, free) for it in value]
    if isinstance(value, str) and not is_reference(value):
        return _NAMED_VALUE.sub(rf"\1{HIDDEN}", without_credentials(value))
    return value


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and is_reference(value)
