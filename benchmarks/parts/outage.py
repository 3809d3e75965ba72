"""How long a page of three commands hangs when the server is down, paused or slow."""

from __future__ import annotations

import collections.abc as cabc
import concurrent.futures
import contextlib
import dataclasses
import importlib
import time
import typing as t

from .. import clients
from ..contenders import Contender
from ..contenders import EXTENSIONS
from ..contenders import OURS
from ..contenders import OURS_WITH_BREAKER
from ..contenders import REDIS_PY_DEFAULT
from ..figures import Chart
from ..figures import Data
from ..figures import Goal
from ..figures import MILLISECONDS
from ..figures import number as shown_number
from ..figures import ratios
from ..figures import spread
from ..figures import Table
from ..figures import Values
from ..worker import Worker

if t.TYPE_CHECKING:
    from ..bench import Bench

TITLE = "The server down, paused and slow"
METHOD = (
    "A page sends three commands, and goes on when one fails. *Down* is a port that refuses, *paused* a server that"
    " takes connections and answers nothing (SIGSTOP), *slow* one whose every answer takes two seconds. Nobody waits"
    " longer than 30 seconds: `> 30 s` is where the benchmark gave up. All wait at the same time, each in a process"
    " of its own."
)

SITUATIONS: t.Final = ("down", "paused", "slow")
FIRST: t.Final = "the first page"
NEXT: t.Final = "the next pages"
COMMANDS: t.Final = 3
#: Seconds.
LIMIT: t.Final = 30.0
SLOW: t.Final = 2.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """A contender with settings."""

    name: str
    contender: Contender
    config: cabc.Mapping[str, t.Any] = dataclasses.field(default_factory=dict, hash=False)


ADVISED: t.Final = Settings(
    "Flask-And-Redis 2, as the page on outages advises",
    OURS_WITH_BREAKER,
    {"SOCKET_CONNECT_TIMEOUT": 0.5, "SOCKET_TIMEOUT": 1, "RETRY": 1, "CIRCUIT_BREAKER": True},
)
BY_KEYWORDS: t.Final = dataclasses.replace(REDIS_PY_DEFAULT, kind="redis-py by keywords")
SETTINGS: t.Final = (
    # Only one of them has redis-py 8's retries.
    Settings("redis-py, Redis()", BY_KEYWORDS),
    Settings("redis-py, Redis.from_url()", REDIS_PY_DEFAULT),
    *(Settings(f"{each.name}, defaults", each) for each in EXTENSIONS),
    Settings("Flask-And-Redis 2, RETRY = 0", OURS, {"RETRY": 0}),
    Settings("Flask-And-Redis 2, RETRY = 0, SOCKET_TIMEOUT = 0.5", OURS, {"RETRY": 0, "SOCKET_TIMEOUT": 0.5}),
    ADVISED,
)


def measure(bench: Bench) -> Data:
    """Take the figures."""
    from tests.harness.ports import free_port
    from tests.harness.proxy import Proxy
    from tests.harness.servers import Server

    # The defaults are slow.
    settings = [each for each in SETTINGS if each.config or not bench.quick]
    data: Data = {f"{which}, {situation}": {} for situation in SITUATIONS for which in (FIRST, NEXT)}
    with Server() as paused, Server() as other, Proxy(other.port) as slow:
        paused.pause()
        slow.delay(SLOW / 2)
        urls = dict(zip(SITUATIONS, (f"redis://127.0.0.1:{free_port()}/0", paused.url, slow.url), strict=True))
        for _ in range(bench.number(3)):
            found = _at_the_same_time(bench, [(each, situation) for each in settings for situation in SITUATIONS], urls)
            for (each, situation), pages in found.items():
                for which, seconds in zip((FIRST, NEXT), pages, strict=True):
                    data[f"{which}, {situation}"].setdefault(each.name, []).append(seconds)
    return data


def _at_the_same_time(
    bench: Bench, asked: list[tuple[Settings, str]], urls: cabc.Mapping[str, str]
) -> dict[tuple[Settings, str], tuple[float, float]]:
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(len(asked)) as executor:
        workers = [stack.enter_context(Worker(bench.python(each.contender.environment))) for each, _ in asked]
        for worker, (each, situation) in zip(workers, asked, strict=True):
            worker.call(prepare, each.contender.kind, urls[situation], each.config)
        return dict(zip(asked, executor.map(_pages, workers), strict=True))


