"""From ``app.config`` to frozen, checked :class:`Settings`.

Nothing here knows a Flask application or opens a connection: :func:`load` takes a mapping and a prefix, and returns
what a client is to be built from.
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import difflib
import importlib
import inspect
import ipaddress
import os
import pkgutil
import re
import ssl
import sys
import typing as t
import urllib.parse
import warnings
from pathlib import Path

from . import urls
from .parameters import ALIASES
from .parameters import boolean
from .parameters import cluster_node_class
from .parameters import Converter
from .parameters import NotAcceptedError
from .parameters import Parameter
from .parameters import parameters
from .parameters import seconds
from .parameters import text
from .parameters import whole_from


class ConfigError(ValueError):
    """The configuration cannot be used: the message names the key, and says what is accepted.

    Raised by ``init_app``. The message shows the value unless it is a secret.
    """


@dataclasses.dataclass(frozen=True, repr=False)
class Settings:
    """What one client is built from. Made by :func:`load`."""

    #: The config prefix, such as ``"REDIS"``.
    prefix: str
    #: ``"standalone"``, ``"sentinel"``, ``"cluster"``, ``"memory"`` or ``"embedded"``.
    topology: str
    client_class: type[t.Any]
    #: The keyword arguments of the client class.
    options: cabc.Mapping[str, t.Any]
    #: What the URL stated, by the config keys that it is written back to.
    stated: cabc.Mapping[str, t.Any]
    #: The sentinels, or the start-up nodes of a cluster.
    nodes: tuple[tuple[str, int], ...] = ()
    #: The Sentinel service, or the name in a ``memory://`` or ``embedded://`` URL.
    name: str = ""
    #: Whether a Sentinel connection reads from the replicas.
    replica: bool = False
    #: The keyword arguments of the connections to the sentinels themselves.
    sentinel_options: cabc.Mapping[str, t.Any] | None = None
    #: A ``Retry``, a number of retries, or None for the client's own default.
    retry: t.Any = None
    #: ``fail_max`` and ``reset_timeout`` (in seconds) of the circuit breaker, or None for no breaker.
    breaker: cabc.Mapping[str, t.Any] | None = None
    #: Seconds from which on a command is logged, or None for no limit.
    slow_command: float | None = None
    #: Whether responses have a ``Server-Timing`` header.
    server_timing: bool = False
    #: The configuration key that each value came from, by the rest of the key in lower case: ``"REDIS_URL"`` for what
    #: the URL states, ``"REDIS_PASSWORD_FILE"`` for the content of a file.
    sources: cabc.Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the client connects, the password masked."""
        return _describe(self)

    @property
    def package(self) -> str:
        """The package that the client class builds on, ``redis`` or ``valkey``."""
        return _family(self.client_class)[0] or "redis"

    @property
    def module(self) -> str:
        """Where that package has the other parts of such a client: ``redis``, or ``redis.asyncio``."""
        return f"{self.package}.asyncio" if self.asyncio else self.package

    @property
    def asyncio(self) -> bool:
        """Whether the client is for asyncio."""
        return _family(self.client_class)[1]

    def __repr__(self) -> str:
        # That of a dataclass would show the password.
        return f"<Settings {self.prefix} {self.url}>"


#: The client classes of a package, for one server and for a cluster.
CLASSES: t.Final[cabc.Mapping[str, tuple[str, str]]] = {
    "redis": ("Redis", "RedisCluster"),
    "valkey": ("Valkey", "ValkeyCluster"),
}

#: The names of the keys that are no parameter of a client class.
OWN_KEYS: t.Final = frozenset(
    {
        "circuit_breaker",
        "class",
        "password_file",
        "sentinel_kwargs",
        "sentinel_service",
        "sentinels",
        "server_timing",
        "slow_command",
        "url",
        "url_file",
    }
)

#: What a URL states and is written back to ``app.config``, as version 1.0 did.
WRITTEN_BACK: t.Final = ("host", "port", "username", "password", "db")


