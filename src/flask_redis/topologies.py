"""From :class:`~flask_redis.config.Settings` to a client. Nothing here knows a Flask application, or connects."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import typing as t
import weakref
from pathlib import Path

import redis

from .config import ConfigError
from .config import Settings
from .parameters import parameters


@dataclasses.dataclass
class Surroundings:
    """What clients need of the application that they are built for."""

    #: The folder for what the application writes. It may not exist yet.
    instance_path: str
    #: The server of its ``memory://`` URLs without a name.
    memory: t.Any = None


def build(settings: Settings, surroundings: Surroundings) -> t.Any:
    """The client for *settings*.

    :raises ConfigError: if the client class refuses its arguments, or an optional package is missing.
    """
    options = {**_introduction(settings.client_class), **settings.options}
    return _BUILDERS[settings.topology](settings, options, surroundings)


def _standalone(settings: Settings, options: dict[str, t.Any], _: Surroundings) -> t.Any:
    try:
        return settings.client_class(**options)
    except Exception as error:
        name = f"{settings.client_class.__module__}.{settings.client_class.__qualname__}"
        raise ConfigError(
            f"{settings.prefix}_CLASS {name} refuses the configuration under {settings.prefix}_: {error}"
        ) from error


#: The servers of ``memory://name`` URLs. One lives as long as a client of it.
_named_memory: weakref.WeakValueDictionary[str, t.Any] = weakref.WeakValueDictionary()


def _memory(settings: Settings, options: dict[str, t.Any], surroundings: Surroundings) -> t.Any:
    try:
        import fakeredis
    except ImportError:
        raise _missing(settings, "memory") from None
    if not settings.name:
        server = surroundings.memory = surroundings.memory or fakeredis.FakeServer()
    else:
        server = _named_memory.setdefault(settings.name, fakeredis.FakeServer())
    client = _standalone(settings, options, surroundings)
    # As fakeredis does itself: a pool of redis-py's, with connections to its own server.
    client.connection_pool.connection_class = fakeredis.FakeRedisConnection
    client.connection_pool.connection_kwargs["server"] = server
    return client


def _embedded(settings: Settings, options: dict[str, t.Any], surroundings: Surroundings) -> t.Any:
    try:
        from . import embedded
    except ImportError:
        raise ConfigError(f"{settings.prefix}_URL {settings.url!r} needs a Unix system.") from None
    if embedded.find_server() is None:
        raise _missing(settings, "embedded")
    directory = Path(surroundings.instance_path, "redis", settings.name or "default")
    client = _standalone(settings, options | {"unix_socket_path": str(directory / "socket")}, surroundings)
    client.connection_pool.connection_class = embedded.EmbeddedConnection
    client.connection_pool.connection_kwargs["server"] = embedded.server(directory)
    return client


def _missing(settings: Settings, extra: str) -> ConfigError:
    return ConfigError(
        f"{settings.prefix}_URL {settings.url!r} needs an optional package: pip install 'Flask-And-Redis[{extra}]'"
    )


_BUILDERS: t.Final = {"standalone": _standalone, "memory": _memory, "embedded": _embedded}


def _introduction(client_class: type[t.Any]) -> dict[str, t.Any]:
    """The arguments that let CLIENT LIST say who drives the connection, as far as *client_class* takes one."""
    known = parameters(client_class)
    if "driver_info" in known:
        return {"driver_info": _driver_info()}
    if "lib_name" in known and known["lib_name"].default == "redis-py":
        return {"lib_name": f"redis-py(flask-and-redis_v{_version()})"}
    return {}


@functools.cache
def _version() -> str:
    return importlib.metadata.version("Flask-And-Redis")


@functools.cache
def _driver_info() -> t.Any:
    return redis.DriverInfo().add_upstream_driver("flask-and-redis", _version())
