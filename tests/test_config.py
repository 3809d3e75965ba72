"""What the configuration keys mean, and what is said of those that cannot be used."""

from __future__ import annotations

import collections.abc as cabc
import os
import ssl
import sys
import threading
import typing as t
import warnings
from pathlib import Path

import pytest
import redis as redis_py
from flask import Flask
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import Redis
from flask_redis import urls
from flask_redis.config import _Value

from .conftest import class_of
from .conftest import MakeApp
from .harness.proxy import Proxy
from .harness.servers import Server
from .harness.waiting import wait_until


@pytest.fixture
def connection_kwargs(make_app: MakeApp) -> t.Callable[..., dict[str, t.Any]]:
    """What redis-py's connections are made with, for a configuration."""

    def make(**config: t.Any) -> dict[str, t.Any]:
        pool = Redis(make_app(**config)).connection.connection_pool
        return {"connection_class": pool.connection_class, **pool.connection_kwargs}

    return make


ConnectionKwargs = t.Callable[..., dict[str, t.Any]]


def test_defaults_are_those_of_redis_py(connection_kwargs: ConnectionKwargs) -> None:
    """With nothing configured, the client is what redis-py makes without arguments."""
    ours, theirs = connection_kwargs(), redis_py.Redis().connection_pool.connection_kwargs
    ignored = {"driver_info", "lib_name", "retry", "connection_class", "maint_notifications_pool_handler"}
    expected = {name: repr(value) for name, value in theirs.items() if name not in ignored}
    assert {name: repr(value) for name, value in ours.items() if name not in ignored} == expected


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("HOST", "example.com", "host", "example.com"),
        ("HOST", "::1", "host", "::1"),
        ("PORT", 7000, "port", 7000),
        ("PORT", "7000", "port", 7000),
        ("PORT", 7000.0, "port", 7000),
        ("DB", 3, "db", 3),
        ("DB", "3", "db", 3),
        ("USERNAME", "me", "username", "me"),
        ("USER", "me", "username", "me"),
        ("PASSWORD", "secret", "password", "secret"),
        ("PASSWORD", 1234, "password", "1234"),
        ("PASSWORD", b"secret", "password", b"secret"),
        ("SOCKET_TIMEOUT", 2.5, "socket_timeout", 2.5),
        ("SOCKET_TIMEOUT", "2.5", "socket_timeout", 2.5),
        ("SOCKET_TIMEOUT", None, "socket_timeout", None),
        ("SOCKET_CONNECT_TIMEOUT", 1, "socket_connect_timeout", 1.0),
        ("SOCKET_KEEPALIVE", "on", "socket_keepalive", True),
        ("ENCODING", "latin-1", "encoding", "latin-1"),
        ("CHARSET", "latin-1", "encoding", "latin-1"),
        ("ENCODING_ERRORS", "replace", "encoding_errors", "replace"),
        ("ERRORS", "replace", "encoding_errors", "replace"),
        ("DECODE_RESPONSES", True, "decode_responses", True),
        ("DECODE_RESPONSES", "false", "decode_responses", False),
        ("HEALTH_CHECK_INTERVAL", "30", "health_check_interval", 30),
        ("CLIENT_NAME", "shop", "client_name", "shop"),
        ("PROTOCOL", "3", "protocol", 3),
    ],
)
def test_a_key_is_a_parameter(
    key: str, value: t.Any, name: str, expected: t.Any, connection_kwargs: ConnectionKwargs
) -> None:
    """A key is a constructor parameter in upper case; its value is converted from text if need be."""
    assert connection_kwargs(**{key: value})[name] == expected


@pytest.mark.parametrize("word", ["true", "True", "YES", "on", "1", 1, True, "t", " y "])
def test_words_for_true(word: t.Any, connection_kwargs: ConnectionKwargs) -> None:
    """A truth value may be a word, in any case."""
    assert connection_kwargs(DECODE_RESPONSES=word)["decode_responses"] is True


@pytest.mark.parametrize("word", ["false", "False", "NO", "off", "0", 0, False, "f", "n"])
def test_words_for_false(word: t.Any, connection_kwargs: ConnectionKwargs) -> None:
    """So may its opposite."""
    assert connection_kwargs(DECODE_RESPONSES=word)["decode_responses"] is False


def test_max_connections(make_app: MakeApp) -> None:
    """The pool's own parameter is one of the client."""
    assert Redis(make_app(MAX_CONNECTIONS="7")).connection_pool.max_connections == 7


def test_connection_pool(make_app: MakeApp, server: Server) -> None:
    """A ready pool is used as it is, and the representation says where it leads."""
    pool = redis_py.ConnectionPool(host=server.host, port=server.port, db=2)
    redis = Redis(make_app(CONNECTION_POOL=pool))
    assert redis.connection_pool is pool
    assert redis.ping()
    assert repr(redis) == f"<Redis REDIS redis://{server.host}:{server.port}/2>"
    pool.disconnect()


def test_unix_socket(make_app: MakeApp, server: Server) -> None:
    """A socket's path may stand in UNIX_SOCKET_PATH, or where version 1.0 took it, in HOST."""
    path = server.unix_socket
    for config in (
        {"UNIX_SOCKET_PATH": str(path)},
        {"UNIX_SOCKET_PATH": Path(path)},
        {"HOST": str(path)},
        {"HOST": f"file://{path}"},
        {"HOST": str(path).encode()},
        {"HOST": str(path), "UNIX_SOCKET_PATH": "/elsewhere"},
    ):
        redis = Redis(make_app(**config))
        assert redis.ping()
        assert repr(redis) == f"<Redis REDIS unix://{path}?db=0>"


