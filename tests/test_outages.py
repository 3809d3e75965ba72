"""Servers that are killed, paused, full or out of reach: what the application notices, and when it is over."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import concurrent.futures
import dataclasses
import functools
import gc
import itertools
import json
import os
import shutil
import signal
import statistics
import threading
import time
import typing as t
import weakref
from pathlib import Path

import flask
import pybreaker
import pytest
import redis as redis_py
from flask import copy_current_request_context
from flask import Flask
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError
from redis.exceptions import NoPermissionError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import SlotNotCoveredError
from redis.retry import Retry

from flask_redis import AsyncRedis
from flask_redis import Redis

from .conftest import MakeApp
from .conftest import Report
from .harness.cluster import ClusterGroup
from .harness.processes import children_of
from .harness.processes import Gunicorn
from .harness.processes import start_gunicorn
from .harness.proxy import Proxy
from .harness.sentinel import SentinelGroup
from .harness.servers import Server
from .harness.tls import Certificates
from .harness.tls import TlsServer
from .harness.waiting import wait_until

OUTAGE: t.Final = (redis_py.ConnectionError, redis_py.TimeoutError)
#: A breaker whose probes a test waits for.
QUICK: t.Final = {"fail_max": 3, "reset_timeout": 0.2}
#: One whose probes a test does not wait for.
PATIENT: t.Final = {"fail_max": 3, "reset_timeout": 60}
#: Seconds within which it has to be over after an outage, on a machine that is busy.
SOON: t.Final = 10.0
BEFORE_REDIS_PY_6: t.Final = int(redis_py.__version__.partition(".")[0]) < 6


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of a request or a command."""

    started: float
    ended: float
    token: str
    status: int
    text: str

    @property
    def duration(self) -> float:
        return self.ended - self.started


class Load:
    """Threads that ask again and again, inside a context manager."""

    def __init__(self, ask: cabc.Callable[[str], tuple[int, str]], threads: int) -> None:
        #: In the order of their ends.
        self.answers: list[Answer] = []
        self._ask = ask
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[name], daemon=True) for name in range(threads)]

    def _run(self, name: int) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            token = f"{name}-{number}"
            started = time.monotonic()
            status, text = self._ask(token)
            self.answers.append(Answer(started, time.monotonic(), token, status, text))

    def wait_for_answers(self, count: int = 50, *, status: int | None = None, after: float = 0.0) -> None:
        """Wait for so many answers of requests that began after a moment."""

        def seen() -> bool:
            found = [each for each in self.answers if each.started > after and status in {None, each.status}]
            return len(found) >= count

        wait_until(seen, 60.0, lambda: f"{count} answers with {status}, last {self.answers[-3:]}")

    def wait_until_normal(self, since: float, count: int = 100) -> float:
        """Wait for so many good answers in a row to requests after a moment: how long after it others failed."""

        def normal() -> bool:
            last = self.answers[-count:]
            return len(last) == count and all(each.status == 200 and each.started > since for each in last)

        wait_until(normal, 60.0, lambda: f"{count} good answers in a row, last {self.answers[-3:]}")
        return max((each.started - since for each in self.answers if each.status != 200), default=0)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "requests that never end"


@pytest.fixture
def start_app() -> cabc.Iterator[cabc.Callable[..., Gunicorn]]:
    """Start the application of outage_app in gunicorn, with two workers of eight threads."""
    started: list[Gunicorn] = []

    def start(*options: str, **config: t.Any) -> Gunicorn:
        env = {f"REDIS_{key}": str(value) for key, value in config.items()}
        workers = ["--workers", "2", "--threads", "8", "--timeout", "20", *options]
        folder = Path(__file__).parent.parent
        started.append(start_gunicorn("tests.outage_app:app", *workers, env=env, cwd=folder))
        gunicorn = started[-1]
        wait_until(lambda: len(children_of(gunicorn.pid)) == 2)
        return gunicorn

    yield start
    for gunicorn in started:
        gunicorn.close()


StartApp = cabc.Callable[..., Gunicorn]


def echo(gunicorn: Gunicorn) -> cabc.Callable[[str], tuple[int, str]]:
    """What a load asks for an echo with."""
    return lambda token: gunicorn.get(f"/echo/{token}", timeout=30)


def check_echoes(answers: cabc.Iterable[Answer]) -> None:
    """Each answer is the right one, or says that Redis is unavailable."""
    for answer in answers:
        assert answer.status in {200, 503}, answer
        if answer.status == 200:
            assert answer.text == " ".join([answer.token] * 3)


# --- One server ------------------------------------------------------------------------------------------------------


