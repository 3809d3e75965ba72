"""AsyncRedis: one client for each event loop, in Flask's async views and wherever else a loop runs."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import copy
import functools
import gc
import inspect
import os
import re
import sys
import threading
import time
import typing as t
import unittest.mock
import weakref
from pathlib import Path

import flask
import pytest
import redis as redis_py
import redis.asyncio
import redis.asyncio.client
import redis.asyncio.retry
import redis.backoff
import redis.retry
from flask import Flask
from typing_extensions import assert_type

import flask_redis.asyncio
from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import Redis

from .conftest import MakeApp
from .harness.cluster import ClusterGroup
from .harness.console import Console
from .harness.ports import free_port
from .harness.processes import start_python
from .harness.proxy import Proxy
from .harness.sentinel import SentinelGroup
from .harness.servers import Server
from .harness.tls import TlsServer
from .harness.waiting import wait_until

_T = t.TypeVar("_T")


def run(work: cabc.Callable[[], cabc.Coroutine[t.Any, t.Any, _T]]) -> _T:
    """Run *work* in an event loop of its own."""
    return asyncio.run(work())


def connected(server: Server) -> int:
    """How many clients *server* has."""
    return int(server.info("clients")["connected_clients"])


# What it is


def test_three_lines_in_a_view(app: Flask) -> None:
    """Three lines are enough: make it, and await commands in async views, request after request."""
    redis = AsyncRedis(app)

    @app.get("/")
    async def index() -> str:  # pyright: ignore[reportUnusedFunction]
        return str(await redis.incr("hits"))

    client = app.test_client()
    assert [client.get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_commands_of_every_kind(app: Flask) -> None:
    """Commands, pipelines, iterators, locks, scripts and transactions are those of redis.asyncio."""
    redis = AsyncRedis(app)

    async def work() -> None:
        async with redis.pipeline() as pipe:
            assert await pipe.set("key", "value").get("key").execute() == [True, "value"]
        assert [key async for key in redis.scan_iter()] == ["key"]
        async with redis.lock("lock", timeout=5):
            assert await redis.exists("lock") == 1
        assert await redis.exists("lock") == 0
        script = redis.register_script("return redis.call('get', KEYS[1])")
        assert await script(keys=["key"]) == "value"
        assert await script(keys=["key"], client=redis) == "value"

        async def double(pipe: redis_py.asyncio.client.Pipeline) -> None:
            value = await pipe.get("key")
            pipe.multi()
            pipe.append("key", value)

        await redis.transaction(double, "key")
        assert await redis.get("key") == "valuevalue"

    run(work)


def test_pub_sub(app: Flask) -> None:
    """What one task publishes arrives at another."""
    redis = AsyncRedis(app)

    async def work() -> t.Any:
        async with redis.pubsub() as pubsub:
            await pubsub.subscribe("channel")
            assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
            await redis.publish("channel", "message")
            async for message in pubsub.listen():
                return message["data"]

    assert run(work) == "message"


@pytest.mark.parametrize("name", [name for name in dir(redis_py.asyncio.Redis) if not name.startswith("_")])
def test_every_public_name_is_there(name: str, make_app: MakeApp) -> None:
    """Every public method and attribute of redis-py's client for asyncio is one of the extension."""
    redis = AsyncRedis(make_app())

    async def work() -> bool:
        return hasattr(redis, name)

    assert run(work)


def test_methods_look_like_those_of_redis_py() -> None:
    """The signature and the documentation of a command are redis-py's."""
    redis = AsyncRedis()
    method = redis_py.asyncio.Redis.expire
    parameters = list(inspect.signature(method).parameters.values())
    assert inspect.signature(redis.expire) == inspect.signature(method).replace(parameters=parameters[1:])
    assert redis.expire.__doc__ == method.__doc__


def test_isinstance(app: Flask) -> None:
    """For all who ask, the extension is a redis.asyncio.Redis, bound or not, and no redis.Redis; it does not inherit."""
    for redis in (AsyncRedis(), AsyncRedis(app)):
        assert isinstance(redis, redis_py.asyncio.Redis)
        assert isinstance(redis, AsyncRedis)
        assert not isinstance(redis, redis_py.Redis)
        assert redis_py.asyncio.Redis not in type(redis).__mro__


