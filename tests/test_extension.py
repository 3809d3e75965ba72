"""The extension: which client a command goes to, and what the extension looks like to others."""

from __future__ import annotations

import copy
import doctest
import functools
import gc
import importlib.metadata
import inspect
import pydoc
import subprocess
import sys
import threading
import types
import typing as t
import unittest.mock
import weakref

import flask
import pytest
import redis as redis_py
from flask import Flask

from flask_redis import extension as extension_module
from flask_redis import Redis
from flask_redis import topologies

from .conftest import MakeApp
from .harness.servers import Server
from .harness.waiting import wait_until


def test_constructor_with_an_application(app: Flask) -> None:
    """Three lines are enough: make it, and every command works, outside of a context too."""
    redis = Redis(app)
    assert redis.incr("hits") == 1
    assert redis.app is app


def test_init_app(app: Flask) -> None:
    """With init_app the application comes later, and an application context says which one is meant."""
    redis = Redis()
    redis.init_app(app)
    assert redis.app is None
    with app.app_context():
        redis.set("key", "value")
        assert redis.get("key") == "value"


def test_one_object_serves_many_applications(make_app: MakeApp, server: Server) -> None:
    """Each application has a client with its own configuration."""
    redis = Redis()
    apps = [make_app(HOST=server.host, PORT=server.port, DB=db, DECODE_RESPONSES=True) for db in range(3)]
    for app in apps:
        redis.init_app(app)
    for number, app in enumerate(apps):
        with app.app_context():
            redis.set("number", number)
    for number, app in enumerate(apps):
        with app.app_context():
            assert redis.get("number") == str(number)
            assert redis.connection_pool.connection_kwargs["db"] == number


def test_one_application_has_many_connections(make_app: MakeApp, server: Server) -> None:
    """Each config prefix is a connection of its own."""
    app = make_app(HOST=server.host, PORT=server.port, DB=1)
    app.config.update(OTHER_HOST=server.host, OTHER_PORT=server.port, OTHER_DB=2)
    first, second = Redis(app), Redis(app, "OTHER")
    first.set("key", "first")
    second.set("key", "second")
    assert first.get("key") == b"first"
    assert second.get("key") == b"second"


def test_the_context_wins_over_the_constructor(make_app: MakeApp, server: Server) -> None:
    """The app of the active context is asked first, then that of the constructor."""
    mine, other = make_app("mine", HOST=server.host, PORT=server.port, DB=1), make_app("other", URL=server.url, DB=2)
    redis = Redis(mine)
    redis.init_app(other)
    assert redis.get_app() is mine
    with other.app_context():
        assert redis.get_app() is other
        redis.set("who", "other")
    assert redis.get("who") is None
    assert redis.connection is mine.extensions["redis"]["REDIS"]


@pytest.mark.parametrize("prefix", ["", 5, b"REDIS"])
def test_a_prefix_that_is_none(prefix: t.Any, make_app: MakeApp) -> None:
    """No key can begin with it, so it is an error, and not the default server."""
    with pytest.raises(ValueError, match=r"config prefix is .*; accepted: .*'REDIS'"):
        Redis(make_app(), prefix)
    with pytest.raises(ValueError, match="config prefix is"):
        Redis().init_app(make_app(), prefix)


def test_no_application() -> None:
    """Without an application a command is a RuntimeError that says what to do."""
    redis = Redis()
    with pytest.raises(RuntimeError, match=r"with app\.app_context\(\).*constructor") as caught:
        redis.get("key")
    assert caught.value.__context__ is None, "its traceback begins with another error"
    with pytest.raises(RuntimeError, match="constructor"):
        redis.get_app()
    with pytest.raises(RuntimeError, match="constructor"):
        _ = redis.connection
    with pytest.raises(RuntimeError, match="constructor"):
        _ = redis["key"]


def test_application_without_this_extension(make_app: MakeApp) -> None:
    """A current application on which this object was never initialised is an error with its name and the prefix."""
    app = make_app("shop")
    redis, other = Redis(config_prefix="CACHE"), Redis()
    other.init_app(app)
    with app.app_context():
        with pytest.raises(RuntimeError, match=r"'shop'.*'CACHE'.*init_app"):
            redis.get("key")
        with pytest.raises(RuntimeError, match=r"'shop'.*'REDIS'.*init_app"):
            Redis().get("key")
    with make_app("bare").app_context(), pytest.raises(RuntimeError, match=r"'bare'.*'CACHE'") as caught:
        redis.get("key")
    assert caught.value.__context__ is None, "its traceback begins with another error"


