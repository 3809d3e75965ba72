"""The circuit breaker and the retries: what counts as a failure, what goes out while the circuit is open."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import re
import signal
import statistics
import sys
import threading
import time
import typing as t

import pybreaker
import pytest
import redis as redis_py
from flask import Flask
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from flask_redis import AsyncRedis
from flask_redis import ConfigError
from flask_redis import Redis

from .conftest import MakeApp
from .conftest import Report
from .harness.proxy import Proxy
from .harness.servers import Server
from .harness.waiting import wait_until

OUTAGE: t.Final = (redis_py.ConnectionError, redis_py.TimeoutError)

#: Whether redis-py tries again where a connection is refused.
RETRIES_TO_CONNECT: t.Final = int(redis_py.__version__.partition(".")[0]) >= 6

#: A breaker whose probes a test does not wait for.
PATIENT: t.Final = {"fail_max": 3, "reset_timeout": 60}
#: One whose probes a test waits for.
QUICK: t.Final = {"fail_max": 3, "reset_timeout": 0.2}


def circuit(app: Flask, prefix: str = "REDIS") -> pybreaker.CircuitBreaker:
    """The circuit breaker of an application."""
    return t.cast(pybreaker.CircuitBreaker, app.extensions["redis"].breakers[prefix])


def fails(command: cabc.Callable[[], t.Any]) -> str:
    """Call something that must fail as an outage does, and return what the error says."""
    with pytest.raises(OUTAGE) as caught:
        command()
    return str(caught.value)


def open_for_a_moment(app: Flask) -> None:
    """Open the circuit, and wait until the time for a probe has come. There will be no second one soon."""
    breaker = circuit(app)
    breaker.reset_timeout = 0.001
    breaker.open()
    opened = time.monotonic()
    breaker.reset_timeout = 60
    wait_until(lambda: time.monotonic() > opened + 0.001)


def be_patient(redis: Redis) -> None:
    """Let it wait for answers of a server that is well, however busy the machine is."""
    redis.connection_pool.connection_kwargs["socket_timeout"] = 30
    redis.connection_pool.disconnect()


def in_threads(count: int, function: cabc.Callable[[], t.Any]) -> list[t.Any]:
    """What *count* threads return that call *function* at the same time, or the error it raises."""
    outcomes: list[t.Any] = []
    start = threading.Barrier(count)

    def run() -> None:
        start.wait()
        try:
            outcomes.append(function())
        except Exception as error:  # noqa: BLE001
            outcomes.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == count
    return outcomes


# --- What opens it, and what does not --------------------------------------------------------------------------------


@pytest.fixture(params=["killed", "paused"])
def failing(request: pytest.FixtureRequest, server: Server) -> cabc.Callable[[], None]:
    """What makes the server fail: its end, or a SIGSTOP, after which it still takes connections."""
    return {"killed": server.kill, "paused": server.pause}[request.param]


def test_consecutive_failures_open_it(make_app: MakeApp, server: Server, failing: cabc.Callable[[], None]) -> None:
    """After as many failures as it is told it asks no more, and the error is still a ConnectionError."""
    app = make_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=0.3, CIRCUIT_BREAKER=PATIENT)
    redis = Redis(app)
    wait_until(redis.ping, ignoring=OUTAGE)
    assert circuit(app).current_state == "closed"
    failing()
    for _ in range(3):
        assert "circuit breaker" not in fails(redis.ping)
    assert circuit(app).current_state == "open"
    said = r"circuit breaker of REDIS is open.* again within (60\.0|5\d\.\d) s\. The last failure: .*(refused|Timeout)"
    with pytest.raises(redis_py.ConnectionError, match=said):
        redis.ping()


def test_a_second_attempt(make_app: MakeApp, server: Server) -> None:
    """An init_app that fails leaves no breaker behind: the next one may have other limits."""

    class Other:
        def __init__(self, host: str, port: int, db: int) -> None:
            self.address = host, port, db

    app = make_app(URL=server.url, CLASS=Other, CIRCUIT_BREAKER={"fail_max": 3})
    redis = Redis()
    with pytest.raises(ConfigError, match="REDIS_CIRCUIT_BREAKER need"):
        redis.init_app(app)
    app.config.update(REDIS_CLASS=None, REDIS_CIRCUIT_BREAKER={"fail_max": 7})
    redis.init_app(app)
    assert circuit(app).fail_max == 7


def test_an_answer_starts_the_count_again(make_app: MakeApp, server: Server) -> None:
    """Failures that an answer separates do not open it."""
    app = make_app(URL=server.url, RETRY=0, CIRCUIT_BREAKER=PATIENT)
    redis = Redis(app)
    for _ in range(3):
        server.kill()
        for _ in range(2):
            fails(redis.ping)
        assert circuit(app).fail_counter == 2
        server.start()
        assert redis.ping()
        assert circuit(app).fail_counter == 0
    assert circuit(app).current_state == "closed"


def test_open_it_answers_at_once(make_app: MakeApp, server: Server, report: Report) -> None:
    """An open breaker answers in well under a millisecond, to a command, a pipeline and a subscriber."""
    app = make_app(URL=server.url, RETRY=0, CIRCUIT_BREAKER=PATIENT)
    redis = Redis(app)
    pipeline: t.Any = redis.pipeline()
    pubsub = redis.pubsub()
    circuit(app).open()

    def ask_all() -> list[float]:
        durations: list[float] = []
        for ask in (redis.ping, lambda: pipeline.ping().execute(), lambda: pubsub.subscribe("channel")):
            started = time.perf_counter()
            fails(ask)
            durations.append(time.perf_counter() - started)
        return durations

    median = statistics.median(duration for _ in range(200) for duration in ask_all())
    report("an open breaker answers in", median * 1e6, "µs")
    assert median < 0.001
    assert server.info("stats")["total_connections_received"] == "1"  # that of this question


@pytest.mark.parametrize("command", [("GET", "list"), ("NO", "SUCH"), ("EVAL", "return nil", "one"), ("SET", "key")])
def test_mistakes_do_not_open_it(make_app: MakeApp, server: Server, command: tuple[str, ...]) -> None:
    """A command that the server refuses is answered: the user's mistakes are no outage."""
    app = make_app(URL=server.url, CIRCUIT_BREAKER={"fail_max": 1})
    redis = Redis(app)
    redis.rpush("list", "value")
    for _ in range(3):
        with pytest.raises(redis_py.ResponseError):
            redis.execute_command(*command)
    assert circuit(app).current_state == "closed"
    assert circuit(app).fail_counter == 0


