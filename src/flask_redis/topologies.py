"""From :class:`~flask_redis.config.Settings` to a client. Nothing here knows a Flask application, or connects."""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import functools
import importlib
import importlib.metadata
import logging
import types
import typing as t
import weakref
from pathlib import Path

import redis
import redis.asyncio

from . import resilience
from . import sentinels
from .clusters import cluster_class
from .config import ConfigError
from .config import Settings
from .parameters import parameters
from .recording import recorded
from .recording import Watch

#: By default: the server may just be leaving with the process that started it, and redis-py 5 would not try again.
EMBEDDED_RETRIES: t.Final = 3


@dataclasses.dataclass
class Surroundings:
    """What clients need of the application that they are built for."""

    #: The folder for what the application writes. It may not exist yet.
    instance_path: str
    #: The server of its ``memory://`` URLs without a name.
    memory: t.Any = None
    #: Its circuit breakers by config prefix.
    breakers: dict[str, resilience.Breaker] = dataclasses.field(default_factory=dict)
    #: The classes of its cluster clients, by config prefix and configured class.
    cluster_classes: dict[tuple[str, type[t.Any]], type[t.Any]] = dataclasses.field(default_factory=dict)
    #: What logs a warning, called with a format and its arguments.
    warn: cabc.Callable[..., object] = logging.getLogger(__name__).warning


def build(settings: Settings, surroundings: Surroundings) -> t.Any:
    """The client for *settings*.

    :raises ConfigError: if the client class refuses its arguments, or an optional package is missing.
    """
    if settings.topology == "embedded" and settings.retry is None:
        settings = dataclasses.replace(settings, retry=EMBEDDED_RETRIES)
    breaker = surroundings.breakers.get(settings.prefix)
    options = {**settings.options, **resilience.options(settings, breaker)}
    _introduce(settings.client_class, options)
    client = _BUILDERS[settings.topology](settings, options, surroundings)
    if breaker is not None and settings.topology != "cluster":
        if not hasattr(client, "connection_pool"):
            raise ConfigError(
                f"{settings.prefix}_CIRCUIT_BREAKER needs a {settings.prefix}_CLASS with a connection pool."
            )
        breaker.guard_pool(client.connection_pool)
    return client


def connects_when_built(settings: Settings) -> bool:
    """Whether building the client opens a connection: for a cluster, to learn its nodes."""
    return not settings.asyncio and (
        settings.topology == "cluster" or bool(settings.options.get("single_connection_client"))
    )


def _standalone(settings: Settings, options: dict[str, t.Any], surroundings: Surroundings) -> t.Any:
    client = _instance(settings, options, surroundings)
    if options.get("connection_pool") is not None:
        # It belongs to the user, which redis-py 5.0.0 does not note.
        client.auto_close_connection_pool = False
    return client


def _instance(settings: Settings, options: cabc.Mapping[str, t.Any], surroundings: Surroundings) -> t.Any:
    watch = Watch(settings.prefix, settings.asyncio)
    if settings.slow_command is not None:
        watch = watch._replace(slow=settings.slow_command, log=surroundings.warn)
    try:
        return recorded(settings.client_class, watch)(**options)
    except Exception as error:
        if connects_when_built(settings):
            raise
        name = f"{settings.client_class.__module__}.{settings.client_class.__qualname__}"
        raise ConfigError(
            f"The keys under {settings.prefix}_ do not suit {settings.prefix}_CLASS {name}: {error}"
        ) from error


def _sentinel(settings: Settings, options: dict[str, t.Any], surroundings: Surroundings) -> t.Any:
    sentinel = _module(settings, "sentinel")
    tls = options.pop("ssl", False)
    connection_class = sentinel.SentinelManagedSSLConnection if tls else sentinel.SentinelManagedConnection
    accepted = parameters(connection_class).keys() | {"max_connections"}
    connection_options = {name: options.pop(name) for name in options.keys() & accepted}
    # The sentinels are asked one after the other: each is given one try, and the timeouts and the TLS of the service.
    sentinel_options = {
        **{name: value for name, value in connection_options.items() if name.startswith(("socket_", "ssl_"))},
        **({"ssl": True} if tls else {}),
        "retry": resilience.no_retry(settings),
        **(settings.sentinel_options or {}),
    }
    manager = sentinels.manager_class(sentinel.Sentinel)(settings.nodes, sentinel_kwargs=sentinel_options)
    pool = sentinel.SentinelConnectionPool(
        settings.name,
        manager,
        is_master=not settings.replica,
        connection_class=connection_class,
        **connection_options,
    )
    client = _instance(settings, options | {"connection_pool": pool}, surroundings)
    # As with a pool of its own: close() closes it.
    client.auto_close_connection_pool = True
    return client