def test_types(app: Flask) -> None:
    """For type checkers it is a redis.asyncio.Redis, with the extension's own names beside."""

    def takes(client: redis_py.asyncio.Redis) -> redis_py.asyncio.Redis:
        return client

    redis = AsyncRedis(app, "REDIS")
    assert takes(redis) is redis
    assert assert_type(redis.app, Flask | None) is app
    assert assert_type(redis.get_app(), Flask) is app
    assert assert_type(redis.config_prefix, str) == "REDIS"
    with pytest.raises(TypeError):
        AsyncRedis(host="localhost")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    async def work() -> None:
        assert type(assert_type(redis.connection, redis_py.asyncio.Redis)) is redis_py.asyncio.Redis
        assert assert_type(await redis.get("key"), bytes | str | None) is None
        async with assert_type(redis.pipeline(), redis_py.asyncio.client.Pipeline) as pipe:
            assert await pipe.get("key").execute() == [None]

    run(work)


def test_poking_at_an_unbound_extension() -> None:
    """What frameworks do to any object is harmless to one without an application or an event loop."""
    redis: t.Any = AsyncRedis()
    assert hasattr(redis, "get")
    assert not hasattr(redis, "connection")
    assert not hasattr(redis, "connection_pool")
    assert not hasattr(redis, "no_such_command")
    assert copy.copy(redis).config_prefix == "REDIS"
    assert copy.deepcopy(redis).config_prefix == "REDIS"
    assert "get" in dict(inspect.getmembers(redis))
    assert inspect.unwrap(redis) is redis
    unittest.mock.create_autospec(redis).get("key")
    assert bool(redis)


def test_await_and_async_with(app: Flask, server: Server) -> None:
    """As with redis-py's client, await gives it ready for use, and async with closes its connections at the end."""
    redis = AsyncRedis(app)

    async def work() -> None:
        before = connected(server)
        assert await redis is redis
        async with redis as same:
            assert same is redis
            await redis.set("key", "value")
            assert connected(server) == before + 1
        await asyncio.to_thread(wait_until, lambda: connected(server) == before)
        assert await redis.get("key") == "value"

    run(work)


# Which app, which loop


def test_late_binding(make_app: MakeApp, server: Server) -> None:
    """A method taken from the extension finds its application and its loop when it is called."""
    redis = AsyncRedis()
    get, answer = redis.get, functools.partial(redis.get, "answer")
    apps = [make_app(URL=f"redis://{server.host}:{server.port}/{db}", DECODE_RESPONSES=True) for db in range(2)]
    for number, app in enumerate(apps):
        redis.init_app(app)
        server.command("FLUSHALL")
        with app.app_context():
            for _ in range(2):
                run(lambda number=number: redis.set("answer", number))  # type: ignore[misc]
                assert run(lambda: get("answer")) == str(number) == run(answer)


def test_an_attribute_that_is_no_method(app: Flask, server: Server) -> None:
    """An attribute such as connection_pool is that of the running loop's client."""
    redis = AsyncRedis(app)

    async def work() -> t.Any:
        assert redis.connection_pool is redis.connection.connection_pool
        return redis.connection_pool.connection_kwargs["port"]

    assert run(work) == server.port


def test_the_context_wins_over_the_constructor(make_app: MakeApp, server: Server) -> None:
    """The app of the active context is asked first, then that of the constructor."""
    mine, other = make_app("mine", URL=server.url), make_app("other", URL=server.url, DB=1)
    other.config["REDIS_URL"] = server.url[:-1] + "1"
    redis = AsyncRedis(mine)
    redis.init_app(other)
    with other.app_context():
        assert redis.get_app() is other
        run(lambda: redis.set("who", "other"))
    assert redis.get_app() is mine
    assert run(lambda: redis.get("who")) is None