def test_values_of_the_environment(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Flask's from_prefixed_env configures it, with what it makes of "6379", "false" and "2.5"."""
    monkeypatch.setenv("FLASK_REDIS_HOST", server.host)
    monkeypatch.setenv("FLASK_REDIS_PORT", str(server.port))
    monkeypatch.setenv("FLASK_REDIS_DECODE_RESPONSES", "true")
    monkeypatch.setenv("FLASK_REDIS_SOCKET_KEEPALIVE", "false")
    monkeypatch.setenv("FLASK_REDIS_SOCKET_TIMEOUT", "2.5")
    monkeypatch.setenv("FLASK_REDIS_CLIENT_NAME", "12")
    app = Flask("app")
    app.config.from_prefixed_env()
    redis = Redis(app)
    assert redis.set("key", "value")
    assert redis.get("key") == "value"
    assert redis.client_getname() == "12"
    assert redis.connection_pool.connection_kwargs["socket_timeout"] == 2.5


def test_texts_of_the_environment(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """The texts in os.environ configure it too."""
    monkeypatch.setenv("REDIS_URL", f"{server.url}")
    monkeypatch.setenv("REDIS_DECODE_RESPONSES", "true")
    monkeypatch.setenv("REDIS_SOCKET_KEEPALIVE", "false")
    monkeypatch.setenv("REDIS_SOCKET_TIMEOUT", "2.5")
    app = Flask("app")
    app.config.update({key: value for key, value in os.environ.items() if key.startswith("REDIS_")})
    redis = Redis(app)
    assert redis.set("key", "value")
    assert redis.get("key") == "value"
    assert redis.connection_pool.connection_kwargs["socket_keepalive"] is False


@pytest.mark.parametrize("unset", [None, "", "  "])
def test_no_url(unset: str | None, connection_kwargs: ConnectionKwargs) -> None:
    """An empty variable of the environment is no URL."""
    assert connection_kwargs(URL=unset, HOST="example.com")["host"] == "example.com"


@pytest.mark.parametrize("key", ["PORT", "HOST", "DB", "DECODE_RESPONSES", "ENCODING", "CLASS", "RETRY", "URL_FILE"])
def test_none_is_not_set(key: str, connection_kwargs: ConnectionKwargs) -> None:
    """None, as os.environ.get() gives, leaves the default where it is not a value of its own."""
    assert connection_kwargs(**{key: None})["port"] == 6379


def test_none_beside_other_keys(make_app: MakeApp) -> None:
    """Where None is the default, it changes nothing of the rest."""
    app = make_app(HOST="redis.example.com", CONNECTION_POOL=None, SSL_CA_CERTS=None)
    assert repr(Redis(app)) == "<Redis REDIS redis://redis.example.com:6379/0>"


# --- CLASS -----------------------------------------------------------------------------------------------------------


class Custom(redis_py.Redis):
    """A client with a parameter of its own."""

    def __init__(self, foo: str = "bar", *args: t.Any, ratio: float | None = None, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.foo = foo
        self.ratio = ratio


class Proud:
    """A class of another family that passes nothing on."""

    def __init__(self, host: str, limit: int = 3, label: t.Any = None) -> None:
        self.host, self.limit, self.label = host, limit, label


@pytest.mark.parametrize("value", [Custom, f"{__name__}.Custom"])
def test_class(value: t.Any, make_app: MakeApp) -> None:
    """A custom class, or its path, gets its own parameters and those of its bases."""
    redis: t.Any = Redis(make_app(CLASS=value, FOO="baz", RATIO="0.5", DB="3", DECODE_RESPONSES="on"))
    assert class_of(redis.connection) is Custom
    assert redis.foo == "baz"
    assert redis.ratio == 0.5
    assert redis.connection_pool.connection_kwargs["db"] == 3


def test_class_by_a_path_of_redis_py(make_app: MakeApp) -> None:
    """The path may be that of redis-py's own class."""
    assert class_of(Redis(make_app(CLASS="redis.Redis")).connection) is redis_py.Redis
    assert class_of(Redis(make_app(CLASS="redis.StrictRedis")).connection) is redis_py.Redis


def test_class_of_another_family(make_app: MakeApp) -> None:
    """Any class will do: it is given what its constructor takes, converted by its signature."""
    redis: t.Any = Redis(make_app(CLASS=Proud, HOST="example.com", LIMIT="5", LABEL=["x"]))
    assert (redis.host, redis.limit, redis.label) == ("example.com", 5, ["x"])
    assert repr(redis) == "<Redis REDIS redis://example.com:6379/0>"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module.Redis", "REDIS_CLASS is 'no_such_module.Redis', which cannot be imported"),
        ("redis.NoSuchClass", "REDIS_CLASS is 'redis.NoSuchClass', which cannot be imported"),
        ("not a path", "REDIS_CLASS is 'not a path'; accepted: a client class, or its dotted path"),
        ("redis.exceptions", "REDIS_CLASS is 'redis.exceptions', which is not a class"),
        (redis_py.Redis(), "REDIS_CLASS is .*; accepted: a client class, or its dotted path"),
        ("", "REDIS_CLASS is ''; accepted: a client class"),
    ],
)
def test_class_that_is_none(value: t.Any, message: str, make_app: MakeApp) -> None:
    """What cannot be imported or is no class is an error with the key and the path."""
    with pytest.raises(ConfigError, match=message):
        Redis(make_app(CLASS=value))


def test_class_that_refuses(make_app: MakeApp) -> None:
    """What the constructor itself refuses is an error with the prefix and the class."""
    with pytest.raises(ConfigError, match=r"REDIS_CLASS tests.test_config.Proud: .*host"):
        Redis(make_app(CLASS=Proud))
    with pytest.raises(ConfigError, match=r"REDIS_RETRY .*'retry'"):
        Redis(make_app(CLASS=Proud, HOST="x", RETRY=3))
    with pytest.raises(ConfigError, match=r"REDIS_URL .*test_config.Proud takes no 'db'"):
        Redis(make_app(CLASS=Proud, URL="redis://x/3"))


# --- URL -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://localhost:6379/12/", {"host": "localhost", "port": 6379, "db": 12}),
        ("REDIS://example.com", {"host": "example.com", "port": 6379, "db": 0}),
        (" redis://example.com:7000\n", {"host": "example.com", "port": 7000}),
        ("redis://[::1]:7000/1", {"host": "::1", "port": 7000, "db": 1}),
        ("redis://[2001:db8::2]", {"host": "2001:db8::2", "port": 6379}),
        ("redis://me:p%40ss%2Fw%2540@h", {"username": "me", "password": "p@ss/w%40", "host": "h"}),
        ("redis://:secret@h", {"username": None, "password": "secret"}),
        ("redis://me@h", {"username": "me", "password": None}),
        ("redis://h?db=4", {"db": 4}),
        ("redis://h/3?db=4", {"db": 4}),
        ("redis://h?socket_timeout=2&decode_responses=yes", {"socket_timeout": 2.0, "decode_responses": True}),
        ("redis://h?decode_responses=False", {"decode_responses": False}),
        ("redis://h?client_name=a%20b&client_name=c", {"client_name": "a b"}),
        ("redis://h?password=secret", {"password": "secret"}),
        ("rediss://h:7000", {"host": "h", "port": 7000, "connection_class": redis_py.SSLConnection}),
        ("rediss://h?ssl_cert_reqs=none", {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock", "db": 0}),
        ("unix://me:secret@/run/a%20b.sock?db=3", {"path": "/run/a b.sock", "db": 3, "username": "me"}),
        ("redis+socket:///run/redis.sock?db=3", {"path": "/run/redis.sock", "db": 3}),
        ("redis+socket:///run/redis.sock?virtual_host=3", {"path": "/run/redis.sock", "db": 3}),
        ("redis+unix:///run/redis.sock", {"path": "/run/redis.sock", "db": 0}),
        ("redis://%2Frun%2Fredis.sock/3", {"path": "/run/redis.sock", "db": 3}),
    ],
)
def test_url(url: str, expected: dict[str, t.Any], connection_kwargs: ConnectionKwargs) -> None:
    """A URL says where the server is, and its options are parameters; escapes are decoded once."""
    found = connection_kwargs(URL=url)
    assert {name: found.get(name) for name in expected} == expected


def test_url_wins_over_keys(connection_kwargs: ConnectionKwargs) -> None:
    """What the URL states wins; what it does not state is taken from the keys."""
    found = connection_kwargs(
        URL="redis://me@one:1111?socket_timeout=3",
        HOST="two",
        PORT=2222,
        DB=2,
        USERNAME="you",
        PASSWORD="secret",
        SOCKET_TIMEOUT=5,
        DECODE_RESPONSES=True,
        UNIX_SOCKET_PATH="/run/redis.sock",
    )
    expected = {"host": "one", "port": 1111, "db": 2, "username": "me", "password": "secret", "socket_timeout": 3.0}
    assert {name: found[name] for name in expected} == expected
    assert found["decode_responses"] is True
    assert "path" not in found


def test_url_is_written_back(make_app: MakeApp) -> None:
    """What the URL states goes to HOST, PORT, USERNAME, PASSWORD and DB, and nothing else does."""
    app = make_app(URL="redis://me:p%40@example.com:7000/3", DB=1)
    Redis(app)
    names = {name: app.config.get(f"REDIS_{name}") for name in ("HOST", "PORT", "USERNAME", "PASSWORD", "DB")}
    assert names == {"HOST": "example.com", "PORT": 7000, "USERNAME": "me", "PASSWORD": "p@", "DB": 3}
    app = make_app(URL="redis://example.com?socket_timeout=3")
    Redis(app)
    assert {key for key in app.config if key.startswith("REDIS_")} == {"REDIS_URL", "REDIS_HOST"}
    app = make_app(URL="unix:///run/redis.sock?db=2")
    Redis(app)
    assert (app.config["REDIS_HOST"], app.config["REDIS_DB"]) == ("/run/redis.sock", 2)


BAD_URLS = {
    "localhost:6379": r"REDIS_URL is '\*\*\*'; accepted: a URL, with a scheme, such as redis://localhost",
    "http://me:geheim@host": r"'http://me:\*\*\*@host'.*redis://",
    "redis://:geheim@host:99999": r"'redis://:\*\*\*@host:99999'.*from 1 to 65535",
    "redis://:geheim@host:port": r"'redis://:\*\*\*@host:port'.*host or host:port",
    "redis://host:0": "from 1 to 65535",
    "redis://me:ge/heim@host": r"'redis://me:\*\*\*@host'.*%40",
    "redis://me:ge?heim@host": r"'redis://me:\*\*\*@host'.*percent-escaped",
    "redis://me:6379?heim=@host": r"'redis://me:\*\*\*@host'.*%40",
    "redis+sentinel://me:6379/heim@host": r"'redis\+sentinel://me:\*\*\*@host'.*%40",
    "redis://me:ge#heim@host": r"'redis://me:\*\*\*@host'.*%23",
    "redis://me:ge[heim@host": r"'redis://me:\*\*\*@host'.*percent-escaped",
    "redis://:geheim": r"'redis://:\*\*\*'.*percent-escaped",
    "redis://host#geheim": r"'redis://host#\*\*\*'.*%23",
    "redis://host/first": "number of a database",
    "redis://host/1/2": "number of a database",
    "redis://one,two": r"redis\+sentinel://",
    "redis://host?socket_timeout=soon": r"socket_timeout is 'soon'; accepted: a number of seconds above 0",
    "redis://host?socket_timout=3": r"'socket_timout' is not an option of redis\.client\.Redis\. 'socket_timeout'\?",
    "redis://host?color=blue": r"'color' is not an option of redis\.client\.Redis\.$",
    "redis://host?db=first&password=geheim": r"password=\*\*\*.*db is 'first'",
    "redis://host?role=replica": "'role' is not an option",
    "unix://run/redis.sock": "three slashes",
    "unix://": "three slashes",
    "redis+socket://host/run/redis.sock": "three slashes",
    "memory://../x": "letters, digits",
    "memory://a.b": "letters, digits",
    "embedded://me:geheim@name": r"'embedded://me:\*\*\*@name'.*letters, digits",
    "embedded://..": "letters, digits",
    "embedded://a%2Fb": "letters, digits",
    "embedded://name/../..": "number of a database",
    "embedded:///etc/0": "number of a database",
    "redis://host/0?password=heim@x": r"'redis://host/0\?password=\*\*\*'.*'@' before the host alone",
    "rediss://%2Frun%2Fredis.sock": "asks for TLS; accepted beside a Unix socket: none",
    "redis+sentinel://host": "lacks the sentinel service",
    "redis+sentinel:///service": "lacks the sentinels",
    "redis+sentinel://,host/service": "separated by commas",
    "redis+sentinel://host/service/0?role=slave": "role is 'slave'; accepted: master or replica",
    "redis+cluster://host/3": "db is 3; accepted: 0",
}


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_url(url: str, make_app: MakeApp) -> None:
    """A URL that cannot be used is an error that shows it, the password masked, and says what is accepted."""
    with pytest.raises(ConfigError, match=BAD_URLS[url]) as caught:
        Redis(make_app(URL=url))
    error: BaseException | None = caught.value
    assert str(error).startswith("REDIS_URL ")
    while error is not None:
        assert "heim" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize("value", [3, b"redis://localhost", ["redis://localhost"]])
def test_url_that_is_no_text(value: t.Any, make_app: MakeApp) -> None:
    """A URL is text."""
    with pytest.raises(ConfigError, match=r"REDIS_URL is .*; accepted: a URL"):
        Redis(make_app(URL=value))


def test_url_and_connection_pool(make_app: MakeApp) -> None:
    """Two things that say where the server is are an error."""
    with pytest.raises(ConfigError, match=r"REDIS_URL 'redis://h' and REDIS_CONNECTION_POOL are both set"):
        Redis(make_app(URL="redis://h", CONNECTION_POOL=redis_py.ConnectionPool()))


# --- Sentinel and cluster --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sentinels",
    ["one,two:7000", ["one", "two:7000"], [("one", 26379), ("two", "7000")], (["one", 26379], "two:7000")],
)
def test_sentinels(sentinels: t.Any, make_app: MakeApp) -> None:
    """The sentinels may be named without a URL, as text or as a list."""
    redis = Redis(make_app(SENTINELS=sentinels, SENTINEL_SERVICE="shop", DB=3, PASSWORD="geheim"))
    assert repr(redis) == "<Redis REDIS redis+sentinel://:***@one:26379,two:7000/shop/3>"


