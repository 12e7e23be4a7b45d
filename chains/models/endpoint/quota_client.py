"""The executor's end of a quota: leases of the driver, over one connection for each model."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from chains.errors import CapReached, CompletionError, ConnectionBroken, RateLimited
from chains.models.base import QuotaAddress, Usage
from chains.models.endpoint.quota import Lease

CONNECT_SECONDS = 10.0


class QuotaClient:
    """A client of udfs/quota.py; belongs to one event loop.

    Messages are lines of JSON, after a line that is the token. A connection that breaks gives back
    its leases; the next request opens another one.
    """

    def __init__(self, address: QuotaAddress, model: str, patience_seconds: float) -> None:
        """Connect to nothing yet; a cool-down above `patience_seconds` is not waited for.

        `model` is ENDPOINT/MODEL.
        """
        self._address = address
        self._hello = {"model": model, "patience_seconds": patience_seconds}
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._opening = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lease(self, most: Usage) -> AsyncIterator[Lease]:
        """Wait for leave to send a request.

        Raises CapReached where a cap never allows it, RateLimited where the endpoint cools down for
        too long, ConnectionBroken where the driver does not answer.
        """
        await self._connect()
        number, lease = next(self._numbers), Lease()
        granted = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._tell(do="lease", number=number, most=[most.input_tokens, most.output_tokens])
        try:
            await granted
            yield lease
        finally:
            self._waiting.pop(number)
            used = [lease.used.input_tokens, lease.used.output_tokens]
            self._tell(do="end", number=number, used=used)

    def cool_down(self, seconds: float) -> None:
        """Let nobody send for so long."""
        self._tell(do="cool_down", seconds=seconds)

    async def close(self) -> None:
        """Close the connection."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    def _tell(self, **message: Any) -> None:
        """Send a message; without a connection there is nobody who holds anything of ours."""
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _connect(self) -> None:
        async with self._opening:
            if self._writer is not None or await self._opened():
                return
        raise _unreachable(self._address)

    async def _opened(self) -> bool:
        where = self._address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(where.host, where.port)
        except OSError:
            return False
        writer.write(where.token.encode() + b"\n")
        self._writer = writer
        self._tell(**self._hello)
        self._reading = asyncio.create_task(self._read(reader, writer))
        return True

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                async for line in reader:
                    self._hear(**json.loads(line))
        finally:
            writer.close()
            self._writer = None
            for granted in self._waiting.values():
                if not granted.done():
                    granted.set_exception(_unreachable(self._address))

    def _hear(
        self,
        number: int,
        error: str | None = None,
        message: str = "",
        retry_after: float | None = None,
    ) -> None:
        granted = self._waiting.get(number)
        if granted is None or granted.done():
            return
        if error is None:
            granted.set_result(None)
        else:
            granted.set_exception(_refusal(error, message, retry_after))


def _refusal(code: str, message: str, retry_after: float | None) -> CompletionError:
    return RateLimited(message, retry_after) if code == RateLimited.code else CapReached(message)


def _unreachable(address: QuotaAddress) -> ConnectionBroken:
    return ConnectionBroken(
        f"not asked: the driver leases no requests at {address.host}:{address.port}; it has ended, "
        "or executors cannot reach it (spark.driver.host)"
    )