@pytest.mark.parametrize("in_loop", [True, False])
def test_outside_an_application(in_loop: bool, make_app: MakeApp) -> None:
    """Without an application the error is that of Redis, in a loop or not."""

    def message_of(redis: Redis | AsyncRedis) -> str:
        with pytest.raises(RuntimeError) as caught:
            redis.get("key")
        return str(caught.value)

    async def work() -> str:
        return message_of(AsyncRedis())

    for app in None, make_app("bare"):
        with app.app_context() if app else contextlib.nullcontext():
            message = run(work) if in_loop else message_of(AsyncRedis())
            assert message == message_of(Redis()).replace("The Redis", "The AsyncRedis").replace(
                "this Redis", "this AsyncRedis"
            )


def test_outside_a_loop(app: Flask) -> None:
    """Where no event loop runs, the error says so, and what to do."""
    redis = AsyncRedis(app)
    for use in (
        lambda: redis.get("key"),
        redis.pipeline,
        lambda: redis.connection,
        lambda: app.extensions["redis"].asyncio["REDIS"],
    ):
        with pytest.raises(RuntimeError, match=r"'REDIS' is used where no event loop runs: await it.*use Redis"):
            use()
    assert not hasattr(redis, "connection_pool")


def test_repr(make_app: MakeApp) -> None:
    """The representation says where commands go, without the password, in a loop or not."""
    assert repr(AsyncRedis()) == "<AsyncRedis REDIS unbound>"
    assert repr(AsyncRedis(make_app(URL="redis://:secret@host/3"))) == "<AsyncRedis REDIS redis://:***@host:6379/3>"


def test_synchronous_client_in_an_async_view(app: Flask) -> None:
    """Redis works in async views too: it blocks the loop, which in Flask serves this one request."""
    redis = Redis(app)

    @app.get("/")
    async def index() -> str:  # pyright: ignore[reportUnusedFunction]
        return str(redis.incr("hits"))

    assert app.test_client().get("/").text == "1"


def test_a_copied_request_context(app: Flask) -> None:
    """A function with a copy of the request context runs in a thread, in a loop of its own, with the same app."""
    redis = AsyncRedis()
    redis.init_app(app)
    results: list[str | bytes | None] = []

    @app.get("/")
    def index() -> str:  # pyright: ignore[reportUnusedFunction]
        @flask.copy_current_request_context
        async def work() -> None:
            results.append(await redis.get(flask.request.args["key"]))

        thread = threading.Thread(target=t.cast("cabc.Callable[[], None]", work))
        thread.start()
        thread.join()
        return "done"

    with app.app_context():
        run(lambda: redis.set("key", "value"))
    app.test_client().get("/?key=key")
    assert results == ["value"]


# Beside Redis


@pytest.mark.parametrize("classes", [(Redis, AsyncRedis), (AsyncRedis, Redis)])
@pytest.mark.parametrize(
    "config",
    [
        lambda server, path: {"URL": server.url},
        lambda server, path: {"URL": f"redis://user:pass%2Fword@{server.host}:{server.port}/0"},
        lambda server, path: {"URL_FILE": str(path / "url")},
        lambda server, path: {
            "URL": f"redis://user@{server.host}:{server.port}/0",
            "PASSWORD_FILE": str(path / "password"),
        },
        lambda server, path: {"URL": server.unix_url},
        lambda server, path: {"HOST": server.host, "PORT": str(server.port)},
    ],
    ids=["url", "password", "url-file", "password-file", "socket", "keys"],
)
def test_both_on_one_app(
    classes: tuple[type[Redis] | type[AsyncRedis], ...],
    config: cabc.Callable[[Server, Path], dict[str, str]],
    make_app: MakeApp,
    server: Server,
    tmp_path: Path,
) -> None:
    """Redis and AsyncRedis of one prefix share an app and one configuration, whichever comes first."""
    server.command("ACL", "SETUSER", "user", "on", ">pass/word", "~*", "&*", "+@all")
    (tmp_path / "url").write_text(f"redis://user:pass%2Fword@{server.host}:{server.port}/0\n")
    (tmp_path / "password").write_text("pass/word\n")
    app = make_app(**config(server, tmp_path))
    extensions = [each(app) for each in classes]
    for extension in extensions:
        with pytest.raises(ValueError, match=r"^Already registered config prefix 'REDIS'\.$"):
            type(extension)(app)
    redis = next(each for each in extensions if type(each) is Redis)
    async_redis = next(each for each in extensions if type(each) is AsyncRedis)
    redis.set("key", "value")
    assert run(lambda: async_redis.get("key")) == b"value"