def test_sentinel_kwargs(make_app: MakeApp) -> None:
    """What connects to the sentinels themselves is converted like the keys."""
    kwargs = {"username": "me", "password": "geheim", "socket_timeout": "0.5"}
    redis = Redis(make_app(URL="redis+sentinel://h/shop", SENTINEL_KWARGS=kwargs, SOCKET_TIMEOUT=3, SSL="no"))
    manager = t.cast(t.Any, redis.connection_pool).sentinel_manager
    found = manager.sentinels[0].connection_pool.connection_kwargs
    assert {name: found[name] for name in kwargs} == {"username": "me", "password": "geheim", "socket_timeout": 0.5}
    assert redis.connection_pool.connection_kwargs["socket_timeout"] == 3.0


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("SENTINELS", [1], "a list of"),
        ("SENTINELS", [("one", 0)], "a list of"),
        ("SENTINELS", "one,,two", "a list of"),
        ("SENTINELS", [("geheim@one", 26379)], "a list of"),
        ("SENTINEL_KWARGS", "geheim", "a mapping with names of redis-py's connection parameters"),
        ("SENTINEL_KWARGS", {"pasword": "geheim"}, "a mapping with names of redis-py's connection parameters"),
        ("SENTINEL_KWARGS", {"socket_timeout": "geheim"}, "a number of seconds above 0"),
        ("SENTINEL_SERVICE", ["shop"], "text"),
        ("SENTINEL_SERVICE", "", "lacks"),
        ("CONNECTION_POOL", redis_py.ConnectionPool(), "no pool beside a sentinel client"),
    ],
)
def test_bad_sentinel_keys(key: str, value: t.Any, accepted: str, make_app: MakeApp) -> None:
    """A key for Sentinel that cannot be used is an error that names it, and shows no secret."""
    with pytest.raises(ConfigError, match=rf"REDIS_{key} is .*{accepted}|REDIS_{key} is not set") as caught:
        Redis(make_app(**{"SENTINELS": "one", "SENTINEL_SERVICE": "shop", key: value}))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({"SENTINELS": "one"}, "REDIS_SENTINEL_SERVICE is not set"),
        ({"SENTINELS": ""}, "REDIS_SENTINEL_SERVICE is not set"),
        ({"SENTINEL_SERVICE": "shop"}, "REDIS_SENTINELS is not set"),
    ],
)
def test_a_sentinel_without_a_service(config: dict[str, t.Any], missing: str, make_app: MakeApp) -> None:
    """Without a URL too, the sentinels and the service are needed."""
    with pytest.raises(ConfigError, match=f"^{missing}; accepted: redis.sentinel://.*, or REDIS_SENTINELS and REDIS_S"):
        Redis(make_app(**config))


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"UNIX_SOCKET_PATH": b"/run/redis.sock", "DB": 2}, "unix:///run/redis.sock?db=2"),
        ({"URL": "valkey+unix:///run/valkey.sock"}, "valkey+unix:///run/valkey.sock?db=0"),
    ],
)
def test_the_url_of_a_socket(config: dict[str, t.Any], url: str, make_app: MakeApp) -> None:
    """It can be copied into a configuration."""
    assert repr(Redis(make_app(**config))) == f"<Redis REDIS {url}>"


