"""The extension: binds applications to clients, and forwards every command to the current application's client."""

from __future__ import annotations

import collections.abc as cabc
import functools
import inspect
import sys
import typing as t
import weakref

import flask.globals
import redis
from flask import Flask
from flask import has_app_context
from flask.globals import app_ctx

from . import cli
from . import topologies
from .clusters import Together
from .config import load
from .config import Settings
from .resilience import Breaker

if t.TYPE_CHECKING:
    from flask.sansio.app import App

#: Where the clients of an application are, in its ``extensions``. They are at the public ``"redis"`` too, unless a
#: FlaskRedis is there.
PLACE: t.Final = "flask_redis"


class _ByPublicNames:
    """What Flask's own context variable does: the slower way to the app context, for when that has another name."""

    @staticmethod
    def get(default: t.Any) -> t.Any:
        return t.cast(t.Any, app_ctx)._get_current_object() if has_app_context() else default


#: Where the app context is. That the variable is asked itself saves two calls, a quarter of what the extension costs.
_context: t.Any = getattr(flask.globals, "_cv_app", _ByPublicNames)


class NotBoundError(RuntimeError, AttributeError):
    """There is no client to use right now.

    A RuntimeError, as Flask raises outside a context, and an AttributeError, so that ``hasattr``, ``inspect`` and
    mocks can poke at an unbound extension.
    """


class Clients(cabc.Mapping[str, t.Any]):
    """The clients of one application by config prefix: ``app.extensions["redis"]``.

    Those of :class:`~flask_redis.AsyncRedis` are in :attr:`asyncio`, as another such mapping.
    """

    #: The config prefixes whose round trips the responses count.
    timed: frozenset[str] = frozenset()

    def __init__(self, surroundings: topologies.Surroundings) -> None:
        self._surroundings = surroundings
        self.settings: dict[Extension, Settings] = {}
        #: The clients that are built already, for the way of every command.
        self.built: dict[Extension, t.Any] = {}
        self._building: dict[Extension, Together] = {}
        self._to_close: list[t.Any] = []
        # Garbage collection would end the sockets of an application in any order, with a ResourceWarning.
        weakref.finalize(self, _close, self._to_close).atexit = False

    def __getitem__(self, prefix: str) -> t.Any:
        for extension, settings in self.settings.items():
            if settings.prefix == prefix:
                return self.client(extension)
        raise KeyError(prefix)

    def __contains__(self, prefix: object) -> bool:
        # Mapping's own would build the client.
        return prefix in list(self)

    def __iter__(self) -> cabc.Iterator[str]:
        return (settings.prefix for settings in self.settings.values())

    def __len__(self) -> int:
        return len(self.settings)

    def __repr__(self) -> str:
        return f"<Clients {', '.join(f'{settings.prefix} {settings.url}' for settings in self.settings.values())}>"

    @functools.cached_property
    def asyncio(self) -> Clients:
        """The clients of the running event loop, by config prefix."""
        from .asyncio import AsyncClients

        return AsyncClients(self._surroundings)

    @functools.cached_property
    def others(self) -> weakref.WeakKeyDictionary[Extension, Clients]:
        """Those of each FlaskRedis: several may be of one prefix, and the application keeps none of them alive."""
        return weakref.WeakKeyDictionary()

    def connections(self) -> dict[str, tuple[Extension, Settings]]:
        """The extension and settings of each config prefix.

        Those of :class:`Redis`, where another kind of extension has it too; else those of :class:`AsyncRedis`.
        """
        own = {settings.prefix: (extension, settings) for extension, settings in self.settings.items()}
        # Looking at the properties would make what is not there.
        asyncio = vars(self)["asyncio"].connections() if "asyncio" in vars(self) else {}
        others = {
            settings.prefix: (extension, settings)
            for extension, clients in list(vars(self).get("others", {}).items())
            for settings in clients.settings.values()
        }
        return own | {prefix: found for prefix, found in (others | asyncio).items() if prefix not in own}

    @property
    def breakers(self) -> cabc.Mapping[str, t.Any]:
        """pybreaker's circuit breakers by config prefix: ``breakers["REDIS"].current_state`` is ``"closed"``, say."""
        return {prefix: breaker.circuit for prefix, breaker in self._surroundings.breakers.items()}

    def add(self, extension: Extension, config: cabc.MutableMapping[str, t.Any], prefix: str) -> None:
        """Let *extension* have the client that *config* describes, and write back what the URL in it states.

        :raises ConfigError: if it cannot be built.
        """
        settings = self._load(config, prefix)
        self.install(extension, settings)
        config.update({f"{prefix}_{name}": value for name, value in settings.stated.items()})

    def install(self, extension: Extension, settings: Settings) -> None:
        """Let *extension* have the client that *settings* describe.

        :raises ConfigError: if it cannot be built.
        """
        breakers = self._surroundings.breakers
        new = settings.breaker is not None and settings.prefix not in breakers
        if new:
            breakers[settings.prefix] = Breaker(settings)
        try:
            self._prepare(extension, settings)
        except Exception:
            if new:
                # A second attempt may have other limits.
                del breakers[settings.prefix]
            raise
        self.settings[extension] = settings

    def _load(self, config: cabc.Mapping[str, t.Any], prefix: str) -> Settings:
        return load(config, prefix)

    def _prepare(self, extension: Extension, settings: Settings) -> None:
        # That of a cluster is built at first use, because its constructor connects.
        if topologies.connects_when_built(settings):
            self._building[extension] = Together()
        else:
            self._build(extension, settings)

    def _build(self, extension: Extension, settings: Settings) -> None:
        # Another thread may have just done so.
        if extension not in self.built:
            client = topologies.build(settings, self._surroundings)
            self._to_close += topologies.clients(client)
            self.built[extension] = client

    def client(self, extension: Extension) -> t.Any:
        """The client of *extension*, built now if need be: by the thread that comes first, while others wait for it.

        :raises redis.exceptions.RedisError: if building it fails. Those who waited fail too, rather than trying the
            same one after the other; the next command tries again.
        """
        if extension not in self.built:
            self._building[extension](functools.partial(self._build, extension, self.settings[extension]))
        return self.built[extension]

    def close(self, extension: Extension) -> None:
        """Close the connections of *extension*'s client, if it is built. It opens new ones when it is used again."""
        if extension in self.built:
            topologies.close(self.built[extension])