def test_a_wrong_password_does_not_open_it(make_app: MakeApp, server: Server) -> None:
    """An error that tells of a wrong password goes on telling of it, though redis-py has it as a ConnectionError."""
    server.command("ACL", "SETUSER", "alice", "on", ">right", "~*", "+@all")
    app = make_app(URL=server.url, USERNAME="alice", PASSWORD="wrong", RETRY=0, CIRCUIT_BREAKER={"fail_max": 1})
    redis = Redis(app)
    for _ in range(3):
        with pytest.raises(redis_py.AuthenticationError):
            redis.ping()
    assert circuit(app).current_state == "closed"


def test_an_exhausted_pool_does_not_open_it(make_app: MakeApp, server: Server) -> None:
    """That this process has no connection left says nothing of the server."""
    app = make_app(URL=server.url, MAX_CONNECTIONS=1, CIRCUIT_BREAKER={"fail_max": 1})
    redis = Redis(app)
    with redis.pubsub() as pubsub:
        pubsub.subscribe("channel")
        for _ in range(3):
            fails(redis.ping)
    assert circuit(app).current_state == "closed"
    assert redis.ping()


def test_a_wait_longer_than_the_timeout_does_not_open_it(make_app: MakeApp, server: Server) -> None:
    """A blocking command that outlives SOCKET_TIMEOUT fails, but the server answers those who connect."""
    # Three more failures in a row are those of a server that does not let anybody connect in time.
    app = make_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=0.2, CIRCUIT_BREAKER={"fail_max": 4})
    redis = Redis(app)
    for _ in range(5):
        with pytest.raises(redis_py.TimeoutError):
            redis.execute_command("BLPOP", "list", 5)
    assert circuit(app).current_state == "closed"