def test_the_nodes_of_the_url_win(make_app: MakeApp) -> None:
    """As all that it states."""
    app = make_app(URL="redis+cluster://one:7000", STARTUP_NODES=[ClusterNode("two", 7000)])
    assert repr(Redis(app)) == "<Redis REDIS redis+cluster://one:7000>"


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"URL": "redis+cluster://me:geheim@one,two:7000"}, "redis+cluster://me:***@one:6379,two:7000"),
        ({"URL": "rediss+cluster://one/0"}, "rediss+cluster://one:6379"),
        ({"URL": "redis://one:7000/0", "CLASS": redis_py.RedisCluster}, "redis+cluster://one:7000"),
        ({"HOST": "one", "PORT": "7000", "CLASS": "redis.RedisCluster", "DB": "0"}, "redis+cluster://one:7000"),
        ({"CLASS": "redis.RedisCluster"}, "redis+cluster://localhost:6379"),
        ({"CLASS": "redis.RedisCluster", "STARTUP_NODES": [ClusterNode("one", 7000)]}, "redis+cluster://"),
    ],
)
def test_cluster(config: dict[str, t.Any], url: str, make_app: MakeApp) -> None:
    """A cluster is named by a URL, or by its class and a node."""
    assert repr(Redis(make_app(**config))) == f"<Redis REDIS {url}>"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"CLASS": redis_py.RedisCluster, "DB": 1}, "REDIS_DB is 1; accepted: 0"),
        ({"CLASS": redis_py.RedisCluster, "HOST": "/run/redis.sock"}, "REDIS_HOST is .*; accepted: a host name"),
        ({"CLASS": redis_py.RedisCluster, "URL": "unix:///run/redis.sock"}, "REDIS_CLASS is .*no class of a cluster"),
        ({"CLASS": redis_py.RedisCluster, "URL": "memory://"}, "REDIS_CLASS is .*no class of a cluster"),
        ({"CLASS": redis_py.RedisCluster, "URL": "redis+sentinel://h/s"}, "REDIS_CLASS is .*no class of a cluster"),
        ({"CLASS": redis_py.Redis, "URL": "redis+cluster://h"}, "REDIS_CLASS is .*a subclass of RedisCluster"),
    ],
)
def test_bad_cluster(config: dict[str, t.Any], message: str, make_app: MakeApp) -> None:
    """What makes no sense with a cluster, or a class that does not go with the URL, is an error."""
    with pytest.raises(ConfigError, match=message):
        Redis(make_app(**config))


