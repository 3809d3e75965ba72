"""AsyncRedis: one client for each event loop, in Flask's async views and wherever else a loop runs."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import concurrent.futures
import contextlib
import copy
import functools
import gc
import inspect
import os
import sys
import threading
import typing as t
import unittest.mock
from pathlib import Path

import flask
import pytest
import redis as redis_py
import redis.asyncio as redis_asyncio
from flask import Flask
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from typing_extensions import assert_type

import flask_redis.asyncio
from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import Redis

from .conftest import class_of
from .conftest import MakeApp
from .conftest import TOPOLOGIES
from .harness.console import Console
from .harness.ports import free_port
from .harness.processes import start_python
from .harness.proxy import Proxy
from .harness.servers import Server
from .harness.waiting import wait_until

_T = t.TypeVar("_T")


def run(work: cabc.Callable[[], cabc.Awaitable[_T]]) -> _T:
    """Call *work* in an event loop of its own, and await what it returns."""

    async def main() -> _T:
        return await work()

    return asyncio.run(main())


def connected(server: Server) -> int:
    """How many clients *server* has."""
    return int(server.info("clients")["connected_clients"])


# What it is


def test_three_lines_in_a_view(app: Flask) -> None:
    """Three lines are enough: make it, and await commands in async views, request after request."""
    redis = AsyncRedis(app)

    @app.get("/")
    async def index() -> str:
        return str(await redis.incr("hits"))

    client = app.test_client()
    assert [client.get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_commands_of_every_kind(app: Flask) -> None:
    """Commands, pipelines, iterators, locks, scripts and transactions are those of redis.asyncio."""
    redis = AsyncRedis(app)

    async def work() -> None:
        async with redis.pipeline() as pipe:
            pipe.set("key", "value")
            pipe.get("key")
            assert await pipe.execute() == [True, "value"]
        assert [key async for key in redis.scan_iter()] == ["key"]
        async with redis.lock("lock", timeout=5):
            assert await redis.exists("lock") == 1
        assert await redis.exists("lock") == 0
        script = redis.register_script("return redis.call('get', KEYS[1])")
        assert await script(keys=["key"]) == "value"
        assert await script(keys=["key"], client=redis) == "value"

        async def double(pipe: Pipeline) -> None:
            value = t.cast(str, await pipe.get("key"))
            pipe.multi()
            pipe.append("key", value)

        await redis.transaction(double, "key")
        assert await redis.get("key") == "valuevalue"

    run(work)


def test_pub_sub(app: Flask) -> None:
    """What one task publishes arrives at another."""
    redis = AsyncRedis(app)

    async def work() -> None:
        async with redis.pubsub() as pubsub:
            await pubsub.subscribe("channel")
            kinds: list[tuple[str, t.Any]] = []
            async for message in pubsub.listen():
                kinds.append((message["type"], message["data"]))
                if len(kinds) == 2:
                    break
                await redis.publish("channel", "message")
            assert kinds == [("subscribe", 1), ("message", "message")]

    run(work)


@pytest.mark.parametrize("name", [name for name in dir(redis_asyncio.Redis) if not name.startswith("_")])
def test_every_public_name_is_there(name: str, make_app: MakeApp) -> None:
    """Every public method and attribute of redis-py's client for asyncio is one of the extension."""
    redis = AsyncRedis(make_app())

    async def work() -> bool:
        return hasattr(redis, name)

    assert run(work)


def test_methods_look_like_those_of_redis_py() -> None:
    """The signature and the documentation of a command are redis-py's."""
    redis = AsyncRedis()
    method = redis_asyncio.Redis.expire
    parameters = list(inspect.signature(method).parameters.values())
    assert inspect.signature(redis.expire) == inspect.signature(method).replace(parameters=parameters[1:])
    assert redis.expire.__doc__ == method.__doc__


def test_isinstance(app: Flask) -> None:
    """For all who ask, the extension is a redis.asyncio.Redis, bound or not; and it does not inherit."""
    for redis in (AsyncRedis(), AsyncRedis(app)):
        assert isinstance(redis, redis_asyncio.Redis)
        assert isinstance(redis, AsyncRedis)
        assert not isinstance(redis, redis_py.Redis)
        assert redis_asyncio.Redis not in type(redis).__mro__


