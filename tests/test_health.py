"""The health check: what it says of a server, and that it comes back in time, whatever is wrong."""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import socket
import subprocess
import sys
import threading
import time
import typing as t

import pytest
import redis as redis_py
from flask import current_app
from flask import Flask

from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import health
from flask_redis import Redis

from .conftest import MakeApp
from .conftest import Report
from .harness.cluster import ClusterGroup
from .harness.sentinel import Sentinel
from .harness.sentinel import SentinelGroup
from .harness.servers import Server
from .harness.tls import TlsServer
from .harness.waiting import wait_until

#: Seconds that a busy machine may take to let a thread go on.
WAKE_UP: t.Final = 5.0


def check(app: Flask, timeout: float = 20.0) -> health.Result:
    """The result for an application with one connection."""
    (result,) = health.check(app, timeout)
    return result


@pytest.fixture(autouse=True)
def no_threads_left() -> cabc.Iterator[None]:
    """A check that was given up ends by itself, soon after."""
    yield
    wait_until(lambda: not _threads(), 20.0, lambda: f"still running: {_threads()}")


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("flask-redis-health")]


@pytest.fixture
def secret_server() -> cabc.Iterator[Server]:
    """A server with a password, and without HELLO, as proxies and very old servers are."""
    with Server(requirepass="the-secret", rename_command=("HELLO", "")) as server:
        yield server


def test_a_server_that_answers(app: Flask, server: Server) -> None:
    """The result says which server it is, what it runs and how far away it is."""
    Redis(app)
    result = check(app)
    assert result.ok
    assert result.latency is not None
    assert 0 < result.latency < 5
    assert result.version == server.info()["valkey_version"]
    assert dataclasses.replace(result, latency=None, version=None) == health.Result(
        prefix="REDIS",
        url=f"redis://127.0.0.1:{server.port}/0",
        topology="standalone",
        ok=True,
        server="valkey",
        role="master",
    )


@pytest.mark.parametrize("way", ["redis", "unix", "tls", "valkey"])
def test_ways_to_a_server(way: str, make_app: MakeApp, request: pytest.FixtureRequest) -> None:
    """Redis, a Unix socket, TLS and valkey-py are checked as the application uses them."""
    name = {"redis": "redis_server", "tls": "tls_server"}.get(way, "server")
    server: Server = request.getfixturevalue(name)
    url = {"unix": server.unix_url, "valkey": server.url.replace("redis://", "valkey://")}.get(way, server.url)
    app = make_app(URL=url)
    if isinstance(server, TlsServer):
        app.config["REDIS_SSL_CA_CERTS"] = str(server.certificates.ca)
    Redis(app)
    result = check(app)
    assert result.ok, result
    assert result.server == ("redis" if "redis" in server.binary.name else "valkey")


def test_tls_that_fails(make_app: MakeApp, tls_server: TlsServer) -> None:
    """A certificate that the application would not accept is not accepted here either."""
    app = make_app(URL=tls_server.url)
    Redis(app)
    result = check(app)
    assert not result.ok
    assert "certificate verify failed" in str(result.error)


def test_memory_and_embedded(make_app: MakeApp) -> None:
    """memory:// is well, and embedded:// starts its server to say so."""
    app = make_app(URL="memory://", DEV_URL="embedded://")
    Redis(app)
    Redis(app, "REDIS_DEV")
    memory, embedded = health.check(app, 20)
    assert (memory.ok, memory.topology, memory.server) == (True, "memory", "fakeredis")
    assert (embedded.ok, embedded.topology, embedded.role) == (True, "embedded", "master")