def test_valkey_is_missing(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL whose client is not installed says what to install."""
    monkeypatch.setitem(sys.modules, "valkey", None)
    with pytest.raises(ConfigError, match=r"REDIS_URL is one of valkey.*pip install 'Flask-And-Redis\[valkey\]'"):
        Redis(make_app(URL="valkey://localhost"))


def test_fakeredis_is_missing(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does memory://."""
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    with pytest.raises(ConfigError, match=r"REDIS_URL 'memory:///0' .*pip install 'Flask-And-Redis\[memory\]'"):
        Redis(make_app(URL="memory://"))


def test_pybreaker_is_missing(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does the circuit breaker."""
    monkeypatch.setitem(sys.modules, "pybreaker", None)
    with pytest.raises(ConfigError, match=r"REDIS_CIRCUIT_BREAKER .*pip install 'Flask-And-Redis\[breaker\]'"):
        Redis(make_app(CIRCUIT_BREAKER=True))


def test_class_of_the_other_kind(make_app: MakeApp) -> None:
    """A class for asyncio is AsyncRedis's; beside it, Redis has the class of the same package and topology."""
    assert class_of(Redis(make_app(CLASS="redis.asyncio.Redis")).connection) is redis_py.Redis
    assert (
        repr(Redis(make_app(CLASS="valkey.asyncio.ValkeyCluster"))) == "<Redis REDIS valkey+cluster://localhost:6379>"
    )


# --- files -----------------------------------------------------------------------------------------------------------


def test_url_file(tmp_path: Path, connection_kwargs: ConnectionKwargs) -> None:
    """URL_FILE names a file that holds the URL, as container secrets are given."""
    file = tmp_path / "url"
    file.write_text("redis://:secret@example.com/3\n")
    found = connection_kwargs(URL_FILE=str(file))
    assert (found["host"], found["password"], found["db"]) == ("example.com", "secret", 3)


def test_password_file(tmp_path: Path, connection_kwargs: ConnectionKwargs) -> None:
    """PASSWORD_FILE names a file that holds the password; the newline at its end is none of it."""
    file = tmp_path / "password"
    file.write_text(" secret \n")
    assert connection_kwargs(PASSWORD_FILE=file)["password"] == " secret "


@pytest.mark.parametrize("name", ["URL", "PASSWORD"])
def test_both_forms(name: str, tmp_path: Path, make_app: MakeApp) -> None:
    """Giving a value and the file that holds it is an error."""
    file = tmp_path / "file"
    file.write_text("redis://localhost")
    with pytest.raises(ConfigError, match=f"REDIS_{name} and REDIS_{name}_FILE are both set"):
        Redis(make_app(**{name: "redis://localhost", f"{name}_FILE": str(file)}))


def test_unreadable_file(tmp_path: Path, make_app: MakeApp) -> None:
    """A file that cannot be read is an error with the key and the path."""
    with pytest.raises(ConfigError, match=r"^REDIS_URL_FILE '/no/such/file' cannot be read: No such file"):
        Redis(make_app(URL_FILE="/no/such/file"))
    for value in (3.5, ""):
        with pytest.raises(ConfigError, match=r"^REDIS_URL_FILE cannot be read: not the path of a text file"):
            Redis(make_app(URL_FILE=value))
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"^REDIS_PASSWORD_FILE .*binary'\)? cannot be read: not the path of a text"):
        Redis(make_app(PASSWORD_FILE=file))


@pytest.mark.parametrize("name", ["URL", "PASSWORD"])
def test_empty_file(name: str, make_app: MakeApp, tmp_path: Path) -> None:
    """A secret that is not in its file, or not yet, is not the default of a local server without a password."""
    file = tmp_path / "empty"
    file.write_text("\n")
    with pytest.raises(ConfigError, match=f"^The content of REDIS_{name}_FILE is empty"):
        Redis(make_app(**{f"{name}_FILE": str(file)}))


@pytest.mark.parametrize(("key", "value"), [("PASSWORD_FILE", "geheim"), ("URL_FILE", "redis://:geheim@localhost")])
def test_secret_where_its_file_should_be(key: str, value: str, make_app: MakeApp) -> None:
    """A secret that was put into the key for its file by mistake is not shown."""
    with pytest.raises(ConfigError, match=f"^REDIS_{key} cannot be read: No such file") as caught:
        Redis(make_app(**{key: value}))
    assert "geheim" not in str(caught.value)


def test_bad_url_in_a_file(tmp_path: Path, make_app: MakeApp) -> None:
    """What the file holds is checked like the value itself."""
    file = tmp_path / "url"
    file.write_text("redis://:secret@host:0")
    with pytest.raises(ConfigError, match=r"The content of REDIS_URL_FILE is 'redis://:\*\*\*@host:0'"):
        Redis(make_app(URL_FILE=str(file)))


# --- values that do not convert --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("PORT", "abc", "a whole number from 1 to 65535"),
        ("PORT", 0, "a whole number from 1 to 65535"),
        ("PORT", 70000, "a whole number from 1 to 65535"),
        ("PORT", 63.79, "a whole number from 1 to 65535"),
        ("PORT", True, "a whole number from 1 to 65535"),
        ("PORT", [6379], "a whole number from 1 to 65535"),
        ("PORT", float("inf"), "a whole number from 1 to 65535"),
        ("PORT", "1" * 5000, "a whole number from 1 to 65535"),
        ("DB", -1, "a whole number from 0"),
        ("MAX_CONNECTIONS", 0, "a whole number from 1"),
        ("HEALTH_CHECK_INTERVAL", "often", "a whole number from 0"),
        ("PROTOCOL", 4, "a whole number from 2 to 3"),
        ("SOCKET_TIMEOUT", "soon", "a number of seconds above 0"),
        ("SOCKET_TIMEOUT", 0, "a number of seconds above 0"),
        ("SOCKET_TIMEOUT", -1, "a number of seconds above 0"),
        ("SOCKET_TIMEOUT", "nan", "a number of seconds above 0"),
        ("SOCKET_TIMEOUT", 10**400, "a number of seconds above 0"),
        ("SOCKET_TIMEOUT", False, "a number of seconds above 0"),
        ("DECODE_RESPONSES", "maybe", "true, false, yes, no, on, off, 1 or 0"),
        ("DECODE_RESPONSES", 2, "true, false, yes, no, on, off, 1 or 0"),
        ("DECODE_RESPONSES", 1.0, "true, false, yes, no, on, off, 1 or 0"),
        ("ENCODING", "klingon", "the name of a codec"),
        ("ENCODING", 8, "the name of a codec"),
        ("ENCODING_ERRORS", "panic", "the name of a codec's error handler"),
        ("HOST", "redis://example.com", "a host name"),
        ("HOST", "", "a host name"),
        ("HOST", ["example.com"], "text"),
        ("CLIENT_NAME", 1.5, "text"),
        ("SSL_CERT_REQS", "perhaps", "none, optional or required"),
        ("SSL_CERT_REQS", 3.5, "none, optional or required"),
        ("CONNECTION_POOL", "redis://example.com", "a Python object"),
        ("RETRY", "often", "a whole number from 0"),
        ("RETRY", -1, "a whole number from 0"),
        ("RETRY_ON_ERROR", "ConnectionError", "a list of exception classes"),
        ("RETRY_ON_ERROR", ["ConnectionError"], "a list of exception classes"),
        ("RETRY_ON_ERROR", [3], "a list of exception classes"),
        ("HOST", "localhost:6380", "the port has a key of its own"),
        ("HOST", "[::1]", "the port has a key of its own"),
        ("UNIX_SOCKET_PATH", "", "the path of a Unix socket"),
        ("UNIX_SOCKET_PATH", True, "the path of a Unix socket"),
        ("CIRCUIT_BREAKER", "perhaps", "true, false, or a mapping with fail_max and reset_timeout"),
        ("CIRCUIT_BREAKER", {"max": 3}, "a mapping with fail_max and reset_timeout"),
        ("CIRCUIT_BREAKER", {"fail_max": 0}, "a whole number from 1"),
        ("CIRCUIT_BREAKER", {"reset_timeout": "soon"}, "a number of seconds above 0"),
    ],
)
def test_bad_value(key: str, value: t.Any, accepted: str, make_app: MakeApp) -> None:
    """A value that does not convert is an error with the key, the value and what is accepted."""
    with pytest.raises(ConfigError, match=f"^REDIS_{key} is .*; accepted: .*{accepted}") as caught:
        Redis(make_app(**{key: value}))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("key", ["PASSWORD", "SSL_PASSWORD"])