def test_types(app: Flask) -> None:
    """For type checkers it is a redis.asyncio.Redis, with the extension's own names beside."""

    def takes(client: redis_asyncio.Redis) -> redis_asyncio.Redis:
        return client

    redis = AsyncRedis(app, "REDIS")
    assert takes(redis) is redis
    assert assert_type(redis.app, Flask | None) is app
    assert assert_type(redis.get_app(), Flask) is app
    assert assert_type(redis.config_prefix, str) == "REDIS"
    with pytest.raises(TypeError):
        AsyncRedis(host="localhost")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    async def work() -> None:
        assert class_of(assert_type(redis.connection, redis_asyncio.Redis)) is redis_asyncio.Redis
        assert assert_type(await redis.get("key"), bytes | str | None) is None
        async with assert_type(redis.pipeline(), Pipeline) as pipe:
            assert isinstance(pipe, Pipeline)

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
    async def index() -> str:
        return str(redis.incr("hits"))

    assert app.test_client().get("/").text == "1"


def test_a_copied_request_context(app: Flask) -> None:
    """A function with a copy of the request context runs in a thread, in a loop of its own, with the same app."""
    redis = AsyncRedis()
    redis.init_app(app)
    results: list[str | bytes | None] = []

    @app.get("/")
    def index() -> str:
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


class CustomAsyncRedis(redis_asyncio.Redis):
    """The same for asyncio."""


@pytest.mark.parametrize("as_path", [True, False])
@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        (CustomRedis, (CustomRedis, redis_asyncio.Redis)),
        (CustomAsyncRedis, (redis_py.Redis, CustomAsyncRedis)),
    ],
)
def test_class(as_path: bool, custom: type, expected: tuple[type, type], make_app: MakeApp, server: Server) -> None:
    """CLASS is used by the kind that it belongs to; the other kind takes the package's own class."""
    app = make_app(URL=server.url, CLASS=f"{__name__}.{custom.__name__}" if as_path else custom)
    redis, async_redis = Redis(app), AsyncRedis(app)

    async def work() -> type:
        assert await async_redis.ping()
        return class_of(async_redis.connection)

    assert redis.ping()
    assert (class_of(redis.connection), run(work)) == expected