def test_the_wrong_application_is_not_replaced_by_that_of_the_constructor(make_app: MakeApp, app: Flask) -> None:
    """A context of an application without a client is an error, even if the constructor had an application."""
    redis = Redis(app)
    with make_app("stranger").app_context(), pytest.raises(RuntimeError, match="'stranger'"):
        redis.get("key")


redis_of_this_module = Redis()
get_taken_at_import = redis_of_this_module.get
set_taken_at_import = functools.partial(redis_of_this_module.set, "key")


def test_methods_bind_late(make_app: MakeApp, server: Server) -> None:
    """A method taken at import time asks for the application when it is called, for several of them."""
    apps = [make_app(HOST=server.host, PORT=server.port, DB=db) for db in (1, 2)]
    for app in apps:
        redis_of_this_module.init_app(app)
    for number, app in enumerate(apps):
        with app.app_context():
            set_taken_at_import(f"value {number}")
    for number, app in enumerate(apps):
        with app.app_context():
            assert get_taken_at_import("key") == f"value {number}".encode()


def test_methods_of_a_custom_class_bind_late(make_app: MakeApp, server: Server) -> None:
    """The same is true of a method that only the configured class has."""
    redis: t.Any = Redis()
    apps = [make_app(HOST=server.host, PORT=server.port, DB=db, CLASS=Shouting) for db in (1, 2)]
    for app in apps:
        redis.init_app(app)
    with apps[0].app_context():
        shout = redis.shout
    with apps[1].app_context():
        shout("key", "value")
        assert redis.get("key") == b"VALUE"
    with apps[0].app_context():
        assert redis.get("key") is None


class Shouting(redis_py.Redis):
    """A client with a command of its own."""

    volume = 11

    def shout(self, name: str, value: str) -> None:
        """Set a key to a value in capitals."""
        self.set(name, value.upper())


def test_attributes_resolve_when_read(make_app: MakeApp) -> None:
    """What is not a method is read from the current client."""
    redis: t.Any = Redis()
    apps = [make_app(DB=db, CLASS=Shouting) for db in (1, 2)]
    for app in apps:
        redis.init_app(app)
        with app.app_context():
            assert redis.connection_pool is app.extensions["redis"]["REDIS"].connection_pool
            assert redis.volume == 11