def test_bad_secret(key: str, make_app: MakeApp) -> None:
    """A secret is not shown, not even a wrong one: a password such as 1e5 loses its spelling on the way from JSON."""
    with pytest.raises(ConfigError, match=f"REDIS_{key} is a secret that is not shown here; accepted: text") as caught:
        Redis(make_app(**{key: 12345.5}))
    assert "12345" not in str(caught.value)


PASSWORD = "correct-horse-battery-staple-7'Qx9$Lm2Vt4"


@pytest.mark.parametrize("key", ["CLASS", "CONNECTION_POOL", "HOST", "PORT", "SENTINELS", "SOCKET_TIMEOUT"])
@pytest.mark.parametrize(
    "value",
    [
        "redis://me:{}@redis.internal.example.com:6379/0",
        "redis://:{}",
        " REDIS://:{}",
        "me:{}@redis.internal.example.com:6379",
        "{}@redis",
    ],
)
def test_secret_in_the_wrong_key(key: str, value: str, make_app: MakeApp) -> None:
    """The password in a URL, or in a part of one, is not shown in whatever key it was put by mistake."""
    with pytest.raises(ConfigError, match=f"REDIS_{key} is ") as caught:
        Redis(make_app(**{"SENTINEL_SERVICE": "shop" if key == "SENTINELS" else None, key: value.format(PASSWORD)}))
    pieces = {PASSWORD[start : start + 4] for start in range(len(PASSWORD) - 3)}
    assert [piece for piece in pieces if piece in str(caught.value)] == []


