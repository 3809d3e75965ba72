"""What redis-py's and valkey-py's cluster clients lack for an application that lives through an outage."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import functools
import importlib
import inspect
import os
import threading
import typing as t

if t.TYPE_CHECKING:
    from .config import Settings
    from .resilience import Breaker

_Context = cabc.Callable[[], contextlib.AbstractContextManager[None]]


def cluster_class(settings: Settings, breaker: Breaker | None) -> type[t.Any]:
    """A subclass of the configured class, for asyncio or not.

    That no node can be reached is a ConnectionError, as of other clients. The nodes to ask are not forgotten in an
    outage, and threads that look for a node at the same time wait together, not one after the other. A closed client
    can be used again. Commands, pipelines and subscriptions ask *breaker*, if there is one.
    """

    @contextlib.contextmanager
    def asks() -> cabc.Iterator[None]:
        try:
            with breaker.command_to_a_cluster() if breaker else contextlib.nullcontext():
                yield
        except Exception as error:
            if unreachable := no_node(settings.package, error):
                raise unreachable from error
            raise

    sends = breaker.message_to_a_cluster if breaker else contextlib.nullcontext
    return _subclass(settings.client_class, settings.asyncio, asks, sends)


def _subclass(base: type[t.Any], asyncio: bool, asks: _Context, sends: _Context) -> type[t.Any]:
    @functools.cache
    def guarded(target: type[t.Any], context: _Context, *names: str) -> type[t.Any]:
        methods = {name: _inside(context, target, name) for name in names}
        # Without slots of its own, because an object becomes one: its layout must stay the same.
        return type(target.__name__, (target,), {"__slots__": (), "__module__": target.__module__, **methods})

    class Cluster(base):  # type: ignore[misc]
        execute_command = _inside(asks, base, "execute_command", asyncio)

        def __init__(self, **kwargs: t.Any) -> None:
            # That of a client for asyncio asks no server.
            with contextlib.nullcontext() if asyncio else asks():
                super().__init__(**kwargs)
            _improve(self.nodes_manager, () if asyncio else kwargs.get("startup_nodes", ()), asyncio)

        def pipeline(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            pipeline = super().pipeline(*args, **kwargs)
            pipeline.__class__ = guarded(t.cast(t.Any, type(pipeline)), asks, "execute", "watch")
            return pipeline

        def pubsub(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            pubsub = super().pubsub(*args, **kwargs)
            pubsub.__class__ = guarded(t.cast(t.Any, type(pubsub)), sends, "subscribe", "psubscribe", "ssubscribe")
            return pubsub

    class ThreadedCluster(Cluster):
        def close(self) -> None:
            # redis-py's own is for good: it forgets the default node. There is no manager where the constructor failed.
            nodes = self.get_nodes() if hasattr(self, "nodes_manager") else ()
            # valkey-py has it under its own name.
            clients = (getattr(n, "redis_connection", None) or getattr(n, "valkey_connection", None) for n in nodes)
            for client in filter(None, clients):
                client.connection_pool.disconnect()

    subclass = Cluster if asyncio else ThreadedCluster
    # For errors, logs and representations it is the class that was configured.
    subclass.__module__, subclass.__name__, subclass.__qualname__ = base.__module__, base.__name__, base.__qualname__
    return subclass


def no_node(package: str, error: Exception) -> Exception | None:
    """What to raise for the *error* of a cluster client that says that no node can be reached; None for others.

    Its own exception is no ConnectionError, and not even a RedisError.

    :param package: ``redis`` or ``valkey``.
    """
    exceptions = importlib.import_module(f"{package}.exceptions")
    cause = error.__cause__
    if isinstance(cause, (exceptions.ConnectionError, exceptions.TimeoutError)):
        return t.cast("type[Exception]", type(cause))(str(error))
    return None


def _inside(context: _Context, base: type[t.Any], name: str, asyncio: bool = False) -> cabc.Callable[..., t.Any]:
    """The method *name* of *base*, with a context around each call.

    :param asyncio: whether what it returns is awaited, though it is no coroutine function.
    """
    function = getattr(base, name)

    # Looked up at each call: what traces commands may replace it later.
    @functools.wraps(function)
    def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
        with context():
            return getattr(base, name)(*args, **kwargs)

    @functools.wraps(function)
    async def call_async(*args: t.Any, **kwargs: t.Any) -> t.Any:
        with context():
            return await getattr(base, name)(*args, **kwargs)

    return call_async if asyncio or inspect.iscoroutinefunction(function) else call


def _improve(manager: t.Any, startup_nodes: cabc.Iterable[t.Any], asyncio: bool) -> None:
    """Give a cluster client's *manager* of nodes a subclass of its class.

    :param startup_nodes: those that were configured, if it has forgotten them already.
    """
    base = type(manager)
    # redis-py 8 has this in the place of pop().
    keep: type[dict[str, t.Any]] = dict if hasattr(base, "move_node_to_end_of_cached_nodes") else _Kept
    manager.startup_nodes = keep(manager.startup_nodes)
    known = dict(manager.startup_nodes) if asyncio else {}
    # Nodes without the connections that these have.
    addresses: list[tuple[type[t.Any], str, int]] = [(type(node), node.host, node.port) for node in startup_nodes]

    def configured() -> dict[str, t.Any]:
        nodes = [node(host, port) for node, host, port in addresses]
        return known | {node.name: node for node in nodes}

    manager.__class__ = _manager_class(base, configured, keep, asyncio)


def _manager_class(
    base: type[t.Any],
    configured: cabc.Callable[[], dict[str, t.Any]],
    keep: type[dict[str, t.Any]],
    asyncio: bool,
) -> type[t.Any]:
    together = Together()

    @contextlib.contextmanager
    def keeping(manager: t.Any) -> cabc.Iterator[None]:
        try:
            yield
        except Exception:
            # The addresses that the cluster gave may all be of the past.
            manager.startup_nodes = keep({**configured(), **manager.startup_nodes})
            raise
        manager.startup_nodes = keep(manager.startup_nodes)

    class Manager(base):  # type: ignore[misc]
        # Without slots of its own, because a manager becomes one: its layout must stay the same.
        __slots__ = ()

        def initialize(self, *args: t.Any, **kwargs: t.Any) -> None:
            together(functools.partial(self._initialize, *args, **kwargs))

        def _initialize(self, *args: t.Any, **kwargs: t.Any) -> None:
            with keeping(self):
                super().initialize(*args, **kwargs)

    class AsyncManager(base):  # type: ignore[misc]
        __slots__ = ()

        async def initialize(self, *args: t.Any, **kwargs: t.Any) -> None:
            with keeping(self):
                await super().initialize(*args, **kwargs)

    return AsyncManager if asyncio else Manager


class _Kept(dict[str, t.Any]):
    """Start-up nodes that stay where one is taken out because it failed: at the end there would be none to ask."""

    def pop(self, name: str, default: t.Any = None) -> t.Any:
        return self.get(name, default)


class Together:
    """Lets those who come while a call is under way share its outcome, rather than call after each other."""

    def __init__(self) -> None:
        self._call = _Call()
        self._forget()

    def _forget(self) -> None:
        # Reentrant: redis-py looks for the nodes once more when the answer to that says that they are moving.
        self._lock = threading.RLock()
        self._process = os.getpid()

    def __call__(self, function: cabc.Callable[[], object]) -> None:
        """Call *function*, or wait for the one who does, and raise what it raises.

        What ends only the thread that calls, such as gevent's Timeout, is not shared: the next one calls then.
        """
        if self._process != os.getpid():
            # The thread that had the lock is not in this process.
            self._forget()
        call = self._call
        with self._lock:
            if self._call is call:
                try:
                    function()
                except Exception as error:  # noqa: BLE001
                    # Raised below, here and where others wait. Not kept by this object: the traceback has the
                    # client, its connections and the application.
                    call.error = error
                else:
                    call.error = None
                self._call = _Call()
            try:
                if call.error is not None:
                    raise call.error
            finally:
                # Nor by itself, through this frame.
                del call


class _Call:
    """A call, and how it ended, as long as somebody waits for it."""

    error: Exception | None = None