def test_methods_in_another_thread(app: Flask) -> None:
    """The application of the constructor serves threads, which have no context of their own."""
    redis = Redis(app)
    threads = [threading.Thread(target=redis.incr, args=("hits",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redis.get("hits") == "4"


def test_pipelines_scripts_locks_and_subscriptions(app: Flask) -> None:
    """What redis-py makes from a client works on the current client."""
    redis = Redis(app)
    with redis.pipeline() as pipe:
        pipe.set("a", 1)
        pipe.incr("a")
        assert pipe.execute() == [True, 2]
    assert redis.register_script("return ARGV[1]")(args=["x"]) == "x"
    with redis.lock("lock", timeout=5):
        assert redis.exists("lock")
    with redis.pubsub() as pubsub:
        pubsub.subscribe("news")
        message = pubsub.get_message(timeout=5)
        assert message is not None
        assert message["type"] == "subscribe"
    assert list(redis.scan_iter()) == ["a"]


def test_mapping_style(app: Flask) -> None:
    """Keys are read, written, deleted and looked up as in redis-py."""
    redis = Redis(app)
    redis["key"] = "value"
    assert redis["key"] == "value"
    assert "key" in redis
    del redis["key"]
    assert "key" not in redis
    with pytest.raises(KeyError):
        redis["key"]


def test_with_statement(app: Flask) -> None:
    """As a redis-py client does, the extension closes its connections at the end of a with statement."""
    with Redis(app) as redis:
        redis.set("key", "value")
    assert redis.get("key") == "value"


@pytest.mark.parametrize("name", [name for name in dir(redis_py.Redis) if not name.startswith("_")])
def test_every_public_name_is_there(name: str, make_app: MakeApp) -> None:
    """Every public method and attribute of redis-py's client is one of the extension."""
    assert hasattr(Redis(make_app()), name)


def test_methods_look_like_those_of_redis_py() -> None:
    """The signature and the documentation of a command are redis-py's."""
    redis = Redis()
    assert inspect.signature(redis.expire) == inspect.signature(redis_py.Redis.expire).replace(
        parameters=[*inspect.signature(redis_py.Redis.expire).parameters.values()][1:]
    )
    assert redis.expire.__doc__ == redis_py.Redis.expire.__doc__
    assert "expire" in dir(redis)


def test_names_with_an_underscore_are_not_forwarded(app: Flask) -> None:
    """A client's private attributes are not the extension's."""
    redis: t.Any = Redis(app)
    assert not hasattr(redis, "_event_dispatcher")
    assert not hasattr(redis, "__wrapped__")


def test_unknown_names(app: Flask) -> None:
    """What the client does not have is an AttributeError."""
    redis: t.Any = Redis(app)
    with pytest.raises(AttributeError, match="no_such_command"):
        redis.no_such_command()


def test_poking_at_an_unbound_extension() -> None:
    """What frameworks do to any object is harmless to one without an application."""
    redis: t.Any = Redis()
    assert hasattr(redis, "get")
    assert not hasattr(redis, "connection")
    assert not hasattr(redis, "connection_pool")
    assert not hasattr(redis, "no_such_command")
    assert copy.copy(redis).config_prefix == "REDIS"
    assert copy.deepcopy(redis).config_prefix == "REDIS"
    assert "get" in dict(inspect.getmembers(redis))
    assert inspect.unwrap(redis) is redis
    assert not callable(redis)
    assert "Redis" in pydoc.render_doc(redis)
    unittest.mock.create_autospec(redis).get("key")
    unittest.mock.Mock(spec=redis).get("key")
    module = types.ModuleType("module_with_redis")
    module.__dict__["redis"] = redis
    assert doctest.DocTestFinder().find(module) == []
    assert bool(redis)


def test_pytest_collects_modules_with_an_unbound_extension(pytester: pytest.Pytester) -> None:
    """A test module may have one by any name."""
    pytester.makepyfile(
        """
        from flask_redis import Redis
        redis = Redis()
        test_redis = Redis()
        TestRedis = Redis()
        def test_nothing(): pass
        """
    )
    pytester.inline_run("-p", "no:cacheprovider", "--doctest-modules").assertoutcome(passed=1)


def test_isinstance(make_app: MakeApp) -> None:
    """For all who ask, the extension is a redis.Redis, bound or not; and it does not inherit."""
    assert isinstance(Redis(), redis_py.Redis)
    assert isinstance(Redis(make_app()), redis_py.Redis)
    assert isinstance(Redis(), Redis)
    assert redis_py.Redis not in type(Redis()).__mro__


def test_prefix() -> None:
    """The prefix is REDIS when nobody names one."""
    assert Redis().config_prefix == "REDIS"
    assert Redis(config_prefix="CACHE").config_prefix == "CACHE"


def test_prefix_of_init_app(make_app: MakeApp) -> None:
    """It may be given to init_app instead of the constructor."""
    app = make_app()
    app.config["CACHE_DB"] = 5
    redis = Redis()
    redis.init_app(app, "CACHE")
    assert redis.config_prefix == "CACHE"
    assert list(app.extensions["redis"]) == ["CACHE"]
    assert app.extensions["redis"]["CACHE"].connection_pool.connection_kwargs["db"] == 5


@pytest.mark.parametrize("first", ["CACHE", None])
def test_second_prefix(first: str | None, make_app: MakeApp) -> None:
    """A second, different prefix for one object is an error, whoever gave the first."""
    redis = Redis(config_prefix=first)
    redis.init_app(make_app())
    with pytest.raises(ValueError, match=f"{first or 'REDIS'}.*OTHER"):
        redis.init_app(make_app(), "OTHER")
    redis.init_app(make_app(), first)


def test_prefix_twice_on_one_application(make_app: MakeApp) -> None:
    """A prefix can be registered once on an application, by the same object or another."""
    app = make_app()
    redis = Redis(app)
    for extension in (redis, Redis()):
        with pytest.raises(ValueError, match=r"^Already registered config prefix 'REDIS'\.$"):
            extension.init_app(app)


def test_a_failed_init_app_leaves_nothing(make_app: MakeApp) -> None:
    """After an error in the configuration, the next attempt starts afresh, with any prefix."""
    app = make_app(PORT="none")
    redis = Redis()
    with pytest.raises(ValueError, match="REDIS_PORT"):
        redis.init_app(app)
    assert list(app.extensions["redis"]) == []
    redis.init_app(app, "OTHER")
    assert redis.config_prefix == "OTHER"


def test_the_proxy_of_an_application(app: Flask) -> None:
    """The current_app proxy stands for its application."""
    with app.app_context():
        redis = Redis(flask.current_app)
    assert redis.app is app
    assert redis.ping()


def test_what_is_no_application() -> None:
    """Anything but an application is a TypeError that says so."""
    with pytest.raises(TypeError, match="takes a Flask or Quart application, not 'str'"):
        Redis(t.cast(t.Any, "redis://localhost"))


def test_the_place_is_taken(make_app: MakeApp) -> None:
    """Another extension's entry in app.extensions is left alone."""
    app = make_app()
    app.extensions["redis"] = "something else"
    with pytest.raises(ValueError, match="taken by another extension"):
        Redis(app)
    assert app.extensions["redis"] == "something else"


def test_a_client_is_built_once(make_app: MakeApp) -> None:
    """A thread that comes just after another has built the client finds that one."""
    app = make_app()
    redis = Redis(app)
    clients, client = app.extensions["redis"], redis.connection
    clients._build(redis, clients.settings[redis])
    assert redis.connection is client


def test_the_mapping_of_clients(make_app: MakeApp) -> None:
    """app.extensions["redis"] is a mapping from prefix to client."""
    app = make_app()
    redis, cache = Redis(app), Redis(app, "CACHE")
    clients = app.extensions["redis"]
    assert clients["REDIS"] is redis.connection
    assert clients["CACHE"] is cache.connection
    assert "REDIS" in clients
    assert "OTHER" not in clients
    assert len(clients) == 2
    assert list(clients) == ["REDIS", "CACHE"]
    assert dict(clients) == {"REDIS": redis.connection, "CACHE": cache.connection}
    assert clients.get("OTHER") is None
    with pytest.raises(KeyError, match="OTHER"):
        clients["OTHER"]
    assert repr(clients) == "<Clients REDIS redis://localhost:6379/0, CACHE redis://localhost:6379/0>"


def test_repr(make_app: MakeApp) -> None:
    """The representation says where commands go, without the password, and what is missing otherwise."""
    assert repr(Redis()) == "<Redis REDIS unbound>"
    assert repr(Redis(make_app())) == "<Redis REDIS redis://localhost:6379/0>"
    app = make_app(URL="rediss://me:secret@[::1]:7000/3")
    assert repr(Redis(app)) == "<Redis REDIS rediss://me:***@[::1]:7000/3>"
    with make_app("bare").app_context():
        assert repr(Redis(config_prefix="CACHE")) == "<Redis CACHE unbound>"


def test_applications_are_collected(make_app: MakeApp) -> None:
    """Nothing keeps an application alive but its user."""
    redis = Redis()
    references: list[weakref.ref[Flask]] = []
    app = None
    for url in ("redis://localhost", "memory://", "memory://shared", "embedded://"):
        app = make_app(URL=url)
        redis.init_app(app)
        Redis(app, "SECOND")
        references.append(weakref.ref(app))
    del app
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


def test_connections_of_collected_applications_are_closed(make_app: MakeApp, server: Server) -> None:
    """When an application goes, so do its connections, without a warning."""
    redis = Redis()
    with server.client() as client:
        before = len(client.client_list())
        app = None
        for _ in range(20):
            app = make_app(URL=server.url)
            redis.init_app(app)
            with app.app_context():
                redis.ping()
        del app
        gc.collect()
        wait_until(lambda: len(client.client_list()) == before)


def test_a_client_that_cannot_be_closed(make_app: MakeApp) -> None:
    """A client of the user's own class need not have a close method."""

    class Bare:
        pass

    app = make_app(CLASS=Bare)
    Redis(app)
    reference = weakref.ref(app)
    del app
    gc.collect()
    assert reference() is None


NO_INPUT_OR_OUTPUT = """
import sys
from flask import Flask
from flask_redis import Redis

app = Flask("app", instance_path=sys.argv[1])
urls = sys.argv[2:]
for number, url in enumerate(urls):
    app.config[f"REDIS{number}_URL"] = url
# Whatever the first import of a client library does is not init_app's.
import fakeredis, redis.cluster, redis.sentinel, valkey
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.split(".")[0] in ("socket", "subprocess") else None)
for number in range(len(urls)):
    Redis(app, f"REDIS{number}")
print(events, len(app.extensions["redis"]))
"""


def test_init_app_does_not_touch_the_network(tmp_path: t.Any) -> None:
    """For no topology does init_app open a socket, look up a name or start a process: Python's audit events tell."""
    urls = [
        "redis://nowhere.invalid:1/0",
        "rediss://nowhere.invalid",
        "unix:///nowhere.sock",
        "memory://",
        "memory://name",
        "embedded://",
        "redis+sentinel://nowhere.invalid/service",
        "redis+cluster://nowhere.invalid",
        "valkey://nowhere.invalid",
        "valkey+sentinel://nowhere.invalid/service",
        "valkey+cluster://nowhere.invalid",
    ]
    command = [sys.executable, "-W", "error", "-c", NO_INPUT_OR_OUTPUT, str(tmp_path), *urls]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    assert output.stdout.strip() == f"[] {len(urls)}"
    assert list(tmp_path.iterdir()) == []


def test_client_list_shows_who_drives(app: Flask, server: Server) -> None:
    """The server's list of clients names this package and its version, beside redis-py."""
    redis = Redis(app)
    redis.ping()
    with server.client() as client:
        names = [entry.get("lib-name", "") for entry in client.client_list()]
    assert "redis-py(flask-and-redis_v2.0.0)" in names


def test_client_list_shows_the_library_of_the_application(make_app: MakeApp, server: Server) -> None:
    """A name and version of the application's own stand before that."""
    redis = Redis(make_app(URL=server.url, LIB_NAME="shop", LIB_VERSION="3.2"))
    redis.ping()
    with server.client() as client:
        libraries = {(entry.get("lib-name"), entry.get("lib-ver")) for entry in client.client_list()}
    assert ("shop(flask-and-redis_v2.0.0)", "3.2") in libraries


def test_driver_info_of_the_application(make_app: MakeApp) -> None:
    """An object that says all of it is passed on as it is, where redis-py knows it."""
    if hasattr(redis_py, "DriverInfo"):
        info = redis_py.DriverInfo("shop", "3.2")
        redis = Redis(make_app(DRIVER_INFO=info))
        assert redis.connection_pool.connection_kwargs["driver_info"] is info


def test_without_metadata(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that is packed into one file, where no package has any, works too."""

    def version(name: str) -> t.NoReturn:
        raise importlib.metadata.PackageNotFoundError(name)

    topologies._version.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert topologies._version() == "unknown"
    assert Redis(app).ping()
    topologies._version.cache_clear()


def test_from_url(app: Flask, server: Server) -> None:
    """redis-py's from_url() makes a client of its own where there is one, and is no method of the class."""
    redis = Redis(app)
    assert redis.from_url(f"redis://{server.host}:{server.port}/3").connection_pool.connection_kwargs["db"] == 3
    with pytest.raises(AttributeError, match="from_url"):
        Redis.from_url("redis://localhost")


def test_the_app_context_by_public_names(make_app: MakeApp, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Flask renames its context variable, commands still find the client of the current application."""
    one, other = make_app(URL=f"{server.url}?client_name=one"), make_app(URL=f"{server.url}?client_name=other")
    redis = Redis(one)
    redis.init_app(other)
    for context in (extension_module._context, extension_module._ByPublicNames):
        monkeypatch.setattr(extension_module, "_context", context)
        assert redis.client_getname() == "one"
        with other.app_context():
            assert redis.client_getname() == "other"
