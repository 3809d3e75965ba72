"""What an application asks of Redis: recorded, in the Server-Timing header, and in the log when it is slow."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import concurrent.futures
import contextvars
import functools
import gc
import importlib.util
import inspect
import logging
import re
import sys
import textwrap
import time
import timeit
import typing as t
import weakref
from pathlib import Path

import flask
import pytest
import redis as redis_py
import redis.asyncio as redis_asyncio
from flask import Flask
from quart import Quart
from quart import websocket
from redis.client import Pipeline

from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import recording as recording_module
from flask_redis import Redis
from flask_redis.recording import Command
from flask_redis.recording import Part
from flask_redis.recording import record_commands
from flask_redis.recording import Recording

from .conftest import MakeApp
from .conftest import Report
from .conftest import TOPOLOGIES
from .harness.cluster import ClusterGroup
from .harness.processes import run_python
from .harness.proxy import Proxy
from .harness.servers import Server
from .harness.waiting import wait_until

#: redis-py has transactions on a cluster since 6.2.
CLUSTER_TRANSACTIONS: t.Final = hasattr(redis_py.RedisCluster, "transaction")

# Quart 0.18, the last one for Flask 2.3, still asks for what Werkzeug 2.3 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The 'charset' attribute:DeprecationWarning")


def line_of(text: str) -> str:
    """Where *text* is in the calling function, as a recording says it."""
    frame = t.cast(t.Any, inspect.currentframe()).f_back
    lines, first = inspect.getsourcelines(frame)
    (number,) = (first + number for number, line in enumerate(lines) if text in line and "line_of" not in line)
    return f"{Path(__file__).relative_to(Path.cwd())}:{number}"


def shown(commands: cabc.Iterable[Part]) -> list[str]:
    """The commands as text."""
    return [str(command) for command in commands]


def piped(redis: Redis) -> t.Any:
    """A pipeline to chain commands on, which redis-py's types do not know."""
    return redis.pipeline()


# What is recorded


def test_a_page_makes_two_round_trips(app: Flask) -> None:
    """What a request asks of Redis is recorded: one assert says how many round trips a page makes."""
    redis = Redis(app)

    @app.get("/")
    def index() -> str:
        redis.incr("hits")
        return str(redis.get("hits"))

    with record_commands() as commands:
        assert app.test_client().get("/").text == "1"
    assert len(commands) == 2

    first, second = commands
    assert (first.name, first.args, first.prefix) == ("INCRBY", ("hits", "1"), "REDIS")
    assert (second.name, second.args, second.prefix) == ("GET", ("hits",), "REDIS")
    assert first.line == line_of('redis.incr("hits")')
    assert second.line == line_of('redis.get("hits")')
    assert 0 < first.started < first.started + first.duration < second.started
    assert [first.error, first.repeated, first.parts] == [None, False, ()]


def test_only_in_the_block(app: Flask) -> None:
    """What is sent before and after the block is not recorded."""
    redis = Redis(app)
    redis.set("key", "before")
    with record_commands() as commands:
        redis.set("key", "within")
    redis.set("key", "after")
    assert shown(commands) == ["SET key within"]


def test_blocks_within_each_other(app: Flask) -> None:
    """A command belongs to all blocks around it."""
    redis = Redis(app)
    with record_commands() as outer:
        redis.get("a")
        with record_commands() as inner:
            redis.get("b")
        redis.get("c")
    assert shown(outer) == ["GET a", "GET b", "GET c"]
    assert shown(inner) == ["GET b"]


def test_an_error_in_the_block(app: Flask) -> None:
    """The recording ends with the block, whatever ends that."""
    redis = Redis(app)
    redis.set("key", "text")
    with pytest.raises(redis_py.ResponseError), record_commands() as commands:
        redis.incr("key")
    redis.get("key")
    assert shown(commands) == ["INCRBY key 1"]
    assert commands[0].error == "ResponseError: value is not an integer or out of range"


@pytest.mark.parametrize("places", TOPOLOGIES, indirect=True)
def test_topologies(places: tuple[dict[str, t.Any], list[Server]], make_app: MakeApp) -> None:
    """Commands and pipelines of every topology are recorded, of Redis and of AsyncRedis."""
    config, _ = places
    app = make_app(**config, CIRCUIT_BREAKER=True)
    redis, async_redis = Redis(app), AsyncRedis(app)

    async def work() -> None:
        await async_redis.get("{key}1")
        async with async_redis.pipeline() as pipe:
            pipe.set("{key}1", "value")
            pipe.get("{key}2")
            await pipe.execute()

    # A client of a cluster asks a question of its own at first.
    redis.set("{key}2", "value")
    with record_commands() as commands:
        redis.set("{key}2", "value")
        with redis.pipeline() as pipe:
            pipe.get("{key}1")
            pipe.get("{key}2")
            pipe.execute()
        asyncio.run(work())
    assert shown(commands) == [
        "SET {key}2 value",
        "PIPELINE GET {key}1 | GET {key}2",
        "GET {key}1",
        "PIPELINE SET {key}1 value | GET {key}2",
    ]
    assert shown(commands[1].parts) == ["GET {key}1", "GET {key}2"]
    assert {command.line.partition(":")[0] for command in commands} == {line_of("def work").partition(":")[0]}
    assert all(command.duration > 0 and command.error is None for command in commands)