@pytest.fixture
def lasting_server() -> cabc.Iterator[Server]:
    """A server that has written down what it acknowledges: a request that outlives it finds what it has set."""
    with Server(appendonly=True, appendfsync="no") as server:
        yield server


@pytest.mark.parametrize("breaker", [None, {"fail_max": 5, "reset_timeout": 0.3}], ids=["RETRY=0", "breaker"])
def test_server_is_killed_under_load(
    lasting_server: Server, start_app: StartApp, report: Report, breaker: dict[str, float] | None
) -> None:
    """Two workers of eight threads live through it: no wrong answer, no stuck worker, a second later as before."""
    server = lasting_server
    config = {"CIRCUIT_BREAKER": json.dumps(breaker)} if breaker else {}
    gunicorn = start_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=2, DECODE_RESPONSES="true", **config)
    workers = set(children_of(gunicorn.pid))
    with Load(echo(gunicorn), 16) as load:
        load.wait_for_answers(100, status=200)
        server.kill()
        load.wait_for_answers(100, status=503)
        server.start()
        normal_after = load.wait_until_normal(time.monotonic())
    check_echoes(load.answers)
    report("normal after", max(normal_after, 0))
    report("longest request", max(answer.duration for answer in load.answers))
    assert normal_after < 1
    assert set(children_of(gunicorn.pid)) == workers
    assert "WORKER TIMEOUT" not in gunicorn.output


def test_server_is_restarted_while_a_worker_is_held_up(lasting_server: Server, start_app: StartApp) -> None:
    """Requests that the outage meets between two commands end with the right answer, or with its error."""
    gunicorn = start_app(URL=lasting_server.url, RETRY=0, SOCKET_TIMEOUT=2, DECODE_RESPONSES="true")
    worker, _ = children_of(gunicorn.pid)
    with Load(echo(gunicorn), 16) as load:
        for _ in range(5):
            load.wait_for_answers(50, status=200, after=time.monotonic())
            os.kill(worker, signal.SIGSTOP)
            lasting_server.kill()
            lasting_server.start()
            os.kill(worker, signal.SIGCONT)
        load.wait_until_normal(time.monotonic())
    check_echoes(load.answers)


def test_server_is_paused_under_load(server: Server, start_app: StartApp, report: Report) -> None:
    """A server that hangs holds a request up for as long as SOCKET_TIMEOUT says, and no longer."""
    gunicorn = start_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=0.5, DECODE_RESPONSES="true")
    with Load(echo(gunicorn), 16) as load:
        load.wait_for_answers(100, status=200)
        server.pause()
        load.wait_for_answers(48, status=503)
        server.resume()
        normal_after = load.wait_until_normal(time.monotonic())
    check_echoes(load.answers)
    # As the application measures it: a worker may have more requests than threads.
    durations = [float(answer.text.split()[0]) for answer in load.answers if answer.status == 503]
    report("longest request", max(durations))
    report("normal after", max(normal_after, 0))
    # The machine may hold some of them up, but hardly half of them.
    assert 0.5 <= statistics.median(durations) < 1
    assert max(durations) < SOON
    assert normal_after < SOON