def test_no_secret_in_local_variables() -> None:
    """What a traceback shows with them, as error trackers and pytest do, has no password either."""
    url = urls.read("redis://me:geheim@example.com/1")
    assert repr(url) == "<URL redis://me:***@example.com/1>"
    assert "geheim" not in repr(_Value("REDIS_PASSWORD", "geheim"))


def test_config_error_is_a_value_error() -> None:
    """Whoever does not know the class catches a ValueError."""
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize(
    ("key", "likely"),
    [
        ("SOCKET_TIMOUT", "SOCKET_TIMEOUT"),
        ("PASWORD", "PASSWORD"),
        ("DECODE_RESPONSE", "DECODE_RESPONSES"),
        ("CIRCUIT_BRAKER", "CIRCUIT_BREAKER"),
        ("PASSWORT_FILE", "PASSWORD_FILE"),
        ("URI", "URL"),
        ("ULR", "URL"),
        ("POTR", "PORT"),
        ("HOSTNAME", "HOST"),
        ("TIMEOUT", "SOCKET_TIMEOUT"),
    ],
)
def test_near_miss(key: str, likely: str, make_app: MakeApp) -> None:
    """A key that is nearly a known one is a warning that names the likely one."""
    with pytest.warns(UserWarning, match=rf"REDIS_{key} is not a key of Flask-And-Redis: REDIS_{likely}\?") as caught:
        Redis(make_app(**{key: "1"}))
    assert len(caught) == 1