def test_sentinel(make_app: MakeApp, sentinel_group: SentinelGroup) -> None:
    """The master, or a replica where the application reads from one, is asked; a sentinel that hangs is passed by."""
    app = make_app(URL=sentinel_group.url, READ_URL=f"{sentinel_group.url}?role=replica")
    app.config["REDIS_SENTINEL_KWARGS"] = {"socket_timeout": 60}
    Redis(app)
    Redis(app, "REDIS_READ")
    sentinel_group.sentinels[0].pause()
    # A quarter of it is for the one that hangs.
    master, replica = health.check(app, 6)
    assert (master.ok, master.topology, master.role) == (True, "sentinel", "master")
    assert (replica.ok, replica.role) == (True, "replica")


def test_no_sentinel(make_app: MakeApp, sentinel_group: SentinelGroup) -> None:
    """Where no sentinel answers, there is no master."""
    app = make_app(URL=sentinel_group.url, SENTINEL_KWARGS={"socket_timeout": 0.2})
    Redis(app)
    for sentinel in sentinel_group.sentinels:
        sentinel.pause()
    result = check(app)
    assert not result.ok
    assert "No master found" in str(result.error)


@pytest.mark.parametrize("kind", [Redis, AsyncRedis])
def test_cluster(kind: type[Redis] | type[AsyncRedis], make_app: MakeApp, cluster_group: ClusterGroup) -> None:
    """One node that hangs is passed by; a cluster that says that it is down is down."""
    app = make_app(URL=cluster_group.url, SOCKET_TIMEOUT=0.5)
    kind(app)
    result = check(app)
    assert (result.ok, result.topology, result.role) == (True, "cluster", "master"), result
    # Else they say that it is down, while the replica takes over.
    cluster_group.require_full_coverage(False)
    hanging = cluster_group.masters()[0]
    hanging.pause()
    result = check(app)
    hanging.resume()
    assert result.ok, result
    cluster_group.wait_complete()
    cluster_group.require_full_coverage(True)
    # Its owner first, from which the others would hear of it again.
    nodes = cluster_group.masters()
    for node in nodes:
        node.command("CLUSTER", "DELSLOTS", 0)
    wait_until(lambda: all("cluster_state:fail" in node.command("CLUSTER", "INFO") for node in nodes))
    result = check(app)
    nodes[0].command("CLUSTER", "ADDSLOTS", 0)
    assert not result.ok
    assert result.error == "The cluster is down: its state is 'fail'."
    cluster_group.wait_complete()


def test_users_with_few_rights(make_app: MakeApp, server: Server) -> None:
    """A server that refuses PING to a user who may do little else has answered."""
    server.command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+get", "-ping")
    app = make_app(URL=f"redis://reader:pw@127.0.0.1:{server.port}")
    Redis(app)
    result = check(app)
    assert (result.ok, result.server) == (True, "valkey")


def test_a_cluster_user_with_few_rights(make_app: MakeApp, cluster_group: ClusterGroup) -> None:
    """One who may not ask for the state of the cluster gets the answer of a node."""
    # What redis-py's own client needs, of which version 5.0 asks most.
    rights = ["+cluster|slots", "+command", "+info"]
    for server in cluster_group.servers:
        server.command("ACL", "SETUSER", "reader", "on", ">pw", *rights)
    app = make_app(URL=cluster_group.url.replace("://", "://reader:pw@"))
    Redis(app)
    assert check(app).ok


def test_without_hello(make_app: MakeApp, secret_server: Server) -> None:
    """A server that does not know HELLO is well without a name."""
    app = make_app(URL=secret_server.url, PROTOCOL=2)
    Redis(app)
    result = check(app)
    assert (result.ok, result.server, result.version, result.role) == (True, None, None, None), result


def test_no_secret_in_an_error(make_app: MakeApp, secret_server: Server) -> None:
    """The server repeats the arguments of a command that it does not know, and here these are the password."""
    secret_server.command("CONFIG", "SET", "requirepass", "")
    app = make_app(URL=secret_server.url, PROTOCOL=3, USERNAME="default", RETRY=0)
    redis = Redis(app)
    with pytest.raises(redis_py.ResponseError, match="the-secret"):
        redis.ping()
    result = check(app)
    assert not result.ok
    assert "unknown command" in str(result.error)
    assert "secret" not in repr(result)