@pytest.mark.parametrize("topology", ["standalone", *(["cluster"] if CLUSTER_TRANSACTIONS else [])])
def test_transactions(topology: str, make_app: MakeApp, request: pytest.FixtureRequest) -> None:
    """In a transaction, WATCH and what is read after it are round trips of their own."""
    app = make_app(URL=request.getfixturevalue("server" if topology == "standalone" else "cluster_group").url)
    redis, async_redis = Redis(app), AsyncRedis(app)
    redis.set("key", 1)

    def double(pipe: t.Any) -> None:
        value = int(pipe.get("key"))
        pipe.multi()
        pipe.set("key", value * 2)

    async def double_async(pipe: t.Any) -> None:
        value = int(await pipe.get("key"))
        pipe.multi()
        pipe.set("key", value * 2)

    async def work() -> None:
        await async_redis.transaction(double_async, "key")

    with record_commands() as commands:
        redis.transaction(double, "key")
        asyncio.run(work())
    assert shown(commands) == [
        "WATCH key",
        "GET key",
        "PIPELINE SET key 2",
        "WATCH key",
        "GET key",
        "PIPELINE SET key 4",
    ]


@pytest.mark.parametrize("topology", ["standalone", "cluster"])
def test_reused_pipelines(topology: str, make_app: MakeApp, request: pytest.FixtureRequest) -> None:
    """A pipeline may be older than the recording, and be used again; without commands it sends nothing."""
    app = make_app(URL=request.getfixturevalue("server" if topology == "standalone" else "cluster_group").url)
    pipe = Redis(app).pipeline()
    pipe.set("key", 1)
    with record_commands() as commands:
        pipe.execute()
        pipe.execute()
        pipe.set("dropped", 1)
        pipe.reset()
        pipe.get("key")
        pipe.execute()
    assert shown(commands) == ["PIPELINE SET key 1", "PIPELINE GET key"]


def test_scripts_and_locks(app: Flask) -> None:
    """What redis-py sends for a script or a lock is recorded, also for one that is older than the recording."""
    redis = Redis(app)
    with app.app_context():
        script = redis.register_script("return 1")
        lock = redis.lock("lock")
        with record_commands() as commands:
            script()
            script()
            with redis.pipeline() as pipe:
                script(client=pipe)
                pipe.execute()
            with lock:
                pass
    names = [command.name for command in commands]
    assert names[:6] == ["EVALSHA", "SCRIPT LOAD", "EVALSHA", "EVALSHA", "SCRIPT EXISTS", "PIPELINE"]
    assert names[6] == "SET"
    assert names[-1] == "EVALSHA"
    assert t.cast(str, commands[0].error).startswith("NoScriptError")


def test_prefixes(make_app: MakeApp, server: Server) -> None:
    """Each command says which connection it is of, in a recording of several."""
    app = make_app(URL=server.url)
    app.config["CACHE_URL"] = f"redis://{server.host}:{server.port}/1"
    redis, cache = Redis(app), Redis(app, "CACHE")
    with record_commands() as commands:
        redis.get("key")
        cache.get("key")
        redis.connection.client().get("key")
    assert [command.prefix for command in commands if command.name == "GET"] == ["REDIS", "CACHE", "REDIS"]


def test_a_class_of_the_users_own(make_app: MakeApp, server: Server) -> None:
    """Commands of a configured class are recorded; one that has nothing of redis-py's stays as it is."""

    class Shouting(redis_py.Redis):
        def execute_command(self, *args: t.Any, **options: t.Any) -> t.Any:
            base: t.Any = super()
            return base.execute_command(*(str(arg).upper() for arg in args), **options)

    class Other:
        def __init__(self, **options: t.Any) -> None:
            self.options = options

    redis = Redis(make_app(URL=server.url, CLASS=Shouting))
    with record_commands() as commands:
        redis.set("key", "value")
    assert shown(commands) == ["SET key value"]
    assert redis.get("KEY") == b"VALUE"
    other: t.Any = Redis(make_app(CLASS=Other)).connection
    assert type(other) is Other


