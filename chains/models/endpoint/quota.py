"""What is asked before each request: whether all who share the endpoint may send one more."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from chains.models.base import Usage

NOTHING = Usage(0, 0)


@dataclass
class Lease:
    """Leave to send one request, now; `used` is what it took, with None for what is not known."""

    used: Usage = NOTHING


class Quota(Protocol):
    """Leases requests; told what they used, and when an endpoint wants to be left alone."""

    def lease(self, most: Usage) -> AbstractAsyncContextManager[Lease]:
        """Wait until a request may be sent that takes at most so many tokens.

        To be sent at once, and held until its answer is there. Raises CompletionError where the
        request should not be waited for.
        """
        ...

    def cool_down(self, seconds: float) -> None:
        """Lease nothing for so long."""
        ...

    async def close(self) -> None:
        """Give back all leases."""
        ...


class Unlimited:
    """Leases everything at once."""

    @asynccontextmanager
    async def lease(self, most: Usage) -> AsyncIterator[Lease]:
        """Wait for nothing."""
        yield Lease()

    def cool_down(self, seconds: float) -> None:
        """Leave it to the client."""

    async def close(self) -> None:
        """Do nothing."""


UNLIMITED = Unlimited()
