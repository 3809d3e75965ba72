"""The constructor parameters of a client class, and how a configured value becomes one.

Values are real Python values or the strings an environment gives. The signatures say most of what a parameter takes,
so a new redis-py option works the day it ships; :data:`CONVERTERS` holds what they do not say.
"""

from __future__ import annotations

import codecs
import collections.abc as cabc
import importlib
import inspect
import math
import os
import ssl
import types
import typing as t
import weakref

Converter = cabc.Callable[[t.Any], t.Any]

TRUE: t.Final = frozenset({"true", "yes", "on", "1", "t", "y"})
FALSE: t.Final = frozenset({"false", "no", "off", "0", "f", "n"})

#: Version 1.0's and redis-py 5's spellings of redis-py's parameters.
ALIASES: t.Final[cabc.Mapping[str, str]] = {"charset": "encoding", "errors": "encoding_errors", "user": "username"}


class NotAcceptedError(Exception):
    """A value that cannot be used: the message says what is accepted, and holds no part of the value."""


class Parameter(t.NamedTuple):
    """One constructor parameter."""

    convert: Converter
    #: Whether None is a value of its own, rather than "not set".
    optional: bool
    default: t.Any


_cache: weakref.WeakKeyDictionary[type[t.Any], dict[str, Parameter]] = weakref.WeakKeyDictionary()


def parameters(client_class: type[t.Any]) -> dict[str, Parameter]:
    """The parameters of *client_class* by name, with those that it passes on to its bases.

    A cluster client may pass ``**kwargs`` to a client for each node, which no base class shows: its parameters are
    added.
    """
    found = _cache.get(client_class)
    if found is None:
        found, passes_on = _read(client_class)
        node_class = cluster_node_class(client_class)
        if node_class is not None and passes_on:
            found = {k: v for k, v in parameters(node_class).items() if k not in _NOT_IN_A_CLUSTER} | found
        _cache[client_class] = found
    return found


#: What makes no sense for the nodes of a cluster.
_NOT_IN_A_CLUSTER: t.Final = frozenset({"connection_pool", "db", "single_connection_client", "unix_socket_path"})


def cluster_node_class(client_class: type[t.Any]) -> type[t.Any] | None:
    """The class of the nodes' clients if *client_class* is a cluster client of redis-py or valkey-py, else None."""
    for base in client_class.__mro__:
        if base.__name__ in {"RedisCluster", "ValkeyCluster"}:
            # redis.cluster.RedisCluster to redis.Redis, redis.asyncio.cluster.RedisCluster to redis.asyncio.Redis
            package = importlib.import_module(base.__module__.rpartition(".")[0])
            return t.cast("type[t.Any]", getattr(package, base.__name__.removesuffix("Cluster")))
    return None


def _read(client_class: type[t.Any]) -> tuple[dict[str, Parameter], bool]:
    """The parameters that the class and its bases show, and whether more would be passed on."""
    passes_on = True
    found: dict[str, Parameter] = {}
    for base in client_class.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        signature = _signature(vars(base)["__init__"])
        for parameter in signature:
            if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                found.setdefault(parameter.name, _describe(parameter))
        passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature)
        if not passes_on:
            break
    # redis-py 5 still takes the aliases, and warns of them.
    return {name: found[name] for name in found if ALIASES.get(name) not in found}, passes_on


def _signature(init: cabc.Callable[..., t.Any]) -> list[inspect.Parameter]:
    # inspect.signature sees through redis-py's decorators; getfullargspec does not.
    try:
        signature = inspect.signature(init, eval_str=True)
    except Exception:  # noqa: BLE001
        # An annotation names something that only a type checker imports: evaluating it may fail in any way.
        signature = inspect.signature(init)
    return list(signature.parameters.values())[1:]


