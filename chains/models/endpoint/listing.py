"""What endpoints say about themselves: their models, tasks and states."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from chains.errors import CompletionError, CredentialRejected, NotFound, SettingsError
from chains.models.endpoint.kinds import KINDS, ListedModel, list_url
from chains.models.endpoint.limiter import FixedLimit
from chains.models.endpoint.loop_thread import LoopThread
from chains.models.endpoint.model import open_client, resolve_credential
from chains.models.endpoint.settings import EndpointSettings

LONGEST_SECONDS = 10.0


@dataclass(frozen=True)
class EndpointModelState:
    """A model behind an endpoint; without `model`, `state` tells why none is known."""

    name: str
    kind: str
    url: str
    model: str | None
    task: str | None
    state: str


def list_models(name: str, settings: EndpointSettings) -> list[EndpointModelState]:
    """Ask an endpoint which models it has; takes at most 10 s, and raises nothing."""
    try:
        found = sorted(_listed(settings), key=lambda model: model.name)
        found = found or [ListedModel("", state="has no models")]
    except SettingsError as error:
        found = [ListedModel("", state=str(error))]
    except CompletionError as error:
        found = [ListedModel("", state=f"{_state(error)}: {error}")]
    except (LookupError, TypeError, AttributeError):
        found = [ListedModel("", state="reachable, its list of models cannot be read")]
    return [
        EndpointModelState(
            name, settings.kind, settings.base_url, it.name or None, it.task, it.state
        )
        for it in found
    ]


def _listed(settings: EndpointSettings) -> list[ListedModel]:
    shorter = min(settings.timeout_seconds, LONGEST_SECONDS)
    quick = settings.model_copy(update={"timeout_seconds": shorter})
    secret = resolve_credential(settings.credential)
    url = list_url(settings.kind, settings.base_url, settings.api_version)
    enter: Any = partial(open_client, quick, secret, FixedLimit(1))
    return list(KINDS[settings.kind].read_list(_get(enter, url)))


def _get(enter: "partial[AbstractAsyncContextManager[Any]]", url: str) -> Mapping[str, Any]:
    connection = LoopThread(enter)
    try:
        page: Mapping[str, Any] = connection.run(connection.held.get(url))
        return page
    finally:
        connection.close()


def _state(error: CompletionError) -> str:
    if isinstance(error, CredentialRejected):
        return "credential rejected"
    return "reachable, lists no models" if isinstance(error, NotFound) else "unreachable"
