"""Redis and AsyncRedis in Quart: which app, and how long the pool lives under a real server."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import functools
import http.client
import re
import socket
import sys
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from quart import Quart

from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import Redis

from .conftest import MakeApp
from .harness.processes import Process
from .harness.servers import Server
from .harness.waiting import wait_until

# Quart 0.18, the last one for Flask 2.3, still asks for what Werkzeug 2.3 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The 'charset' attribute:DeprecationWarning")

MakeQuart = cabc.Callable[..., Quart]


@pytest.fixture
def make_quart(tmp_path: t.Any) -> MakeQuart:
    """Make a Quart application with a configuration of its own: the keys without their prefix, for the prefix REDIS."""

    def make(name: str = "app", **config: t.Any) -> Quart:
        app = Quart(name, instance_path=str(tmp_path / "instance"))
        app.config.update({f"REDIS_{key}": value for key, value in config.items()})
        return app

    return make


def connected(server: Server) -> int:
    """How many clients *server* has."""
    return int(server.info("clients")["connected_clients"])


def get(app: Quart, *paths: str) -> list[str]:
    """The answers of *app* at *paths*, in one event loop."""

    async def work() -> list[str]:
        client = app.test_client()
        return [await (await client.get(path)).get_data(as_text=True) for path in paths]

    return asyncio.run(work())


def test_both_classes_take_a_quart_app(make_quart: MakeQuart, server: Server) -> None:
    """Three lines are enough in Quart too, for both classes, in async views and in those that run in a thread."""
    app = make_quart(URL=server.url, DECODE_RESPONSES=True)
    redis, async_redis = Redis(app), AsyncRedis(app)

    @app.get("/async")
    async def in_loop() -> str:
        return f"{await async_redis.incr('hits')} {redis.get('hits')!r}"

    @app.get("/sync")
    def in_thread() -> str:
        return str(redis.incr("hits"))

    assert get(app, "/async", "/sync", "/async") == ["1 '1'", "2", "3 '3'"]


@pytest.mark.parametrize("extension_class", [Redis, AsyncRedis])
def test_which_app(extension_class: type[Redis] | type[AsyncRedis], make_quart: MakeQuart, server: Server) -> None:
    """The application is that of Quart's context: in views of either kind, in tasks, and in app.app_context()."""
    extension = extension_class()
    get_app = functools.partial(extension.get_app)
    apps = [make_quart(name, HOST=server.host, PORT=server.port, DB=db) for db, name in enumerate(["first", "second"])]
    for app in apps:
        extension.init_app(app)

        @app.get("/async")
        async def in_loop() -> str:
            kwargs = extension.connection.connection_pool.connection_kwargs
            return f"{get_app().name} {await asyncio.create_task(in_task())} {kwargs['db']}"

        @app.get("/sync")
        def in_thread() -> str:
            return get_app().name

    async def in_task() -> str:
        return get_app().name

    assert [get(app, "/async", "/sync") for app in apps] == [
        ["first first 0", "first"],
        ["second second 1", "second"],
    ]

    async def work() -> None:
        for app in apps:
            async with app.app_context():
                assert get_app() is t.cast(t.Any, app)

    asyncio.run(work())


def test_errors(make_quart: MakeQuart) -> None:
    """The errors are those in Flask: in the configuration, without an app, and without init_app."""
    with pytest.raises(ConfigError, match="REDIS_PORT"):
        AsyncRedis(make_quart(PORT="none"))
    redis = AsyncRedis()
    with pytest.raises(RuntimeError, match="has no application"):
        redis.get("key")

    async def work() -> None:
        async with make_quart("stranger").app_context():
            with pytest.raises(RuntimeError, match=r"'stranger'.*'REDIS'.*init_app"):
                redis.get("key")

    asyncio.run(work())


def test_flask_and_quart_in_one_process(make_app: MakeApp, make_quart: MakeQuart, server: Server) -> None:
    """One extension object serves applications of both kinds."""
    redis = AsyncRedis()
    flask_app: Flask = make_app(HOST=server.host, PORT=server.port, DB=1)
    quart_app: t.Any = make_quart(HOST=server.host, PORT=server.port, DB=2)
    redis.init_app(flask_app)
    redis.init_app(quart_app)

    async def work() -> None:
        async with quart_app.app_context():
            await redis.set("key", "Quart")
        with flask_app.app_context():
            await redis.set("key", "Flask")
            assert await redis.get("key") == b"Flask"
        async with quart_app.app_context():
            assert await redis.get("key") == b"Quart"

    asyncio.run(work())
    assert (server.client(db=1).get("key"), server.client(db=2).get("key")) == (b"Flask", b"Quart")


APPLICATION = """
import asyncio, os, sys
from quart import Quart
from flask_redis import AsyncRedis, Redis

app = Quart("app", instance_path="/nowhere")
app.config["REDIS_URL"] = os.environ["URL_OF_REDIS"]
app.config["SYNCHRONOUS_URL"] = app.config["REDIS_URL"]
redis, synchronous = AsyncRedis(app), Redis(app, "SYNCHRONOUS")

@app.get("/id")
async def connection():
    return str(await redis.client_id())

@app.get("/thread")
def in_thread():
    return str(synchronous.client_id())

@app.get("/gather")
async def gather():
    return str(len(await asyncio.gather(*(redis.incr("hits") for _ in range(5)))))

@app.get("/error")
async def error():
    await redis.incr("hits")
    raise ZeroDivisionError

@app.errorhandler(ZeroDivisionError)
async def answer(error):
    return "an error"

@app.get("/wait")
async def wait():
    try:
        await redis.blpop(["nothing"], 0)
    finally:
        await redis.incr("cancelled")

@app.while_serving
async def work():
    task = asyncio.create_task(worker())
    yield
    task.cancel()
    await asyncio.wait([task])
    await redis.incr("after serving")

async def worker():
    try:
        while True:
            await redis.blpop(["jobs"], 0)
            await redis.incr("done")
    finally:
        await redis.incr("stopped")
"""

