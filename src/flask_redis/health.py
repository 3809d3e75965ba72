"""Whether an application's servers answer: :func:`check`, and ``flask redis ping`` on top of it.

A check has a client of its own, made of the application's settings, that tries once. So it asks the server and not the
application's pool, it does not wait for retries, and no circuit breaker counts it or holds it back.
"""

from __future__ import annotations

import collections.abc as cabc
import concurrent.futures
import contextlib
import contextvars
import dataclasses
import importlib
import re
import threading
import time
import typing as t

from . import resilience
from . import topologies
from . import urls
from .config import CLASSES
from .config import Settings
from .extension import Clients
from .extension import PLACE
from .parameters import cluster_node_class
from .parameters import parameters
from .recording import without_arguments

if t.TYPE_CHECKING:
    from flask.sansio.app import App

#: Seconds, the longest timeout of a check.
LONGEST: t.Final = 3600.0

#: The part of the timeout that is left for the way back to the caller, so that it is kept on a busy machine too.
_RESERVE: t.Final = 0.05


@dataclasses.dataclass(frozen=True)
class Result:
    """How one connection is."""

    #: The config prefix, such as ``"REDIS"``.
    prefix: str
    #: Where the client connects, the password masked.
    url: str
    #: ``"standalone"``, ``"sentinel"``, ``"cluster"``, ``"memory"`` or ``"embedded"``.
    topology: str
    #: Whether the server answered. One that refuses PING to this user has answered.
    ok: bool
    #: Seconds from PING to its answer, on a connection that is open already.
    latency: float | None = None
    #: ``"valkey"``, ``"redis"`` or ``"fakeredis"``, as far as it says so.
    server: str | None = None
    #: The server's version.
    version: str | None = None
    #: ``"master"`` or ``"replica"``.
    role: str | None = None
    #: Why it is not ok, without secrets.
    error: str | None = None
    #: The state of the application's circuit breaker, where there is one: ``"closed"``, ``"open"`` or ``"half-open"``.
    breaker: str | None = None


class _Answer(t.NamedTuple):
    latency: float
    server: str | None
    version: str | None
    role: str | None


def check(app: App, timeout: float = 1.0, prefixes: cabc.Collection[str] = ()) -> list[Result]:
    """Ask the server of each of the application's connections, all at the same time, whether it answers.

    It returns within the timeout, whatever the servers, the network and the name service do.

    :param app: the application, Flask's or Quart's.
    :param timeout: seconds, for all of it together; at most 3600.
    :param prefixes: the config prefixes of the connections to check; all of them by default.
    :returns: one result for each config prefix. ``Redis`` and ``AsyncRedis`` of one prefix are one connection.
    :raises ValueError: if the timeout is none, or the application has no connection with one of the prefixes. A server
        that is down is no exception, but a result that is not ``ok``.
    :raises RuntimeError: if the application has no connection at all.
    """
    if not 0 < timeout <= LONGEST:
        raise ValueError(f"The timeout is {timeout!r}; accepted: a number of seconds above 0, {LONGEST:g} at most.")
    deadline = time.monotonic() + timeout * (1 - _RESERVE)
    chosen = connections(app, prefixes)
    surroundings = clients_of(app)._surroundings
    # Daemon threads, because a lookup of a name may hang for longer than the process shall wait for it at its end.
    answers = [_in_a_thread(settings, surroundings, timeout, deadline) for settings in chosen.values()]
    results: list[Result] = []
    for settings, answer in zip(chosen.values(), answers, strict=True):
        found: dict[str, t.Any] = {}
        try:
            found = answer.result(max(deadline - time.monotonic(), 0))._asdict()
        except concurrent.futures.TimeoutError:
            found["error"] = f"No answer within {timeout:g} s."
        except Exception as error:  # noqa: BLE001
            found["error"] = reason(settings, error)
        breaker = surroundings.breakers.get(settings.prefix)
        results.append(
            Result(
                prefix=settings.prefix,
                url=settings.url,
                topology=settings.topology,
                ok="error" not in found,
                breaker=str(breaker.circuit.current_state) if breaker else None,
                **found,
            )
        )
    return results