def _close(clients: list[t.Any]) -> None:
    for client in clients:
        topologies.close(client)


class Extension:
    """What the extension objects have in common, whatever client they forward to."""

    #: The application given to the constructor, used where no application context is active.
    app: Flask | None = None
    _prefix: str | None = None

    def __init__(self, app: App | None = None, config_prefix: str | None = None) -> None:
        self._prefix = _checked(config_prefix)
        if app is not None:
            self.app = unwrapped(app)
            self.init_app(app)

    @property
    def config_prefix(self) -> str:
        """What this connection's configuration keys begin with: ``"REDIS"`` when nobody names another."""
        return self._prefix or "REDIS"

    def init_app(self, app: App, config_prefix: str | None = None) -> None:
        """Give *app* a client, configured by its ``app.config``. Nothing connects before the first command.

        One object serves many applications, each with its own configuration.

        :param app: the application, Flask's or Quart's.
        :param config_prefix: what the configuration keys begin with, without the underscore that follows. One object
            has one prefix: that of the constructor if it was given there, else the first one given here, else
            ``"REDIS"``.
        :raises ConfigError: if the configuration cannot be used.
        :raises ValueError: if the prefix is empty or no text, is taken on this application, or is not the one that
            this object has.
        """
        app = unwrapped(app)
        prefix = _checked(config_prefix) or self.config_prefix
        if self._prefix not in {None, prefix}:
            raise ValueError(
                f"This {type(self).__name__} has the config prefix {self._prefix!r}, and cannot take {prefix!r} too:"
                " use an object for each prefix."
            )
        public = app.extensions.get("redis")
        if public is not None and not isinstance(public, (Clients, Extension)):
            raise ValueError(f"app.extensions['redis'] is taken by another extension: {type(public)!r}.")
        found = clients_for(app)
        if public is None:
            app.extensions["redis"] = found
        clients = self._of_my_kind(found)
        if prefix in clients:
            raise ValueError(f"Already registered config prefix {prefix!r}.")
        clients.add(self, app.config, prefix)
        self._prefix = prefix
        time_responses(app, clients.settings[self])

    def get_app(self) -> Flask:
        """The application whose client is used right now: that of the application context, else the constructor's.

        :raises RuntimeError: if there is none.
        """
        app = current() or self.app
        if app is not None:
            return app
        raise NotBoundError(
            f"The {type(self).__name__} with the config prefix {self.config_prefix!r} has no application to take a"
            " client from: use it in a view, in a command or inside 'with app.app_context():', or give the application"
            " to its constructor."
        )

    def _of_my_kind(self, clients: Clients) -> Clients:
        return clients

    def _client(self) -> t.Any:
        return self._clients().client(self._key)

    @property
    def _key(self) -> Extension:
        """What stands for this object in its :class:`Clients`."""
        return self

    def _clients(self) -> Clients:
        app = self.get_app()
        found = app.extensions.get(PLACE)
        if isinstance(found, Clients) and self in self._of_my_kind(found).settings:
            return self._of_my_kind(found)
        raise NotBoundError(
            f"The application {app.name!r} has no client for the config prefix {self.config_prefix!r} of this"
            f" {type(self).__name__}: call its init_app() with that application."
        )

    def __repr__(self) -> str:
        try:
            url = self._url()
        except NotBoundError:
            url = "unbound"
        return f"<{type(self).__name__} {self.config_prefix} {url}>"

    def _url(self) -> str:
        return self._clients().settings[self._key].url

    if not t.TYPE_CHECKING:
        # What a type checker sees is the client class, which the subclasses have as a base there.

        def __getattr__(self, name: str) -> t.Any:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = getattr(self._client(), name)
            return _forwarder(name, value).__get__(self) if inspect.isroutine(value) else value