def _cluster(settings: Settings, options: dict[str, t.Any], surroundings: Surroundings) -> t.Any:
    node = _module(settings, "cluster").ClusterNode
    if settings.nodes:
        options["startup_nodes"] = [node(host, port) for host, port in settings.nodes]
    key = settings.prefix, settings.client_class
    if key not in surroundings.cluster_classes:
        surroundings.cluster_classes[key] = cluster_class(settings, surroundings.breakers.get(settings.prefix))
    settings = dataclasses.replace(settings, client_class=surroundings.cluster_classes[key])
    return _instance(settings, options, surroundings)


def _module(settings: Settings, name: str) -> types.ModuleType:
    """A module beside the client class: its package's, or that package's for asyncio."""
    return importlib.import_module(f"{settings.module}.{name}")


#: The servers of ``memory://name`` URLs. One lives as long as a client of it.
_named_memory: weakref.WeakValueDictionary[str, t.Any] = weakref.WeakValueDictionary()


def _memory(settings: Settings, options: dict[str, t.Any], surroundings: Surroundings) -> t.Any:
    try:
        import fakeredis
    except ImportError:
        raise _missing(settings, "memory") from None
    if settings.name:
        server = _named_memory.setdefault(settings.name, fakeredis.FakeServer())
    else:
        server = surroundings.memory = surroundings.memory or fakeredis.FakeServer()
    # As fakeredis does itself: a pool of redis-py's, with connections to its own server.
    connection_class = fakeredis.FakeAsyncRedisConnection if settings.asyncio else fakeredis.FakeRedisConnection
    return _with_connections(settings, options, surroundings, connection_class, server)


def _embedded(settings: Settings, options: dict[str, t.Any], surroundings: Surroundings) -> t.Any:
    try:
        from . import embedded
    except ImportError:
        raise ConfigError(f"{settings.prefix}_URL {settings.url!r} needs a Unix system.") from None
    if embedded.find_server() is None:
        raise _missing(settings, "embedded")
    directory = Path(surroundings.instance_path, "redis", settings.name or "default")
    options["unix_socket_path"] = str(directory / "socket")
    connection_class = embedded.AsyncEmbeddedConnection if settings.asyncio else embedded.EmbeddedConnection
    return _with_connections(settings, options, surroundings, connection_class, embedded.server(directory))


def _with_connections(
    settings: Settings,
    options: dict[str, t.Any],
    surroundings: Surroundings,
    connection_class: type[t.Any],
    server: t.Any,
) -> t.Any:
    """A client whose connections go to *server*, which is in or of this process and asks for no password."""
    # Nor does redis-py cache anything of it: only of what it takes for a Redis 7.4 or later, over TCP.
    for name in ("username", "password", "credential_provider", "ssl", "cache", "cache_config"):
        options.pop(name, None)
    client = _instance(settings, options, surroundings)
    if not isinstance(client, (redis.Redis, redis.asyncio.Redis)):
        raise ConfigError(
            f"{settings.prefix}_CLASS is {type(client)!r}; accepted with {settings.url!r}: a redis.Redis."
        )
    client.connection_pool.connection_class = connection_class
    client.connection_pool.connection_kwargs["server"] = server
    return client


def _missing(settings: Settings, extra: str) -> ConfigError:
    return ConfigError(
        f"{settings.prefix}_URL {settings.url!r} needs an optional package: pip install 'Flask-And-Redis[{extra}]'"
    )


_BUILDERS: t.Final = {
    "standalone": _standalone,
    "sentinel": _sentinel,
    "cluster": _cluster,
    "memory": _memory,
    "embedded": _embedded,
}


def clients(client: t.Any) -> list[t.Any]:
    """*client*, and those that it has for itself, of the sentinels: all that are to be closed with it."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [client, *getattr(manager, "sentinels", ())]


def close(client: t.Any) -> None:
    """Close the connections of *client*, and those to the sentinels. It opens new ones when it is used again."""
    for each in clients(client):
        # A class of the user's need not have it.
        if hasattr(each, "close"):
            each.close()
        # redis-py 5.0.0 leaves those of the pool open.
        if getattr(each, "auto_close_connection_pool", True) and hasattr(each, "connection_pool"):
            each.connection_pool.disconnect()


def _introduce(client_class: type[t.Any], options: dict[str, t.Any]) -> None:
    """Let CLIENT LIST say who drives the connection, beside what *options* say, as far as *client_class* can."""
    known = parameters(client_class)
    if "driver_info" in known:
        # Which would be in the place of these.
        if options.get("driver_info") is None:
            given = [options.pop(name, None) for name in ("lib_name", "lib_version")]
            options["driver_info"] = _driver_info(*given)
    elif "lib_name" in known and known["lib_name"].default == "redis-py":
        options["lib_name"] = f"{options.get('lib_name') or 'redis-py'}(flask-and-redis_v{_version()})"


@functools.cache
def _driver_info(name: str | None, version: str | None) -> t.Any:
    given: dict[str, t.Any] = {"name": name, "lib_version": version}
    info = redis.DriverInfo(**{parameter: value for parameter, value in given.items() if value})
    return info.add_upstream_driver("flask-and-redis", _version())


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("Flask-And-Redis")
    except importlib.metadata.PackageNotFoundError:
        # Applications that are packed into one file have none.
        return "unknown"