def test_wrong_password(make_app: MakeApp, secret_server: Server) -> None:
    """A wrong password is what the server says of it, and the URL is masked."""
    app = make_app(URL=secret_server.url.replace("the-secret", "not-it"), PROTOCOL=2)
    Redis(app)
    result = check(app)
    assert not result.ok
    assert "not-it" not in repr(result)
    assert ":***@" in result.url
    assert "password" in str(result.error)


class Provider(redis_py.CredentialProvider):
    """Takes the password from the application, and fails where it has none."""

    def get_credentials(self) -> tuple[str]:
        """The password."""
        if "LATER" not in current_app.config:
            raise RuntimeError
        if "WRONG" in current_app.config:
            raise RuntimeError(f"it is not {current_app.config['WRONG']}")
        return (current_app.config["LATER"],)


def test_credential_provider(make_app: MakeApp, secret_server: Server) -> None:
    """A credential provider has the caller's application context. Its errors are shown without what is a secret."""
    app = make_app(PORT=secret_server.port, PROTOCOL=2, CREDENTIAL_PROVIDER=Provider(), SSL=False, SSL_PASSWORD=b"hush")
    Redis(app)
    with app.app_context():
        assert check(app).error == "RuntimeError"
        app.config["LATER"] = "the-secret"
        assert check(app).ok
        app.config["WRONG"] = "hush"
        assert check(app).error == "it is not ***"


async def fail_to_connect(_: t.Any) -> None:
    """What a client without asyncio could not await."""
    raise AssertionError


def test_async_redis(make_app: MakeApp, server: Server) -> None:
    """AsyncRedis is checked without a loop; with a Redis of the same prefix it is one connection."""
    app = make_app(URL=server.url, REDIS_CONNECT_FUNC=fail_to_connect, OTHER_URL=server.url)
    AsyncRedis(app)
    Redis(app, "REDIS_OTHER")
    AsyncRedis(app, "REDIS_OTHER")
    results = health.check(app, 20)
    assert [result.prefix for result in results] == ["REDIS_OTHER", "REDIS"]
    assert all(result.ok for result in results), results


@pytest.mark.parametrize("pool_class", [redis_py.ConnectionPool, redis_py.BlockingConnectionPool])
def test_connection_pool(pool_class: type[redis_py.ConnectionPool], make_app: MakeApp, server: Server) -> None:
    """A pool that is given is imitated: its own connections are not used."""
    pool = pool_class.from_url(server.url, max_connections=1, timeout=1)
    if pool_class is redis_py.ConnectionPool:
        pool.connection_kwargs.pop("timeout")
    app = make_app(CONNECTION_POOL=pool)
    Redis(app)
    before = server.info("stats")["total_connections_received"]
    result = check(app)
    assert result.ok, result
    assert int(server.info("stats")["total_connections_received"]) > int(before)
    pool.disconnect()


def test_sentinel_connection_pool(make_app: MakeApp, sentinel_group: SentinelGroup) -> None:
    """A pool of a Sentinel's master leads to the master."""
    client = sentinel_group.client()
    app = make_app(CONNECTION_POOL=client.connection_pool)
    Redis(app)
    result = check(app)
    assert (result.ok, result.role) == (True, "master"), result


def test_an_exhausted_pool(make_app: MakeApp, server: Server) -> None:
    """The server is asked, and not the application's pool, be it exhausted."""
    app = make_app(URL=server.url, MAX_CONNECTIONS=1, SINGLE_CONNECTION_CLIENT=False)
    redis = Redis(app)
    with redis.pubsub() as subscription:
        subscription.subscribe("channel")
        with pytest.raises(redis_py.ConnectionError):
            redis.ping()
        assert check(app).ok


def test_single_connection_client(make_app: MakeApp, server: Server) -> None:
    """A client that connects in its constructor is not built by the check."""
    app = make_app(URL=server.url, SINGLE_CONNECTION_CLIENT=True)
    Redis(app)
    assert check(app).ok
    server.kill()
    assert not check(app).ok


