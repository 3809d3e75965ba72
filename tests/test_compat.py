"""FlaskRedis: what was written for the flask-redis package keeps running."""

from __future__ import annotations

import gc
import json
import ssl
import typing as t
import unittest.mock
import weakref
from pathlib import Path

import fakeredis
import pytest
import redis as redis_py
import redis.asyncio as redis_asyncio
from typing_extensions import assert_type

import flask_redis.client
from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import FlaskRedis
from flask_redis import health
from flask_redis import Redis

from .conftest import MakeApp
from .harness.processes import run_python
from .harness.servers import Server
from .harness.waiting import wait_until

#: What tests/flask_redis_app.py prints with flask-redis 0.4.0 itself, with Flask 3.1 and redis-py 8.1.
WITH_FLASK_REDIS = {
    "constructor": ["Visit number 1", "Visit number 2"],
    "outside of a context": "2",
    "attribute": 1,
    "pipeline": [True, "1"],
    "mapping": "fried",
    "missing": "KeyError",
    "factory": ["b'anna'", "<h1>", None],
    "extensions": True,
    "last application": "b'anna'",
    "next application": [None, 4],
    "config": ["nowhere.invalid", "none", False],
    "in extensions": True,
    "twice": "2",
    "two of one prefix": ["b'2'", "2"],
    "the later one": True,
    "default": ["localhost", 6379, 0],
    "provider": "1'Shouting'",
    "before init_app": None,
    "no Redis": ["else", {"size": 3, "color": "blue"}, "else"],
    "names": ["Notes", {"size": 3, "color": "blue"}, "NOTES"],
    "module": True,
}


def test_an_application_keeps_running(server: Server) -> None:
    """An application that was written for flask-redis 0.4 does with this package what it did with that one."""
    done = run_python(Path(__file__).with_name("flask_redis_app.py"), f"redis://{server.host}:{server.port}")
    assert json.loads(done.stdout) == WITH_FLASK_REDIS


def test_its_module() -> None:
    """The class is also where flask-redis has it."""
    assert flask_redis.client.FlaskRedis is FlaskRedis


def test_it_is_a_redis_client(make_app: MakeApp) -> None:
    """For isinstance and for type checkers it is a redis.Redis, with redis-py's commands."""
    client = FlaskRedis(make_app(URL="memory://"), decode_responses=True)

    def takes(client: redis_py.Redis) -> redis_py.Redis:
        return client

    assert isinstance(takes(client), redis_py.Redis)
    assert isinstance(FlaskRedis(), Redis)
    client.set("key", "value")
    assert assert_type(client.get("key"), bytes | str | None) == "value"
    assert_type(client.connection, redis_py.Redis)
    assert_type(FlaskRedis.from_custom_provider(redis_py.Redis), FlaskRedis)


def test_the_context_wins(make_app: MakeApp) -> None:
    """In the context of an application it is that one's client that is used; else that of the latest application."""
    first, second, stranger = (make_app(name, URL="memory://") for name in ("first", "second", "stranger"))
    client = FlaskRedis(first)
    client.init_app(second)
    with first.app_context():
        client.set("who", "first")
        assert client.get_app() is first
    assert client.get("who") is None
    with stranger.app_context():
        client.set("who", "second")
        Redis(stranger, "OTHER")
        assert client.get("who") == b"second"
    with second.app_context():
        assert client.get("who") == b"second"
    with first.app_context():
        assert client.get("who") == b"first"