def test_client_used_before_the_fork(
    server: Server, start_app: StartApp, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With gunicorn --preload the workers inherit a client with an open connection, and never share it."""
    monkeypatch.setenv("USE_BEFORE_FORK", "yes")
    gunicorn = start_app("--preload", URL=server.url, DECODE_RESPONSES="true")
    assert server.command("GET", "used by") == str(gunicorn.pid)
    with Load(echo(gunicorn), 16) as load:
        load.wait_for_answers(1000)
    check_echoes(load.answers)
    assert {answer.status for answer in load.answers} == {200}
    assert gunicorn.get("/")[1] in map(str, children_of(gunicorn.pid))
    report("requests", len(load.answers), "")


def seconds(function: cabc.Callable[[], t.Any]) -> float:
    """How long something takes that ends in an outage's error."""
    started = time.perf_counter()
    with pytest.raises(OUTAGE):
        function()
    return time.perf_counter() - started


def test_page_of_three_commands(make_app: MakeApp, server: Server, report: Report) -> None:
    """What a dead server costs a page of three commands: with redis-py's defaults, RETRY = 0, and an open breaker."""
    defaults, no_retry, broken = (
        Redis(make_app(URL=server.url, **config))
        for config in ({}, {"RETRY": 0}, {"CIRCUIT_BREAKER": True, "RETRY": 0})
    )
    server.kill()
    while broken.get_app().extensions["redis"].breakers["REDIS"].current_state != "open":
        seconds(broken.ping)
    # redis-py's defaults at the same time, not one after the other, because they take long.
    durations: list[float] = []
    threads = [threading.Thread(target=lambda: durations.append(seconds(defaults.ping))) for _ in range(3)]
    for thread in threads:
        thread.start()
    quick = [sum(seconds(redis.ping) for _ in range(3)) for redis in (no_retry, broken) for _ in range(20)]
    for thread in threads:
        thread.join()
    without_retries, with_breaker = statistics.median(quick[:20]), statistics.median(quick[20:])
    report("redis-py's defaults", sum(durations))
    report("RETRY = 0", without_retries * 1000, "ms")
    report("open breaker", with_breaker * 1000, "ms")
    # At their best, because what else the machine does is in all of them.
    assert min(quick[:20]) < 0.5
    assert min(quick[20:]) < 0.003
    if not BEFORE_REDIS_PY_6:
        assert sum(durations) > 1


# --- Sentinel --------------------------------------------------------------------------------------------------------


def test_sentinel_master_is_killed_under_writes(
    sentinel_group: SentinelGroup, start_app: StartApp, report: Report
) -> None:
    """The service resumes in the same processes, and no write that the new master has acknowledged is lost."""
    gunicorn = start_app(URL=sentinel_group.url, RETRY=0, SOCKET_TIMEOUT=5, DECODE_RESPONSES="true")
    workers = set(children_of(gunicorn.pid))
    with Load(lambda token: gunicorn.get(f"/write/{token}", timeout=30), 8) as load:
        load.wait_for_answers(100, status=200)
        killed = sentinel_group.kill_master()
        kill_time = time.monotonic()
        promoted = sentinel_group.wait_for_master_other_than(killed, timeout=60)
        known = time.monotonic()
        normal_after = load.wait_until_normal(known, 200)
    acknowledged = [answer for answer in load.answers if (answer.status, answer.text) == (200, str(promoted.port))]
    outage = [answer for answer in load.answers if answer.status != 200]
    assert all(promoted.command("GET", f"written:{each.token}") == each.token for each in acknowledged)
    assert normal_after < SOON
    assert set(children_of(gunicorn.pid)) == workers
    report("first write after the kill", min(each.ended for each in acknowledged) - kill_time)
    report("sentinels agree after the kill", known - kill_time)
    report("writes acknowledged by the new master", len(acknowledged), "")
    report("requests refused", len(outage), "")


def test_sentinel_master_is_paused(make_app: MakeApp, sentinel_group: SentinelGroup, report: Report) -> None:
    """A master that hangs is left for the new one, and nothing is written to it when it comes back."""
    redis = Redis(make_app(URL=sentinel_group.url, SOCKET_TIMEOUT=1, DECODE_RESPONSES=True))
    assert wait_until(lambda: redis.set("before", "value"), ignoring=OUTAGE)
    replicas = sentinel_group.replicas()
    wait_until(lambda: [replica.command("GET", "before") for replica in replicas] == ["value", "value"])
    paused = sentinel_group.master()
    paused.pause()
    started = time.monotonic()
    promoted = sentinel_group.wait_for_master_other_than(paused, timeout=60)
    assert wait_until(lambda: redis.get("before"), ignoring=OUTAGE) == "value"
    report("resumed after", time.monotonic() - started)
    paused.resume()
    for number in range(100):
        wait_until(functools.partial(redis.set, f"key{number}", number), ignoring=OUTAGE)
    assert all(promoted.command("GET", f"key{number}") == str(number) for number in range(100))


def test_sentinels_one_after_the_other(make_app: MakeApp, sentinel_group: SentinelGroup, report: Report) -> None:
    """A sentinel that hangs costs its timeout, once, and one that is dead nothing: the next one is asked."""
    first, dead, well = sentinel_group.sentinels
    dead.kill()
    with Proxy(first.port) as hanging:
        hanging.drop()
        addresses = [(hanging.host, hanging.port), (dead.host, dead.port), (well.host, well.port)]
        redis = Redis(
            make_app(
                SENTINELS=addresses,
                SENTINEL_SERVICE=sentinel_group.service_name,
                SENTINEL_KWARGS={"socket_timeout": 1},
                SOCKET_TIMEOUT=30,
                RETRY=3,
            )
        )
        started = time.monotonic()
        assert redis.ping()
        duration = time.monotonic() - started
        report("connected after", duration)
        assert 1 <= duration < 20
        redis.connection_pool.disconnect()
        assert redis.ping()
        assert hanging.connections == 1


def test_circuit_breaker_and_sentinel(make_app: MakeApp, sentinel_group: SentinelGroup) -> None:
    """Sentinels that cannot be reached are an outage, and an open breaker does not ask them either."""
    app = make_app(URL=sentinel_group.url, RETRY=0, SOCKET_TIMEOUT=0.2, CIRCUIT_BREAKER=QUICK)
    redis = Redis(app)
    wait_until(lambda: redis.set("key", "value"), ignoring=OUTAGE)
    for sentinel in sentinel_group.sentinels:
        sentinel.pause()
    redis.connection_pool.disconnect()
    circuit = breaker_of(app)
    while circuit.current_state != "open":
        seconds(redis.ping)
    # One of several, because now and then a probe goes out.
    assert min(seconds(redis.ping) for _ in range(5)) < 0.1
    for sentinel in sentinel_group.sentinels:
        sentinel.resume()
    assert wait_until(lambda: redis.get("key"), ignoring=OUTAGE) == b"value"
    assert circuit.current_state == "closed"


# --- Cluster ---------------------------------------------------------------------------------------------------------


def breaker_of(app: Flask) -> pybreaker.CircuitBreaker:
    """The circuit breaker of an application."""
    return t.cast(pybreaker.CircuitBreaker, app.extensions["redis"].breakers["REDIS"])


def keys_of(group: ClusterGroup, count: int = 30) -> dict[str, int]:
    """Keys, and the place of their master in ``group.masters()``."""
    masters = group.masters()
    return {f"key{number}": masters.index(group.owner_of(group.slot_of(f"key{number}"))) for number in range(count)}


def ask_the_cluster(redis: Redis) -> cabc.Callable[[str], tuple[int, str]]:
    """Commands and a pipeline as a load: 200 with what came back, 503 with the error of an outage, 500 with others.

    404 is for what has been set and is not there.
    """

    def ask(token: str) -> tuple[int, str]:
        try:
            redis.set(token, token)
            pipeline: t.Any = redis.pipeline()
            replies: list[t.Any] = [redis.get(token), *pipeline.get(token).get(token).execute()]
            return (404, str(replies)) if None in replies else (200, " ".join(replies))
        except (*OUTAGE, ClusterDownError) as error:
            return 503, f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001
            return 500, f"{type(error).__name__}: {error}"

    return ask


def test_cluster_master_is_killed_under_load(make_app: MakeApp, cluster_group: ClusterGroup, report: Report) -> None:
    """Its replica takes over, and the same client follows: no MOVED reaches the application."""
    redis = Redis(make_app(URL=cluster_group.url, RETRY=1, SOCKET_TIMEOUT=5, DECODE_RESPONSES=True))
    with Load(ask_the_cluster(redis), 8) as load:
        load.wait_for_answers(100, status=200)
        cluster_group.kill_master(1)
        killed = time.monotonic()
        cluster_group.wait_ok(60)
        agreed = time.monotonic()
        normal_after = load.wait_until_normal(agreed, 300)
    # Redis replicates after it has acknowledged: what is lost with a master was set before it died.
    lost = [answer for answer in load.answers if answer.status == 404]
    assert all(answer.started < killed for answer in lost)
    check_echoes(answer for answer in load.answers if answer not in lost)
    report("cluster agrees after the kill", agreed - killed)
    report("normal after", max(agreed + normal_after - killed, 0))
    assert normal_after < SOON


def test_cluster_slots_move_under_load(make_app: MakeApp, cluster_group: ClusterGroup, report: Report) -> None:
    """While slots move from one master to another and back, every command is answered: no MOVED, no ASK."""
    redis = Redis(make_app(URL=cluster_group.url, SOCKET_TIMEOUT=5, DECODE_RESPONSES=True))
    keys = [f"{{user}}:{number}" for number in range(300)]
    for key in keys:
        redis.set(key, key)
    slot = cluster_group.slot_of(keys[0])
    source = cluster_group.owner_of(slot)
    target = next(master for master in cluster_group.masters() if master is not source)

    def ask(token: str) -> tuple[int, str]:
        key = keys[hash(token) % len(keys)]
        try:
            pipeline: t.Any = redis.pipeline()
            values = {redis.get(key), *pipeline.get(key).get(key).execute()}
            redis.incr(f"{{user}}:counter:{token.partition('-')[0]}")
        except Exception as error:  # noqa: BLE001
            return 500, f"{type(error).__name__}: {error}"
        return 200 if values == {key} else 500, str(values)

    with Load(ask, 4) as load:
        load.wait_for_answers(100)
        started = time.monotonic()
        moved = 0
        for _ in range(2):
            moved += cluster_group.move_slot(slot, source, target)
            moved += cluster_group.move_slot(slot, target, source)
        report("moved", moved, f"keys in {time.monotonic() - started:.2f} s")
        load.wait_for_answers(100, after=time.monotonic())
    assert [answer for answer in load.answers if answer.status != 200] == []
    counters = redis.mget([f"{{user}}:counter:{name}" for name in range(4)])
    assert sum(int(counter or 0) for counter in counters) == len(load.answers)


Commands = cabc.Callable[..., t.Any]


@pytest.fixture(params=["threads", "asyncio"])
def commands_of(request: pytest.FixtureRequest) -> cabc.Iterator[cabc.Callable[[Flask], Commands]]:
    """What makes a function that sends commands: through the extension for threads, or the one for asyncio."""
    loop = asyncio.new_event_loop()

    def of_threads(app: Flask) -> Commands:
        redis = Redis(app)
        return lambda name, *args: getattr(redis, name)(*args)

    def of_asyncio(app: Flask) -> Commands:
        redis = AsyncRedis(app)

        async def send(name: str, *args: t.Any) -> t.Any:
            return await getattr(redis, name)(*args)

        return lambda *args: loop.run_until_complete(send(*args))

    yield {"threads": of_threads, "asyncio": of_asyncio}[request.param]
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


CommandsOf = cabc.Callable[[Flask], Commands]


@pytest.mark.parametrize("retry", [0, 2, Retry(NoBackoff(), 1)])
def test_retries_of_a_cluster(make_app: MakeApp, cluster_group: ClusterGroup, retry: t.Any) -> None:
    """A number of retries, or redis-py's object for them, is the cluster client's, which asks other nodes meanwhile."""
    redis = Redis(make_app(URL=cluster_group.url, RETRY=retry))
    assert redis.ping()
    client: t.Any = redis.connection
    if isinstance(retry, Retry):
        assert client.retry is retry
    elif BEFORE_REDIS_PY_6:
        assert client.cluster_error_retry_attempts == retry
    else:
        assert client.retry.get_retries() == retry


def test_breaker_of_a_cluster_with_a_dead_master(
    make_app: MakeApp, cluster_group: ClusterGroup, commands_of: CommandsOf
) -> None:
    """There is one breaker for the whole cluster: while one master is dead, the others go on."""
    app = make_app(URL=cluster_group.url, RETRY=0, SOCKET_TIMEOUT=5, CIRCUIT_BREAKER={"fail_max": 1})
    command = commands_of(app)
    for key in range(30):
        command("set", key, "value")
    # Else they stop answering, too, if they notice before the last of the commands.
    cluster_group.require_full_coverage(False)
    cluster_group.kill_master(2)
    outcomes = [fails(functools.partial(command, "get", key)) for key in range(30)]
    assert outcomes.count(False) > 10
    assert breaker_of(app).current_state == "closed"


def test_breaker_of_a_dead_cluster(make_app: MakeApp, cluster_group: ClusterGroup, commands_of: CommandsOf) -> None:
    """No node that can be reached is a failure: the breaker opens, and closes when they are back."""
    app = make_app(URL=cluster_group.url, RETRY=0, SOCKET_TIMEOUT=5, CIRCUIT_BREAKER=PATIENT)
    command = commands_of(app)
    command("set", "key", "value")
    for server in cluster_group.servers:
        server.kill()
    while breaker_of(app).current_state != "open":
        assert "circuit breaker" not in error_of(lambda: command("get", "key"))
    assert "circuit breaker of REDIS is open" in error_of(lambda: command("get", "key"))
    cluster_group.heal()
    breaker_of(app).reset_timeout = 0.001
    breaker_of(app).open()
    wait_until(lambda: not fails(lambda: command("ping")), 30)
    command("set", "key", "value")
    assert command("get", "key") == b"value"
    assert breaker_of(app).current_state == "closed"


def test_breaker_of_a_cluster_refuses_all(make_app: MakeApp, cluster_group: ClusterGroup, report: Report) -> None:
    """While it is open, pipelines and subscriptions are refused too, at once; and one probe goes out."""
    app = make_app(URL=cluster_group.url, CIRCUIT_BREAKER={"reset_timeout": 60})
    redis = Redis(app)
    redis.ping()
    pipeline: t.Any = redis.pipeline()
    pubsub = redis.pubsub()
    breaker_of(app).open()
    for ask in (redis.ping, lambda: pipeline.get("key").execute(), lambda: pubsub.subscribe("channel")):
        assert "circuit breaker" in error_of(ask)
    report("an open breaker answers in", sorted(seconds(redis.ping) for _ in range(100))[50] * 1e6, "µs")
    breaker_of(app).reset_timeout = 0.001
    breaker_of(app).open()
    breaker_of(app).reset_timeout = 60
    # A subscription waits for no reply, and leaves the probe to others.
    wait_until(lambda: not fails(lambda: pubsub.subscribe("channel")))
    assert breaker_of(app).current_state == "half-open"
    assert redis.ping()
    assert breaker_of(app).current_state == "closed"
    assert pubsub.get_message(timeout=30)
    pubsub.close()


def error_of(function: cabc.Callable[[], t.Any]) -> str:
    """What an outage's error says."""
    with pytest.raises(OUTAGE) as caught:
        function()
    return str(caught.value)


def fails(function: cabc.Callable[[], t.Any]) -> bool:
    """Whether something ends in an outage's error."""
    try:
        function()
    except OUTAGE:
        return True
    return False


def test_breaker_of_a_cluster_that_is_down(make_app: MakeApp, cluster_group: ClusterGroup) -> None:
    """That the cluster is down is a failure, though it is an answer."""
    app = make_app(URL=cluster_group.url, RETRY=0, SOCKET_TIMEOUT=5, CIRCUIT_BREAKER={"fail_max": 2})
    redis = Redis(app)
    master, other, _ = cluster_group.masters()
    key = key_of(redis, other)
    for server in (*cluster_group.replicas_of(master), master):
        server.kill()
    wait_until(lambda: "cluster_state:fail" in other.command("CLUSTER", "INFO"), 30)
    for _ in range(2):
        with pytest.raises(ClusterDownError, match="The cluster is down"):
            redis.get(key)
    assert breaker_of(app).current_state == "open"


def test_breaker_of_a_cluster_without_a_slot(make_app: MakeApp, cluster_group: ClusterGroup) -> None:
    """That one slot is not served is no failure of the cluster, which may go on without it."""
    app = make_app(URL=cluster_group.url, RETRY=0, REQUIRE_FULL_COVERAGE=False, CIRCUIT_BREAKER={"fail_max": 1})
    redis = Redis(app)
    owner, other, _ = cluster_group.masters()
    key, other_key = key_of(redis, owner), key_of(redis, other)
    slot = cluster_group.slot_of(key)
    cluster_group.require_full_coverage(False)
    try:
        for server in cluster_group.servers:
            server.command("CLUSTER", "DELSLOTS", slot)
        for _ in range(3):
            # redis-py may have noticed before it asks.
            with pytest.raises((ClusterDownError, SlotNotCoveredError), match=r"not served|not covered"):
                redis.get(key)
        assert breaker_of(app).current_state == "closed"
        assert redis.get(other_key) is None
    finally:
        owner.command("CLUSTER", "ADDSLOTS", slot)


def key_of(redis: Redis, master: Server) -> str:
    """A key of the cluster that *master* has."""
    client: t.Any = redis.connection
    return next(key for key in map(str, range(1000)) if client.get_node_from_key(key).port == master.port)


def test_hanging_cluster_at_the_first_command(make_app: MakeApp, cluster_group: ClusterGroup, report: Report) -> None:
    """Where no node answers, threads wait together, at the first command and later: not one after the other."""
    app = make_app(URL=cluster_group.url, RETRY=0, SOCKET_TIMEOUT=0.1)
    redis = Redis(app)
    for server in cluster_group.servers:
        server.pause()

    def longest() -> float:
        with Load(lambda token: (200, str(seconds(lambda: redis.get(token)))), 32) as load:
            load.wait_for_answers(1)
        return max(float(answer.text) for answer in load.answers)

    first = longest()
    for server in cluster_group.servers:
        server.resume()
    # Some may take others for dead, until they hear of them.
    cluster_group.wait_ok()
    wait_until(lambda: not fails(lambda: redis.set("key", "value")), 30)
    for server in cluster_group.servers:
        server.pause()
    later = longest()
    report("first command", first)
    report("later command", later)
    # One after the other, 32 threads would wait for 20 s.
    assert first < 10
    assert later < 10
    for server in cluster_group.servers:
        server.resume()
    cluster_group.wait_ok()
    wait_until(lambda: not fails(lambda: redis.set("key", "value")), 30)


# --- Causes, each with its name --------------------------------------------------------------------------------------


class Trouble(t.NamedTuple):
    """What goes wrong, how it looks, and how it ends."""

    redis: Redis
    error: type[Exception]
    says: str
    end: cabc.Callable[[], object]


@pytest.fixture
def wrong_password(make_app: MakeApp, server: Server) -> Trouble:
    """A password that is wrong, until it becomes right."""
    server.command("ACL", "SETUSER", "alice", "on", ">right", "~*", "&*", "+@all")
    redis = Redis(make_app(URL=server.url, USERNAME="alice", PASSWORD="wrong", RETRY=0))
    end = functools.partial(server.command, "ACL", "SETUSER", "alice", ">wrong")
    return Trouble(redis, redis_py.AuthenticationError, "invalid username-password pair|WRONGPASS", end)


@pytest.fixture
def no_password(make_app: MakeApp, server: Server) -> Trouble:
    """A server that suddenly wants a password."""
    server.command("ACL", "SETUSER", "default", "resetpass", ">secret")
    admin = server.client(password="secret")
    redis = Redis(make_app(URL=server.url, RETRY=0))
    end = functools.partial(admin.execute_command, "ACL", "SETUSER", "default", "nopass")
    return Trouble(redis, redis_py.AuthenticationError, "authenticated|Authentication required", end)


@pytest.fixture
def no_permission(make_app: MakeApp, server: Server) -> Trouble:
    """A user without the right to write."""
    server.command("ACL", "SETUSER", "alice", "on", ">secret", "~*", "&*", "+@read", "+@connection")
    redis = Redis(make_app(URL=server.url, USERNAME="alice", PASSWORD="secret", RETRY=0))
    end = functools.partial(server.command, "ACL", "SETUSER", "alice", "+@all")
    return Trouble(redis, NoPermissionError, "no permissions to run the 'set' command", end)


@pytest.fixture
def full_server(make_app: MakeApp, server: Server) -> Trouble:
    """A server without memory for more."""
    server.command("CONFIG", "SET", "maxmemory", "1")
    redis = Redis(make_app(URL=server.url, RETRY=0))
    end = functools.partial(server.command, "CONFIG", "SET", "maxmemory", "0")
    return Trouble(redis, OutOfMemoryError, "command not allowed when used memory", end)


@pytest.fixture
def replica(make_app: MakeApp, server: Server) -> Trouble:
    """A replica, which takes no writes."""
    server.command("REPLICAOF", server.host, "1")
    redis = Redis(make_app(URL=server.url, RETRY=0))
    end = functools.partial(server.command, "REPLICAOF", "NO", "ONE")
    return Trouble(redis, redis_py.ReadOnlyError, "read only replica", end)


@pytest.fixture
def too_many_clients(make_app: MakeApp, server: Server) -> Trouble:
    """A server that takes no more connections."""
    admin = server.client()
    admin.config_set("maxclients", 1)
    redis = Redis(make_app(URL=server.url, RETRY=0))
    return Trouble(redis, redis_py.ConnectionError, "max number of clients", lambda: admin.config_set("maxclients", 99))


@pytest.fixture
def wrong_ca(make_app: MakeApp, tls_server: TlsServer, certificates: Certificates, tmp_path: Path) -> Trouble:
    """A file with the wrong authority, until the right one is there."""
    path = shutil.copy(certificates.wrong_ca, tmp_path / "ca.pem")
    redis = Redis(make_app(URL=tls_server.url, SSL_CA_CERTS=path, RETRY=0))
    end = functools.partial(shutil.copy, certificates.ca, path)
    return Trouble(redis, redis_py.ConnectionError, "certificate verify failed", end)


@pytest.fixture
def wrong_host(make_app: MakeApp, tls_server: TlsServer, certificates: Certificates) -> Trouble:
    """A server with the certificate of another, until it has its own again."""

    def show(certificate: Path, key: Path) -> None:
        tls_server.command("CONFIG", "SET", "tls-cert-file", certificate, "tls-key-file", key)

    show(certificates.wrong_host, certificates.wrong_host_key)
    redis = Redis(make_app(URL=tls_server.url, SSL_CA_CERTS=certificates.ca, RETRY=0))
    end = functools.partial(show, certificates.server, certificates.server_key)
    return Trouble(redis, redis_py.ConnectionError, "IP address mismatch|doesn't match|not valid for", end)


@pytest.mark.parametrize(
    "name",
    [
        "wrong_password",
        "no_password",
        "no_permission",
        "full_server",
        "replica",
        "too_many_clients",
        "wrong_ca",
        "wrong_host",
    ],
)
def test_the_error_names_what_happened(name: str, request: pytest.FixtureRequest, report: Report) -> None:
    """Each trouble has its name, and when its cause is gone the same extension works."""
    trouble: Trouble = request.getfixturevalue(name)
    with pytest.raises(trouble.error, match=trouble.says):
        trouble.redis.set("key", "value")
    trouble.end()
    ended = time.monotonic()
    assert trouble.redis.set("key", "value")
    report("works after", (time.monotonic() - ended) * 1000, "ms")


# --- Threads and connections -----------------------------------------------------------------------------------------


def test_64_threads(make_app: MakeApp, server: Server, report: Report) -> None:
    """50,000 commands of 64 threads on one extension: each reply goes to the one who asked."""
    app = make_app(URL=server.url, DECODE_RESPONSES=True)
    redis = Redis(app)
    crossed: list[object] = []
    rounds = 98

    def work(name: str) -> int:
        """Eight commands a round, of which each reply says who and when."""
        for number in range(rounds):
            value = f"{flask.request.path} {name} {number}"
            pipeline: t.Any = redis.pipeline()
            replies = pipeline.set(name, value).get(name).echo(value).hset(f"h{name}", "f", value).execute()
            expected = [True, value, value, 1 if number == 0 else 0]
            replies += [redis.get(name), redis.hget(f"h{name}", "f"), redis.rpush(f"l{name}", value)]
            replies += [redis.blpop([f"l{name}"], 5)]
            expected += [value, value, 1, (f"l{name}", value)]
            if replies != expected:
                crossed.append((expected, replies))
        return rounds * 8

    started = time.monotonic()
    with app.test_request_context("/threads"), concurrent.futures.ThreadPoolExecutor(64) as executor:
        done = [executor.submit(copy_current_request_context(work), str(name)) for name in range(64)]
        commands = sum(future.result(100) for future in done)
    assert crossed == []
    assert commands >= 50_000
    report("commands", commands, f"in {time.monotonic() - started:.1f} s")


@pytest.mark.parametrize("topology", ["standalone", "unix", "sentinel", "cluster"])
def test_close(make_app: MakeApp, topology: str, request: pytest.FixtureRequest) -> None:
    """close() closes all connections, those to the sentinels too, and the next command opens new ones."""
    url, servers = servers_of(topology, request)
    wait_until_nobody_is_connected(servers)
    redis = Redis(make_app(URL=url))
    redis.close()
    for _ in range(2):
        assert redis.set("key", "value")
        assert connections(servers) > 0
        redis.close()
        wait_until(lambda: connections(servers) == 0)
    redis.close()
    assert redis.get("key") == b"value"


def test_close_with_a_pool_of_the_users_own(make_app: MakeApp, server: Server) -> None:
    """A ready pool belongs to whoever made it: close() leaves it alone."""
    wait_until_nobody_is_connected([server])
    pool = redis_py.ConnectionPool(host=server.host, port=server.port)
    redis = Redis(make_app(CONNECTION_POOL=pool))
    redis.ping()
    redis.close()
    assert connections([server]) == 1
    pool.disconnect()


@pytest.mark.parametrize("topology", ["standalone", "unix", "sentinel", "cluster"])
@pytest.mark.parametrize("breaker", [False, True])
def test_applications_come_and_go(
    make_app: MakeApp, topology: str, breaker: bool, request: pytest.FixtureRequest
) -> None:
    """Nothing is left of applications that are gone: no connection, no file, no application."""
    url, servers = servers_of(topology, request)
    wait_until_nobody_is_connected(servers)
    redis = Redis()

    def use() -> weakref.ref[Flask]:
        app = make_app(URL=url, CIRCUIT_BREAKER=breaker)
        redis.init_app(app)
        with app.app_context():
            redis.set("key", "value")
        return weakref.ref(app)

    use()
    gc.collect()
    files = len(list(Path("/dev/fd").iterdir()))
    references = [use() for _ in range(10)]
    gc.collect()
    assert [reference() for reference in references] == [None] * 10
    wait_until(lambda: connections(servers) == 0)
    assert len(list(Path("/dev/fd").iterdir())) <= files


def servers_of(topology: str, request: pytest.FixtureRequest) -> tuple[str, list[Server]]:
    """The URL of a topology, and its servers."""
    if topology == "sentinel":
        sentinels: SentinelGroup = request.getfixturevalue("sentinel_group")
        return sentinels.url, sentinels.servers
    if topology == "cluster":
        cluster: ClusterGroup = request.getfixturevalue("cluster_group")
        return cluster.url, cluster.servers
    server: Server = request.getfixturevalue("server")
    return server.unix_url if topology == "unix" else server.url, [server]


def connections(servers: cabc.Iterable[Server]) -> int:
    """How many connections of clients the servers have."""
    found = 0
    for server in servers:
        lines = server.command("CLIENT", "LIST", "TYPE", "normal").splitlines()
        found += sum("cmd=sentinel" in line or "lib-name=redis-py" in line for line in lines)
    return found


def wait_until_nobody_is_connected(servers: cabc.Sequence[Server]) -> None:
    """Wait until the applications of earlier tests are gone, and the servers have noticed."""
    gc.collect()
    wait_until(lambda: connections(servers) == 0)