#: How a program runs each server on a socket that it inherits, until it reads a line.
SERVE = {
    "hypercorn": """
import hypercorn.asyncio, hypercorn.config
async def line():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
config = hypercorn.config.Config()
config.bind = ["fd://" + sys.argv[1]]
asyncio.run(hypercorn.asyncio.serve(app, config, shutdown_trigger=line))
""",
    "uvicorn": """
import threading, uvicorn
server = uvicorn.Server(uvicorn.Config(app, fd=int(sys.argv[1]), log_level="warning"))
def wait():
    sys.stdin.readline()
    server.should_exit = True
threading.Thread(target=wait).start()
server.run()
""",
}

#: How the servers' own commands are called.
COMMANDS = {
    "hypercorn": ["--bind", "fd://{fd}", "--workers", "0"],
    "uvicorn": ["--fd", "{fd}", "--log-level", "warning"],
}


class Client:
    """What asks a server for pages."""

    def __init__(self, port: int) -> None:
        self.port = port

    def open(self, path: str) -> http.client.HTTPConnection:
        """Ask for a page, and do not wait for the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path)
        return connection

    def get(self, path: str) -> str:
        """The answer at *path*, on a connection of its own."""
        with contextlib.closing(self.open(path)) as connection:
            return connection.getresponse().read().decode()


@contextlib.contextmanager
def running(command: list[str], server: Server, cwd: t.Any) -> cabc.Iterator[tuple[Process, Client]]:
    """Run the application behind a server for HTTP, which begins to answer when it is ready."""
    environment = {"URL_OF_REDIS": server.url, "PYTHONWARNINGS": "error::ResourceWarning", "PYTHONPATH": str(cwd)}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        process = Process(
            [sys.executable, *(part.format(fd=fd) for part in command)], env=environment, cwd=cwd, pass_fds=[fd]
        )
        port: int = listener.getsockname()[1]
    with process:
        yield process, Client(port)


def use(client: Client, server: Server) -> None:
    """Requests of all kinds; some wait for an answer while others come."""
    ids = {client.get("/id") for _ in range(10)}
    assert len(ids) == 1
    assert len({client.get("/thread") for _ in range(10)}) == 1
    assert [client.get("/gather") for _ in range(10)] == ["5"] * 10
    assert [client.get("/error") for _ in range(10)] == ["an error"] * 10
    assert client.get("/id") in {line.split()[0].removeprefix("id=") for line in client_list(server)}
    server.command("RPUSH", "jobs", "a job")
    wait_until(lambda: server.command("GET", "done") == "1")
    waiting = [client.open("/wait") for _ in range(5)]
    wait_until(lambda: int(server.info("clients")["blocked_clients"]) == 6)
    for connection in waiting:
        connection.close()
    wait_until(lambda: server.command("GET", "cancelled") == "5")


def client_list(server: Server) -> list[str]:
    """The lines of CLIENT LIST."""
    return t.cast(str, server.command("CLIENT", "LIST")).splitlines()


@pytest.mark.parametrize("name", SERVE)
def test_the_pool_lives_as_long_as_the_server(name: str, server: Server, tmp_path: t.Any) -> None:
    """Requests share the connections of one pool, and the server's graceful shutdown leaves none of them."""
    before = connected(server)
    code = f"{APPLICATION}\n{SERVE[name]}\nsynchronous.close()\nprint('served')\nsys.stdin.readline()"
    (tmp_path / "program.py").write_text(code)
    with running(["program.py", "{fd}"], server, tmp_path) as (process, client):
        use(client, server)
        assert connected(server) > before
        process.write_line("stop")
        process.wait_for_line("^served$", 20)
        wait_until(lambda: connected(server) == before)
        process.write_line("end")
        assert process.wait() == 0
        assert "Warning" not in process.output
    assert (server.command("GET", "stopped"), server.command("GET", "after serving")) == ("1", "1")


@pytest.mark.parametrize("name", COMMANDS)
def test_sigterm(name: str, server: Server, tmp_path: t.Any) -> None:
    """The servers' own commands, ended by SIGTERM, end with no connection and no warning."""
    before = connected(server)
    (tmp_path / "program.py").write_text(APPLICATION)
    with running(["-m", name, "program:app", *COMMANDS[name]], server, tmp_path) as (process, client):
        use(client, server)
        process.terminate()
        process.wait(20)
        wait_until(lambda: connected(server) == before)
        assert "Warning" not in process.output
        assert "Traceback" not in process.output
    assert (server.command("GET", "stopped"), server.command("GET", "after serving")) == ("1", "1")


def test_documentation(server: Server) -> None:
    """The code in the documentation runs."""
    page = (Path(__file__).parent.parent / "docs" / "asyncio.md").read_text("utf-8")
    page = page.replace("redis = AsyncRedis(app)", f"app.config['REDIS_URL'] = '{server.url}'\nredis = AsyncRedis(app)")
    in_flask, in_quart = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    namespace: dict[str, t.Any] = {"__name__": "app"}
    exec(in_flask, namespace)  # noqa: S102
    client = namespace["app"].test_client()
    assert [client.get("/").text for _ in range(2)] == ["Visit number 1", "Visit number 2"]
    exec(in_quart, namespace)  # noqa: S102
    assert get(namespace["app"], "/", "/") == ["Visit number 3", "Visit number 4"]
    assert "visits" in get(namespace["app"], "/keys")[0]
    assert server.command("TTL", "visits") > 0