def test_the_mapping_of_clients(make_app: MakeApp, server: Server) -> None:
    """Its clients are at app.extensions["redis"].asyncio, by prefix, beside the synchronous ones."""
    app = make_app(URL=server.url)
    app.config["CACHE_URL"] = server.url
    redis = Redis(app)
    extensions = AsyncRedis(app), AsyncRedis(app, "CACHE")
    clients = app.extensions["redis"].asyncio
    assert list(app.extensions["redis"]) == ["REDIS"]
    assert list(clients) == ["REDIS", "CACHE"]
    assert "CACHE" in clients
    assert "OTHER" not in clients
    assert len(clients) == 2

    async def work() -> None:
        assert clients["REDIS"] is extensions[0].connection
        assert clients["CACHE"] is extensions[1].connection
        assert clients["REDIS"] is not clients["CACHE"]
        assert app.extensions["redis"]["REDIS"] is redis.connection
        with pytest.raises(KeyError, match="OTHER"):
            clients["OTHER"]

    run(work)


def test_a_failed_init_app_leaves_nothing(make_app: MakeApp) -> None:
    """A configuration that cannot be used is a ConfigError at init_app, and the next attempt starts afresh."""
    app = make_app(PORT="none")
    redis = AsyncRedis()
    with pytest.raises(ConfigError, match="REDIS_PORT"):
        redis.init_app(app)
    assert list(app.extensions["redis"].asyncio) == []
    app.config["REDIS_PORT"] = "6379"
    redis.init_app(app)
    assert list(app.extensions["redis"].asyncio) == ["REDIS"]


class CustomRedis(redis_py.Redis):
    """A class of the user's own."""


class CustomAsyncRedis(redis_py.asyncio.Redis):
    """The same for asyncio."""


@pytest.mark.parametrize("as_path", [True, False])
@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        (CustomRedis, (CustomRedis, redis_py.asyncio.Redis)),
        (CustomAsyncRedis, (redis_py.Redis, CustomAsyncRedis)),
    ],
)
def test_class(as_path: bool, custom: type, expected: tuple[type, type], make_app: MakeApp, server: Server) -> None:
    """CLASS is used by the kind that it belongs to; the other kind takes the package's own class."""
    app = make_app(URL=server.url, CLASS=f"{__name__}.{custom.__name__}" if as_path else custom)
    redis, async_redis = Redis(app), AsyncRedis(app)

    async def work() -> type:
        assert await async_redis.ping()
        return type(async_redis.connection)

    assert redis.ping()
    assert (type(redis.connection), run(work)) == expected


def test_a_connection_pool(make_app: MakeApp) -> None:
    """A connection pool works in one event loop alone: as a setting it is a ConfigError."""
    for pool in (redis_py.ConnectionPool(), redis_py.asyncio.ConnectionPool()):
        with pytest.raises(ConfigError, match="REDIS_CONNECTION_POOL is set; accepted: no pool for AsyncRedis"):
            AsyncRedis(make_app(CONNECTION_POOL=pool))


# Every topology


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, t.Any], list[Server]]:
    """The configuration that leads to some servers, and these servers."""
    topology = request.param
    if topology == "sentinel" or topology == "valkey-sentinel":
        sentinels: SentinelGroup = request.getfixturevalue("sentinel_group")
        url = sentinels.url.replace("redis+", "valkey+") if "valkey" in topology else sentinels.url
        return {"URL": url, "SENTINEL_KWARGS": {"client_name": "mine"}}, sentinels.servers
    if topology == "cluster" or topology == "valkey-cluster":
        cluster: ClusterGroup = request.getfixturevalue("cluster_group")
        url = cluster.url.replace("redis+", "valkey+") if "valkey" in topology else cluster.url
        return {"URL": url}, cluster.servers
    if topology == "tls":
        tls_server: TlsServer = request.getfixturevalue("tls_server")
        return {"URL": tls_server.url, "SSL_CA_CERTS": str(tls_server.certificates.ca)}, [tls_server]
    if topology in {"memory", "embedded"}:
        return {"URL": f"{topology}://"}, []
    server: Server = request.getfixturevalue("server")
    urls = {"tcp": server.url, "socket": server.unix_url, "valkey": server.url.replace("redis", "valkey")}
    return {"URL": urls[topology]}, [server]


