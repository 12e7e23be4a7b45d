"""A credential that was rejected: nothing is sent with it but one request now and then."""

import time
from collections.abc import Callable

from chains.errors import CompletionError, CredentialRejected
from chains.models.endpoint.circuit import SECONDS_WHILE_PROBED
from chains.models.endpoint.limiter import Signal

SECONDS_BETWEEN_PROBES = 30.0


class Rejection:
    """Stands until the credential is another one, or has worked again.

    A permission, a firewall or the account's credit is mended without a new credential, and a
    worker keeps its models from run to run. So a row that comes SECONDS_BETWEEN_PROBES later is
    sent, as a probe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.lift()

    def lift(self) -> None:
        """Let everything be sent."""
        self._said: str | None = None
        self._probe_at = 0.0
        self._probed = False

    def begin(self, error: CompletionError) -> None:
        """Let nothing be sent, after this answer."""
        self._said = str(error)
        self._probe_at = self._clock() + SECONDS_BETWEEN_PROBES

    @property
    def stands(self) -> bool:
        """Whether the credential was rejected last."""
        return self._said is not None

    def wait(self) -> float:
        """Return the seconds until it may be asked whether to send; 0: send now.

        Raises CredentialRejected where nothing is sent.
        """
        if self._said is None:
            return 0.0
        if self._probed:
            return SECONDS_WHILE_PROBED
        if self._clock() < self._probe_at:
            raise CredentialRejected(f"not asked, after: {self._said}")
        return 0.0

    def send(self) -> bool:
        """Tell whether the call that is sent now, at once after `wait` said 0, is a probe."""
        self._probed = self.stands
        return self._probed

    def end(self, signal: Signal, probe: bool) -> None:
        """Note how a call ended; one sent before the rejection does not prove the credential."""
        if not probe:
            return
        self._probed = False
        if signal in ("answered", "refused"):
            self.lift()