def load(
    config: cabc.Mapping[str, t.Any],
    prefix: str,
    *,
    asyncio: bool = False,
    keywords: cabc.Mapping[str, t.Any] | None = None,
) -> Settings:
    """Read the settings of one connection.

    :param config: ``app.config``, or a mapping like it.
    :param prefix: the config prefix, without the underscore that follows it.
    :param asyncio: whether the client is for asyncio.
    :param keywords: the keyword arguments of a :class:`~flask_redis.FlaskRedis`: what the keys by their names are.
    :raises ConfigError: if a value cannot be used.
    """
    values = _Values(config, prefix)
    for name, value in (keywords or {}).items():
        values.put(name, _Value(f"FlaskRedis({name}=…)", value, keyword=True))
    url = _read_url(values)
    client_class = _client_class(values, url, asyncio)
    topology = _topology(values, url, client_class)
    known = parameters(client_class)
    values.rename(known)
    if url is not None:
        _lay_over(values, url, client_class, known)
    name, replica = _service(values, url) if topology == "sentinel" else (url.name if url else "", False)
    nodes = _nodes(values, url, topology)
    sentinel_options = _sentinel_options(values, known) if topology == "sentinel" else None
    retry = values.take("retry", _retry)
    breaker = values.take("circuit_breaker", _breaker)
    slow_command = values.take("slow_command", seconds)
    server_timing = values.take("server_timing", boolean)
    if asyncio and "connection_pool" in values:
        key = values.key("connection_pool")
        raise ConfigError(f"{key} is set; accepted: no pool for AsyncRedis, which has one in each event loop.")
    options = _location(values, topology) | _options(values, known)
    _refuse_what_has_no_effect(values, topology, options, retry, breaker)
    values.refuse_leftovers(client_class, known)
    values.warn_of_near_misses(config, known)
    return Settings(
        prefix=prefix,
        topology=topology,
        client_class=client_class,
        options=options,
        stated=_stated(url, options, without={"password"} if values.key("password_file") in config else set()),
        nodes=nodes,
        name=name,
        replica=replica,
        sentinel_options=sentinel_options,
        retry=retry,
        breaker=breaker,
        slow_command=slow_command,
        server_timing=bool(server_timing),
        sources=values.sources,
    )


#: What precedes the key of a file in the words for where a value stands.
_CONTENT_OF: t.Final = "The content of "


class _Value(t.NamedTuple):
    """A configured value, with the words for where it stands, and whether that is the URL or a keyword argument."""

    where: str
    value: t.Any
    in_url: bool = False
    keyword: bool = False

    def __repr__(self) -> str:
        # Tracebacks with local variables would show the password.
        return f"<{type(self).__name__} {self.where}>"