def named(servers: cabc.Iterable[Server]) -> int:
    """How many connections of ours the servers have."""
    return sum(server.command("CLIENT", "LIST").count(" name=mine ") for server in servers)


TOPOLOGIES = [
    "tcp",
    "socket",
    "tls",
    "sentinel",
    "cluster",
    "valkey",
    "valkey-sentinel",
    "valkey-cluster",
    "memory",
    "embedded",
]


@pytest.mark.parametrize("places", TOPOLOGIES, indirect=True)
@pytest.mark.parametrize("resilience", [{}, {"RETRY": "2", "CIRCUIT_BREAKER": "on"}], ids=["plain", "resilient"])
def test_topologies(
    places: tuple[dict[str, t.Any], list[Server]], resilience: dict[str, str], make_app: MakeApp
) -> None:
    """Every topology works in one loop after another, sees what Redis sees, and leaves no connection."""
    config, servers = places
    app = make_app(**config, **resilience, CLIENT_NAME="mine", DECODE_RESPONSES="yes")
    async_redis, redis = AsyncRedis(app), Redis(app)

    async def work(number: int) -> None:
        assert await async_redis.incr("counter") == number
        async with async_redis.pipeline(transaction=False) as pipe:
            assert await pipe.set("key", number).get("key").execute() == [True, str(number)]
        assert "key" in [key async for key in async_redis.scan_iter()]
        assert sorted(await asyncio.gather(*(async_redis.incr(f"gathered{number}") for _ in range(5)))) == [*range(1, 6)]
        if servers:
            assert named(servers) > 0

    for number in range(1, 4):
        asyncio.run(work(number))
        wait_until(lambda: named(servers) == 0)
    assert redis.get("counter") == "3"
    redis.close()
    if resilience:
        assert app.extensions["redis"].breakers["REDIS"].current_state == "closed"


@pytest.mark.parametrize("url", ["memory://", "memory://named", "embedded://"])
def test_data_outlives_the_loop(url: str, make_app: MakeApp) -> None:
    """What an AsyncRedis alone writes to memory:// or embedded:// is there in the next loop, from the same server."""
    app = make_app(URL=url)
    redis = AsyncRedis(app)
    run(lambda: redis.set("key", "value"))
    gc.collect()
    assert run(lambda: redis.get("key")) == b"value"
    if url == "embedded://":
        pids = {run(lambda: redis.info("server"))["process_id"] for _ in range(2)}
        assert len(pids) == 1


def test_embedded_leaves_no_connection(make_app: MakeApp) -> None:
    """The development server has no connection left after a loop."""
    app = make_app(URL="embedded://")
    redis = AsyncRedis(app)
    run(redis.ping)
    socket = Path(os.readlink(Path(app.instance_path) / "redis/default/socket"))  # noqa: PTH115

    def clients() -> int:
        with Console(socket, timeout=5) as send:
            return len(send("CLIENT", "LIST").splitlines())

    wait_until(lambda: clients() == 1)


# The lives of the connections


APPLICATION = """
import asyncio, gc, sys, threading
from flask import Flask
from flask_redis import AsyncRedis

app = Flask("app", instance_path="/nowhere")
app.config["REDIS_URL"] = sys.argv[1]
redis = AsyncRedis(app)
kept = set()

def request(view, times):
    app.add_url_rule("/", view_func=view)
    client = app.test_client()
    for _ in range(times):
        assert client.get("/").text == "answer"
"""

END = """
print("done")
sys.stdin.readline()
"""


def leaves_no_connection(server: Server, code: str) -> None:
    """Run *code*: no connection is open when it has ended, while its process lives, and no ResourceWarning appeared."""
    before = connected(server)
    environment = {"PYTHONWARNINGS": "error::ResourceWarning"}
    with start_python(APPLICATION + code + END, server.url, env=environment) as process:
        process.wait_for_line("^done$", 60)
        wait_until(lambda: connected(server) == before)
        process.write_line("")
        process.wait()
        assert (process.returncode, process.output) == (0, "done\n")


