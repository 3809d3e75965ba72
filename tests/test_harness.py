"""The harness itself: what the other tests take for granted."""

from __future__ import annotations

import collections.abc as cabc
import os
import signal
import ssl
import threading
import time
import typing as t
from pathlib import Path

import pytest
import redis

from .harness import servers
from .harness.cluster import ClusterGroup
from .harness.ports import free_port
from .harness.processes import children_of
from .harness.processes import is_alive
from .harness.processes import run_python
from .harness.processes import start_gunicorn
from .harness.processes import start_python
from .harness.processes import state_of
from .harness.proxy import Proxy
from .harness.sentinel import SentinelGroup
from .harness.servers import Server
from .harness.tls import Certificates
from .harness.tls import TlsServer
from .harness.waiting import wait_until


def test_wait_until_returns_what_it_waited_for() -> None:
    """The first true value of the condition is the result."""
    values = iter([0, None, 3, 4])
    assert wait_until(lambda: next(values)) == 3


def test_wait_until_fails_with_its_message() -> None:
    """When the time is up it says what it waited for, and what the condition raised."""

    def refuse() -> bool:
        raise ConnectionError("not there")

    with pytest.raises(AssertionError, match="the server is up") as caught:
        wait_until(refuse, 0.05, lambda: "the server is up", ignoring=(ConnectionError,))
    assert str(caught.value.__cause__) == "not there"


def test_server(server: Server) -> None:
    """A server answers through TCP and through its Unix socket."""
    server.client().set("key", "value")
    assert redis.Redis.from_url(server.unix_url).get("key") == b"value"
    assert len(os.fsencode(server.unix_socket)) < 100
    assert server.directory.stat().st_mode & 0o777 == 0o700


def test_redis_server(redis_server: Server) -> None:
    """The other server is a Redis."""
    assert redis_server.client().ping()
    assert redis_server.binary.name == "redis-server"


def test_restart_keeps_port_socket_and_data() -> None:
    """A server that saves its data comes back with it where it was, stopped in order or killed."""
    with Server(appendonly=True) as server:
        port, unix_socket, pid = server.port, server.unix_socket, server.pid
        server.client().set("key", "value")
        server.restart()
        assert (server.port, server.unix_socket) == (port, unix_socket)
        assert server.pid != pid
        assert server.client().get("key") == b"value"
        server.kill()
        server.start()
        assert server.client().get("key") == b"value"


def test_killed_server_refuses_connections(server: Server) -> None:
    """Nobody answers at the port of a killed server, at once and through either way."""
    server.kill()
    assert not server.running
    with pytest.raises(redis.ConnectionError):
        server.client().ping()
    with pytest.raises(redis.ConnectionError):
        server.command("PING")


def test_paused_server_answers_later(server: Server) -> None:
    """A paused server takes connections and is silent; resumed, it does what it was told."""
    client = server.client(socket_timeout=0.1)
    wait_until(client.ping, ignoring=(redis.TimeoutError,))
    server.pause()
    assert server.paused
    assert not server.available
    with pytest.raises(redis.TimeoutError):
        client.set("key", "value")
    server.resume()
    wait_until(lambda: server.client().get("key") == b"value")


def test_paused_server_can_be_stopped(server: Server) -> None:
    """Stopping does not wait for a resume that never comes."""
    server.pause()
    started = time.monotonic()
    server.stop()
    # It would be killed after 30 seconds.
    assert time.monotonic() - started < 20
    assert not server.running


