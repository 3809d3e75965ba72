"""One command, from the call to the reply."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import functools
import timeit
import typing as t

from .. import clients
from ..contenders import BARE_SOCKET
from ..contenders import CONTENDERS
from ..contenders import FLASK_REDIS
from ..contenders import GUARDED
from ..contenders import OURS
from ..contenders import VERSION_1
from ..figures import cells
from ..figures import Chart
from ..figures import charted
from ..figures import Data
from ..figures import Goal
from ..figures import MICROSECONDS
from ..figures import ratios
from ..figures import spread
from ..figures import spread_header
from ..figures import Table
from ..figures import times

if t.TYPE_CHECKING:
    from ..bench import Bench
    from ..contenders import Contender
    from ..worker import Worker

TITLE = "One command"
METHOD = (
    "Each figure is the mean of a block of equal commands on one connection, inside an app context. The bare socket"
    " sends the same bytes and reads exactly the reply. Clients and server keep to a processor core each, where there"
    " are two: when the system moves them together and apart, commands take half the time or twice as long."
)

TRANSPORTS: t.Final = ("TCP", "Unix socket")
#: How many of a command make a block: about 10 ms.
COMMANDS: t.Final[cabc.Mapping[str, int]] = {"get of 64 B": 130, "get of 10 KiB": 130, "lrange of 1,000": 10}
CASES: t.Final = [f"{command}, {transport}" for command in COMMANDS for transport in TRANSPORTS]


def measure(bench: Bench) -> Data:
    """Take the figures."""
    with serving() as urls:

        def one(worker: Worker, contender: Contender, case: str) -> float:
            command, transport = case.split(", ")
            return t.cast(
                float,
                worker.call(seconds, contender.kind, urls[transport], command, bench.number(COMMANDS[command])),
            )

        contenders = [*bench.some(), *([BARE_SOCKET] if bench.quick else [])]
        return bench.interleaved(contenders, CASES, one, rounds=30, restarts=10, core=0)


@contextlib.contextmanager
def serving() -> cabc.Iterator[dict[str, str]]:
    """A server with what the commands read, and its URL for each transport."""
    from tests.harness.servers import Server

    from ..worker import pin

    with Server() as server:
        pin(server.pid, -1)
        console = server.client()
        console.mset({"get of 64 B": "x" * 64, "get of 10 KiB": "x" * 10240})
        console.rpush("lrange of 1,000", *(f"comment:{number}" for number in range(1000)))
        yield dict(zip(TRANSPORTS, (server.url, f"unix://{server.unix_socket}"), strict=True))


def seconds(kind: str, url: str, key: str, number: int) -> float:
    """In a worker: the time of one command."""
    app, client = application(kind, url)
    ask = asking(client, key)
    with app.app_context():
        ask()
        return timeit.timeit(ask, number=number) / number


def asking(client: t.Any, key: str) -> cabc.Callable[[], t.Any]:
    """What sends the command that reads a key, which is named for it."""

    # A view looks the method up each time, which is a part of what some extensions cost.
    def lrange() -> t.Any:
        return client.lrange(key, 0, -1)

    def get() -> t.Any:
        return client.get(key)

    return lrange if key.startswith("lrange") else get


application = functools.cache(clients.application)


def tables(data: Data) -> cabc.Iterator[Table]:
    """A table for each command and transport."""
    for case, figures in data.items():
        header = ["", *spread_header(MICROSECONDS), "times its redis-py alone", "times the bare socket"]
        table = Table(case, header)
        for contender in CONTENDERS:
            if contender.name in figures:
                values = figures[contender.name]
                alone = [] if contender.name in {contender.alone, BARE_SOCKET.name} else figures[contender.alone]
                table.rows.append(
                    [
                        contender.name,
                        *cells(spread(values), MICROSECONDS),
                        times(ratios(values, alone)) if alone else "",
                        times(ratios(values, figures[BARE_SOCKET.name])),
                    ]
                )
        yield table


def headlines(data: Data) -> cabc.Iterator[str]:
    """The most common of all commands."""
    figures = data["get of 64 B, TCP"]
    for peer in (FLASK_REDIS, VERSION_1):
        if peer.name in figures:
            found = times(ratios(figures[OURS.name], figures[peer.name]))
            yield f"A `get` takes {found} times what it takes {peer.name}, each as pip installs it."


def price_of_the_breaker(data: Data) -> str:
    """What the circuit breaker adds to the most common of all commands."""
    figures = data["get of 64 B, TCP"]
    found = times(ratios(figures.get(GUARDED.name, figures[OURS.name]), figures[OURS.name]))
    return f"While all is well, a `get` with it takes {found} times what it takes without."


def goals(data: Data) -> cabc.Iterator[Goal]:
    """Faster than the peers as pip installs them. How it stands to redis-py alone is a part of its own."""
    for case, figures in data.items():
        for peer in (FLASK_REDIS, VERSION_1):
            if peer.name in figures:
                found = ratios(figures[OURS.name], figures[peer.name])
                yield Goal(f"{case}: {OURS.name} ahead of {peer.name}, times", times(found), found.median < 1)


def charts(data: Data) -> cabc.Iterator[Chart]:
    """All clients beside the wire."""
    yield Chart("command", TITLE, MICROSECONDS, charted(data, {case: case for case in CASES}), columns=2)