def _describe(parameter: inspect.Parameter) -> Parameter:
    annotation = parameter.annotation
    union = t.get_origin(annotation) in {t.Union, types.UnionType}
    kinds = set(t.get_args(annotation)) if union else {annotation}
    default = None if parameter.default is parameter.empty else parameter.default
    optional = parameter.default is None or types.NoneType in kinds
    convert = CONVERTERS.get(parameter.name) or _by_type(kinds - {types.NoneType}, type(default))
    return Parameter(convert, optional, default)


def _by_type(kinds: set[t.Any], default: type[t.Any]) -> Converter:
    for kind, convert in ((bool, boolean), (int, whole), (float, number), (str, text)):
        if kinds == {kind} or default is kind:
            return convert
    return anything


# The converters: each returns the converted value or raises NotAcceptedError.


def anything(value: t.Any) -> t.Any:
    """A value of a type that nothing declares: as it is."""
    return value


def python_object(value: t.Any) -> t.Any:
    """An object that no text can stand for."""
    if isinstance(value, (str, bytes, bool, int, float)):
        raise NotAcceptedError("a Python object, not text or a number")
    return value


def boolean(value: t.Any) -> bool:
    """A truth value, or the words for one."""
    word = str(value).strip().lower()
    if not isinstance(value, (bool, int, str)) or word not in TRUE | FALSE:
        raise NotAcceptedError("true, false, yes, no, on, off, 1 or 0")
    return word in TRUE


def number(value: t.Any) -> float:
    """A finite number."""
    try:
        converted = math.nan if isinstance(value, bool) or not isinstance(value, (int, float, str)) else float(value)
    except (OverflowError, ValueError):
        converted = math.nan
    if not math.isfinite(converted):
        raise NotAcceptedError("a number")
    return converted


def whole_from(low: int | None, high: int | None = None) -> cabc.Callable[[t.Any], int]:
    """A converter for whole numbers from *low* to *high*, either of them open with None."""
    accepted = "a whole number" + ("" if low is None else f" from {low}") + ("" if high is None else f" to {high}")

    def convert(value: t.Any) -> int:
        try:
            # Through the text of an int, because float() would round a large one.
            converted = int(value) if isinstance(value, str) else int(number(value))
        except (NotAcceptedError, ValueError):
            raise NotAcceptedError(accepted) from None
        exact = isinstance(value, str) or converted == value
        if not exact or (low is not None and converted < low) or (high is not None and converted > high):
            raise NotAcceptedError(accepted)
        return converted

    return convert


#: A converter for whole numbers.
whole: t.Final = whole_from(None)


def seconds(value: t.Any) -> float:
    """A timeout. Zero and below would fail at the first command, inside the socket."""
    try:
        converted = number(value)
    except NotAcceptedError:
        converted = 0.0
    if not 0 < converted <= 1e9:
        raise NotAcceptedError("a number of seconds above 0")
    return converted