def test_each_attempt_counts_once(make_app: MakeApp, server: Server) -> None:
    """An attempt to send a command holds attempts to connect: one failure of the server is one failure."""
    app = make_app(URL=server.url, RETRY=0, CIRCUIT_BREAKER={"fail_max": 100})
    redis = Redis(app)
    pipeline: t.Any = redis.pipeline()
    redis.ping()
    server.kill()
    for count in range(1, 5):
        fails(redis.ping)
        assert circuit(app).fail_counter == count
    fails(lambda: pipeline.ping().execute())
    assert circuit(app).fail_counter == 5
    fails(lambda: redis.pubsub().subscribe("channel"))
    assert circuit(app).fail_counter == 6


def test_an_open_breaker_ends_the_retries(make_app: MakeApp, server: Server, report: Report) -> None:
    """Each attempt counts, so the retries under way end when the circuit opens."""
    app = make_app(URL=server.url, RETRY=1000, SOCKET_TIMEOUT=0.1, CIRCUIT_BREAKER={"fail_max": 5})
    redis = Redis(app)
    server.kill()
    started = time.monotonic()
    for _ in range(1 if RETRIES_TO_CONNECT else 5):
        fails(redis.ping)
    duration = time.monotonic() - started
    report("1000 retries ended after", duration)
    assert circuit(app).current_state == "open"
    assert duration < 30


def test_a_retry_of_the_users_own(make_app: MakeApp, server: Server) -> None:
    """A Retry object keeps its attempts, its backoff and its errors, and the breaker counts along."""
    retry = Retry(ConstantBackoff(0.001), 3)
    app = make_app(URL=server.url, RETRY=retry, SOCKET_TIMEOUT=0.1, CIRCUIT_BREAKER={"fail_max": 100})
    redis = Redis(app)
    server.kill()
    fails(redis.ping)
    assert circuit(app).fail_counter == (4 if RETRIES_TO_CONNECT else 1)
    assert type(retry) is Retry


def test_a_retry_of_another_package(make_app: MakeApp, server: Server) -> None:
    """redis-py's Retry serves a client of valkey-py, with valkey-py's errors in the place of its own."""
    retry = Retry(ConstantBackoff(0.001), 3)
    app = make_app(URL=server.url.replace("redis://", "valkey://"), RETRY=retry)
    ours = Redis(app).connection.connection_pool.connection_kwargs["retry"]
    assert type(ours).__module__ == "valkey.retry"
    assert ours._retries == 3
    assert {each.__module__ for each in ours._supported_errors} == {"valkey.exceptions"}


def test_threads_share_one(make_app: MakeApp, server: Server) -> None:
    """The failures of all threads count together, and each gets an error of Redis."""
    app = make_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=0.3, CIRCUIT_BREAKER={"fail_max": 16, "reset_timeout": 60})
    redis = Redis(app)
    in_threads(32, redis.ping)
    server.pause()
    outcomes = in_threads(32, redis.ping)
    assert {type(outcome) for outcome in outcomes} <= set(OUTAGE)
    assert circuit(app).current_state == "open"


# --- The probe -------------------------------------------------------------------------------------------------------


def test_it_closes_when_the_server_is_back(make_app: MakeApp, server: Server, failing: cabc.Callable[[], None]) -> None:
    """After reset_timeout a probe goes out, and its answer closes the circuit for all."""
    app = make_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=0.3, CIRCUIT_BREAKER=QUICK)
    redis = Redis(app)
    wait_until(redis.ping, ignoring=OUTAGE)
    failing()
    for _ in range(3):
        fails(redis.ping)
    server.resume()
    server.start()
    wait_until(redis.ping, ignoring=OUTAGE)
    assert circuit(app).current_state == "closed"
    be_patient(redis)
    assert in_threads(8, redis.ping) == [True] * 8


def test_a_probe_that_fails_opens_it_again(make_app: MakeApp, server: Server) -> None:
    """While the server is down, one connection is tried each reset_timeout."""
    with Proxy(server.port) as proxy:
        app = make_app(URL=proxy.url, RETRY=0, CIRCUIT_BREAKER={"fail_max": 1, "reset_timeout": 0.3})
        redis = Redis(app)
        server.kill()
        started = time.monotonic()
        fails(redis.ping)
        tried = proxy.connections
        while proxy.connections < tried + 3:
            fails(redis.ping)
            assert circuit(app).current_state == "open"
        assert time.monotonic() - started >= 0.9
        server.start()
        wait_until(redis.ping, ignoring=OUTAGE)