def clients_of(app: t.Any) -> Clients:
    """The clients of *app*.

    :raises RuntimeError: if there are none.
    """
    app = getattr(app, "_get_current_object", lambda: app)()
    found = app.extensions.get(PLACE)
    if not isinstance(found, Clients):
        raise _no_connection(app)
    return found


def _no_connection(app: t.Any) -> RuntimeError:
    return RuntimeError(f"The application {app.name!r} has no Redis: call init_app() of one with it.")


def connections(app: t.Any, prefixes: cabc.Collection[str] = ()) -> dict[str, Settings]:
    """The settings of the application's connections with these config prefixes, else of all.

    :raises ValueError: if there is none with one of the prefixes.
    :raises RuntimeError: if there is none at all.
    """
    clients = clients_of(app)
    known = {prefix: settings for prefix, (_, settings) in clients.connections().items()}
    # Of a FlaskRedis with a provider of its own there may be no settings.
    if not known and not clients.others:
        raise _no_connection(app)
    for prefix in prefixes:
        if prefix not in known:
            raise ValueError(f"{prefix!r} is no config prefix of this application; there are: {', '.join(known)}.")
    return {prefix: settings for prefix, settings in known.items() if not prefixes or prefix in prefixes}


def reason(settings: Settings, error: Exception) -> str:
    """The text of *error* in one line, without secrets, and what it has to do with the configuration."""
    text = without_arguments(" ".join(str(error).split()))
    options = {**settings.options, **(settings.sentinel_options or {})}
    options.update(getattr(options.get("connection_pool"), "connection_kwargs", {}))
    for name, value in options.items():
        if urls.SECRET.search(name) and isinstance(value, (str, bytes)) and value:
            text = re.sub(rf"(?<!\w){re.escape(as_text(value))}(?!\w)", "***", text)
    # The sentinels have a password of their own.
    key = "SENTINEL_KWARGS" if text.startswith("No master found") else "PASSWORD"
    wanted = f"A password is required, and {settings.prefix}_{key} states none."
    refused = "(HELLO must be called with the client already authenticated|Authentication required)[^;]*"
    text = re.sub(refused, lambda _: wanted, text)
    text = re.sub("unknown command .SENTINEL.", r"\g<0>: it is no sentinel that listens there.", text)
    return text or type(error).__name__


def _in_a_thread(
    settings: Settings, surroundings: topologies.Surroundings, timeout: float, deadline: float
) -> concurrent.futures.Future[_Answer]:
    future: concurrent.futures.Future[_Answer] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(_check(settings, surroundings, timeout))
        except Exception as error:  # noqa: BLE001
            # After the deadline, the time is what was missing, also to a caller that was too busy to look before.
            if time.monotonic() < deadline:
                future.set_exception(error)

    # A credential provider may need the application context of the caller.
    context = contextvars.copy_context()
    name = f"flask-redis-health-{settings.prefix}"
    threading.Thread(target=context.run, args=(run,), name=name, daemon=True).start()
    return future


def _check(settings: Settings, surroundings: topologies.Surroundings, timeout: float) -> _Answer:
    with own_client(settings, surroundings, timeout) as client:
        return _ask_cluster(client, settings) if settings.topology == "cluster" else _ask(client, settings)


