"""A transformers model behind a server that all tasks of an executor share."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chains.errors import ConnectionBroken, EndpointDown
from chains.models.base import Answer, Message, ModelRef, Outcome, Outcomes, Request, in_order
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.quota import Lease
from chains.models.endpoint.settings import resolve_endpoint
from chains.models.sidecar.folder import Plan
from chains.models.sidecar.probe import HOST
from chains.models.sidecar.server import SharedServer
from chains.models.sidecar.settings import SidecarSettings
from chains.models.transformers.model import TransformersModel
from chains.models.transformers.weights import loading, local_folder, told_window

if TYPE_CHECKING:
    from chains.models.endpoint.client import ChatClient

_PROBE_AGAIN_SECONDS = 0.1


class SidecarModel:
    """Asks the server on loopback; started by whoever asks first, ended with its owner.

    `ref.options` are those of `SidecarSettings`, and where the server belongs: `owner`, the pid of
    the process with which it ends (by default this one), and `gpus`, the addresses of its GPUs (by
    default those that the environment shows).
    """

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        options = dict(ref.options)
        self._owner: int = options.pop("owner", os.getpid())
        self._gpus: tuple[str, ...] = options.pop("gpus", ())
        self._settings = SidecarSettings(**options)
        self._files = TransformersModel(ref)
        self._endpoint: _SidecarEndpoint | None = None

    @cached_property
    def context_window(self) -> int | None:
        """The window in tokens, as the model's files say."""
        with loading("config", self.ref.spec):
            told = told_window(local_folder(self.ref.location, self.ref.digest, weights=False))
        return told or self._files.context_window

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return the prompt's length in tokens by the model's own tokenizer; asks no server."""
        return self._files.count_tokens(messages)

    def complete(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer every request, in order; see `stream`."""
        return in_order(self.stream(requests))

    def stream(self, requests: Sequence[Request]) -> Iterator[Outcomes]:
        """Answer every request, as answers come; start the server where there is none.

        A request that breaks off with its server is sent once more, to the restarted one. Raises
        ModelLoadError, with the end of the server's log, where it does not become ready.
        """
        with self._server.in_use() as port:
            if self._endpoint is None or self._endpoint.port != port:
                self._endpoint = _SidecarEndpoint(self.ref, self._settings, self._server, port)
            yield from self._endpoint.stream(requests)

    @cached_property
    def _server(self) -> SharedServer:
        folder = local_folder(self.ref.location, self.ref.digest, weights=True)
        return SharedServer(
            Plan(
                owner=self._owner,
                gpus=self._gpus,
                model=str(folder),
                digest=self.ref.digest,
                settings=self._settings,
            )
        )


class _SidecarEndpoint(EndpointModel):
    """The server on one port; what was in flight when it broke off waits for it to be back."""

    def __init__(
        self, ref: ModelRef, settings: SidecarSettings, server: SharedServer, port: int
    ) -> None:
        self.port = port
        self._server = server
        self._broken = False
        self._probing = asyncio.Lock()
        reached = {
            "base_url": f"http://{HOST}:{port}/v1",
            "api_key": f"file:{server.token_file}",
            "concurrency": settings.concurrency,
            "timeout_seconds": settings.timeout_seconds,
            "attempts": 2,
        }
        super().__init__(resolve_endpoint(ref.spec, "sidecar", server.model, reached))

    async def _send(self, client: "ChatClient", body: Mapping[str, Any], lease: Lease) -> Answer:
        await self._is_back()
        try:
            return await super()._send(client, body, lease)
        except ConnectionBroken:
            self._broken = True
            raise

    async def _is_back(self) -> None:
        """Wait for a server that broke off; raise EndpointDown where nobody restarts it."""
        async with self._probing:
            while self._broken:
                if not self._server.kept(self.port):
                    raise EndpointDown(
                        f"not asked: the model server ended; its log is {self._server.log_file}"
                    )
                if await asyncio.to_thread(self._server.answers, self.port):
                    self._broken = False
                else:
                    await asyncio.sleep(_PROBE_AGAIN_SECONDS)