def test_exactly_one_probe_goes_out(make_app: MakeApp, server: Server) -> None:
    """Of many threads that come when the time is up, one asks, and the others are answered at once."""
    app = make_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=0.3, CIRCUIT_BREAKER={})
    redis = Redis(app)
    # Connections that are open already must not be taken for answers.
    in_threads(32, redis.ping)
    connections = int(server.info("stats")["total_connections_received"])
    server.pause()
    for _ in range(3):
        open_for_a_moment(app)
        outcomes = in_threads(32, redis.ping)
        assert sum("circuit breaker" in str(outcome) for outcome in outcomes) == 31
        assert circuit(app).current_state == "open"
    server.resume()
    assert int(server.info("stats")["total_connections_received"]) - connections < 10


def test_a_subscriber_is_no_probe(make_app: MakeApp, server: Server) -> None:
    """Whoever waits for a message asks nothing: it waits on while the circuit is open, and holds nobody up."""
    app = make_app(URL=server.url, RETRY=0, CIRCUIT_BREAKER=PATIENT, DECODE_RESPONSES=True)
    redis = Redis(app)
    with redis.pubsub(ignore_subscribe_messages=True) as listening, redis.pubsub() as polling:
        listening.subscribe("channel")
        polling.subscribe("channel")
        assert polling.get_message(timeout=30)
        heard: list[t.Any] = []
        listener = threading.Thread(target=lambda: heard.append(next(listening.listen())), daemon=True)
        open_for_a_moment(app)
        listener.start()
        for _ in range(3):
            assert polling.get_message(timeout=0.05) is None
        assert circuit(app).current_state == "open"
        assert redis.ping()
        assert circuit(app).current_state == "closed"
        circuit(app).open()
        assert server.client().publish("channel", "message") == 2
        listener.join(60)
        assert [message["data"] for message in heard] == ["message"]
        assert circuit(app).current_state == "open"


def test_a_subscriber_that_lost_its_connection(make_app: MakeApp, server: Server) -> None:
    """A loop over get_message() is told of an outage at once, and goes on with its subscription afterwards."""
    app = make_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=30, CIRCUIT_BREAKER=QUICK, DECODE_RESPONSES=True)
    redis = Redis(app)
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("channel")
        pubsub.get_message(timeout=1)
        server.kill()
        started = time.monotonic()
        while circuit(app).current_state != "open":
            fails(lambda: pubsub.get_message(timeout=30))
        fails(lambda: pubsub.get_message(timeout=30))
        assert time.monotonic() - started < 20
        server.start()

        def receive() -> t.Any:
            server.client().publish("channel", "message")
            return pubsub.get_message(timeout=0.1)

        assert wait_until(receive, ignoring=OUTAGE)["data"] == "message"
        assert circuit(app).current_state == "closed"


def test_a_blocking_command_as_the_probe(make_app: MakeApp, server: Server) -> None:
    """A probe that waits for an element does not hold the others up: that it could connect was the answer."""
    app = make_app(URL=server.url, CIRCUIT_BREAKER=PATIENT)
    redis = Redis(app)
    open_for_a_moment(app)
    popped: list[t.Any] = []
    waiting = threading.Thread(target=lambda: popped.append(redis.blpop("list", 0)), daemon=True)
    waiting.start()
    wait_until(lambda: circuit(app).current_state == "closed")
    assert redis.rpush("list", "element")
    waiting.join(60)
    assert popped == [(b"list", b"element")]


def test_a_probe_that_is_interrupted(make_app: MakeApp, server: Server) -> None:
    """A probe may end in an error of its own, of a signal say. Then there is another one after reset_timeout."""
    app = make_app(URL=server.url, RETRY=0, CIRCUIT_BREAKER=QUICK)
    redis = Redis(app)
    # redis-py leaves a socket behind that is interrupted while it connects: this one is there already.
    redis.ping()
    circuit(app).open()
    server.pause()
    main_thread = threading.get_ident()

    def interrupt() -> None:
        wait_until(lambda: circuit(app).current_state == "half-open")
        signal.pthread_kill(main_thread, signal.SIGUSR1)

    def handle(*_: object) -> None:
        raise ZeroDivisionError

    earlier = signal.signal(signal.SIGUSR1, handle)
    try:
        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(ZeroDivisionError):
            wait_until(redis.ping, ignoring=OUTAGE)
        interrupter.join()
    finally:
        signal.signal(signal.SIGUSR1, earlier)
    server.resume()
    assert circuit(app).current_state == "half-open"
    assert wait_until(redis.ping, ignoring=OUTAGE)
    assert circuit(app).current_state == "closed"