def test_pipelines_of_the_users_own(make_app: MakeApp, server: Server) -> None:
    """What a pipeline of another kind returns is left as it is."""

    class Odd(Pipeline):
        def execute(self, raise_on_error: bool = True) -> t.Any:
            return iter(super().execute(raise_on_error))

    class Wrapper:
        __slots__ = ()

    class Custom(redis_py.Redis):
        def pipeline(self, transaction: t.Any = True, shard_hint: t.Any = None) -> t.Any:
            if transaction == "wrapper":
                return Wrapper()
            return Odd(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    redis: t.Any = Redis(make_app(URL=server.url, CLASS=Custom, DECODE_RESPONSES=True))
    with record_commands() as commands:
        assert list(redis.pipeline().set("key", "value").get("key").execute()) == [True, "value"]
    assert shown(commands) == ["PIPELINE SET key value | GET key"]
    assert isinstance(redis.pipeline("wrapper"), Wrapper)


def test_a_class_for_asyncio_without_coroutine_functions(make_app: MakeApp, cluster_group: ClusterGroup) -> None:
    """A configured class may wrap execute_command() without being a coroutine function itself."""

    class Custom(redis_asyncio.RedisCluster):
        def execute_command(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            return super().execute_command(*args, **kwargs)

    redis = AsyncRedis(make_app(URL=cluster_group.url, CLASS=Custom))

    async def work() -> None:
        await redis.set("key", "value")

    with record_commands() as commands:
        asyncio.run(work())
    assert shown(commands) == ["SET key value"]


def test_redirections(make_app: MakeApp, cluster_group: ClusterGroup) -> None:
    """A command that another node of a cluster has to answer is one entry, in a pipeline too."""
    app = make_app(URL=cluster_group.url)
    redis, async_redis = Redis(app), AsyncRedis(app)

    async def work() -> None:
        async_cluster: t.Any = async_redis.connection
        await async_redis.get("key")
        for number in range(2):
            async_cluster.nodes_manager.slots_cache = wrong(async_cluster.nodes_manager.slots_cache)
            if number:
                async with async_redis.pipeline() as pipe:
                    pipe.get("key")
                    pipe.get("key")
                    await pipe.execute()
            else:
                await async_redis.get("other")

    def wrong(slots: dict[int, t.Any]) -> dict[int, t.Any]:
        """Slots, each with the node of another one."""
        nodes = {id(found): found for found in slots.values()}
        others = dict(zip(nodes, [*nodes.values()][1:] + [*nodes.values()][:1], strict=True))
        return {slot: others[id(found)] for slot, found in slots.items()}

    cluster: t.Any = redis.connection
    redis.get("key")
    with record_commands() as commands:
        cluster.nodes_manager.slots_cache = wrong(cluster.nodes_manager.slots_cache)
        redis.get("other")
        cluster.nodes_manager.slots_cache = wrong(cluster.nodes_manager.slots_cache)
        piped(redis).get("key").get("key").execute()
        asyncio.run(work())
    expected = ["GET other", "PIPELINE GET key | GET key"]
    assert shown(commands) == [*expected, "GET key", *expected]


def test_pub_sub(app: Flask) -> None:
    """A message that is published is recorded; to subscribe and to wait for messages is not."""
    redis = Redis(app)
    with record_commands() as commands, redis.pubsub() as pubsub:
        pubsub.subscribe("channel")
        redis.publish("channel", "message")
        assert pubsub.get_message(timeout=30)
    assert shown(commands) == ["PUBLISH channel message"]


# Threads and tasks


def test_async_views(app: Flask) -> None:
    """A recording around a request has the commands of an asynchronous view, in their order or at the same time."""
    redis, async_redis = Redis(app), AsyncRedis(app)

    @app.get("/")
    async def index() -> str:
        await async_redis.set("key", "value")
        values = await asyncio.gather(
            async_redis.get("key"),
            async_redis.get("other"),
        )
        return f"{values} {redis.get('third')!r}"

    with record_commands() as commands:
        app.test_client().get("/")
    assert shown(commands[:1]) == ["SET key value"]
    assert sorted(shown(commands[1:3])) == ["GET key", "GET other"]
    assert shown(commands[3:]) == ["GET third"]
    lines = {str(command): command.line for command in commands}
    assert lines["GET key"] == line_of('async_redis.get("key"),')
    assert lines["GET other"] == line_of('async_redis.get("other"),')


def test_quart(server: Server) -> None:
    """A recording around a request to a Quart application has its commands."""
    app = Quart("app")
    app.config["REDIS_URL"] = server.url
    redis = AsyncRedis(app)

    @app.get("/")
    async def index() -> str:
        return str(await redis.incr("hits"))

    async def work() -> list[str]:
        with record_commands() as commands:
            await app.test_client().get("/")
        return shown(commands)

    assert asyncio.run(work()) == ["INCRBY hits 1"]


def test_other_threads(app: Flask) -> None:
    """What another thread does at the same time is not recorded, unless it is given the context."""
    redis = Redis(app)
    with record_commands() as commands, concurrent.futures.ThreadPoolExecutor(1) as executor:
        executor.submit(redis.get, "theirs").result(10)
        executor.submit(contextvars.copy_context().run, redis.get, "ours").result(10)
    assert shown(commands) == ["GET ours"]


def test_recordings_at_the_same_time(app: Flask) -> None:
    """Requests that run at the same time have a recording each."""
    redis = Redis(app)

    def work(number: int) -> list[str]:
        with app.test_request_context(), record_commands() as commands:
            for _ in range(50):
                redis.get(str(number))
        return shown(commands)

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        for number, found in enumerate(executor.map(work, range(4))):
            assert found == [f"GET {number}"] * 50


def test_one_recording_of_several_threads(app: Flask) -> None:
    """A recording takes what several threads do at the same time, and loses nothing."""
    redis = Redis(app)

    def work() -> None:
        for number in range(200):
            redis.get(f"key:{number}")
            redis.set(f"key:{number}", number)

    async def main() -> None:
        await asyncio.gather(*(asyncio.to_thread(work) for _ in range(4)))

    with record_commands() as commands:
        asyncio.run(main())
    assert len(commands) == 1600


def test_tasks_that_outlive_the_block(app: Flask) -> None:
    """A recording ends with its block, though a task that was started in it goes on."""
    redis = AsyncRedis(app)

    async def main() -> list[Command]:
        asked, ended = asyncio.Event(), asyncio.Event()

        async def task() -> None:
            await redis.get("within")
            asked.set()
            await ended.wait()
            await redis.get("after")

        with record_commands() as commands:
            running = asyncio.create_task(task())
            await asked.wait()
        ended.set()
        await running
        return commands

    assert shown(asyncio.run(main())) == ["GET within"]


# How a command is shown


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("get", "key"), "GET key"),
        (("GET", b"\xff\x00"), "GET \\xff\x00"),
        (("SET", "key", memoryview(b"value"), "EX", 2.5), "SET key value EX 2.5"),
        (("CLIENT INFO",), "CLIENT INFO"),
        (("config", "get", "maxmemory"), "CONFIG GET maxmemory"),
        (("ECHO hello",), "ECHO hello"),
        (("SET", "key", "v" * 100), f"SET key {'v' * 59}…"),
        (("RPUSH", "key", *range(20)), "RPUSH key 0 1 2 3 4 5 6 7 8 (11 more)"),
        (("CLIENT",), "CLIENT"),
        (("",), ""),
    ],
)  # fmt: skip
def test_name_and_arguments(args: tuple[t.Any, ...], expected: str, make_app: MakeApp) -> None:
    """A name is in upper case and has its subcommand; arguments are text, shortened where they are long or many."""
    redis = Redis(make_app(URL="redis://localhost:1", RETRY=0))
    with record_commands() as commands, pytest.raises(redis_py.ConnectionError):
        redis.execute_command(*args)
    assert shown(commands) == [expected]