def test_before_init_app() -> None:
    """Before there is a client, a command is a RuntimeError that says what to do, and poking about is harmless."""
    client = FlaskRedis(config_prefix="CACHE")
    for use in (lambda: client.get("key"), lambda: client.connection, lambda: client["key"], client.close):
        with pytest.raises(RuntimeError, match="'CACHE' has no client yet: give an application to its init_app"):
            use()
    assert not hasattr(client, "connection_pool")
    assert client._redis_client is None
    assert repr(client) == "<FlaskRedis CACHE unbound>"


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("prefix", ["REDIS", "CACHE"])
def test_beside_the_new_class(make_app: MakeApp, prefix: str, order: int) -> None:
    """Redis, AsyncRedis and FlaskRedis live on one application, in any order, with one prefix or several."""
    app = make_app(URL="memory://", HOST="example.com")
    app.config["CACHE_URL"] = "memory://"
    kinds: list[t.Any] = [Redis, AsyncRedis, lambda app: FlaskRedis(app, config_prefix=prefix)]
    made = [kind(app) for kind in kinds[::order]][::order]
    redis, _, client = made
    redis.set("key", "value")
    assert client.get("key") == b"value"
    assert app.extensions[prefix.lower()] is client
    clients = app.extensions["flask_redis"]
    assert dict(clients) == {"REDIS": redis.connection}
    assert (app.extensions["redis"] is clients) == (prefix == "CACHE")
    found = {name: extension for name, (extension, _) in clients.connections().items()}
    assert found == {"REDIS": redis, **({"CACHE": client} if prefix == "CACHE" else {})}
    with pytest.raises(ValueError, match="Already registered config prefix 'REDIS'"):
        Redis(app)


def test_where_something_else_is(make_app: MakeApp) -> None:
    """It takes its own place in app.extensions alone, as flask-redis does. Redis takes none that another one has."""
    app = make_app()
    app.extensions["redis"] = "something else"
    client = FlaskRedis(app, config_prefix="CACHE")
    assert app.extensions["redis"] == "something else"
    with pytest.raises(ValueError, match="taken by another extension"):
        Redis(app)
    assert app.extensions["cache"] is client
    app = make_app()
    FlaskRedis(app, config_prefix="CACHE")
    assert "redis" not in app.extensions


def test_a_prefix_that_is_taken(make_app: MakeApp) -> None:
    """Our own place in app.extensions would be replaced: that is an error."""
    with pytest.raises(ValueError, match=r"'FLASK_REDIS' is not for FlaskRedis: at app\.extensions\['flask_redis'\]"):
        FlaskRedis(make_app(), config_prefix="FLASK_REDIS")


def test_applications_are_collected(make_app: MakeApp) -> None:
    """It keeps no application alive, and still works when the latest one has gone."""
    client = FlaskRedis(decode_responses=True)
    app = make_app(URL="memory://")
    client.init_app(app)
    client.set("key", "value")
    reference = weakref.ref(app)
    del app
    gc.collect()
    assert reference() is None
    assert client.get("key") == "value"


def test_one_for_each_request(make_app: MakeApp, server: Server) -> None:
    """An object made for a request goes with the next one, at once, and so do its connections."""
    app = make_app(URL=server.url)
    with server.client() as observer:
        before = len(observer.client_list())
        gc.disable()
        try:
            for _ in range(10):
                FlaskRedis(app).ping()
        finally:
            gc.enable()
        assert len(observer.client_list()) == before + 1
    assert len(app.extensions["flask_redis"].others) == 1


def test_init_app_again(make_app: MakeApp) -> None:
    """A second init_app makes a new client, with the keyword arguments of both."""
    app = make_app(URL="memory://", DECODE_RESPONSES="false")
    client = FlaskRedis(app, decode_responses=True)
    client.set("key", "value")
    client.init_app(app, client_name="shop")
    assert client.get("key") == "value"
    assert client.connection_pool.connection_kwargs["client_name"] == "shop"
    assert len(health.check(app)) == 1