def _pages(worker: Worker) -> tuple[float, float]:
    """The seconds that the first page takes, and those that follow."""
    try:
        first = worker.call(page, timeout=LIMIT)
    except TimeoutError:
        return LIMIT, LIMIT
    end = time.monotonic() + LIMIT
    following: Values = []
    with contextlib.suppress(TimeoutError):
        while len(following) < 20 and time.monotonic() < end:
            following.append(worker.call(page, timeout=end - time.monotonic()))
    return first, spread(following).median if following else LIMIT


_prepared: dict[str, t.Any] = {}


def prepare(kind: str, url: str, config: dict[str, t.Any]) -> None:
    """In a worker: make the application, and find out which errors its client raises."""
    app, client = clients.application(kind, url, **config)
    errors = importlib.import_module("redis.exceptions").RedisError
    app.app_context().push()
    _prepared.update(client=client, errors=errors)


def page() -> float:
    """In a worker: the seconds that one page takes."""
    start = time.perf_counter()
    for _ in range(COMMANDS):
        with contextlib.suppress(_prepared["errors"], OSError):
            _prepared["client"].get("key")
    return time.perf_counter() - start


def tables(data: Data) -> cabc.Iterator[Table]:
    """How long a page hangs."""
    for situation in SITUATIONS:
        first, following = (data[f"{which}, {situation}"] for which in (FIRST, NEXT))
        header = [
            "",
            "first page: min",
            "median",
            "max",
            "next pages: min",
            "median",
            "max",
            "first, times that advised",
        ]
        table = Table(f"A page while the server is {situation}", header)
        for name in first:
            ratio = ratios(first[name], first[ADVISED.name])
            beyond = "> " if spread(first[name]).median >= LIMIT else ""
            table.rows.append(
                [
                    name,
                    *map(_duration, spread(first[name])),
                    *map(_duration, spread(following[name])),
                    f"{beyond}{shown_number(ratio.median)}",
                ]
            )
        yield table


def settings_table(data: Data) -> Table:
    """What each setting of ours is worth, from none to all."""
    shown = {
        "nothing but the URL": f"{OURS.name}, defaults",
        "`REDIS_RETRY = 0`": f"{OURS.name}, RETRY = 0",
        "`REDIS_RETRY = 0`, `REDIS_SOCKET_TIMEOUT = 0.5`": f"{OURS.name}, RETRY = 0, SOCKET_TIMEOUT = 0.5",
        "those below": ADVISED.name,
    }
    table = Table("How long a page hangs", ["setting", *(f"the server is {each}" for each in SITUATIONS)])
    for setting, name in shown.items():
        table.rows.append([setting, *(_from_to(data[f"{FIRST}, {each}"].get(name, [LIMIT])) for each in SITUATIONS)])
    followers = [_from_to(data[f"{NEXT}, {each}"][ADVISED.name]) for each in SITUATIONS]
    table.rows.append(["those below, the next pages", *followers])
    return table


def _from_to(values: Values) -> str:
    found = spread(values)
    if _duration(found.low) == _duration(found.high):
        return _duration(found.median)
    return f"{_duration(found.median)} ({_duration(found.low)} to {_duration(found.high)})"


def _duration(seconds: float) -> str:
    if seconds >= LIMIT:
        return f"> {LIMIT:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{shown_number(seconds * 1000)} ms"


def headlines(data: Data) -> cabc.Iterator[str]:
    """What the settings are worth."""
    for situation in SITUATIONS:
        figures = data[f"{FIRST}, {situation}"]
        advised = spread(figures[ADVISED.name])
        following = spread(data[f"{NEXT}, {situation}"][ADVISED.name])
        ours = _duration(spread(figures.get(f"{OURS.name}, defaults", figures[ADVISED.name])).median)
        yield (
            f"The server is {situation}: a page of three commands hangs {ours} without any setting;"
            f" {_duration(advised.median)} with the settings that [When Redis fails](outages.md) advises, and the"
            f" next ones {_duration(following.median)}."
        )


def goals(data: Data) -> cabc.Iterator[Goal]:
    """None was set for this part."""
    return iter(())


def charts(data: Data) -> cabc.Iterator[Chart]:
    """The first page, and those that follow."""
    panels = {
        f"{situation}: {which}": {name: spread(values) for name, values in data[f"{which}, {situation}"].items()}
        for situation in SITUATIONS
        for which in (FIRST, NEXT)
    }
    yield Chart(
        "outage",
        "How long a page of three commands hangs",
        MILLISECONDS,
        panels,
        columns=2,
        logarithmic=True,
        limit=LIMIT,
    )