@contextlib.contextmanager
def own_client(settings: Settings, surroundings: topologies.Surroundings, timeout: float) -> cabc.Iterator[t.Any]:
    """A client for *settings* that does not retry, and shares nothing with the application's. It is closed at the end.

    For ``AsyncRedis`` it is the package's own client without asyncio, which needs no loop.

    :param timeout: seconds. No wait for one server is longer; it is shared among the servers that are asked in turn.
    """
    client_class = settings.client_class
    if settings.asyncio:
        cluster = cluster_node_class(client_class) is not None
        client_class = getattr(importlib.import_module(settings.package), CLASSES[settings.package][cluster])
    known = parameters(client_class)
    # A single connection would connect in the constructor; a function for asyncio is of no use here.
    left_out = {"single_connection_client", *(["redis_connect_func"] if settings.asyncio else [])}
    options = {name: value for name, value in settings.options.items() if name in known and name not in left_out}
    limit = timeout / (len(settings.nodes) + 1)
    mine = dataclasses.replace(
        settings,
        client_class=client_class,
        options=options | _limited(options, known, limit),
        # That of a cluster passes by a node that is down, and takes another one.
        retry=(3 if settings.topology == "cluster" else 0) if "retry" in known else None,
        breaker=None,
        slow_command=None,
    )
    if settings.sentinel_options is not None:
        given = {**settings.sentinel_options, "retry": resilience.no_retry(mine)}
        sentinel_options = given | _limited(given, given, limit)
        mine = dataclasses.replace(mine, sentinel_options=sentinel_options)
    if pool := options.get("connection_pool"):
        mine = dataclasses.replace(mine, options={**mine.options, "connection_pool": _own_pool(mine, pool, limit)})
    # Without the application's circuit breakers.
    client = topologies.build(mine, topologies.Surroundings(surroundings.instance_path, surroundings.memory))
    try:
        yield client
    finally:
        # A class of the user's need not have it.
        if hasattr(client, "close"):
            topologies.close(client)
        if pool := getattr(client, "connection_pool", None):
            pool.disconnect()


def _own_pool(settings: Settings, pool: t.Any, limit: float) -> t.Any:
    """A pool of such connections as *pool* has."""
    options = {**pool.connection_kwargs, "retry": resilience.no_retry(settings)}
    options |= _limited(options, parameters(pool.connection_class), limit)
    module = importlib.import_module(f"{settings.package}.connection")
    return module.ConnectionPool(connection_class=pool.connection_class, **options)


def _limited(options: cabc.Mapping[str, t.Any], known: cabc.Container[str], limit: float) -> dict[str, float]:
    """The timeouts in *options*, none of them above *limit* seconds."""
    names = [name for name in ("socket_timeout", "socket_connect_timeout") if name in known]
    return {name: min(options.get(name) or limit, limit) for name in names}


def _ask(client: t.Any, settings: Settings) -> _Answer:
    exceptions = importlib.import_module(f"{settings.package}.exceptions")
    try:
        # Unlike INFO it is not dangerous, so every user may send it.
        reply = client.execute_command("HELLO")
    except exceptions.ResponseError:
        # A proxy need not know it.
        reply = []
    pairs = reply.items() if isinstance(reply, cabc.Mapping) else zip(reply[::2], reply[1::2], strict=False)
    fields = {as_text(name): as_text(value) for name, value in pairs}
    start = time.perf_counter()
    # That this user may not send it is an answer, too.
    with contextlib.suppress(exceptions.NoPermissionError):
        client.execute_command("PING")
    latency = time.perf_counter() - start
    return _Answer(latency, fields.get("server"), fields.get("version"), fields.get("role"))


def _ask_cluster(cluster: t.Any, settings: Settings) -> _Answer:
    """Ask a node that answers, and what it thinks of the cluster."""
    exceptions = importlib.import_module(f"{settings.package}.exceptions")
    try:
        # This one goes to the default node, in whose place the client puts another one if it is down.
        state = cluster.execute_command("CLUSTER INFO").get("cluster_state")
    except exceptions.NoPermissionError:
        state = "ok"
    if state != "ok":
        raise exceptions.ClusterDownError(f"The cluster is down: its state is {state!r}.")
    return _ask(cluster.get_redis_connection(cluster.get_default_node()), settings)


def as_text(value: t.Any) -> t.Any:
    """*value*, as text if it is bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