@pytest.mark.parametrize(
    "args",
    [
        ("AUTH", "s3cret"),
        ("AUTH s3cret",),
        (b"auth", b"s3cret"),
        ("HELLO", 3, "AUTH", "default", "s3cret"),
        ("ACL SETUSER", "user", "on", ">s3cret"),
        ("ACL", "setuser", "user", "on", ">s3cret"),
        ("CONFIG SET", "requirepass", "s3cret"),
        ("MIGRATE", "localhost", 1, "key", 0, 1, "AUTH", "s3cret"),
        ("SENTINEL", "SET", "service", "auth-pass", "s3cret"),
    ],
)
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_secrets(
    in_pipeline: bool, args: tuple[t.Any, ...], make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Arguments that may hold a password are not shown, and no error's message that may repeat them."""
    redis = Redis(make_app(URL="redis://localhost:1", RETRY=0, SLOW_COMMAND=1e-9))
    with record_commands() as commands, pytest.raises(redis_py.RedisError):
        piped(redis).execute_command(*args).execute() if in_pipeline else redis.execute_command(*args)
    (command,) = commands
    assert (command.parts or commands)[0].args == ("***",)
    assert "ConnectionError" in str(command.error)
    assert "s3cret" not in repr(commands) + caplog.text
    assert command.name in caplog.text


def test_errors_in_a_pipeline(app: Flask) -> None:
    """A pipeline has the error that it raised; where it gives errors among the results, its commands have them."""
    redis = Redis(app)
    redis.set("key", "text")
    with record_commands() as commands:
        for raise_on_error in (True, False):
            pipe = piped(redis).get("key").incr("key")
            try:
                pipe.execute(raise_on_error)
            except redis_py.ResponseError:
                assert raise_on_error
    raised, returned = commands
    assert t.cast(str, raised.error).startswith("ResponseError: Command # 2 (INCRBY key 1) of pipeline caused error")
    assert [part.error for part in raised.parts] == [None, None]
    assert returned.error is None
    assert [part.error for part in returned.parts] == [None, "ResponseError: value is not an integer or out of range"]


def test_errors_of_a_dead_server(make_app: MakeApp) -> None:
    """A command that nobody answers is a round trip that failed. Long messages are shortened."""
    redis = Redis(make_app(URL="redis://localhost:1", RETRY=0))
    with record_commands() as commands, pytest.raises(redis_py.ConnectionError):
        redis.get("key")
    (command,) = commands
    assert t.cast(str, command.error).startswith("ConnectionError: Error 111 connecting to localhost:1.")


def test_cancelled_commands(app: Flask) -> None:
    """A command that is cancelled is in the recording, and says so."""
    redis = AsyncRedis(app)

    async def work() -> list[Command]:
        with record_commands() as commands, pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(redis.blpop(["nothing"], 10), 0.05)
        return commands

    (command,) = asyncio.run(work())
    assert (str(command), command.error) == ("BLPOP nothing 10", "CancelledError")


# The line of the application


def test_the_line_of_an_application_that_is_a_package(app: Flask, tmp_path: Path) -> None:
    """It is the nearest one that is not of a package; where all are, the nearest one that is not redis-py's."""
    redis = Redis(app)
    places = {"inner": tmp_path / "site-packages/inner.py", "outer": tmp_path / "outer.py"}
    places["inner"].parent.mkdir()
    places["inner"].write_text("def ask(redis):\n    return redis.get('key')\n")
    places["outer"].write_text("def ask(inner, redis):\n    return inner.ask(redis)\n")
    modules: dict[str, t.Any] = {}
    for name, path in places.items():
        spec = t.cast(t.Any, importlib.util.spec_from_file_location(name, path))
        modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[name])
    with record_commands() as commands:
        modules["outer"].ask(modules["inner"], redis)
        # From a thread, whose other lines are Python's.
        context = contextvars.copy_context()
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            executor.submit(context.run, modules["inner"].ask, redis).result(10)
            executor.submit(context.run, redis.get, "key").result(10)
    assert [command.line for command in commands] == [f"{places['outer']}:2", f"{places['inner']}:2", ""]


