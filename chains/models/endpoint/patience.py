"""How often, and after which time, what failed in a passing way is tried again at an endpoint."""

from tenacity import RetryCallState, wait_random_exponential

from chains.errors import TransientError
from chains.models.endpoint.settings import EndpointSettings

_FIRST_BACKOFF_SECONDS = 0.5


class Patience:
    """What an endpoint's settings say of retries, for tenacity: how long to wait, when to stop."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self._backoff = wait_random_exponential(
            multiplier=_FIRST_BACKOFF_SECONDS, max=settings.max_retry_wait_seconds
        )

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next attempt: as the server said, else a growing time."""
        return said_by_server(failure(state)) or self._backoff(state)

    def gives_up(self, state: RetryCallState) -> bool:
        """Whether there is no next attempt, since it would be too late or one too many."""
        too_long = state.upcoming_sleep > self._settings.max_retry_wait_seconds
        return too_long or state.attempt_number >= self._settings.attempts


def failure(state: RetryCallState) -> BaseException | None:
    """Return what the last attempt raised."""
    return state.outcome.exception() if state.outcome else None


def said_by_server(error: BaseException | None) -> float | None:
    """Return the seconds that a server asks to wait, None where it says nothing."""
    return error.retry_after if isinstance(error, TransientError) else None