@pytest.mark.parametrize(
    ("kwargs", "name", "expected"),
    [
        ({"charset": "latin-1", "errors": "replace"}, "encoding", "latin-1"),
        ({"socket_timeout": "2.5"}, "socket_timeout", 2.5),
        ({"socket_timeout": None}, "socket_timeout", None),
        ({"db": 3}, "db", 3),
        ({"password": "secret"}, "password", "secret"),
        ({"ssl": True, "ssl_cert_reqs": None}, "ssl_cert_reqs", "none"),
        ({"ssl": True, "ssl_cert_reqs": ssl.CERT_NONE}, "ssl_cert_reqs", ssl.CERT_NONE),
        ({"ssl": True}, "ssl_check_hostname", True),
        ({"parser_class": dict}, "parser_class", dict),
    ],
)
def test_keyword_arguments(kwargs: dict[str, t.Any], name: str, expected: t.Any, make_app: MakeApp) -> None:
    """They are redis-py's, those of its connections too; a value that the URL states wins."""
    pool = FlaskRedis(make_app(URL="redis://example.com"), **kwargs).connection_pool
    assert pool.connection_kwargs["host"] == "example.com"
    assert pool.connection_kwargs[name] == expected


def test_a_connection_class(make_app: MakeApp) -> None:
    """What redis-py's from_url() takes, and the client does not, is passed on to it."""

    class Connection(redis_py.Connection):
        pass

    client = FlaskRedis(make_app(URL="redis://example.com/3"), connection_class=Connection)
    assert client.connection_pool.connection_class is Connection
    assert repr(client) == "<FlaskRedis REDIS redis://example.com:6379/3>"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"decode_response": True}, r"^FlaskRedis\(decode_response=…\): .*takes no.* 'decode_responses'\?$"),
        ({"sentinel_service": "shop"}, r"^FlaskRedis\(sentinel_service=…\): redis\.client\.Redis takes no"),
        ({"decode_responses": "utf-8"}, r"^FlaskRedis\(decode_responses=…\) is 'utf-8'; accepted: true"),
        ({"password": ["geheim"]}, r"^FlaskRedis\(password=…\) is a secret that is not shown here; accepted: text"),
    ],
)
def test_bad_keyword_arguments(kwargs: dict[str, t.Any], message: str, make_app: MakeApp) -> None:
    """What cannot be used is an error in init_app that names the argument, and shows no secret."""
    app = make_app()
    with pytest.raises(ConfigError, match=message):
        FlaskRedis(app, **kwargs)
    assert "redis" not in app.extensions


def test_our_urls_keys_and_commands(make_app: MakeApp, server: Server) -> None:
    """The URLs, retries, circuit breaker and commands of this package are there for it too."""
    app = make_app(URL=server.url)
    app.config.update(SHOP_URL="redis+sentinel://:geheim@one,two/shop/1", NODES_URL="redis+cluster://one")
    for _ in range(2):
        FlaskRedis(app, circuit_breaker=True, retry="0", decode_responses=True, server_timing=True)
    assert len(app.test_client().get("/").headers.getlist("Server-Timing")) == 1
    assert repr(FlaskRedis(app, config_prefix="SHOP")) == (
        "<FlaskRedis SHOP redis+sentinel://:***@one:26379,two:26379/shop/1>"
    )
    # Else app.extensions has the only one of them: an object that nobody holds is gone.
    assert repr(FlaskRedis(app, config_prefix="NODES")) == "<FlaskRedis NODES redis+cluster://one:6379>"
    runner = app.test_cli_runner()
    assert runner.invoke(args=["redis", "ping", "--prefix", "REDIS", "--timeout", "20"]).exit_code == 0
    shown = runner.invoke(args=["redis", "config", "--prefix", "REDIS"]).output
    assert "FlaskRedis(decode_responses=…)  true" in shown
    assert app.make_shell_context()["redis"] is app.extensions["redis"]
    assert app.extensions["flask_redis"].breakers["REDIS"].current_state == "closed"
    assert {result.prefix: result.breaker for result in health.check(app, 0.5)} == {
        "REDIS": "closed",
        "SHOP": None,
        "NODES": None,
    }


