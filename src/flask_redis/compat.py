"""``FlaskRedis``, for applications that were written for the flask-redis package."""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import typing as t

import redis

from .config import is_client_class
from .config import load
from .config import Settings
from .extension import Clients
from .extension import clients_for
from .extension import current
from .extension import Extension
from .extension import NotBoundError
from .extension import PLACE
from .extension import Redis
from .extension import time_responses
from .extension import unwrapped
from .parameters import parameters

if t.TYPE_CHECKING:
    from flask.sansio.app import App

#: Where flask-redis connects when nobody says where.
DEFAULT_URL: t.Final = "redis://localhost:6379/0"

_ANY: t.Final = Extension()

_F = t.TypeVar("_F", bound="FlaskRedis")


class FlaskRedis(Redis):
    """flask-redis's class, on the client of this package. New code is better off with :class:`~flask_redis.Redis`.

    It reads ``REDIS_URL`` alone, of all keys. The rest of what a client is configured with are keyword arguments, by
    the names of redis-py's parameters or of this package's keys in lower case.

    Commands go to the client of the application whose context is active, if it was given to :meth:`init_app`; else to
    that of the application that was given to it last.

    :param app: the application, where there is one already; else :meth:`init_app` takes it later.
    :param strict: without effect: redis-py's ``StrictRedis`` and ``Redis`` are one class.
    :param config_prefix: the URL is at this key of ``app.config``, followed by ``_URL``. The object is in
        ``app.extensions`` by its lower-cased form.
    :param kwargs: keyword arguments of the client.
    :raises ConfigError: if the URL or a keyword argument cannot be used.
    """

    _latest: Clients | None = None
    #: What the application has put in the place of its client.
    _replacement: t.Any = None

    def __init__(
        self, app: App | None = None, strict: bool = True, config_prefix: str = "REDIS", **kwargs: t.Any
    ) -> None:
        #: Has the ``from_url()`` that makes the client.
        self.provider_class: t.Any = redis.Redis
        #: The keyword arguments of the client.
        self.provider_kwargs: dict[str, t.Any] = kwargs
        super().__init__(app, config_prefix)

    @classmethod
    def from_custom_provider(cls: type[_F], provider: t.Any, app: App | None = None, **kwargs: t.Any) -> _F:
        """An object whose client is what ``provider.from_url(url, **kwargs)`` returns.

        Nothing else of this package is between the two: it is the provider that understands the URL.

        :param provider: a class with ``from_url()``, redis-py's or any other.
        :param app: the application, where there is one already.
        :param kwargs: ``config_prefix``, and keyword arguments of ``from_url()``.
        :raises TypeError: if the provider has no ``from_url()``.
        """
        if not hasattr(provider, "from_url"):
            raise TypeError(f"from_custom_provider() takes a class with from_url(), not {provider!r}.")
        self = cls(**kwargs)
        self.provider_class = provider
        if app is not None:
            self.init_app(app)
        return self

    def init_app(self, app: App, **kwargs: t.Any) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give *app* a client, and be in its ``extensions``. Doing so again makes a new client.

        :param app: the application, Flask's or Quart's.
        :param kwargs: keyword arguments of the client, beside those of the constructor.
        :raises ConfigError: if the URL or a keyword argument cannot be used.
        :raises ValueError: if the config prefix is FLASK_REDIS, in whose place this package has its own.
        """
        app = unwrapped(app)
        place = self.config_prefix.lower()
        if place == PLACE:
            raise ValueError(
                f"The config prefix {self.config_prefix!r} is not for FlaskRedis: at app.extensions[{PLACE!r}] are the"
                " clients of all extensions. Use another one."
            )
        self.provider_kwargs.update(kwargs)
        shared = clients_for(app)
        own = Clients(shared._surroundings)
        url = app.config.get(f"{self.config_prefix}_URL") or DEFAULT_URL
        if self.provider_class is redis.Redis and not _is_for_connections(self.provider_kwargs):
            config = {f"{self.config_prefix}_URL": url}
            settings = load(config, self.config_prefix, keywords=_converted(self.provider_kwargs))
            if settings.topology == "standalone":
                # As redis-py's from_url(), whose clients try less often than those of the constructor.
                options = dict(settings.options)
                # The constructor warns of it: it is one retry.
                again = options.pop("retry_on_timeout", False) or options.get("retry_on_error")
                retry = int(bool(again)) if settings.retry is None else settings.retry
                settings = dataclasses.replace(settings, options=options, retry=retry)
            own.install(self._key, settings)
            time_responses(app, own.settings[self._key])
        else:
            client = own.built[self._key] = self.provider_class.from_url(url, **self.provider_kwargs)
            if (known := _settings(client, self.config_prefix)) is not None:
                own.settings[self._key] = known
        shared.others[self] = self._latest = own
        self._replacement = None
        app.extensions[place] = self

    @property
    def _key(self) -> Extension:
        # Not the object itself: one that nobody else holds is to go with its connections at once, without the garbage
        # collection. Some applications make one for each request.
        return _ANY

    @property
    def _redis_client(self) -> t.Any:
        # A private name of flask-redis's that many applications use: for Flask-Session, say, or to put a fake there.
        return None if self._latest is None and self._replacement is None else self._client()

    @_redis_client.setter
    def _redis_client(self, client: t.Any) -> None:
        self._replacement = client

    @_redis_client.deleter
    def _redis_client(self) -> None:
        self._replacement = None

    def close(self) -> None:
        """Close the connections of the client that is used right now. The next command opens new ones."""
        if self._replacement is None:
            super().close()
        else:
            self._replacement.close()

    def _client(self) -> t.Any:
        return super()._client() if self._replacement is None else self._replacement

    def _url(self) -> str:
        settings = self._clients().settings.get(self._key)
        return settings.url if settings else type(self._client()).__name__

    def _clients(self) -> Clients:
        app = current()
        shared: Clients | None = app.extensions.get(PLACE) if app is not None else None
        # Not by their truth, because mappings without a client are false.
        found = self._latest if shared is None else shared.others.get(self, self._latest)
        if found is None:
            raise NotBoundError(
                f"The {type(self).__name__} with the config prefix {self.config_prefix!r} has no client yet: give an"
                " application to its init_app(), or to its constructor."
            )
        return found


def _is_for_connections(kwargs: cabc.Mapping[str, t.Any]) -> bool:
    """Whether there are arguments in *kwargs* that from_url() passes on to connections, and the client has not."""
    return not ({"connection_class"} | parameters(redis.Connection).keys()).isdisjoint(
        kwargs.keys() - parameters(redis.Redis).keys()
    )


def _converted(kwargs: cabc.Mapping[str, t.Any]) -> cabc.Mapping[str, t.Any]:
    """*kwargs*, with redis-py's other word for "do not verify": as a key of the configuration, None is "not set"."""
    none = "ssl_cert_reqs" in kwargs and kwargs["ssl_cert_reqs"] is None
    return {**kwargs, "ssl_cert_reqs": "none"} if none else kwargs


def _settings(client: t.Any, prefix: str) -> Settings | None:
    """The settings of a custom provider's client, if it is one of redis-py's or valkey-py's with a pool."""
    pool = getattr(client, "connection_pool", None)
    if pool is None or not is_client_class(type(client)):
        return None
    return Settings(prefix, "standalone", type(client), {"connection_pool": pool}, {})
