"""The extension for asyncio: one client for each event loop, closed by that loop's own shutdown."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import functools
import typing as t
import weakref

import redis.asyncio

from . import topologies
from .config import load
from .config import Settings
from .extension import Clients
from .extension import Extension
from .extension import forwards
from .extension import NotBoundError

Loop: t.TypeAlias = asyncio.AbstractEventLoop

#: Seconds that the connections of a loop that shuts down wait for the end of its other asynchronous generators.
LAST_USE_TIMEOUT: t.Final = 5.0

_CLOSING: t.Final = "flask_redis closes its connections"


class AsyncClients(Clients):
    """The clients of one application's :class:`AsyncRedis` objects: one for each config prefix and event loop."""

    def __init__(self, surroundings: topologies.Surroundings) -> None:
        super().__init__(surroundings)
        self._in_loops: dict[Loop, tuple[_LoopClients, cabc.AsyncGenerator[None, None]]] = {}
        # An application may go before the loop does. asyncio closes a generator that nobody holds any more. It and its
        # clients are held until then, because garbage collection would end them in any order, with a ResourceWarning.
        weakref.finalize(self, self._in_loops.clear).atexit = False

    def _load(self, config: cabc.Mapping[str, t.Any], prefix: str) -> Settings:
        return load(config, prefix, asyncio=True)

    def _prepare(self, extension: Extension, settings: Settings) -> None:
        # This one never connects. It is built for the errors in its settings, and it keeps what stands for a server in
        # memory:// and embedded:// alive between one loop and the next.
        self.built[extension] = topologies.build(settings, self._surroundings)

    def client(self, extension: Extension) -> t.Any:
        """The client of the running loop.

        :raises RuntimeError: if no loop runs, or if it has shut down.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise _unusable(
                extension, "where no event loop runs: await it in an async function, or use Redis instead"
            ) from None
        if loop not in self._in_loops:
            self._enter(loop, extension)
        clients, _ = self._in_loops[loop]
        return clients.get(self.settings[extension], self._surroundings)

    def _enter(self, loop: Loop, extension: Extension) -> None:
        # A private name of asyncio's, for what it would only warn of: nothing closes the clients any more.
        if getattr(loop, "_asyncgens_shutdown_called", False):
            raise _unusable(extension, "after its event loop has shut down and closed its connections")
        for other in list(self._in_loops):
            # One that was closed without its shutdown.
            if other.is_closed():
                self._in_loops.pop(other, None)
        clients = _LoopClients()
        lifetime = _lifetime(clients, functools.partial(self._in_loops.pop, loop, None))
        # Advanced once, it is known to the loop, whose shutdown_asyncgens() closes it. It awaits nothing before.
        with contextlib.suppress(StopIteration):
            lifetime.__anext__().__await__().send(None)
        self._in_loops[loop] = clients, lifetime


class _LoopClients:
    """The clients of one application in one event loop."""

    def __init__(self) -> None:
        # By prefix, because an extension object may hold its application.
        self._clients: dict[str, t.Any] = {}

    def get(self, settings: Settings, surroundings: topologies.Surroundings) -> t.Any:
        """The client for *settings*, built now if need be."""
        if settings.prefix not in self._clients:
            self._clients[settings.prefix] = topologies.build(settings, surroundings)
        return self._clients[settings.prefix]

    async def close(self) -> None:
        """Close the clients."""
        async with contextlib.AsyncExitStack() as stack:
            for client in self._clients.values():
                stack.push_async_callback(_close, client)


async def _lifetime(clients: _LoopClients, leave: cabc.Callable[[], t.Any]) -> cabc.AsyncGenerator[None, None]:
    try:
        yield
    finally:
        try:
            await _last_words()
        finally:
            leave()
            await clients.close()


async def _last_words() -> None:
    """Wait for the user's asynchronous generators that are closed at the same time: they may need Redis once more."""
    t.cast("asyncio.Task[t.Any]", asyncio.current_task()).set_name(_CLOSING)
    # Now all of ours have their name.
    await asyncio.sleep(0)
    others = {
        task
        for task in asyncio.all_tasks()
        # The type of what a generator's aclose() returns has no other name.
        if type(task.get_coro()).__name__ == "async_generator_athrow" and task.get_name() != _CLOSING
    }
    if others:
        await asyncio.wait(others, timeout=LAST_USE_TIMEOUT)


async def _close(client: t.Any) -> None:
    """Close the connections of *client*, and those to the sentinels. It opens new ones when it is used again."""
    async with contextlib.AsyncExitStack() as stack:
        for each in topologies.clients(client):
            # redis-py 5.0.0 has close() alone, which its successors deprecate; a class of the user's need have neither.
            if close := getattr(each, "aclose", None) or getattr(each, "close", None):
                stack.push_async_callback(close)


def _unusable(extension: Extension, where: str) -> NotBoundError:
    return NotBoundError(
        f"The {type(extension).__name__} with the config prefix {extension.config_prefix!r} is used {where}."
    )


if t.TYPE_CHECKING:
    _AsyncRedisClient = redis.asyncio.Redis
else:
    _AsyncRedisClient = object


# For mypy, bases of redis-py's own client contradict each other: each has a command_info.
@forwards(redis.asyncio.Redis)
class AsyncRedis(Extension, _AsyncRedisClient):  # type: ignore[misc]
    """Redis for asyncio, in Flask's async views and in Quart: every command of ``redis.asyncio``.

    Its parameters, settings and rules are those of :class:`~flask_redis.Redis`. Each event loop has a client of its
    own, made at first use and closed when the loop shuts down.
    """

    # A property in the place of an undocumented attribute of the client class.
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

        def __await__(self):
            yield from self.initialize().__await__()
            return self

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            await _close(self._client())