def test_a_provider_of_redis_py(make_app: MakeApp) -> None:
    """A custom provider of redis-py's kind, such as fakeredis, is known to the commands and the health check."""
    app = make_app(URL="redis://example.com/2")
    client = FlaskRedis.from_custom_provider(fakeredis.FakeRedis, app, decode_responses=True)
    client.set("key", "value")
    assert client.get("key") == "value"
    (result,) = health.check(app, 20)
    assert (result.ok, result.server, result.url) == (True, "fakeredis", "redis://example.com:6379/2")


def test_a_provider_that_is_no_redis(make_app: MakeApp) -> None:
    """A provider needs from_url() and nothing else; the health check and the commands do not ask its client."""

    class Notes:
        @classmethod
        def from_url(cls, url: str) -> Notes:
            """Return the one object."""
            return cls()

    app = make_app()
    client = FlaskRedis.from_custom_provider(Notes, app)
    assert isinstance(client.connection, Notes)
    assert repr(client) == "<FlaskRedis REDIS Notes>"
    assert health.check(app) == []
    for command in "ping", "config", "cli":
        result = app.test_cli_runner().invoke(args=["redis", command])
        assert result.exit_code == 1
        assert "Nothing is known of the connections of 'app'" in result.output
    with pytest.raises(TypeError, match=r"takes a class with from_url\(\), not None"):
        FlaskRedis.from_custom_provider(None)


def test_close(make_app: MakeApp, server: Server) -> None:
    """Its connections are closed by close(), and open again at the next command."""
    with server.client() as observer, FlaskRedis(make_app(URL=server.url)) as client:
        before = len(observer.client_list())
        client.ping()
        assert len(observer.client_list()) == before + 1
        client.close()
        wait_until(lambda: len(observer.client_list()) == before)
        assert client.ping()


RETRIES: t.Final = [
    ({}, ""),
    ({"retry_on_timeout": True}, ""),
    ({}, "?retry_on_timeout=yes"),
    ({"retry_on_error": [redis_py.ConnectionError]}, ""),
]


@pytest.mark.parametrize(("kwargs", "query"), RETRIES)
def test_retries(kwargs: dict[str, t.Any], query: str, make_app: MakeApp) -> None:
    """A command that fails is tried again as often as with from_url(), unless one says otherwise."""
    url = f"redis://localhost:1{query}"

    def retries(client: redis_py.Redis) -> int:
        return int(t.cast(t.Any, client.connection_pool.make_connection()).retry._retries)

    app = make_app(URL=url)
    assert retries(FlaskRedis(app, **kwargs)) == retries(redis_py.Redis.from_url(url, **kwargs))
    assert retries(FlaskRedis(app, **kwargs, retry=2)) == 2


def test_a_client_in_its_place(make_app: MakeApp) -> None:
    """What an application or a test puts in the place of the client is used, until that is taken away."""
    client = FlaskRedis()
    client._redis_client = fakeredis.FakeRedis()
    assert client.set("key", "value")
    assert client._redis_client.get("key") == b"value"
    client.close()
    client.init_app(make_app(URL="memory://"))
    assert client.get("key") is None
    with unittest.mock.patch.object(client, "_redis_client", fakeredis.FakeRedis()):
        client.set("key", "other")
    assert client.get("key") is None


def test_the_application_of_the_constructor(make_app: MakeApp) -> None:
    """It is known outside of a context, as with Redis."""
    app = make_app(URL="memory://")
    client = FlaskRedis(app)
    assert (client.app, client.get_app()) == (app, app)


def test_a_provider_for_asyncio(make_app: MakeApp) -> None:
    """A provider for asyncio makes its client; the commands and the health check, which have no loop, do not ask it."""
    app = make_app(URL="redis://localhost:1")
    client = FlaskRedis.from_custom_provider(redis_asyncio.Redis, app)
    assert isinstance(client.connection, redis_asyncio.Redis)
    assert health.check(app) == []
