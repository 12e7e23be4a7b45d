"""One quota for all executors: a small server on the driver that leases every request.

An executor holds one connection for each model (chains/models/endpoint/quota_client.py). A lease
is asked for right before a request is sent and ended when its answer is there; a connection that
breaks gives back its leases.
"""

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from chains.errors import CompletionError, TransientError
from chains.models.base import QuotaAddress
from chains.models.endpoint.loop_thread import LoopThread
from chains.models.endpoint.settings import QuotaSettings
from udfs.allowance import Allowance
from udfs.budget import UNLIMITED, Budget, Price
from udfs.purse import Purse, Tokens
from udfs.turns import Asked, Turns

_Counts = tuple[int | None, int | None]


@contextmanager
def served(
    quotas: Mapping[str, QuotaSettings],
    budget: Budget = UNLIMITED,
    prices: Mapping[str, Price | None] | None = None,
    *,
    host: str = "127.0.0.1",
    bind: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[QuotaAddress]:
    """Lease requests until the block ends: `quotas` by endpoint, and one budget for all of them.

    `prices` by model are what the budget is spent at; see `Purse`.

    `host` is the driver as executors reach it, `bind` the address to listen at, if that is another.
    """
    token = secrets.token_hex(16)
    desk = _Desk(quotas, Purse(budget, prices), clock)
    thread = LoopThread(partial(_listening, desk, token.encode(), bind or host))
    try:
        yield QuotaAddress(host, thread.held, token)
    finally:
        thread.close()


class _Desk:
    """The queues of all endpoints, which share the budget."""

    def __init__(
        self, quotas: Mapping[str, QuotaSettings], purse: Purse, clock: Callable[[], float]
    ) -> None:
        self._quotas, self._purse, self._clock = quotas, purse, clock
        self._turns: dict[str, Turns] = {}

    def turns(self, endpoint: str) -> Turns:
        """Return the queue of an endpoint; one without a quota has the budget alone."""
        if endpoint not in self._turns:
            quota = self._quotas.get(endpoint, QuotaSettings())
            self._turns[endpoint] = Turns(Allowance(quota, self._clock), self._purse)
        return self._turns[endpoint]

    def advance(self) -> None:
        """Look at all queues: what one gives back to the budget, another may wait for."""
        for turns in self._turns.values():
            turns.advance()


class _Client:
    """A connection's requests, by the client's own numbers."""

    def __init__(
        self, turns: Turns, model: str, patience_seconds: float, send: Callable[[bytes], None]
    ) -> None:
        self._turns, self._model, self._patience, self._send = turns, model, patience_seconds, send
        self._asked: dict[int, Asked] = {}

    def hear(self, do: str, **message: Any) -> None:
        """Take a message."""
        hear: dict[str, Callable[..., None]] = {
            "lease": self._lease,
            "end": self._end,
            "cool_down": self._cool_down,
        }
        hear[do](**message)

    def leave(self) -> None:
        """Give back everything; what a request took that was on its way, nobody knows."""
        for number in list(self._asked):
            self._end(number, (None, None))

    def _lease(self, number: int, most: tuple[int, int]) -> None:
        reply = partial(self._reply, number)
        asked = Asked(Tokens(*most), self._patience, reply, model=self._model)
        self._asked[number] = asked
        self._turns.ask(asked)

    def _end(self, number: int, used: _Counts) -> None:
        """End a lease; tokens that are not known count as the most that they may be."""
        asked = self._asked.pop(number, None)
        if asked is not None:
            most = (asked.most.input, asked.most.output)
            known = (m if u is None else u for u, m in zip(used, most, strict=True))
            self._turns.end(asked, Tokens(*known))

    def _cool_down(self, seconds: float) -> None:
        self._turns.allowance.cool_down(seconds)

    def _reply(self, number: int, refusal: CompletionError | None) -> None:
        reply: dict[str, Any] = {"number": number}
        if refusal is not None:
            del self._asked[number]
            reply |= {"error": refusal.code, "message": str(refusal)}
        if isinstance(refusal, TransientError):
            reply["retry_after"] = refusal.retry_after
        self._send(json.dumps(reply).encode() + b"\n")


@asynccontextmanager
async def _listening(desk: _Desk, token: bytes, bind: str) -> AsyncIterator[int]:
    """Give the port; the connections end with the event loop."""
    open_connections: set[asyncio.Task[None]] = set()

    def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(_converse(desk, token, reader, writer))
        open_connections.add(connection)
        connection.add_done_callback(open_connections.discard)

    server = await asyncio.start_server(connect, bind, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in open_connections:
            connection.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)


async def _converse(
    desk: _Desk, token: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve a client until it leaves; of one without the token nothing is read but its first line.

    Raises nothing but what cancels it.
    """
    client = None
    try:
        if not hmac.compare_digest((await reader.readline()).rstrip(), token):
            return
        hello = json.loads(await reader.readline())
        model = hello["model"]
        turns = desk.turns(model.partition("/")[0])
        client = _Client(turns, model, hello["patience_seconds"], writer.write)
        async for line in reader:
            client.hear(**json.loads(line))
            desk.advance()
    except (OSError, ValueError):  # the connection broke, in the middle of a line perhaps
        return
    finally:
        if client is not None:
            client.leave()
            desk.advance()
        writer.close()
