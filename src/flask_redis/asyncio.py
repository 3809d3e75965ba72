"""The extension for asyncio: one client for each event loop, closed by that loop's own shutdown."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import typing as t

import redis.asyncio

from . import topologies
from .config import load
from .config import Settings
from .extension import Clients
from .extension import Extension
from .extension import forwards
from .extension import NotBoundError

Loop: t.TypeAlias = asyncio.AbstractEventLoop


class AsyncClients(Clients):
    """The clients of one application's :class:`AsyncRedis` objects: one for each config prefix and event loop."""

    def __init__(self, surroundings: topologies.Surroundings) -> None:
        super().__init__(surroundings)
        # What closes the clients of a loop. The loop itself holds it weakly.
        self._lifetimes: dict[Loop, list[cabc.AsyncGenerator[None, None]]] = {}

    def _load(self, config: cabc.Mapping[str, t.Any], prefix: str) -> Settings:
        return load(config, prefix, asyncio=True)

    def _prepare(self, extension: Extension, settings: Settings) -> None:
        # For its errors alone: it knows no loop, and never connects.
        topologies.build(settings, self._surroundings)
        self.built[extension] = {}

    def client(self, extension: Extension) -> t.Any:
        """The client of the running loop.

        :raises RuntimeError: if no loop runs.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise NotBoundError(
                f"The {type(extension).__name__} with the config prefix {extension.config_prefix!r} is used where no"
                " event loop runs: await it in an async function, or use Redis instead."
            ) from None
        clients: dict[Loop, t.Any] = self.built[extension]
        if loop not in clients:
            self._forget_closed_loops()
            clients[loop] = topologies.build(self.settings[extension], self._surroundings)
            lifetime = self._lifetime(loop, clients)
            self._lifetimes.setdefault(loop, []).append(lifetime)
            # Advanced once, it is known to the loop, whose shutdown_asyncgens() closes it. It awaits nothing before.
            with contextlib.suppress(StopIteration):
                lifetime.__anext__().__await__().send(None)
        return clients[loop]

    async def _lifetime(self, loop: Loop, clients: dict[Loop, t.Any]) -> cabc.AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._lifetimes.pop(loop, None)
            for client in topologies.clients(clients.pop(loop)):
                # redis-py 5.0.0 has close() alone, which its successors deprecate.
                await (client.aclose if hasattr(client, "aclose") else client.close)()

    def _forget_closed_loops(self) -> None:
        """Drop what belongs to loops that were closed without their shutdown."""
        for loop in [loop for loop in self._lifetimes if loop.is_closed()]:
            del self._lifetimes[loop]
            for clients in self.built.values():
                clients.pop(loop, None)


if t.TYPE_CHECKING:
    _AsyncRedisClient = redis.asyncio.Redis
else:
    _AsyncRedisClient = object


@forwards(redis.asyncio.Redis)
class AsyncRedis(Extension, _AsyncRedisClient):  # type: ignore[misc]
    """Redis for asyncio, in Flask's async views and in Quart: every command of ``redis.asyncio``.

    Its parameters, settings and rules are those of :class:`~flask_redis.Redis`. Each event loop has a client of its
    own, made at first use and closed when the loop shuts down.
    """

    @property
    def connection(self) -> redis.asyncio.Redis:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """The client of the running event loop.

        :raises RuntimeError: if there is none.
        """
        return t.cast(redis.asyncio.Redis, self._client())

    def _of_my_kind(self, clients: Clients) -> Clients:
        return clients.asyncio

    if not t.TYPE_CHECKING:

        @property
        def __class__(self):
            return redis.asyncio.Redis

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            await self.aclose()