def test_circuit_breaker(make_app: MakeApp, server: Server) -> None:
    """The check does not count for the circuit breaker, which does not hold it back, and tells how it stands."""
    app = make_app(URL=server.url, CIRCUIT_BREAKER={"fail_max": 1}, RETRY=3)
    redis = Redis(app)
    server.kill()
    result = check(app)
    assert (result.ok, result.breaker) == (False, "closed")
    assert "Connection refused" in str(result.error)
    with pytest.raises(redis_py.ConnectionError):
        redis.ping()
    server.start()
    result = check(app)
    assert (result.ok, result.breaker) == (True, "open")


class Stub:
    """A client that can do nothing."""


def test_a_class_that_is_no_client(make_app: MakeApp) -> None:
    """It cannot be asked, which is a result too."""
    app = make_app(CLASS=Stub)
    Redis(app)
    result = check(app)
    assert not result.ok
    assert "execute_command" in str(result.error)


def test_a_dead_server(make_app: MakeApp, server: Server) -> None:
    """A refused connection is the answer: the application's retries would take seconds."""
    app = make_app(URL=server.url, RETRY=10)
    Redis(app)
    server.kill()
    durations: list[float] = []
    for _ in range(3):
        start = time.monotonic()
        result = check(app, 60)
        durations.append(time.monotonic() - start)
        assert not result.ok
        assert "Connection refused" in str(result.error)
    # At its best: the machine may hold one of them up.
    assert min(durations) < 1


@pytest.mark.parametrize("timeout", [0.2, 1.0])
def test_a_paused_server(timeout: float, make_app: MakeApp, server: Server, report: Report) -> None:
    """The check of several connections to a server that hangs takes its timeout and no more."""
    app = make_app(URL=server.url, RETRY=10)
    prefixes = ["REDIS", *(f"REDIS_{number}" for number in range(10))]
    for prefix in prefixes:
        app.config[f"{prefix}_URL"] = server.url
        Redis(app, prefix)
    server.pause()
    start = time.monotonic()
    results = health.check(app, timeout)
    took = time.monotonic() - start
    report(f"{len(results)} connections to a paused server", took)
    assert took < timeout + WAKE_UP
    assert [result.prefix for result in results] == prefixes
    assert {result.error for result in results} == {f"No answer within {timeout:g} s."}
    server.resume()