def test_what_ends_beside_the_probe(make_app: MakeApp, server: Server) -> None:
    """A command that began before the circuit opened may fail while a probe is out: only the probe counts."""
    app = make_app(URL=server.url, RETRY=0, SOCKET_TIMEOUT=60, CIRCUIT_BREAKER=PATIENT)
    redis = Redis(app)
    outcomes: list[t.Any] = []

    def start(number: int, function: cabc.Callable[[], t.Any]) -> threading.Thread:
        thread = threading.Thread(target=lambda: outcomes.append(function()), daemon=True)
        thread.start()
        wait_until(lambda: server.info("clients")["blocked_clients"] == str(number))
        return thread

    client_id = redis.client_id()
    earlier = start(1, lambda: fails(lambda: redis.execute_command("BLPOP", "list", 0)))
    # The probe is to find a connection that is open: the greeting of a new one would be its answer.
    redis.ping()
    open_for_a_moment(app)
    probe = start(2, lambda: redis.execute_command("BLPOP", "other list", 0))
    assert circuit(app).current_state == "half-open"
    server.command("CLIENT", "KILL", "ID", client_id)
    earlier.join(60)
    assert len(outcomes) == 1
    assert circuit(app).current_state == "half-open"
    server.command("RPUSH", "other list", "element")
    probe.join(60)
    assert circuit(app).current_state == "closed"
    assert list(outcomes[1]) == [b"other list", b"element"]


# --- Its state -------------------------------------------------------------------------------------------------------


def test_its_state_can_be_asked_for(make_app: MakeApp, server: Server) -> None:
    """Each prefix with a breaker has one of pybreaker's, which says how it stands, and can be opened by hand."""
    app = make_app(URL=server.url, CIRCUIT_BREAKER={"fail_max": 2, "reset_timeout": 30})
    app.config.update(OTHER_URL=server.url)
    redis, other = Redis(app), Redis(app, "OTHER")
    assert list(app.extensions["redis"].breakers) == ["REDIS"]
    assert circuit(app).name == "REDIS"
    assert (circuit(app).fail_max, circuit(app).reset_timeout) == (2, 30)
    circuit(app).open()
    said = r"The circuit breaker of REDIS is open, the server is asked again within (30\.0|2\d\.\d) s\."
    assert re.fullmatch(said, fails(redis.ping))
    assert other.ping()
    circuit(app).close()
    assert redis.ping()


def test_the_default_limits(make_app: MakeApp) -> None:
    """Five failures, ten seconds."""
    app = make_app(CIRCUIT_BREAKER="true")
    Redis(app)
    assert (circuit(app).fail_max, circuit(app).reset_timeout) == (5, 10)


def test_a_listener_may_use_redis(make_app: MakeApp, server: Server) -> None:
    """A listener of the user's is told of each change, and what it does with Redis does not lock up."""
    app = make_app(URL=server.url, RETRY=0, CIRCUIT_BREAKER={"fail_max": 1, "reset_timeout": 0.2})
    redis = Redis(app)
    changes: list[str] = []

    class Listener(pybreaker.CircuitBreakerListener):
        def state_change(self, cb: t.Any, old_state: t.Any, new_state: t.Any) -> None:
            changes.append(new_state.name)
            if new_state.name == "open":
                fails(redis.ping)

    circuit(app).add_listener(Listener())
    server.kill()
    fails(redis.ping)
    server.start()
    wait_until(redis.ping, ignoring=OUTAGE)
    assert changes == ["open", "half-open", "closed"]


# --- Where it works --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory://", "embedded://"])
def test_servers_in_or_of_this_process(make_app: MakeApp, url: str) -> None:
    """It works with these as with others, though they have no outages."""
    app = make_app(URL=url, CIRCUIT_BREAKER=PATIENT)
    redis = Redis(app)
    open_for_a_moment(app)
    assert redis.set("key", "value")
    assert circuit(app).current_state == "closed"
    circuit(app).open()
    fails(redis.ping)