def test_a_client_that_cannot_be_closed(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    """A client of the user's own class need not have a method that closes it."""

    class Bare:
        async def get(self, name: str) -> str:
            return name

    redis = AsyncRedis(make_app(CLASS=Bare))
    assert run(lambda: redis.get("name")) == "name"
    assert not caplog.records


def test_a_connection_pool(make_app: MakeApp) -> None:
    """A connection pool works in one event loop alone: as a setting it is a ConfigError."""
    for pool in (redis_py.ConnectionPool(), redis_asyncio.ConnectionPool()):
        with pytest.raises(ConfigError, match="REDIS_CONNECTION_POOL is set; accepted: no pool for AsyncRedis"):
            AsyncRedis(make_app(CONNECTION_POOL=pool))


# Every topology


def named(servers: cabc.Iterable[Server]) -> int:
    """How many connections of ours the servers have."""
    return sum(server.command("CLIENT", "LIST").count(" name=mine ") for server in servers)


@pytest.mark.parametrize("places", TOPOLOGIES, indirect=True)
@pytest.mark.parametrize("resilience", [{}, {"RETRY": "2", "CIRCUIT_BREAKER": "on"}], ids=["plain", "resilient"])
def test_topologies(
    places: tuple[dict[str, t.Any], list[Server]], resilience: dict[str, str], make_app: MakeApp
) -> None:
    """Every topology works in one loop after another, sees what Redis sees, and leaves no connection."""
    config, servers = places
    app = make_app(**config, **resilience, CLIENT_NAME="mine", DECODE_RESPONSES="yes")
    redis = AsyncRedis(app)
    gc.collect()  # of other tests' applications

    async def work(number: int) -> None:
        assert await redis.incr("counter") == number
        async with redis.pipeline(transaction=False) as pipe:
            pipe.set("key", number)
            pipe.get("key")
            assert await pipe.execute() == [True, str(number)]
        assert "key" in [key async for key in redis.scan_iter()]
        assert sorted(await asyncio.gather(*(redis.incr(f"gathered{number}") for _ in range(5)))) == [*range(1, 6)]
        if servers:
            assert named(servers) > 0

    for number in range(1, 4):
        asyncio.run(work(number))
        wait_until(lambda: named(servers) == 0)
    assert Redis(app).get("counter") == "3"
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

async def until_blocked(number):
    while (await redis.info("clients"))["blocked_clients"] < number:
        pass

def request(view, times):
    app.add_url_rule("/", view_func=view)
    client = app.test_client()
    for _ in range(times):
        assert client.get("/").text == "answer"
"""

END = """
print("done")
sys.stdin.readline()
kept.clear()
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
    await until_blocked(2)
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
    """A command that is cancelled, alone or with its view, leaves no connection, and the client goes on working."""
    leaves_no_connection(
        server,
        """
async def view():
    task = asyncio.create_task(view_to_cancel())
    await until_blocked(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await redis.incr("hits")
    kept.add(asyncio.create_task(cancel(asyncio.current_task())))
    await redis.blpop(["nothing"], 0)

async def view_to_cancel():
    await redis.blpop(["nothing"], 0)

async def cancel(task):
    await until_blocked(1)
    task.cancel()

app.add_url_rule("/", view_func=view)
client = app.test_client()
for _ in range(200):
    try:
        client.get("/")
    except BaseException as error:
        assert type(error).__name__ == "CancelledError"
    else:
        raise AssertionError("not cancelled")
""",
    )
    assert server.command("GET", "hits") == "200"


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


def test_two_loops_at_the_same_time(app: Flask, server: Server) -> None:
    """Each of two running loops has a client of its own, and the end of one does not disturb the other."""
    redis = AsyncRedis(app)
    first_is_ready, second_is_done = threading.Event(), threading.Event()
    before = connected(server)

    async def first() -> tuple[int, t.Any, int]:
        connection = await redis.client_id()
        client = redis.connection
        first_is_ready.set()
        await asyncio.to_thread(second_is_done.wait)
        assert redis.connection is client
        return connection, client, await redis.client_id()

    async def second() -> t.Any:
        await redis.ping()
        assert connected(server) == before + 2
        return redis.connection

    results: list[tuple[int, t.Any, int]] = []
    thread = threading.Thread(target=lambda: results.append(run(first)))
    thread.start()
    first_is_ready.wait()
    other_client = run(second)
    wait_until(lambda: connected(server) == before + 1)
    second_is_done.set()
    thread.join()
    ((connection, client, connection_at_the_end),) = results
    assert connection == connection_at_the_end
    assert client is not other_client
    wait_until(lambda: connected(server) == before)


def test_one_client_in_a_loop(make_app: MakeApp, server: Server) -> None:
    """In one loop each app and prefix has one client, whatever task asks for it."""
    redis, cache = AsyncRedis(), AsyncRedis(config_prefix="CACHE")
    apps = [make_app(URL=server.url) for _ in range(2)]
    for app in apps:
        app.config["CACHE_URL"] = server.url
        redis.init_app(app)
        cache.init_app(app)

    async def client_of(extension: AsyncRedis) -> t.Any:
        await extension.ping()
        return extension.connection

    async def work() -> int:
        clients: list[t.Any] = []
        for app in apps:
            for extension in (redis, cache):
                with app.app_context():
                    first, second = await asyncio.gather(client_of(extension), client_of(extension))
                assert first is second
                clients.append(first)
        return len(set(clients))

    before = connected(server)
    assert run(work) == 4
    wait_until(lambda: connected(server) == before)


def shut_down_by_hand(work: cabc.Coroutine[t.Any, t.Any, t.Any]) -> None:
    """What servers did before there was asyncio.run."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def run_with_a_runner(work: cabc.Coroutine[t.Any, t.Any, t.Any]) -> None:
    """Python 3.11's way, which keeps the loop from one run to the next."""
    with asyncio.Runner() as runner:
        client = runner.run(client_of_the_loop())
        runner.run(work)
        assert runner.run(client_of_the_loop()) is client


async def client_of_the_loop() -> t.Any:
    """The client that the current application has in this loop."""
    return flask.current_app.extensions["redis"].asyncio["REDIS"]


RUNNERS = [asyncio.run, shut_down_by_hand, *([run_with_a_runner] if sys.version_info >= (3, 11) else [])]


@pytest.mark.parametrize("runner", RUNNERS)
def test_runners(
    runner: cabc.Callable[[cabc.Coroutine[t.Any, t.Any, t.Any]], None], app: Flask, server: Server
) -> None:
    """Whoever runs the loop, its shutdown closes the connections."""
    redis = AsyncRedis(app)
    before = connected(server)

    async def work() -> None:
        await asyncio.gather(*(redis.incr("hits") for _ in range(3)))
        assert connected(server) > before

    for _ in range(2):
        with app.app_context():
            runner(work())
        wait_until(lambda: connected(server) == before)


def test_a_loop_without_its_shutdown(server: Server) -> None:
    """A loop that is closed without its shutdown has its connections collected; the next loop has new ones."""
    before = connected(server)
    code = """
import weakref
loops = weakref.WeakSet()
for _ in range(20):
    loop = asyncio.new_event_loop()
    loops.add(loop)
    loop.run_until_complete(work())
    loop.close()
del loop
asyncio.run(work())
gc.collect()
assert not loops
"""
    work = """
async def work():
    await redis.incr("hits")
"""
    with start_python(APPLICATION + work + code + END, server.url, env={"PYTHONWARNINGS": "ignore"}) as process:
        process.wait_for_line("^done$")
        wait_until(lambda: connected(server) == before)
        assert server.command("GET", "hits") == "21"
        process.write_line("")
        assert process.wait() == 0


def test_an_application_that_goes_before_its_loop(server: Server) -> None:
    """When an application is collected while a loop runs, its connections in this loop are closed."""
    leaves_no_connection(
        server,
        """
import weakref

def visit():
    app = Flask("short-lived", instance_path="/nowhere")
    app.config["REDIS_URL"] = app.config["CACHE_URL"] = sys.argv[1]
    extensions = [AsyncRedis(app), AsyncRedis(app, "CACHE")]
    return extensions, weakref.ref(app)

async def main():
    references = []
    for _ in range(20):
        extensions, reference = visit()
        for each in extensions:
            await each.ping()
        references.append(reference)
    del extensions, each
    gc.collect()
    assert not any(reference() for reference in references)
    while int((await redis.info("clients"))["connected_clients"]) > int(sys.argv[2]) + 1:
        pass
    print("open: those of the other app alone")

asyncio.run(main())
""".replace("sys.argv[2]", str(connected(server))).replace('    print("open: those of the other app alone")\n', ""),
    )


# The last words of a loop


def test_generators_that_use_redis_at_the_end(server: Server) -> None:
    """Asynchronous generators which the loop's shutdown closes may use Redis: their connections are closed too."""
    leaves_no_connection(
        server,
        """
async def generator():
    try:
        yield
    finally:
        await redis.incr("last words")
        await asyncio.sleep(0.001)
        async with redis.pipeline() as pipe:
            await pipe.incr("last words").incr("last words").execute()

async def main(before, after):
    for _ in range(before):
        kept.add(each := generator())
        await each.__anext__()
    await redis.ping()
    for _ in range(after):
        kept.add(each := generator())
        await each.__anext__()

for _ in range(20):
    asyncio.run(main(1, 1))
    asyncio.run(main(0, 3))
    asyncio.run(main(3, 0))
""",
    )
    assert server.command("GET", "last words") == str(20 * 8 * 3)


@pytest.mark.parametrize("before", [True, False])
def test_too_late(before: bool, server: Server) -> None:
    """Once the loop's shutdown has closed the client, or would not close it any more, a command is an error."""
    leaves_no_connection(
        server,
        f"""
loop = asyncio.new_event_loop()

async def work():
    await redis.ping()

if {before}:
    loop.run_until_complete(work())
loop.run_until_complete(loop.shutdown_asyncgens())
for _ in range(2):
    try:
        loop.run_until_complete(work())
    except RuntimeError as error:
        assert "'REDIS' is used after its event loop has shut down and closed its connections." in str(error)
    else:
        raise AssertionError("no error")
loop.close()
""",
    )


def test_a_generator_that_does_not_end(app: Flask, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shutdown does not wait for ever for a generator that does not end: the connections are closed before."""
    monkeypatch.setattr(flask_redis.asyncio, "LAST_USE_TIMEOUT", 1)
    redis = AsyncRedis(app)
    before = connected(server)
    errors: list[Exception] = []

    async def generator() -> cabc.AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await redis.set("key", "value")
            await asyncio.to_thread(wait_until, lambda: connected(server) == before)
            try:
                await redis.get("key")
            except RuntimeError as error:
                errors.append(error)

    generators = [generator()]

    async def work() -> None:
        await generators[0].__anext__()
        await redis.ping()

    run(work)
    assert "has shut down" in str(errors[0])
    assert server.command("GET", "key") == "value"
    assert connected(server) == before


def test_a_task_that_nobody_cancels(make_app: MakeApp, server: Server) -> None:
    """A task that still runs at the shutdown, which asyncio.run cancels before, has its connection closed."""
    redis = AsyncRedis(make_app(URL=server.url, RETRY=0))
    before = connected(server)
    loop = asyncio.new_event_loop()

    async def work() -> None:
        await redis.brpop(["nothing"], 0)

    async def start() -> asyncio.Task[None]:
        task = asyncio.create_task(work())
        while (await redis.info("clients"))["blocked_clients"] == 0:
            pass
        return task

    task = loop.run_until_complete(start())
    loop.run_until_complete(loop.shutdown_asyncgens())
    with pytest.raises(redis_py.ConnectionError):
        loop.run_until_complete(task)
    wait_until(lambda: connected(server) == before)
    loop.close()


# Retries and the circuit breaker


RETRIES: list[t.Any] = [1, "1", Retry(NoBackoff(), 1), AsyncRetry(NoBackoff(), 1)]


@pytest.mark.parametrize("retry", [0, *RETRIES], ids=["none", "number", "text", "sync", "asyncio"])
def test_retry(retry: t.Any, make_app: MakeApp, server: Server) -> None:
    """RETRY is for both kinds of client: a number, or a Retry of either kind."""
    with Proxy(server.port) as proxy:
        # redis-py 5 tries no command again unless it is told for which errors.
        app = make_app(URL=proxy.url, RETRY=retry, RETRY_ON_ERROR=[redis_py.ConnectionError])
        redis, async_redis = Redis(app), AsyncRedis(app)

        def interrupted(ping: cabc.Callable[[], t.Any]) -> bool:
            """Whether *ping* succeeds, though its connection breaks while it waits for the answer."""
            proxy.drop()
            received = proxy.bytes_from_clients
            with concurrent.futures.ThreadPoolExecutor() as executor:
                answer = executor.submit(ping)
                wait_until(lambda: proxy.bytes_from_clients > received)
                proxy.heal()
                proxy.cut()
            return not isinstance(answer.exception(), redis_py.ConnectionError)

        async def work() -> bool:
            await async_redis.ping()
            loop = asyncio.get_running_loop()

            async def ping_in_loop() -> None:
                await async_redis.ping()

            def ping() -> None:
                asyncio.run_coroutine_threadsafe(ping_in_loop(), loop).result()

            return await asyncio.to_thread(interrupted, ping)

        redis.ping()
        assert interrupted(redis.ping) == run(work) == bool(retry)


def breaker_of(app: Flask) -> t.Any:
    """The breaker that *app* has for the prefix REDIS."""
    return app.extensions["redis"].breakers["REDIS"]


def test_the_circuit_breaker_spans_loops_and_kinds(make_app: MakeApp, server: Server) -> None:
    """Failures count together over loops and both kinds of client; what one finds out holds for the others."""
    with Proxy(server.port) as proxy:
        app = make_app(URL=proxy.url, RETRY=0, CIRCUIT_BREAKER={"fail_max": 3, "reset_timeout": 60})
        redis, async_redis = Redis(app), AsyncRedis(app)
        run(async_redis.ping)
        proxy.refuse()
        proxy.cut()
        for _ in range(2):
            with pytest.raises(redis_py.ConnectionError):
                run(async_redis.ping)
        assert breaker_of(app).current_state == "closed"
        with pytest.raises(redis_py.ConnectionError):
            redis.ping()
        assert breaker_of(app).current_state == "open"
        with pytest.raises(redis_py.ConnectionError, match="circuit breaker of REDIS is open"):
            redis.ping()
        with pytest.raises(redis_py.ConnectionError, match="circuit breaker of REDIS is open"):
            run(async_redis.ping)
        proxy.accept()
        breaker_of(app).reset_timeout = 0.001
        breaker_of(app).open()
        wait_until(lambda: run(async_redis.ping), ignoring=(redis_py.ConnectionError,))
        assert breaker_of(app).current_state == "closed"
        assert redis.ping()


def test_the_circuit_breaker_in_async_views(make_app: MakeApp) -> None:
    """Each request has a loop and a client of its own; their failures count together."""
    app = make_app(URL=f"redis://127.0.0.1:{free_port()}", RETRY=0, CIRCUIT_BREAKER={"fail_max": 3})
    redis = AsyncRedis(app)

    @app.get("/")
    async def index() -> str:
        try:
            await redis.ping()
        except redis_py.ConnectionError as error:
            return str("circuit breaker" in str(error))
        return "no error"

    client = app.test_client()
    assert [client.get("/").text for _ in range(5)] == ["False"] * 3 + ["True"] * 2


def test_the_circuit_breaker_of_a_cluster(make_app: MakeApp) -> None:
    """A new client for each loop is no answer of the cluster: its breaker opens when no node can be reached."""
    app = make_app(URL=f"redis+cluster://127.0.0.1:{free_port()}", RETRY=0, CIRCUIT_BREAKER={"fail_max": 3})
    redis = AsyncRedis(app)
    while breaker_of(app).current_state == "closed":
        with pytest.raises(redis_py.ConnectionError):
            run(redis.ping)
    with pytest.raises(redis_py.ConnectionError, match="circuit breaker of REDIS is open"):
        run(redis.ping)


def test_a_cancelled_command_is_no_failure(make_app: MakeApp, server: Server) -> None:
    """What a task gives up does not count against the server."""
    app = make_app(URL=server.url, CIRCUIT_BREAKER={"fail_max": 1})
    redis = AsyncRedis(app)

    async def work() -> None:
        for _ in range(3):
            task = asyncio.ensure_future(redis.blpop(["nothing"], 0))
            while (await redis.info("clients"))["blocked_clients"] == 0:
                pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await redis.ping()

    run(work)
    assert breaker_of(app).current_state == "closed"


def test_one_probe_which_may_be_cancelled(make_app: MakeApp, server: Server) -> None:
    """Of many tasks one is the probe; when it is cancelled, the circuit is not stuck."""
    with Proxy(server.port) as proxy:
        app = make_app(
            URL=proxy.url,
            RETRY=0,
            SOCKET_TIMEOUT=20,
            CIRCUIT_BREAKER={"fail_max": 1, "reset_timeout": 0.001},
        )
        redis = AsyncRedis(app)

        async def work() -> None:
            proxy.refuse()
            with pytest.raises(redis_py.ConnectionError):
                await redis.ping()
            # The next probe after this one.
            breaker_of(app).reset_timeout = 2
            proxy.heal()
            proxy.drop()
            tasks: list[asyncio.Task[t.Any]] = []
            while not proxy.bytes_from_clients:
                tasks += [asyncio.ensure_future(redis.ping()) for _ in range(10)]
                await asyncio.sleep(0.01)
            pending = set(tasks)
            while len(pending) > 1:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            (probe,) = pending
            probe.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 1
            assert sum("circuit breaker" in str(outcome) for outcome in outcomes) == len(tasks) - 1
            assert proxy.connections == 1
            proxy.heal()
            await asyncio.to_thread(wait_until, lambda: run(redis.ping), ignoring=(redis_py.ConnectionError,))
            assert await redis.ping()

        run(work)
        assert breaker_of(app).current_state == "closed"