def test_a_thousand_requests(server: Server) -> None:
    """A thousand async requests through Flask leave the server's client count where it was."""
    leaves_no_connection(
        server,
        """
async def view():
    await redis.incr("hits")
    return "answer"

request(view, 1000)
""",
    )
    assert server.command("GET", "hits") == "1000"


def test_a_thousand_loops(server: Server) -> None:
    """A thousand asyncio.run leave no connection, and nothing in memory, neither loops nor clients."""
    leaves_no_connection(
        server,
        """
import weakref
loops = weakref.WeakSet()

async def work():
    loops.add(asyncio.get_running_loop())
    await redis.incr("hits")

def objects():
    gc.collect()
    return len(gc.get_objects())

for _ in range(50):
    asyncio.run(work())
before = objects()
for _ in range(1000):
    asyncio.run(work())
assert objects() < before + 100
assert not loops
""",
    )


def test_gather_in_a_view(server: Server) -> None:
    """asyncio.gather over the extension opens several connections at a time, and leaves none."""
    leaves_no_connection(
        server,
        """
async def view():
    assert len(set(await asyncio.gather(*(redis.incr("hits") for _ in range(5))))) == 5
    return "answer"

request(view, 200)
""",
    )


def test_tasks_that_outlive_the_view(server: Server) -> None:
    """A task that still runs when its view has answered is cancelled, with a last word to Redis, and leaves nothing."""
    leaves_no_connection(
        server,
        """
async def forever():
    try:
        await redis.blpop(["nothing"], 0)
    finally:
        await redis.incr("cancelled")

async def view():
    tasks = [asyncio.create_task(forever()) for _ in range(2)]
    kept.update(tasks)
    await redis.ping()
    return "answer"

request(view, 200)
""",
    )
    assert server.command("GET", "cancelled") == "400"


def test_views_that_raise(server: Server) -> None:
    """A view that raises leaves no connection, with a pipeline, a subscription or an iterator under way either."""
    leaves_no_connection(
        server,
        """
app.register_error_handler(ZeroDivisionError, lambda error: "answer")

async def view():
    pubsub = redis.pubsub()
    kept.add(pubsub)
    await pubsub.subscribe("channel")
    await redis.set("key", "value")
    async with redis.pipeline() as pipe:
        await pipe.watch("key")
        async for key in redis.scan_iter():
            1 / 0

request(view, 200)
""",
    )


def test_views_that_are_cancelled(server: Server) -> None:
    """A command that is cancelled, by its view or with it, leaves no connection, and the client goes on working."""
    leaves_no_connection(
        server,
        """
@app.errorhandler(500)
def cancelled(error):
    return "answer"

async def view():
    for _ in range(2):
        try:
            await asyncio.wait_for(redis.blpop(["nothing"], 0), 0.002)
        except asyncio.TimeoutError:
            assert await redis.incr("hits")
    return "answer"

async def cancel(task):
    await redis.ping()
    task.cancel()

async def cancelled_view():
    kept.add(asyncio.create_task(cancel(asyncio.current_task())))
    await redis.blpop(["nothing"], 0)

def through_a_middleware(view):
    async def handler():
        task = asyncio.ensure_future(view())
        await asyncio.wait([task])
        assert task.cancelled()
        return "answer"
    return handler

request(view, 100)
app = Flask("other", instance_path="/nowhere")
app.config["REDIS_URL"] = sys.argv[1]
redis.init_app(app)
request(through_a_middleware(cancelled_view), 100)
""",
    )


def test_threads_with_loops_of_their_own(server: Server) -> None:
    """Threads with loops of their own have clients of their own, at the same time."""
    leaves_no_connection(
        server,
        """
async def work():
    for _ in range(5):
        await asyncio.gather(redis.incr("hits"), redis.incr("hits"))

def thread():
    for _ in range(20):
        asyncio.run(work())

threads = [threading.Thread(target=thread) for _ in range(10)]
for each in threads:
    each.start()
for each in threads:
    each.join()
""",
    )
    assert server.command("GET", "hits") == "2000"