def test_valkey_py(make_app: MakeApp, server: Server) -> None:
    """With valkey-py, its errors are valkey-py's."""
    import valkey

    app = make_app(URL=server.url.replace("redis://", "valkey://"), RETRY=1, CIRCUIT_BREAKER=PATIENT)
    redis = Redis(app)
    assert redis.ping()
    server.kill()
    for _ in range(4):
        with pytest.raises(valkey.ConnectionError):
            redis.ping()
    assert circuit(app).current_state == "open"


def test_without_pybreaker(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is an error that names what to install."""
    monkeypatch.setitem(sys.modules, "pybreaker", None)
    with pytest.raises(ConfigError, match=r"REDIS_CIRCUIT_BREAKER .*pip install 'Flask-And-Redis\[breaker\]'"):
        Redis(make_app(CIRCUIT_BREAKER=True))


class WithoutRetries:
    """A client that knows no retries."""


def test_a_class_without_retries(make_app: MakeApp) -> None:
    """Neither key has an effect on a class that takes no retries, and is an error."""
    for key in ("RETRY", "CIRCUIT_BREAKER"):
        with pytest.raises(ConfigError, match=r"REDIS_RETRY and REDIS_CIRCUIT_BREAKER need .* that takes 'retry'"):
            Redis(make_app(CLASS=WithoutRetries, **{key: 1}))


class PoolLess:
    """A client with retries, but no connection pool."""

    def __init__(self, retry: t.Any = None) -> None:
        self.retry = retry


def test_a_class_without_a_pool(make_app: MakeApp) -> None:
    """A class whose connections cannot be guarded is an error, rather than an application without a breaker."""
    with pytest.raises(ConfigError, match="REDIS_CIRCUIT_BREAKER needs a REDIS_CLASS with a connection pool"):
        Redis(make_app(CLASS=PoolLess, CIRCUIT_BREAKER=True))


@pytest.mark.parametrize("key", ["RETRY", "CIRCUIT_BREAKER"])
def test_a_pool_of_the_users_own(make_app: MakeApp, key: str) -> None:
    """A ready pool has retries of its own, which redis-py leaves as they are: both keys at once is an error."""
    with pytest.raises(ConfigError, match=f"REDIS_{key} and REDIS_CONNECTION_POOL are both set"):
        Redis(make_app(CONNECTION_POOL=redis_py.ConnectionPool(), **{key: 1}))


@pytest.mark.parametrize("config", [{"CIRCUIT_BREAKER": True}, {"URL": "memory://"}, {"URL": "embedded://"}])
def test_a_single_connection(make_app: MakeApp, config: dict[str, t.Any]) -> None:
    """One connection without a pool has no place where it would be neither guarded nor right."""
    with pytest.raises(ConfigError, match=r"REDIS_SINGLE_CONNECTION_CLIENT is set; accepted beside .*: false"):
        Redis(make_app(SINGLE_CONNECTION_CLIENT=True, **config))


# --- asyncio ---------------------------------------------------------------------------------------------------------


def test_asyncio(make_app: MakeApp, server: Server, failing: cabc.Callable[[], None]) -> None:
    """For asyncio the same is true: of many tasks, one is the probe."""
    app = make_app(URL=server.url, RETRY=1, SOCKET_TIMEOUT=0.3, CIRCUIT_BREAKER={"fail_max": 4})
    redis = AsyncRedis(app)

    async def outcome() -> t.Any:
        try:
            return await redis.ping()
        except OUTAGE as error:
            return str(error)

    async def main() -> None:
        assert await redis.set("list", "no list")
        with pytest.raises(redis_py.ResponseError):
            await redis.lpush("list", "value")
        circuit(app).open()
        assert "circuit breaker" in await outcome()
        circuit(app).close()
        failing()
        while circuit(app).current_state != "open":
            await outcome()
        assert circuit(app).fail_counter == 4
        outcomes = await asyncio.gather(*(outcome() for _ in range(16)))
        assert all("circuit breaker" in each for each in outcomes)
        open_for_a_moment(app)
        outcomes = await asyncio.gather(*(outcome() for _ in range(16)))
        assert sum("circuit breaker" in each for each in outcomes) == 15
        server.resume()
        server.start()
        open_for_a_moment(app)
        while await outcome() is not True:
            open_for_a_moment(app)
        assert circuit(app).current_state == "closed"

    asyncio.run(main())