def test_a_caller_held_up_beyond_the_timeout(
    make_app: MakeApp, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told the same, that there was no answer in time, and not how the waiting ended meanwhile."""
    app = make_app(URL=server.url)
    Redis(app)
    start_thread = threading.Thread.start

    def start_and_be_held_up(thread: threading.Thread) -> None:
        start_thread(thread)
        thread.join()

    monkeypatch.setattr(threading.Thread, "start", start_and_be_held_up)
    server.pause()
    assert check(app, 0.1).error == "No answer within 0.1 s."
    server.resume()
    assert check(app).ok


def test_a_slow_socket_timeout_is_capped_and_a_short_one_is_kept(make_app: MakeApp, server: Server) -> None:
    """A thread ends soon after the timeout, however long the application's own is; a shorter one counts."""
    app = make_app(URL=server.url, SOCKET_TIMEOUT=0.05)
    app.config.update(SLOW_URL=server.url, SLOW_SOCKET_TIMEOUT=3600)
    Redis(app)
    Redis(app, "SLOW")
    server.pause()
    quick, slow = health.check(app, 1.5)
    assert "Timeout" in str(quick.error)
    assert "No answer" in str(slow.error)
    wait_until(lambda: not _threads(), 30)


def test_a_name_service_that_hangs(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup takes no timeout, so it is left behind."""
    answer = threading.Event()

    def hang(*_: t.Any, **__: t.Any) -> t.NoReturn:
        answer.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    app = make_app(HOST="redis.example")
    Redis(app)
    start = time.monotonic()
    result = check(app, 0.3)
    assert time.monotonic() - start < 0.3 + WAKE_UP
    assert result.error == "No answer within 0.3 s."
    assert len(_threads()) == 1
    answer.set()


HANGING = """
import socket
import threading

from flask import Flask
from flask_redis import health, Redis

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
app = Flask("app")
app.config["REDIS_HOST"] = "redis.example"
Redis(app)
print(health.check(app, 0.2)[0].error)
"""


def test_what_is_left_behind_does_not_keep_the_process() -> None:
    """A process ends though a lookup of its check hangs for ever."""
    command = [sys.executable, "-W", "error", "-c", HANGING]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "No answer within 0.2 s.\n"
    assert ended.stderr == ""


def test_some_connections(make_app: MakeApp, server: Server) -> None:
    """Prefixes choose the connections."""
    app = make_app(URL=server.url, DEAD_URL="redis://127.0.0.1:1")
    Redis(app)
    Redis(app, "REDIS_DEAD")
    assert [result.ok for result in health.check(app, 20)] == [True, False]
    assert [result.ok for result in health.check(app, 20, ["REDIS"])] == [True]
    with app.app_context():
        assert health.check(current_app, 20, prefixes={"REDIS"})[0].ok


def test_wrong_arguments(app: Flask) -> None:
    """An unknown prefix, a timeout that is none and an application without Redis are the caller's mistakes."""
    with pytest.raises(RuntimeError, match=r"'app' has no Redis.*init_app"):
        health.check(app)
    app.config["CACHE_HOST"] = "localhost"
    Redis(app)
    Redis(app, "CACHE")
    with pytest.raises(ValueError, match=r"'OTHER' is no config prefix.*REDIS, CACHE"):
        health.check(app, prefixes=["OTHER"])
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds above 0"):
            health.check(app, timeout)


def test_results_are_values(app: Flask) -> None:
    """A result cannot be changed, and goes into JSON as it is."""
    Redis(app)
    result = check(app)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.ok = False  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with app.app_context():
        assert app.json.loads(app.json.dumps(result))["prefix"] == "REDIS"


def test_a_connection_that_failed_in_init_app(make_app: MakeApp) -> None:
    """An application that went on without its connection is not one where all is well."""
    app = make_app(PORT="wrong")
    with pytest.raises(ConfigError):
        Redis(app)
    with pytest.raises(RuntimeError, match=r"'app' has no Redis.*init_app"):
        health.check(app)


def test_a_password_that_is_not_set(make_app: MakeApp) -> None:
    """That a password is required is said with the key that states none: the sentinels have one of their own."""
    with Server(requirepass="the-secret") as server, Sentinel(requirepass="the-secret") as sentinel:
        urls = {
            "REDIS": f"redis://127.0.0.1:{server.port}",
            "OLD": f"redis://127.0.0.1:{server.port}?protocol=2",
            "CLUSTER": f"redis+cluster://127.0.0.1:{server.port}",
            "SHOP": f"redis+sentinel://:the-secret@127.0.0.1:{sentinel.port}/shop",
        }
        app = make_app()
        for prefix, url in urls.items():
            app.config[f"{prefix}_URL"] = url
            Redis(app, prefix)
        errors = {result.prefix: str(result.error) for result in health.check(app, 10)}
    keys = {name: f"{name}_PASSWORD" for name in urls} | {"SHOP": "SHOP_SENTINEL_KWARGS"}
    for prefix, key in keys.items():
        assert errors[prefix].endswith(f"A password is required, and {key} states none.")


def test_a_sentinel_that_is_none(make_app: MakeApp, server: Server) -> None:
    """A URL that names the server itself, in the place of its sentinels, is said to do so."""
    app = make_app(URL=f"redis+sentinel://127.0.0.1:{server.port}/shop")
    Redis(app)
    assert check(app).error == "unknown command 'SENTINEL': it is no sentinel that listens there."