# Repeated reads


def test_secrets_in_the_errors_of_a_server(app: Flask) -> None:
    """What redis-py repeats of a command in an error's message is not shown where it may be a secret."""
    redis = Redis(app)
    with record_commands() as commands, pytest.raises(redis_py.ResponseError, match="CONFIG SET nope s3cret"):
        piped(redis).execute_command("CONFIG SET", "nope", "s3cret").execute()
    assert commands[0].error == "ResponseError"


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        ("get a, flushdb, get a", "    "),
        ("zscore a m, zrevrank a m, zscore a m", "    R"),
        ("get a, get a, get a", "  R R"),
        ("get a, get b, hgetall a", "     "),
        ("get a, set a 1, get a, get a", "      R"),
        ("get a, set b 1, get a", "    R"),
        ("mget a b, mget b a, mget a b", "    R"),
        ("lrange a 0 -1, lrange a 0 5, lrange a 0 -1", "    R"),
        ("incr a, incr a", "   "),
        ("srandmember a, srandmember a, randomkey, randomkey, dbsize, dbsize", "           "),
    ],
)
def test_repeated_reads(work: str, expected: str, app: Flask) -> None:
    """A read that was already made is flagged, unless its key was written between."""
    redis = Redis(app)
    with record_commands() as commands:
        for command in work.split(", "):
            redis.execute_command(*command.split())
    assert " ".join("R" if command.repeated else " " for command in commands) == expected.ljust(len(commands) * 2 - 1)


def test_repeated_reads_in_pipelines(app: Flask) -> None:
    """A command in a pipeline may be a repeated read; the pipeline is one when all of them are."""
    redis = Redis(app)
    with record_commands() as commands:
        redis.get("a")
        piped(redis).get("a").get("b").execute()
        piped(redis).get("a").get("b").execute()
    assert [command.repeated for command in commands] == [False, False, True]
    assert [part.repeated for part in commands[1].parts] == [True, False]


def test_repeated_reads_of_several_connections(make_app: MakeApp, server: Server) -> None:
    """The same read on two connections is none, and a write on one says nothing of the other."""
    app = make_app(URL=server.url)
    app.config["CACHE_URL"] = f"redis://{server.host}:{server.port}/1"
    redis, cache = Redis(app), Redis(app, "CACHE")
    with record_commands() as commands:
        redis.get("key")
        cache.get("key")
        cache.set("key", "value")
        redis.get("key")
    # A connection may have to introduce itself before.
    assert [command.repeated for command in commands if command.args[:1] == ("key",)] == [False, False, False, True]


# The price


def test_nothing_is_in_the_way_before_the_first_recording(server: Server) -> None:
    """Until something records, a command of the client is redis-py's own method: it costs nothing more."""
    code = """
        import asyncio, redis, sys
        from flask import Flask
        from flask_redis import AsyncRedis, Redis
        from flask_redis.recording import record_commands

        app = Flask("app")
        app.config["REDIS_URL"] = app.config["LATER_URL"] = sys.argv[1]
        early, late, asynchronous = Redis(app), Redis(), AsyncRedis(app)

        async def in_a_loop():
            return type(asynchronous.connection).execute_command is redis.asyncio.Redis.execute_command

        assert type(early.connection).execute_command is redis.Redis.execute_command
        assert asyncio.run(in_a_loop())
        early.get("key")
        with record_commands() as commands:
            early.get("key")
            late.init_app(app, "LATER")
            with app.app_context():
                late.get("key")
        assert [command.prefix for command in commands] == ["REDIS", "LATER"]
        assert not asyncio.run(in_a_loop())
    """
    run_python(textwrap.dedent(code), server.url)