def text(value: t.Any) -> str | bytes:
    """Text, or a path."""
    if isinstance(value, (str, bytes)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(t.cast("os.PathLike[str]", value))
    # Flask's from_prefixed_env reads JSON: a password of digits arrives as an int. A float has lost its spelling.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise NotAcceptedError("text (in a variable for from_prefixed_env, between double quotes)")


def socket_path(value: t.Any) -> str | bytes:
    """The path of a Unix socket."""
    try:
        if path := text(value):
            return path
    except NotAcceptedError:
        pass
    raise NotAcceptedError("the path of a Unix socket")


def codec(value: t.Any) -> str:
    """The name of a codec."""
    try:
        codecs.lookup(value)
    except (LookupError, TypeError, ValueError):
        raise NotAcceptedError("the name of a codec, such as utf-8") from None
    return t.cast(str, value)


def error_handler(value: t.Any) -> str:
    """The name of a codec's error handler."""
    try:
        codecs.lookup_error(value)
    except (LookupError, TypeError, ValueError):
        raise NotAcceptedError("the name of a codec's error handler, such as strict or replace") from None
    return t.cast(str, value)


def cert_reqs(value: t.Any) -> str | ssl.VerifyMode:
    """Whether a server's certificate is verified."""
    if isinstance(value, ssl.VerifyMode):
        return value
    # Celery's words are the names of the constants in ssl.
    word = value.lower().removeprefix("cert_") if isinstance(value, str) else None
    if word not in {"none", "optional", "required"}:
        raise NotAcceptedError("none, optional or required")
    return word


def tls_version(value: t.Any) -> ssl.TLSVersion:
    """A TLS version, by its name or number."""
    try:
        if isinstance(value, str) and value in ssl.TLSVersion.__members__:
            return ssl.TLSVersion[value]
        return ssl.TLSVersion(whole(value))
    except (NotAcceptedError, ValueError):
        raise NotAcceptedError("TLSv1_2, TLSv1_3 or another ssl.TLSVersion") from None


def verify_flags(value: t.Any) -> list[ssl.VerifyFlags]:
    """A list of flags, or their names separated by commas."""
    names = value.strip("[]").split(",") if isinstance(value, str) else value
    try:
        return [flag if isinstance(flag, ssl.VerifyFlags) else ssl.VerifyFlags[flag.strip()] for flag in names]
    except (AttributeError, KeyError, TypeError):
        raise NotAcceptedError("names of ssl.VerifyFlags separated by commas") from None


def error_classes(value: t.Any) -> list[type[Exception]]:
    """The exceptions after which a command is tried again."""
    classes = [value] if isinstance(value, type) else value
    if isinstance(classes, (list, tuple, set, frozenset)):
        found = [each for each in classes if isinstance(each, type) and issubclass(each, Exception)]
        if len(found) == len(classes):
            return found
    raise NotAcceptedError("a list of exception classes")


def cache_config(value: t.Any) -> t.Any:
    """The configuration of client-side caching: redis-py's object, a truth value, or a mapping of its parameters."""
    # Not before redis-py 5.1, as the parameter itself.
    from redis.cache import CacheConfig
    from redis.cache import CacheConfigurationInterface

    if isinstance(value, CacheConfigurationInterface):
        return value
    known = parameters(CacheConfig)
    try:
        if isinstance(value, cabc.Mapping) and value.keys() <= known.keys():
            return CacheConfig(**{name: known[name].convert(each) for name, each in value.items()})
        return CacheConfig() if boolean(value) else None
    except NotAcceptedError:
        raise NotAcceptedError(
            "true, false, a redis.cache.CacheConfig, or a mapping of its parameters, such as max_size (a whole number)"
        ) from None


#: What signatures do not say: ranges, and the types of redis-py 5's parameters whose default is None.
CONVERTERS: t.Final[cabc.Mapping[str, Converter]] = {
    "cache_config": cache_config,
    "client_name": text,
    "connection_pool": python_object,
    "credential_provider": python_object,
    "db": whole_from(0),
    "encoding": codec,
    "encoding_errors": error_handler,
    "health_check_interval": whole_from(0),
    "host": text,
    "max_connections": whole_from(1),
    "password": text,
    "port": whole_from(1, 65535),
    "protocol": whole_from(2, 3),
    "redis_connect_func": python_object,
    "retry_on_error": error_classes,
    "socket_connect_timeout": seconds,
    "socket_keepalive": boolean,
    "socket_keepalive_options": python_object,
    "socket_read_size": whole_from(1),
    "socket_timeout": seconds,
    "ssl_ca_certs": text,
    "ssl_ca_data": text,
    "ssl_ca_path": text,
    "ssl_cert_reqs": cert_reqs,
    "ssl_certfile": text,
    "ssl_ciphers": text,
    "ssl_exclude_verify_flags": verify_flags,
    "ssl_include_verify_flags": verify_flags,
    "ssl_keyfile": text,
    "ssl_min_version": tls_version,
    "ssl_password": text,
    "unix_socket_path": socket_path,
    "username": text,
}