def test_server_finds_another_port(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another process takes first costs a second try, no more."""
    ports = iter([server.port, server.port, free_port()])
    monkeypatch.setattr(servers, "free_port", lambda: next(ports))
    with Server() as other:
        assert other.port != server.port
        assert other.client().ping()
        assert other.log.count("Address already in use") == 2


def test_server_that_cannot_start() -> None:
    """The failure shows what the server said, and nothing stays."""
    server = Server(no_such_option=1)
    directory = server.directory
    with pytest.raises(AssertionError, match="no-such-option"), server:
        pass
    assert not directory.exists()


def test_credentials() -> None:
    """The URL holds the credentials: those of requirepass, or those that it was given."""
    with Server(requirepass="p@ss w/rd\"#'") as server:
        assert redis.Redis.from_url(server.url).ping()
        assert redis.Redis.from_url(server.unix_url).ping()
        assert server.client().ping()
    users = [("default", "off"), ("alice", "on", "+@all", "~*", "&*", ">secret")]
    with Server(credentials=("alice", "secret"), user=[*users]) as server:
        assert redis.Redis.from_url(server.url).acl_whoami() == "alice"
        assert server.command("ACL", "WHOAMI") == "alice"
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            server.client(username=None, password=None).ping()


def test_reset(server: Server) -> None:
    """After a reset there is no trace of a test: no data, setting, user or connection."""
    client = redis.Redis.from_url(server.url)
    client.set("key", "value")
    pid = server.pid
    server.reset()
    assert server.pid == pid
    assert server.command("DBSIZE") == 0
    assert server.info("clients")["connected_clients"] == "1"

    server.command("CONFIG", "SET", "maxmemory", "1mb")
    server.command("ACL", "SETUSER", "alice", "on")
    server.reset()
    assert server.command("CONFIG", "GET", "maxmemory") == ["maxmemory", "0"]
    assert server.command("ACL", "USERS") == ["default"]

    server.pause()
    server.reset()
    server.kill()
    server.reset()
    assert server.client().ping()


def test_nothing_is_left_of_a_server() -> None:
    """The process and the directory are gone, the log is kept."""
    with Server() as server:
        pid, directory = server.pid, server.directory
        server.pause()
    assert not is_alive(pid)
    assert not directory.exists()
    assert "Ready to accept connections" in server.log


START_A_SERVER = """
import sys
from tests.harness.processes import start_python
from tests.harness.servers import Server

server = Server()
server.start()
process = start_python("input()")
print("pids", server.pid, process.pid, server.directory)
print(sys.stdin.readline())
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_nothing_outlives_the_tests(end: signal.Signals | None) -> None:
    """Whatever ends the process of the tests, its servers and other processes end with it, and its files go."""
    with start_python(START_A_SERVER, cwd=Path(__file__).parent.parent) as tests:
        server, process, directory = tests.wait_for_line(r"pids (\d+) (\d+) (.+)").groups()
        assert is_alive(int(server))
        assert is_alive(int(process))
        if end:
            os.kill(tests.pid, end)
        else:
            tests.write_line("That was all.")
        tests.wait()
        wait_until(lambda: not is_alive(int(server)) and not is_alive(int(process)) and not Path(directory).exists())


def test_run_python(tmp_path: Path) -> None:
    """Code and scripts run with arguments and environment, and their outputs are kept apart."""
    code = "import os, sys; print(sys.argv[1], os.environ.get('ONE')); print('oh', file=sys.stderr)"
    done = run_python(code, "argument", env={"ONE": "1"})
    assert (done.stdout, done.stderr, done.returncode) == ("argument 1\n", "oh\n", 0)
    script = tmp_path / "script.py"
    script.write_text(code)
    assert run_python(script, "argument", env={"ONE": None}).stdout == "argument None\n"


def test_run_python_fails() -> None:
    """A failure shows what was printed, unless the exit status is the caller's to judge; too long is a failure."""
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_python("1 / 0")
    assert run_python("raise SystemExit(3)", check=False).returncode == 3
    with pytest.raises(AssertionError, match="still runs"):
        run_python("input(); input()", timeout=0.2)


def test_start_python() -> None:
    """A conversation with a child process."""
    with start_python("print('hello'); print('you said', input()); print('you said', input())") as process:
        process.wait_for_line("hello")
        process.write_line("one")
        assert process.wait_for_line(r"you said (\w+)")[1] == "one"
        process.write_line("two")
        assert process.wait_for_line(r"you said (\w+)")[1] == "two"
        assert process.wait() == 0
        with pytest.raises(AssertionError, match="It ended without"):
            process.wait_for_line("three")
    assert process.output.startswith("hello\n")


def test_signals() -> None:
    """Ctrl-C, SIGTERM, SIGKILL and SIGSTOP reach a child process."""
    code = "print('ready'); input()"
    with start_python(code) as process:
        process.wait_for_line("ready")
        process.interrupt()
        process.wait_for_line("KeyboardInterrupt")
    with start_python(code) as process:
        process.terminate()
        assert process.wait() == -signal.SIGTERM
    with start_python(code) as process:
        process.pause()
        assert state_of(process.pid) == "T"
        process.kill()
        assert process.returncode == -signal.SIGKILL


def test_no_child_of_a_process_is_left() -> None:
    """Children go with their parent, those in sessions of their own and those that it left behind too."""
    code = (
        "import subprocess, sys; command = [sys.executable, '-c', 'import signal; signal.pause()'];"
        "processes = [subprocess.Popen(command, start_new_session=new) for new in (True, False)];"
        "print('ready'); input()"
    )
    with start_python(code) as process:
        process.wait_for_line("ready")
        children = children_of(process.pid)
        assert len(children) == 2
        assert {process.pid, *children} <= set(children_of(os.getpid(), recursive=True))
    wait_until(lambda: not any(map(is_alive, children)))
    with start_python(code.replace("True, False", "False,")) as process:
        process.wait_for_line("ready")
        [child] = children_of(process.pid)
        process.kill()
        assert is_alive(child)
    wait_until(lambda: not is_alive(child))


def test_no_temporary_file_of_a_process_is_left() -> None:
    """What a process keeps in the directory for temporary files goes with it, though it is killed."""
    with start_python("import tempfile; print('made', tempfile.mkdtemp()); input()") as process:
        directory = Path(process.wait_for_line("made (.+)")[1])
        assert directory.exists()
    assert not directory.exists()
    assert not directory.parent.exists()


def test_gunicorn(tmp_path: Path) -> None:
    """An application answers from a real gunicorn with two workers, which ends with all of them."""
    (tmp_path / "hello.py").write_text(
        "from flask import Flask, request\n"
        "app = Flask(__name__)\n"
        "@app.route('/<name>')\n"
        "def hello(name):\n"
        "    return f'Hello {name}'\n"
    )
    with start_gunicorn("hello:app", "--workers", "2", cwd=tmp_path) as gunicorn:
        assert gunicorn.get("/world") == (200, "Hello world")
        assert gunicorn.get("/")[0] == 404
        wait_until(lambda: len(children_of(gunicorn.pid)) == 2)
        workers = children_of(gunicorn.pid)
    wait_until(lambda: not any(map(is_alive, workers)))


def test_gunicorn_that_cannot_start(tmp_path: Path) -> None:
    """The failure shows what gunicorn said."""
    with pytest.raises(AssertionError, match="No module named 'nothing_here'"):
        start_gunicorn("nothing_here:app", cwd=tmp_path)


def test_sentinel_failover(sentinel_group: SentinelGroup) -> None:
    """A replica takes the place of a killed master, and has its data."""
    client = sentinel_group.client()
    client.set("key", "value")
    client.wait(2, 5000)
    old = sentinel_group.kill_master()
    new = sentinel_group.wait_for_master_other_than(old)
    assert new is sentinel_group.master()
    assert len(sentinel_group.replicas()) == 1
    assert wait_until(lambda: client.get("key"), ignoring=(redis.ConnectionError,)) == b"value"


def test_sentinel_group_is_whole_again(sentinel_group: SentinelGroup) -> None:
    """After a test that kills the master, the next one finds a master and two replicas, and no data."""
    assert len(sentinel_group.replicas()) == 2
    assert sentinel_group.client().dbsize() == 0


def test_sentinel_passwords() -> None:
    """The service and its sentinels have passwords of their own."""
    with SentinelGroup(password="of the service", sentinel_password="of the sentinels") as group:
        assert group.client().ping()
        assert group.sentinels[0].client().ping()
        with pytest.raises(redis.AuthenticationError):
            group.sentinels[0].client(password="of the service").ping()
        with pytest.raises(redis.AuthenticationError):
            group.master().client(password="of the sentinels").ping()


def test_cluster(cluster_group: ClusterGroup) -> None:
    """Keys spread over three masters, each with a replica."""
    client = cluster_group.client()
    client.mset_nonatomic({f"key{number}": number for number in range(100)})
    masters = cluster_group.masters()
    assert len(masters) == 3
    assert all(master.command("DBSIZE") > 0 for master in masters)
    assert sum(master.command("DBSIZE") for master in masters) == 100
    assert [len(cluster_group.replicas_of(master)) for master in masters] == [1, 1, 1]


def test_cluster_move_slot(cluster_group: ClusterGroup) -> None:
    """A slot moves with its keys, and clients read all of them all the time."""
    keys = [f"{{user}}:{number}" for number in range(200)]
    cluster_group.client().mset_nonatomic(dict.fromkeys(keys, "value"))
    slot = cluster_group.slot_of(keys[0])
    source = cluster_group.owner_of(slot)
    target = next(master for master in cluster_group.masters() if master is not source)

    client = cluster_group.client(decode_responses=True)
    cluster_group.start_slot_move(slot, source, target)
    assert cluster_group.move_keys(slot, source, target, 50) == 50
    assert [client.get(key) for key in keys] == ["value"] * 200
    assert cluster_group.move_keys(slot, source, target) == 150
    cluster_group.finish_slot_move(slot, source, target)
    assert cluster_group.owner_of(slot) is target

    read: list[t.Any] = []
    moved = threading.Event()

    def read_on(client: redis.RedisCluster) -> None:
        while not moved.is_set():
            read.extend(client.get(key) for key in keys)

    reader = threading.Thread(target=read_on, args=[cluster_group.client(decode_responses=True)])
    reader.start()
    try:
        wait_until(lambda: read)
        assert cluster_group.move_slot(slot, target, source) == 200
    finally:
        moved.set()
        reader.join()
    assert set(read) == {"value"}
    assert cluster_group.owner_of(slot) is source


def test_cluster_failover(cluster_group: ClusterGroup) -> None:
    """The replica of a killed master takes its slots over."""
    [heir] = cluster_group.replicas_of(cluster_group.masters()[1])
    killed = cluster_group.kill_master(1)
    cluster_group.wait_ok()
    assert cluster_group.masters()[1] is heir
    assert killed not in cluster_group.masters()
    assert cluster_group.client().set("key", "value")


def test_cluster_group_is_whole_again(cluster_group: ClusterGroup) -> None:
    """After a test that kills a master or leaves a slot on the move, the next one finds nothing of it."""
    source, target, _ = cluster_group.masters()
    assert [len(cluster_group.replicas_of(master)) for master in cluster_group.masters()] == [1, 1, 1]
    assert cluster_group.client().dbsize() == 0
    cluster_group.start_slot_move(0, source, target)
    assert "[0->-" in source.command("CLUSTER", "NODES")
    cluster_group.reset()
    assert all("[" not in master.command("CLUSTER", "NODES") for master in cluster_group.masters())


def test_tls(tls_server: TlsServer, certificates: Certificates) -> None:
    """A client that trusts the right authority is served, another refuses to talk."""
    assert tls_server.client(ssl_check_hostname=True).ping()
    assert redis.Redis.from_url(tls_server.url, ssl_ca_certs=str(certificates.ca)).ping()
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        tls_server.client(ssl_ca_certs=str(certificates.wrong_ca)).ping()
    with pytest.raises(redis.ConnectionError):
        tls_server.client(ssl=False).ping()


@pytest.mark.usefixtures("tls_server")
def test_tls_wrong_host(certificates: Certificates) -> None:
    """A certificate for another host is refused where the name is checked."""
    with TlsServer(certificates, wrong_host=True) as server:
        assert server.client(ssl_check_hostname=False).ping()
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            server.client(ssl_check_hostname=True).ping()


@pytest.mark.usefixtures("tls_server")
def test_tls_client_certificates(certificates: Certificates) -> None:
    """A server may want a certificate of the client."""
    with TlsServer(certificates, client_certificates=True) as server:
        assert server.client().ping()
        with pytest.raises((redis.ConnectionError, ssl.SSLError)):
            server.client(ssl_certfile=None, ssl_keyfile=None).ping()


@pytest.fixture
def proxy(server: Server) -> cabc.Iterator[Proxy]:
    """A proxy in front of the server."""
    with Proxy(server.port) as proxy:
        assert "proxy" in {thread.name for thread in threading.enumerate()}
        yield proxy
    assert "proxy" not in {thread.name for thread in threading.enumerate()}


def test_proxy_counts(server: Server, proxy: Proxy) -> None:
    """A proxy forwards and counts."""
    client = server.client(port=proxy.port)
    value = b"x" * 1_000_000
    client.set("key", value)
    assert client.get("key") == value
    assert redis.Redis.from_url(proxy.url).ping()
    assert proxy.connections == 2
    assert proxy.bytes_from_clients > 1_000_000
    assert proxy.bytes_from_server > 1_000_000
    client.connection_pool.disconnect()
    wait_until(lambda: proxy.open_connections == 0)


def test_proxy_delay(server: Server, proxy: Proxy) -> None:
    """A slow network takes its time in both directions, and is too slow for an impatient client."""
    client = server.client(port=proxy.port)
    client.ping()
    proxy.delay(0.1)
    started = time.monotonic()
    assert client.ping()
    assert time.monotonic() - started >= 0.2
    with pytest.raises(redis.TimeoutError):
        server.client(port=proxy.port, socket_timeout=0.05).ping()
    proxy.heal()
    assert client.ping()


def test_proxy_drop(server: Server, proxy: Proxy) -> None:
    """A black hole keeps its connections and gives no answer, until it is healed."""
    client = server.client(port=proxy.port, socket_timeout=0.1)
    wait_until(client.ping, ignoring=(redis.TimeoutError,))
    proxy.drop()
    for _ in range(2):  # on an open connection, and on a new one
        with pytest.raises(redis.TimeoutError):
            client.set("key", "value")
    proxy.heal()
    wait_until(client.ping, ignoring=(redis.TimeoutError,))
    assert server.command("EXISTS", "key") == 0


@pytest.mark.parametrize("reset", [False, True])
def test_proxy_cut(server: Server, proxy: Proxy, reset: bool) -> None:
    """A cut ends the connections there are, and welcomes new ones."""
    client = server.client(port=proxy.port)
    pubsub: t.Any = client.pubsub()
    pubsub.subscribe("channel")
    assert pubsub.get_message(timeout=30)
    proxy.cut(reset=reset)
    assert proxy.open_connections == 0
    with pytest.raises(redis.ConnectionError):
        pubsub.connection.read_response()
    assert client.ping()
    pubsub.close()


def test_proxy_refuse(server: Server, proxy: Proxy) -> None:
    """Refused are new connections only, until they are accepted again on the same port."""
    port = proxy.port
    client = server.client(port=proxy.port)
    client.ping()
    proxy.refuse()
    assert client.ping()
    with pytest.raises(redis.ConnectionError):
        server.client(port=proxy.port).ping()
    proxy.accept()
    assert proxy.port == port
    assert server.client(port=proxy.port).ping()


def test_proxy_without_a_server(server: Server, proxy: Proxy) -> None:
    """When the server is down the proxy hangs up."""
    client = server.client(port=proxy.port)
    client.ping()
    server.kill()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()
    server.start()
    assert client.ping()