def calls(function: cabc.Callable[[], t.Any]) -> int:
    """How many functions of Python it calls, where the garbage collector does not call some in between."""

    def count() -> int:
        events: list[str] = []
        sys.setprofile(lambda _frame, event, _argument: events.append(event))
        try:
            function()
        finally:
            sys.setprofile(None)
        return events.count("call")

    return min(count() for _ in range(5))


def test_the_price_after_the_first_recording(make_app: MakeApp, server: Server, report: Report) -> None:
    """Then it takes one more call of a function, which is next to nothing."""
    with record_commands():
        pass
    ours = Redis(make_app(URL=server.unix_url)).connection
    plain = redis_py.Redis.from_url(server.unix_url)
    times: dict[redis_py.Redis, list[float]] = {ours: [], plain: []}
    # What this thread itself takes, at its best: without the server's part, and that of other processes.
    for client in [ours, plain] * 100:
        times[client].append(timeit.timeit(functools.partial(client.get, "key"), timer=time.thread_time, number=20))
    more = calls(functools.partial(ours.get, "key")) - calls(functools.partial(plain.get, "key"))
    plain.close()
    ratio = min(times[ours]) / min(times[plain])
    report("a GET that can be recorded, to redis-py's own", ratio, "times")
    assert more == 1
    assert ratio < 1.5


@pytest.mark.parametrize("topology", ["standalone", "cluster"])
def test_what_is_older_than_the_first_recording(topology: str, server: Server, request: pytest.FixtureRequest) -> None:
    """What was taken from the client before anything was recorded is recorded: pipelines, modules."""
    code = """
        import sys
        from flask import Flask
        from flask_redis import Redis
        from flask_redis.recording import record_commands

        app = Flask("app")
        app.config["REDIS_URL"] = sys.argv[1]
        redis = Redis(app)
        pipe, json = redis.pipeline(), redis.json()
        pipe.get("key")
        with record_commands() as commands:
            pipe.execute()
            for command in (lambda: json.get("key"), lambda: json.pipeline().get("key").execute()):
                try:
                    command()
                except Exception as error:
                    assert "command" in str(error), error
        assert [str(command) for command in commands if command.name != "COMMAND"] == [
            "PIPELINE GET key", "JSON.GET key .", "PIPELINE JSON.GET key ."
        ], commands
    """
    url = server.url if topology == "standalone" else request.getfixturevalue("cluster_group").url
    run_python(textwrap.dedent(code), url)


def test_many_commands(app: Flask) -> None:
    """A recording takes no longer for a command because it has many already."""
    redis = Redis(app)
    with record_commands() as commands:
        for number in range(2000):
            redis.get(f"read:{number}")
        pipe = redis.pipeline()
        for number in range(4000):
            pipe.set(f"key:{number}", number)
        # What this thread itself takes.
        started = time.thread_time()
        pipe.execute()
        # A second for each thousand, were every read looked at for each write.
        assert time.thread_time() - started < 2
    assert len(commands) == 2001


class Large(bytes):
    """A value that notes how much of it is looked at."""

    looked_at = 0

    def __getitem__(self, key: t.Any) -> t.Any:
        found = super().__getitem__(key)
        self.looked_at += len(found) if isinstance(key, slice) else 1
        return found

    def _all(self, function: cabc.Callable[..., t.Any], *args: t.Any) -> t.Any:
        self.looked_at += len(self)
        return function(self, *args)

    def __iter__(self) -> t.Any:
        return self._all(bytes.__iter__)

    def __bytes__(self) -> bytes:
        return t.cast(bytes, self._all(bytes.__getitem__, slice(None)))

    def __str__(self) -> str:
        return str(self._all(bytes.__repr__))

    __repr__ = __str__

    def decode(self, *args: t.Any, **_: t.Any) -> str:
        return str(self._all(bytes.decode, *args))


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_large_values(in_pipeline: bool, app: Flask) -> None:
    """Of a large value no more is looked at than is shown."""
    redis = Redis(app)
    value = Large(bytes(range(256)) * 16384)
    with record_commands() as commands:
        piped(redis).set("key", value).execute() if in_pipeline else redis.set("key", value)
    assert 60 <= value.looked_at < 1000
    (command,) = commands[0].parts or commands
    assert command.args[1].startswith("\x00\x01")
    assert len(command.args[1]) == 60


def test_classes_go_with_their_applications(make_app: MakeApp, server: Server) -> None:
    """Nothing of the recording keeps an application alive, or a class of the user's own."""

    class Custom(redis_py.Redis):
        pass

    def use(custom: type) -> weakref.ref[Flask]:
        app = make_app(URL=server.url, CLASS=custom, SLOW_COMMAND=1)
        redis = Redis(app)
        with record_commands() as commands:
            piped(redis).get("key").execute()
        assert commands
        return weakref.ref(app)

    app, custom = use(Custom), weakref.ref(Custom)
    del Custom
    gc.collect()
    assert app() is None
    # It goes some time after the subclass has gone.
    wait_until(lambda: gc.collect() >= 0 and custom() is None)


# Slow commands