@pytest.mark.parametrize("url", ["redis://localhost", "redis+sentinel://localhost/shop", "redis+cluster://localhost"])
def test_tls_that_is_not_used(url: str, make_app: MakeApp) -> None:
    """A certificate does not mean that anything is encrypted, so it is a warning; unless somebody says so."""
    with pytest.warns(UserWarning, match="^REDIS_SSL_CA_CERTS has no effect: without REDIS_SSL nothing is encrypted"):
        Redis(make_app(URL=url, SSL_CA_CERTS="/etc/ca.pem"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Redis(make_app(URL=url, SSL_CA_CERTS="/etc/ca.pem", SSL=False))
        Redis(make_app(URL=url.replace("redis", "rediss", 1), SSL_CA_CERTS="/etc/ca.pem"))
        for other in "memory://", "unix:///run/redis.sock":
            Redis(make_app(URL=other, SSL_CA_CERTS="/etc/ca.pem"))


@pytest.mark.parametrize("prefix", ["cache", "CACHE_", "cache_"])
def test_a_prefix_that_no_key_has(prefix: str) -> None:
    """A prefix in other letters than those of the keys, or with their underscore, is a warning that names theirs."""
    app = Flask("app")
    app.config["CACHE_URL"] = "redis://cache"
    with pytest.warns(UserWarning, match=f"No key begins with {prefix}_, .*: is CACHE the prefix"):
        Redis(app, prefix)


@pytest.mark.parametrize("make", [Redis, AsyncRedis, lambda app: Redis().init_app(app)])
def test_a_warning_names_the_line_of_the_application(make: cabc.Callable[[Flask], object], make_app: MakeApp) -> None:
    """It says where the extension is initialised, not where in the package that was noticed."""
    with pytest.warns(UserWarning, match="REDIS_URI") as caught:
        make(make_app(URI="redis://localhost"))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("key", ["LINKS_URL", "2_HOST", "A_SOCKET_TIMEOUT", "QUEUE", "COLOR", "TTL"])
def test_other_keys(key: str, make_app: MakeApp) -> None:
    """Unrelated keys under the prefix are nobody's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Redis(make_app(**{key: "1"}))


def test_keys_that_are_no_text(make_app: MakeApp) -> None:
    """Neither are other keys of the configuration."""
    app = make_app()
    app.config[t.cast(str, 1)] = "one"
    Redis(app)


# --- RETRY and TLS ---------------------------------------------------------------------------------------------------


def test_retry_is_redis_pys_own(make_app: MakeApp) -> None:
    """A Retry object is passed on."""
    retry = Retry(NoBackoff(), 2)
    redis = Redis(make_app(RETRY=retry))
    assert retries(redis.connection) == 2


class Tries:
    """What is nearly redis-py's Retry."""

    def call_with_retry(self) -> None:
        """Whatever."""


def test_retry_of_another_kind(make_app: MakeApp) -> None:
    """An object that only looks like one is refused here, not where the client would look into it."""
    with pytest.raises(
        ConfigError, match=r"^REDIS_RETRY is <.*; accepted: a whole number from 0, or a redis\.retry\.Re"
    ):
        Redis(make_app(RETRY=Tries()))


@pytest.mark.parametrize("number", [0, 3, "7"])
def test_number_of_retries(number: t.Any, make_app: MakeApp) -> None:
    """A number is so many retries, in the URL too."""
    assert retries(Redis(make_app(RETRY=number)).connection) == int(number)
    assert retries(Redis(make_app(URL=f"redis://localhost?retry={number}")).connection) == int(number)


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_broken_connection_is_tried_again(scheme: str, make_app: MakeApp, server: Server) -> None:
    """A number of retries is one for commands on every version, also where the package would only connect again."""
    with Proxy(server.port) as proxy:
        redis = Redis(make_app(URL=f"{scheme}://127.0.0.1:{proxy.port}", RETRY=3))
        assert redis.set("key", "value")
        proxy.drop()
        received = proxy.bytes_from_clients

        def come_back() -> None:
            wait_until(lambda: proxy.bytes_from_clients > received)
            proxy.heal()
            proxy.cut()

        thread = threading.Thread(target=come_back)
        thread.start()
        assert redis.get("key") == b"value"
        thread.join()


def test_number_of_retries_keeps_the_backoff(make_app: MakeApp) -> None:
    """The time between the retries stays redis-py's default."""
    theirs = redis_py.Redis().get_retry()
    if theirs is None:
        # redis-py 5 has no default of its own.
        return
    ours = Redis(make_app(RETRY=theirs.get_retries())).connection.get_retry()
    assert ours == theirs


def retries(client: redis_py.Redis) -> int:
    """How often a command is retried: what the Retry really does, because redis-py 5 does not tell."""
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(1)
        raise redis_py.ConnectionError

    retry = client.get_retry()
    assert retry is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("redis.retry.sleep", bool)
        with pytest.raises(redis_py.ConnectionError):
            retry.call_with_retry(fail, bool)
    return len(attempts) - 1


def test_tls_is_verified_by_default(connection_kwargs: ConnectionKwargs) -> None:
    """Certificate and host name are verified, on redis-py 5 too, whose default is not to look at the name."""
    for config in ({"URL": "rediss://h"}, {"HOST": "h", "SSL": "true"}):
        found = connection_kwargs(**config)
        assert found["ssl_cert_reqs"] == "required"
        assert found["ssl_check_hostname"] is True


def test_tls_options(connection_kwargs: ConnectionKwargs) -> None:
    """TLS options may be real values of the ssl module or their names."""
    by_name = connection_kwargs(URL="rediss://h", SSL_CERT_REQS="OPTIONAL", SSL_CHECK_HOSTNAME="no")
    assert (by_name["ssl_cert_reqs"], by_name["ssl_check_hostname"]) == ("optional", False)
    by_value = connection_kwargs(URL="rediss://h", SSL_CERT_REQS=ssl.CERT_NONE)
    assert (by_value["ssl_cert_reqs"], by_value["ssl_check_hostname"]) == (ssl.CERT_NONE, False)


def test_newer_tls_options() -> None:
    """So may those that only newer versions of redis-py have."""
    from flask_redis.parameters import CONVERTERS
    from flask_redis.parameters import NotAcceptedError

    version, flags = CONVERTERS["ssl_min_version"], CONVERTERS["ssl_include_verify_flags"]
    assert version("TLSv1_3") is version(ssl.TLSVersion.TLSv1_3) is ssl.TLSVersion.TLSv1_3
    assert version(str(int(ssl.TLSVersion.TLSv1_2))) is ssl.TLSVersion.TLSv1_2
    strict = [ssl.VerifyFlags.VERIFY_X509_STRICT, ssl.VerifyFlags.VERIFY_DEFAULT]
    assert flags("[VERIFY_X509_STRICT, VERIFY_DEFAULT]") == flags(strict) == strict
    for convert, value in ((version, "SSL 1"), (version, "x"), (flags, "STRICT"), (flags, 3)):
        with pytest.raises(NotAcceptedError):
            convert(value)