def _checked(prefix: t.Any) -> str | None:
    if prefix is not None and (not isinstance(prefix, str) or not prefix):
        raise ValueError(f"The config prefix is {prefix!r}; accepted: what keys begin with, such as 'REDIS'.")
    return prefix


def clients_for(app: Flask) -> Clients:
    """The clients of *app*: none at first, and with them come the commands."""
    found: Clients | None = app.extensions.get(PLACE)
    if found is None:
        found = app.extensions[PLACE] = Clients(topologies.Surroundings(app.instance_path, warn=_warner(app)))
        cli.register(app)
    return found


def time_responses(app: Flask, settings: Settings) -> None:
    """Let the responses of *app* have the metric of a connection that is configured so."""
    clients = clients_for(app)
    if settings.server_timing and settings.prefix not in clients.timed:
        from .server_timing import add_server_timing

        add_server_timing(app, settings.prefix)
        clients.timed |= {settings.prefix}


def _warner(app: Flask) -> cabc.Callable[..., None]:
    """What logs a warning on the logger of *app*, and does not keep it alive."""
    reference = weakref.ref(app)

    def warn(*args: t.Any) -> None:
        if found := reference():
            found.logger.warning(*args)

    return warn


def current() -> Flask | None:
    """The application of the active context."""
    context = _context.get(None)
    return context.app if context is not None else _quart_app()


def _quart_app() -> Flask | None:
    """The application of an active context of Quart's."""
    quart: t.Any = sys.modules.get("quart")
    if quart is not None and quart.has_app_context():
        return t.cast(Flask, quart.current_app._get_current_object())
    return None


def unwrapped(app: t.Any) -> Flask:
    """*app* itself, where it is the ``current_app`` proxy."""
    app = getattr(app, "_get_current_object", lambda: app)()
    if not hasattr(app, "extensions"):
        raise TypeError(f"init_app() takes a Flask or Quart application, not {type(app).__name__!r}.")
    return t.cast(Flask, app)


_E = t.TypeVar("_E", bound=type[Extension])


def forwards(client_class: type[t.Any]) -> cabc.Callable[[_E], _E]:
    """Give an extension class a method for each public method of *client_class*.

    As methods, and not through ``__getattr__``, because they are taken from the extension before there is an
    application (``expire = redis.expire``), and because it is twice as fast.
    """

    def decorate(extension_class: _E) -> _E:
        for name in dir(client_class):
            method = getattr(client_class, name)
            # from_url() is called on the class, which has no client.
            if name.startswith("_") or getattr(method, "__self__", None) is client_class:
                continue
            if inspect.isroutine(method) and not hasattr(extension_class, name):
                setattr(extension_class, name, _forwarder(name, method))
        return extension_class

    return decorate


def _forwarder(name: str, method: cabc.Callable[..., t.Any]) -> cabc.Callable[..., t.Any]:
    def forward(self: Extension, /, *args: t.Any, **kwargs: t.Any) -> t.Any:
        # The way of every command: what self._client() finds, without a call where it is built already.
        context = _context.get(None)
        app: t.Any = context.app if context is not None else ("quart" in sys.modules and _quart_app()) or self.app
        try:
            client = app.extensions[PLACE].built.get(self)
        except (AttributeError, KeyError):
            client = None
        # Outside of the handler, for an error of its own without one of ours in front.
        if client is None:
            client = self._client()
        return getattr(client, name)(*args, **kwargs)

    # Without the annotations, which signature() finds by itself: copying them is a tenth of what the import takes.
    return functools.update_wrapper(forward, method, ("__module__", "__name__", "__qualname__", "__doc__"), ())


if t.TYPE_CHECKING:
    _RedisClient = redis.Redis
else:
    _RedisClient = object


@forwards(redis.Redis)
class Redis(Extension, _RedisClient):
    """Redis for Flask applications: every command of redis-py, on the current application's client.

    :param app: the application, where there is one already; else :meth:`init_app` takes it later.
    :param config_prefix: what the configuration keys begin with, ``"REDIS"`` by default.
    :raises ConfigError: if the configuration cannot be used.
    """

    # A property in the place of an undocumented attribute of the client class.
    @property
    def connection(self) -> redis.Redis:  # type: ignore[override]
        """The client that is used right now.

        :raises RuntimeError: if there is none.
        """
        return t.cast(redis.Redis, self._client())

    def close(self) -> None:
        """Close the connections of the client that is used right now. The next command opens new ones."""
        self._clients().close(self._key)

    if not t.TYPE_CHECKING:

        @property
        def __class__(self):
            # Extensions that take a client check for this class, and Flask-Session silently makes its own otherwise.
            return redis.Redis

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

        def __getitem__(self, name):
            return self._client()[name]

        def __setitem__(self, name, value):
            self._client()[name] = value

        def __delitem__(self, name):
            del self._client()[name]

        def __contains__(self, name):
            return name in self._client()
