"""References to secrets, and the one place where they become values.

A reference (`env:NAME`, `file:PATH`, `secrets/SCOPE/KEY`) is plain data: it may stand in settings,
plans and closures. Its value is resolved in the process that uses it and goes nowhere else.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from pydantic_core import PydanticCustomError

from chains.errors import SettingsError

HIDDEN = "***"
FORMS = "a reference (env:NAME, file:PATH or secrets/SCOPE/KEY)"

_CREDENTIALS = re.compile(r"//[^/@\s]*@")


def check_reference(value: str) -> str:
    """Return `value` where it is a reference; nothing is resolved. A validator for settings.

    Raises PydanticCustomError (a ValueError) that never repeats the value: what is not a reference
    is likely the secret itself.
    """
    if not is_reference(value):
        raise PydanticCustomError("secret_reference", f"expected {FORMS}, never the secret itself")
    return value


def is_reference(value: str) -> bool:
    """Tell a reference from anything else, which may be a secret."""
    return _resolver(value) is not None


def without_credentials(text: str) -> str:
    """Return a text with what stands before the host in its URLs hidden."""
    return _CREDENTIALS.sub(f"//{HIDDEN}@", text)


def resolve_secret(reference: str) -> str:
    """Return the secret's value, without the white space around it.

    Raises SettingsError, naming the reference, where there is no such secret or it is blank.
    """
    found = _resolver(reference)
    if found is None:
        raise SettingsError(f"secret: expected {FORMS}, never the secret itself")
    resolve, match = found
    value = resolve(reference, *match.groups()).strip()
    if not value:
        raise SettingsError(f"secret {reference}: is empty")
    return value


def _environment(reference: str, name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise SettingsError(f"secret {reference}: the environment has no variable {name}")
    return value


def _file(reference: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"secret {reference}: cannot be read ({type(error).__name__})"
        ) from None


def _databricks(reference: str, scope: str, key: str) -> str:
    """Ask Databricks; the SDK's own errors are not chained, they may quote the response."""
    try:
        from databricks.sdk import WorkspaceClient
    except ImportError:
        raise SettingsError(f"secret {reference}: needs the package databricks-sdk") from None
    try:
        return str(WorkspaceClient().dbutils.secrets.get(scope, key))
    except Exception as error:
        raise SettingsError(
            f"secret {reference}: Databricks did not give it ({type(error).__name__}); executors "
            f"may have no login: set {{{{{reference}}}}} in the cluster's environment, use env:NAME"
        ) from None


_Resolve = Callable[..., str]
_RESOLVERS: tuple[tuple[re.Pattern[str], _Resolve], ...] = (
    (re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)"), _environment),
    (re.compile(r"file:(.+)"), _file),
    (re.compile(r"secrets/([^/\s]+)/([^/\s]+)"), _databricks),
)


def _resolver(reference: str) -> tuple[_Resolve, re.Match[str]] | None:
    matches = ((resolve, form.fullmatch(reference)) for form, resolve in _RESOLVERS)
    return next(((resolve, match) for resolve, match in matches if match), None)