class _Values:
    """The values under one prefix, by the rest of their keys in lower case. Each is taken once."""

    def __init__(self, config: cabc.Mapping[str, t.Any], prefix: str) -> None:
        start = f"{prefix}_"
        self.prefix = prefix
        #: The key that each value taken so far came from.
        self.sources: dict[str, str] = {}
        self._values = {k[len(start) :].lower(): _Value(k, v) for k, v in config.items() if str(k).startswith(start)}

    def __contains__(self, name: str) -> bool:
        return name in self._values and self._values[name].value is not None

    def names(self) -> cabc.Set[str]:
        """The names that have not been taken."""
        return self._values.keys()

    def key(self, name: str) -> str:
        """The whole configuration key of *name*."""
        return f"{self.prefix}_{name.upper()}"

    def where(self, name: str) -> str:
        """The words for where the value of *name* stands."""
        return self._values[name].where

    def put(self, name: str, value: _Value) -> None:
        """Replace the value of *name*."""
        self._values[name] = value

    def drop(self, *names: str) -> None:
        """Forget the values of *names*, which nothing will need."""
        for name in names:
            self._values.pop(name, None)

    def take(self, name: str, convert: Converter) -> t.Any:
        """The converted value of *name*; None if there is none."""
        found = self._values.pop(name, None)
        if found is None or found.value is None:
            return None
        self.sources[name] = self.sources["url"] if found.in_url else found.where.removeprefix(_CONTENT_OF)
        try:
            return convert(found.value)
        except NotAcceptedError as rejected:
            raise ConfigError(f"{found.where} is {_show(name, found.value)}; accepted: {rejected}.") from None

    def read_file(self, name: str) -> None:
        """Let the content of the file that ``NAME_FILE`` names, if any, be the value of *name*."""
        if f"{name}_file" not in self:
            return
        if name in self:
            raise ConfigError(f"{self.key(name)} and {self.key(name)}_FILE are both set; accepted: one of them.")
        where, path, _, _ = self._values.pop(f"{name}_file")
        try:
            content = Path(path).read_text("utf-8").rstrip("\r\n")
        except (OSError, TypeError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and path else "not the path of a text file"
            # Somebody may have put the secret itself there.
            shown = f" {path!r}" if re.fullmatch(r"/[^@]*", str(path)) else ""
            raise ConfigError(f"{where}{shown} cannot be read: {reason}.") from None
        if not content:
            # That of a secret which is not there yet; the default would be a server without a password.
            raise ConfigError(f"{_CONTENT_OF}{where} is empty.")
        self.put(name, _Value(f"{_CONTENT_OF}{where}", content))

    def rename(self, known: cabc.Container[str]) -> None:
        """Let version 1.0's spellings stand for redis-py's."""
        for alias, name in ALIASES.items():
            if alias in self and alias not in known and name in known:
                value = self._values.pop(alias)
                self._values.setdefault(name, value)

    def refuse_leftovers(self, client_class: type[t.Any], known: cabc.Collection[str]) -> None:
        """Raise ConfigError if the URL or a keyword argument states what the client class has no parameter for."""
        for name, (where, _, in_url, keyword) in self._values.items():
            if in_url or keyword:
                likely = "".join(f" {near!r}?" for near in difflib.get_close_matches(name, known, 1))
                raise ConfigError(f"{where}: {_path(client_class)} takes no {name!r}.{likely}")

    def warn_of_near_misses(self, config: cabc.Iterable[str], known: cabc.Iterable[str]) -> None:
        """Warn of a key that is probably a misspelt one. All others are nobody's business."""
        start, other = f"{self.prefix}_", f"{self.prefix.upper().rstrip('_')}_"
        if start != other and not (self.sources or self._values) and any(str(key).startswith(other) for key in config):
            _warn(f"No key begins with {start}, but there are some with {other}: is {other[:-1]} the prefix?")
        names = {*known, *OWN_KEYS, *ALIASES, "host", "retry"}
        for name, (where, _, _, _) in self._values.items():
            # REDIS_LINKS_URL is the key of another prefix.
            ours = name in names or any(name.endswith(f"_{known}") for known in names)
            if not ours and (likely := _likely(name, names)):
                _warn(f"{where} is not a key of Flask-And-Redis: {self.key(likely)}?")


#: Other words for our keys.
_OTHER_WORDS: t.Final = {
    "database": "db",
    "hostname": "host",
    "pass": "password",
    "retries": "retry",
    "timeout": "socket_timeout",
    "tls": "ssl",
    "uri": "url",
}


def _likely(name: str, names: cabc.Collection[str]) -> str | None:
    """Which of *names* was probably meant."""
    # The first two because short words are never near enough.
    found = [known for known in names if known == _OTHER_WORDS.get(name) or sorted(known) == sorted(name)]
    return next(iter(found or difflib.get_close_matches(name, names, 1, 0.85)), None)


def _warn(message: str) -> None:
    """Warn of what the code outside of this package has done."""
    level = 1
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame = frame.f_back
        level += 1
    warnings.warn(message, stacklevel=level)


def _show(name: str, value: t.Any) -> str:
    """*value* for an error message; a secret is not shown."""
    if urls.SECRET.search(name) or name == "sentinel_kwargs":
        return "a secret that is not shown here"
    if isinstance(value, str) and (name == "url" or re.match(r"\s*[a-z+]+://", value, re.IGNORECASE)):
        return repr(urls.mask(value))
    # A part of a URL in the wrong key. Masked first: what is cut out of the middle may be the "@".
    shown = re.sub(r".*@", "***@", repr(value), flags=re.DOTALL)
    return shown if len(shown) < 60 else f"{shown[:50]}..."


def _path(client_class: type[t.Any]) -> str:
    return f"{client_class.__module__}.{client_class.__qualname__}"


def _read_url(values: _Values) -> urls.URL | None:
    values.read_file("url")
    values.read_file("password")
    return t.cast("urls.URL | None", values.take("url", _parse_url))


def _parse_url(value: t.Any) -> urls.URL | None:
    if not isinstance(value, str):
        raise NotAcceptedError("a URL, such as redis://localhost:6379/0")
    # An empty variable of the environment is none.
    return urls.read(value.strip()) if value.strip() else None


def _client_class(values: _Values, url: urls.URL | None, asyncio: bool) -> type[t.Any]:
    """The configured class; or the package's own, if none is, or one of the other kind."""
    package, cluster = (url.scheme.package, url.scheme.topology == "cluster") if url else ("redis", False)
    named = values.take("class", _class_or_path)
    if named is not None:
        named = named if isinstance(named, type) else _imported(values.key("class"), named)
        family, kind = _family(named)
        if not family or kind == asyncio:
            return t.cast("type[t.Any]", named)
        package, cluster = family, cluster_node_class(named) is not None
    module = f"{package}.asyncio" if asyncio else package
    try:
        # Looked up before it is imported: a tenth of what init_app takes on Python 3.10.
        found = sys.modules.get(module) or importlib.import_module(module)
        return t.cast("type[t.Any]", getattr(found, CLASSES[package][cluster]))
    except ImportError as error:
        raise ConfigError(
            f"{values.key('url')} is one of {package}, which needs an optional package:"
            f" pip install 'Flask-And-Redis[{package}]'"
        ) from error


def _family(client_class: type[t.Any]) -> tuple[str, bool]:
    """The package that *client_class* builds on, if it is one of ours, and whether the class is for asyncio."""
    for base in client_class.__mro__:
        package, _, module = base.__module__.partition(".")
        if package in CLASSES:
            return package, module.startswith("asyncio")
    return "", False


def is_client_class(found: type[t.Any]) -> bool:
    """Whether *found* builds on a package that we know, and is not for asyncio."""
    package, asyncio = _family(found)
    return bool(package) and not asyncio


def _imported(key: str, path: str) -> type[t.Any]:
    try:
        found = pkgutil.resolve_name(path)
    except Exception as error:
        raise ConfigError(f"{key} is {path!r}, which cannot be imported: {error}.") from error
    if not isinstance(found, type):
        raise ConfigError(f"{key} is {path!r}, which is not a class; accepted: a client class, or its dotted path.")
    return found


def _class_or_path(value: t.Any) -> type[t.Any] | str:
    if not isinstance(value, type) and not (isinstance(value, str) and re.fullmatch(r"[\w.:]+", value)):
        raise NotAcceptedError("a client class, or its dotted path, such as redis.Redis")
    return value


def _topology(values: _Values, url: urls.URL | None, client_class: type[t.Any]) -> str:
    """The topology, which the URL states, or else the keys of one of them."""
    cluster = cluster_node_class(client_class) is not None
    if url is None:
        sentinel = "sentinels" in values or "sentinel_service" in values
        return "cluster" if cluster else "sentinel" if sentinel else "standalone"
    topology = url.scheme.topology
    if cluster and topology == "standalone" and not url.scheme.unix:
        topology = "cluster"
    if cluster != (topology == "cluster"):
        accepted = "a subclass of RedisCluster" if topology == "cluster" else "no class of a cluster client"
        raise ConfigError(f"{values.key('class')} is {_path(client_class)}; accepted with {url.shown!r}: {accepted}.")
    return topology


def _lay_over(values: _Values, url: urls.URL, client_class: type[t.Any], known: cabc.Collection[str]) -> None:
    """Put what the URL states in the place of the single keys."""
    key = f"{values.key('url')} {url.shown!r}"
    if "connection_pool" in values:
        raise ConfigError(f"{key} and {values.where('connection_pool')} are both set; accepted: one of them.")
    if urls.may_be_a_service(url) and "sentinels" in values and "sentinel_service" not in values:
        accepted_url = urls.sentinel_url(url.scheme, url.shown.partition("://")[2])
        raise ConfigError(f"{key} and {values.key('sentinels')} are both set; accepted: {accepted_url}.")
    accepted = {*known, "db", "retry"}
    if url.scheme.topology == "sentinel":
        accepted |= {"role", *(f"sentinel_{name}" for name in known)}
    for name, value in url.options.items():
        if name not in accepted:
            likely = "".join(f" {near!r}?" for near in difflib.get_close_matches(name, accepted, 1))
            raise ConfigError(f"{key}: {name!r} is not an option of {_path(client_class)}.{likely}")
        values.put(name, _Value(f"{key}: {name}", value, in_url=True))
    for name, value in url.stated.items():
        values.put(name, _Value(f"{key}: {name}", value, in_url=True))
    if "host" in url.stated:
        values.drop("unix_socket_path")
    if url.nodes:
        values.drop("startup_nodes")


def _service(values: _Values, url: urls.URL | None) -> tuple[str, bool]:
    """The name of the Sentinel service, and whether its replicas are wanted."""
    name = values.take("sentinel_service", text)
    if not name:
        raise _missing_in_sentinel(values, url, "sentinel_service")
    return name, values.take("role", _role) == "replica"


def _missing_in_sentinel(values: _Values, url: urls.URL | None, name: str) -> ConfigError:
    what = (
        f"{values.key('url')} {url.shown!r} lacks the {name.replace('_', ' ')}"
        if url
        else f"{values.key(name)} is not set"
    )
    return ConfigError(
        f"{what}; accepted: redis+sentinel://host:26379,host:26379/service, or"
        f" {values.key('sentinels')} and {values.key('sentinel_service')}."
    )


def _role(value: t.Any) -> str:
    if value not in {"master", "replica"}:
        raise NotAcceptedError("master or replica")
    return t.cast(str, value)


def _nodes(values: _Values, url: urls.URL | None, topology: str) -> tuple[tuple[str, int], ...]:
    """The sentinels, or the start-up nodes of a cluster."""
    nodes: cabc.Iterable[tuple[str, int | None]] = url.nodes if url else ()
    if topology == "sentinel":
        nodes = nodes or values.take("sentinels", _sentinels)
        if not nodes:
            raise _missing_in_sentinel(values, url, "sentinels")
        return tuple((host, port or 26379) for host, port in nodes)
    if topology == "cluster":
        values.take("db", _no_database)
        if "startup_nodes" not in values:
            host, port = values.take("host", _host_of_a_node), values.take("port", whole_from(1, 65535))
            return tuple((host, port or 6379) for host, port in nodes or [(host or "localhost", port)])
    return ()


def _sentinels(value: t.Any) -> tuple[tuple[str, int | None], ...]:
    try:
        if isinstance(value, str):
            return urls.split_addresses(value)
        return tuple(
            urls.split_addresses(node)[0]
            if isinstance(node, str)
            else (_host_of_a_node(node[0]), whole_from(1, 65535)(node[1]))
            for node in value
        )
    except (IndexError, KeyError, NotAcceptedError, TypeError):
        raise NotAcceptedError("host:port,host:port, or a list of (host, port)") from None


def _no_database(value: t.Any) -> None:
    if whole_from(0)(value) != 0:
        raise NotAcceptedError("0, the one database of a cluster")


def _host_of_a_node(value: t.Any) -> str:
    host = _host(value)
    if host.startswith("/"):
        raise NotAcceptedError("a host name or an address; a cluster has no Unix socket")
    return host


def _sentinel_options(values: _Values, known: cabc.Mapping[str, Parameter]) -> cabc.Mapping[str, t.Any] | None:
    """The arguments for the connections to the sentinels."""

    def convert(value: t.Any) -> dict[str, t.Any]:
        if not isinstance(value, cabc.Mapping) or not value.keys() <= known.keys():
            raise NotAcceptedError("a mapping with names of redis-py's connection parameters")
        try:
            return {name: known[name].convert(option) for name, option in value.items()}
        except NotAcceptedError as rejected:
            raise NotAcceptedError(f"a mapping in which each value is right; one of them is to be {rejected}") from None

    found: dict[str, t.Any] = values.take("sentinel_kwargs", convert) or {}
    # One by one, as flask-redis-sentinel has them.
    for name in known:
        if (value := values.take(f"sentinel_{name}", known[name].convert)) is not None:
            found[name] = value
            values.sources.setdefault("sentinel_kwargs", values.sources[f"sentinel_{name}"])
    return found or None


def _retry(value: t.Any) -> t.Any:
    """A number of retries, or any package's ``Retry``."""
    # It has no public names for what a client of another kind is to be given.
    if all(hasattr(value, name) for name in ("_backoff", "_retries", "_supported_errors", "call_with_retry")):
        return value
    try:
        return whole_from(0)(value)
    except NotAcceptedError as rejected:
        raise NotAcceptedError(f"{rejected}, or a redis.retry.Retry") from None


def _breaker(value: t.Any) -> cabc.Mapping[str, t.Any] | None:
    converters: dict[str, Converter] = {"fail_max": whole_from(1), "reset_timeout": seconds}
    if not isinstance(value, cabc.Mapping):
        try:
            return {} if boolean(value) else None
        except NotAcceptedError:
            raise NotAcceptedError("true, false, or a mapping with fail_max and reset_timeout (seconds)") from None
    if not value.keys() <= converters.keys():
        raise NotAcceptedError("a mapping with fail_max and reset_timeout (seconds), and nothing else")
    try:
        return {name: converters[name](limit) for name, limit in value.items()}
    except NotAcceptedError as rejected:
        raise NotAcceptedError(f"in fail_max and reset_timeout {rejected}") from None


def _location(values: _Values, topology: str) -> dict[str, t.Any]:
    """The host or the Unix socket that HOST names."""
    if topology != "standalone":
        if "connection_pool" in values:
            raise ConfigError(f"{values.key('connection_pool')} is set; accepted: no pool beside a {topology} client.")
        values.drop("host", "port", "unix_socket_path", "connection_pool")
    host = values.take("host", _host)
    if host is None:
        return {}
    if host.startswith("/"):
        values.drop("unix_socket_path")
        return {"unix_socket_path": host}
    return {"host": host}


def _refuse_what_has_no_effect(
    values: _Values, topology: str, options: cabc.Mapping[str, t.Any], retry: t.Any, breaker: t.Any
) -> None:
    """Raise ConfigError for keys that redis-py would ignore beside each other, and warn of TLS that is not used."""
    for name, value in {"retry": retry, "circuit_breaker": breaker}.items():
        if value is not None and options.get("connection_pool") is not None:
            raise ConfigError(
                f"{values.key(name)} and {values.key('connection_pool')} are both set; accepted: one of them."
            )
    if options.get("single_connection_client") and (breaker is not None or topology in {"memory", "embedded"}):
        beside = "a circuit breaker" if breaker is not None else f"{topology}://"
        raise ConfigError(f"{values.key('single_connection_client')} is set; accepted beside {beside}: false.")
    over_network = topology in {"standalone", "sentinel", "cluster"} and "unix_socket_path" not in options
    unused = sorted(name for name in options if name.startswith("ssl_"))
    if unused and over_network and "ssl" not in values.sources and "connection_pool" not in options:
        _warn(f"{values.sources[unused[0]]} has no effect: without {values.key('ssl')} nothing is encrypted.")
    if options.get("ssl") and options.get("unix_socket_path"):
        raise ConfigError(f"{values.sources['ssl']} asks for TLS; accepted beside a Unix socket: none.")
    for name in "cache", "cache_config":
        if options.get(name) and (topology == "sentinel" or options.get("unix_socket_path")):
            beside = "Sentinel" if topology == "sentinel" else "a Unix socket"
            raise ConfigError(
                f"{values.key(name)} is set; accepted beside {beside}: false. redis-py does not cache there."
            )


def _host(value: t.Any) -> str:
    host = text(value)
    host = (host.decode("utf-8", "replace") if isinstance(host, bytes) else host).removeprefix("file://")
    if not host or "://" in host or (host[0] != "/" and re.search(r"[\s@]", host)):
        raise NotAcceptedError("a host name, an address or the path of a Unix socket; a URL has a key of its own")
    if ":" in host and host[0] != "/":
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise NotAcceptedError("a host name or an address; the port has a key of its own") from None
    return host


def _options(values: _Values, known: cabc.Mapping[str, Parameter]) -> dict[str, t.Any]:
    """The arguments of the client class."""
    options = {}
    for name in values.names() & known.keys():
        where = values.where(name)
        value = values.take(name, known[name].convert)
        # None is "not set", unless it is a value of its own that is not the default: no timeout, say.
        if value is not None or (known[name].optional and known[name].default is not None):
            options[name] = value
            values.sources.setdefault(name, where)
    if options.get("ssl") and "ssl_check_hostname" in known:
        # redis-py 5 does not compare the host name unless it is told to, and cannot do so without a certificate.
        verified = options.get("ssl_cert_reqs", "required") not in {"none", ssl.CERT_NONE}
        options["ssl_check_hostname"] = options.get("ssl_check_hostname", True) and verified
    return options


def _stated(url: urls.URL | None, options: cabc.Mapping[str, t.Any], without: cabc.Set[str]) -> dict[str, t.Any]:
    """What goes back to ``app.config``: what the URL stated, converted, and no second form of a key that has one."""
    found = {**url.options, **url.stated} if url else {}
    return {
        name.upper(): options.get(name, found[name]) for name in WRITTEN_BACK if name in found and name not in without
    }


def _describe(settings: Settings) -> str:
    """The URL of *settings*, the password masked."""
    options: cabc.Mapping[str, t.Any] = settings.options
    if "connection_pool" in options:
        options = getattr(options["connection_pool"], "connection_kwargs", {})
    tls = "s" if options.get("ssl") else ""
    user = urllib.parse.quote(str(options.get("username") or ""), safe="")
    userinfo = f"{user}:***@" if options.get("password") else f"{user}@" if user else ""
    database = options.get("db") or 0
    hosts = ",".join(_address(host, port) for host, port in settings.nodes)
    path = options.get("unix_socket_path") or options.get("path")
    if settings.topology in {"memory", "embedded"}:
        return f"{settings.topology}://{settings.name}/{database}"
    if settings.topology == "sentinel":
        role = "?role=replica" if settings.replica else ""
        return f"{settings.package}{tls}+sentinel://{userinfo}{hosts}/{settings.name}/{database}{role}"
    if settings.topology == "cluster":
        return f"{settings.package}{tls}+cluster://{userinfo}{hosts}"
    if path:
        scheme = "unix" if settings.package == "redis" else f"{settings.package}+unix"
        return f"{scheme}://{userinfo}{urllib.parse.quote(os.fsdecode(path))}?db={database}"
    address = _address(options.get("host") or "localhost", options.get("port") or 6379)
    return f"{settings.package}{tls}://{userinfo}{address}/{database}"


def _address(host: t.Any, port: int) -> str:
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