def test_slow_commands(make_app: MakeApp, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """SLOW_COMMAND logs what takes that many seconds, on the logger of the application."""
    with Proxy(server.port) as proxy:
        app = make_app("shop", URL=proxy.url, SLOW_COMMAND="0.1")
        redis, async_redis = Redis(app), AsyncRedis(app)
        redis.ping()
        # To connect may have been slow.
        caplog.clear()
        proxy.delay(0.06)

        async def work() -> None:
            await async_redis.get("key")

        redis.get("key")
        piped(redis).get("a").get("b").execute()
        asyncio.run(work())
        redis.close()
    assert {(record.name, record.levelno) for record in caplog.records} == {("shop", logging.WARNING)}
    messages = [re.sub(r"[\d.]+ s,", "0.2 s,", record.getMessage()) for record in caplog.records]
    assert messages == [
        f"REDIS: GET key took 0.2 s, at {line_of('  redis.get(')}",
        f"REDIS: PIPELINE GET a | GET b took 0.2 s, at {line_of('.execute()')}",
        f"REDIS: GET key took 0.2 s, at {line_of('await async_redis.get')}",
    ]


def test_commands_that_are_not_slow(make_app: MakeApp, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged of a command that is fast, or that the application wants to take long."""
    fast = Redis(make_app(URL=server.url, SLOW_COMMAND=60))
    fast.xadd("stream", {"field": "value"})
    assert caplog.messages == []
    waiting = Redis(make_app(URL=server.url, SLOW_COMMAND=0.05))
    waiting.blpop(["nothing"], 0.1)
    waiting.xread({"stream": "$"}, block=100)
    assert caplog.messages == []


def test_an_application_that_is_gone(make_app: MakeApp, server: Server) -> None:
    """A client that outlives its application goes on, and logs nothing."""
    app = make_app(URL=server.url, SLOW_COMMAND=1e-9)
    client = Redis(app).connection
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None
    assert client.get("key") is None
    client.close()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"SLOW_COMMAND": "0"}, "REDIS_SLOW_COMMAND is '0'; accepted: a number of seconds above 0."),
        ({"SLOW_COMMAND": "often"}, "REDIS_SLOW_COMMAND is 'often'; accepted: a number of seconds above 0."),
        ({"SERVER_TIMING": 2}, "REDIS_SERVER_TIMING is 2; accepted: true, false, yes, no, on, off, 1 or 0."),
    ],
)
def test_config_errors(config: dict[str, t.Any], message: str, make_app: MakeApp) -> None:
    """A value that cannot be used is an error in init_app."""
    with pytest.raises(ConfigError) as caught:
        Redis(make_app(**config))
    assert str(caught.value) == message


# The Server-Timing header


def timings(header: str) -> list[tuple[str, str]]:
    """The name and description of each metric in a header. All have a duration in milliseconds."""
    metrics = [re.fullmatch(r'(\w+);dur=\d+\.\d{3};desc="([^"]*)"', metric) for metric in header.split(", ")]
    return [t.cast(tuple[str, str], t.cast("re.Match[str]", metric).groups()) for metric in metrics]


def test_server_timing(make_app: MakeApp, server: Server) -> None:
    """SERVER_TIMING adds a header to each response: the number of round trips of that request, and their time."""
    app = make_app(URL=server.url, SERVER_TIMING="yes")
    redis = Redis(app)

    @app.get("/<int:times>")
    def index(times: int) -> str:
        for _ in range(times):
            redis.get("key")
        return ""

    @app.get("/error")
    def error() -> str:
        redis.get("key")
        flask.abort(500)

    client = app.test_client()
    found = [client.get(f"/{path}").headers["Server-Timing"] for path in (0, 1, 3, "error", "missing")]
    assert [timings(header) for header in found] == [
        [("redis", "0 round trips")],
        [("redis", "1 round trip")],
        [("redis", "3 round trips (2 repeated)")],
        [("redis", "1 round trip")],
        [("redis", "0 round trips")],
    ]


def test_server_timing_of_several_connections(make_app: MakeApp, server: Server) -> None:
    """Each connection that has it switched on has a metric, which Redis and AsyncRedis of one prefix share."""
    app = make_app(URL=server.url, SERVER_TIMING=True)
    app.config.update(CACHE_URL=server.url, CACHE_SERVER_TIMING=True, QUIET_URL=server.url)
    redis, async_redis, cache, quiet = Redis(app), AsyncRedis(app), Redis(app, "CACHE"), Redis(app, "QUIET")

    @app.get("/")
    async def index() -> str:
        await async_redis.get("key")
        for each in (redis, cache, quiet):
            each.set("key", 1)
        return ""

    headers = app.test_client().get("/").headers.getlist("Server-Timing")
    assert sorted(timings(", ".join(headers))) == [("cache", "1 round trip"), ("redis", "2 round trips")]


def test_server_timing_in_quart(server: Server) -> None:
    """It is the same in Quart."""
    app = Quart("app")
    app.config.update(REDIS_URL=server.url, REDIS_SERVER_TIMING=True)
    redis = AsyncRedis(app)

    @app.get("/")
    async def index() -> str:
        await redis.get("key")
        return ""

    @app.websocket("/socket")
    async def socket() -> None:
        await websocket.send("there")

    async def work() -> str:
        client = app.test_client()
        async with client.websocket("/socket") as connection:
            assert await connection.receive() == "there"
        return (await client.get("/")).headers["Server-Timing"]

    assert timings(asyncio.run(work())) == [("redis", "1 round trip")]


def test_server_timing_of_a_stream(server: Server) -> None:
    """What a stream asks after the headers are sent is nobody's to tell, and is not kept."""
    app = Quart("app")
    app.config.update(REDIS_URL=server.url, REDIS_SERVER_TIMING=True)
    redis = AsyncRedis(app)
    recordings: list[Recording] = []

    @app.get("/")
    async def index() -> t.Any:
        async def events() -> t.Any:
            recordings.extend(recording_module._recordings.get())
            for _ in range(5):
                yield str(await redis.incr("events"))

        await redis.get("key")
        return events()

    async def work() -> t.Any:
        answer = await app.test_client().get("/")
        return answer.headers["Server-Timing"], await answer.get_data(as_text=True)

    header, body = asyncio.run(work())
    assert (timings(header), body) == ([("redis", "1 round trip")], "12345")
    assert [shown(recording.commands) for recording in recordings] == [["GET key"]]


@pytest.mark.parametrize(("prefix", "name"), [("MY CACHE", "my_cache"), ("КЭШ", "___"), ('A"B;\r\nC', "a_b___c")])
def test_server_timing_of_an_odd_prefix(prefix: str, name: str) -> None:
    """The name of a metric is a token, whatever the config prefix is."""
    app = Flask("app")
    app.config.update({f"{prefix}_URL": "memory://", f"{prefix}_SERVER_TIMING": True})
    Redis(app, prefix)
    assert timings(app.test_client().get("/").headers["Server-Timing"]) == [(name, "0 round trips")]


def test_no_server_timing_by_default(app: Flask) -> None:
    """Nobody learns how often the application asks unless it wants that."""
    Redis(app)
    assert "Server-Timing" not in app.test_client().get("/").headers


# What is over, and what would never be


def test_the_password_of_a_handshake_is_not_shown(make_app: MakeApp) -> None:
    """A server without HELLO repeats it with the password in its error, which a recording does not."""
    with Server(requirepass="the-secret", rename_command=("HELLO", "")) as server:
        # An older redis-py logs in without HELLO before that.
        server.command("CONFIG", "SET", "requirepass", "")
        redis = Redis(make_app(URL=server.url, USERNAME="default", PASSWORD="the-secret", PROTOCOL=3, RETRY=0))
        with record_commands() as commands, pytest.raises(redis_py.RedisError):
            redis.get("key")
    assert commands[0].error
    assert "the-secret" not in commands[0].error


def test_a_log_handler_that_asks_redis(make_app: MakeApp, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a log handler asks of Redis is recorded, but not logged: each line would be followed by another one."""
    app = make_app(URL=server.url, SLOW_COMMAND=1e-9)
    redis = Redis(app)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            redis.rpush("log", record.getMessage())

    # The logger is that of all applications of this name.
    monkeypatch.setattr(app.logger, "handlers", [Handler()])
    monkeypatch.setattr(app.logger, "propagate", False)
    with record_commands() as commands:
        redis.get("key")
        redis.get("another")
    assert [command.name for command in commands] == ["GET", "RPUSH", "GET", "RPUSH"]
    lines = [line.decode().split(" took ")[0] for line in t.cast("list[bytes]", redis.lrange("log", 0, -1))]
    assert lines == ["REDIS: GET key", "REDIS: GET another"]


def test_a_task_that_outlives_the_block(make_app: MakeApp, server: Server) -> None:
    """A task of the block lets the recording go at its next command, and holds no arguments before that."""
    redis = AsyncRedis(make_app(URL=server.url))

    async def work() -> tuple[list[bool], list[weakref.ref[Recording]]]:
        over = asyncio.Event()
        left: list[bool] = []
        recordings: list[weakref.ref[Recording]] = []

        async def task() -> None:
            await over.wait()
            (recording,) = recording_module._recordings.get()
            left.extend(map(bool, (recording._reads, recording._writes)))
            recordings.append(weakref.ref(recording))
            del recording
            await redis.get("key")
            left.append(bool(recording_module._recordings.get()))

        with record_commands() as commands:
            await redis.set("key", "x" * 1000)
            await redis.get("key")
            outlives = asyncio.create_task(task())
        over.set()
        await outlives
        assert shown(commands)[1:] == ["GET key"]
        return left, recordings

    left, (recording,) = asyncio.run(work())
    gc.collect()
    assert left == [False, False, False]
    assert recording() is None


def test_a_command_that_ends_after_the_block(make_app: MakeApp, server: Server) -> None:
    """What was begun in the block, and awaited later, is not recorded any more."""
    redis = AsyncRedis(make_app(URL=server.url))

    async def work() -> list[Command]:
        with record_commands() as commands:
            begun = redis.get("key")
        await begun
        return commands

    assert asyncio.run(work()) == []
