"""What ``init_app`` takes: time and memory for each application, and what is left when they are gone."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import gc
import importlib
import time
import tracemalloc
import typing as t

from flask import Flask

from ..contenders import Contender
from ..contenders import EXTENSIONS
from ..contenders import OURS
from ..contenders import REDIS_PY
from ..figures import at_most
from ..figures import between
from ..figures import cells
from ..figures import Chart
from ..figures import charted
from ..figures import Data
from ..figures import differences
from ..figures import Goal
from ..figures import KIBIBYTES
from ..figures import MICROSECONDS
from ..figures import ratios
from ..figures import Spread
from ..figures import spread
from ..figures import spread_header
from ..figures import Table
from ..figures import times

if t.TYPE_CHECKING:
    from ..bench import Bench
    from ..worker import Worker

TITLE = "init_app"
METHOD = (
    "Time and memory for each of so many applications of one process, that live at the same time: what `init_app`"
    " takes, without Flask's own share. `redis.Redis()` is what redis-py alone takes for the client that they all"
    " make. As with timeit, the garbage collector rests while time is taken. tracemalloc counts the memory, in a run"
    " of its own, and what is left when the applications are gone: beside that of Flask applications without an"
    " extension."
)

APPS: t.Final = (1, 100, 10_000)
FLASK: t.Final = Contender("Flask alone", "Flask", REDIS_PY.environment, "")


def measure(bench: Bench) -> Data:
    """Take the figures."""
    leftovers: dict[str, float] = {}
    data: Data = {}
    for apps in APPS:

        def ask(worker: Worker, contender: Contender, case: str, apps: int = min(apps, bench.number(10_000))) -> float:
            if case.startswith("time"):
                return t.cast(float, worker.call(seconds, contender.kind, apps))
            if case.startswith("memory"):
                size, leftovers[contender.name] = worker.call(memory, contender.kind, apps)
                return t.cast(float, size)
            return leftovers[contender.name]

        contenders = [*bench.some(EXTENSIONS), REDIS_PY, FLASK]
        data |= bench.interleaved(contenders, [_case("time", apps)], ask, rounds=3 if apps > 100 else 30)
        # These figures have next to no noise.
        counted = [_case("memory", apps), _case("left", apps)]
        data |= bench.interleaved(contenders, counted, ask, rounds=1 if apps > 100 else 3)
    return data


def _case(what: str, apps: int) -> str:
    return f"{what}, {apps:,} {'app' if apps == 1 else 'apps'}"


def seconds(kind: str, number: int) -> float:
    """In a worker: the time for each of so many applications."""
    init_app = _init_app(kind)
    init_app(_app())
    with _no_collector():
        apps = [_app() for _ in range(number)]
        start = time.perf_counter()
        made = [init_app(app) for app in apps]
        return (time.perf_counter() - start) / len(made)


def memory(kind: str, number: int) -> list[float]:
    """In a worker: the bytes for each of so many applications, and those left altogether when they are gone."""
    init_app = _init_app(kind)
    with _no_collector():
        tracemalloc.start()
        # What the first ones leave for all that follow is none of theirs, nor are tables that have grown.
        for _ in range(2):
            before = _traced()
            apps = [_app() for _ in range(number)]
            between = _traced()
            made = [init_app(app) for app in apps]
            size = (_traced() - between) / len(made)
            del apps, made
        left = _traced() - before
        tracemalloc.stop()
    return [size, left]


def _app() -> Flask:
    """An application that is quickly made: what Flask does for itself is not measured."""
    return Flask("benchmark", root_path="/", instance_path="/instance", static_folder=None)


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@contextlib.contextmanager
def _no_collector() -> cabc.Iterator[None]:
    """No garbage collection but that which is asked for: as timeit has it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _init_app(kind: str) -> cabc.Callable[[Flask], t.Any]:
    """What gives an application a client, and keeps it."""
    if kind == FLASK.kind:
        return Flask.app_context
    if kind == REDIS_PY.kind:
        return importlib.import_module("redis").Redis
    extension: t.Any = getattr(importlib.import_module("flask_redis"), kind)
    # An object of flask-redis serves the last application alone that it was given.
    return t.cast("cabc.Callable[[Flask], t.Any]", extension if kind == "FlaskRedis" else extension().init_app)


def tables(data: Data) -> cabc.Iterator[Table]:
    """Time, memory and the rest."""
    for what, title, unit, base, other in (
        ("time", "Time for each app", MICROSECONDS, REDIS_PY, FLASK),
        ("memory", "Memory for each app", KIBIBYTES, REDIS_PY, FLASK),
        ("left", "Left when all are gone, altogether", KIBIBYTES, FLASK, REDIS_PY),
    ):
        table = Table(title, ["", "apps", *spread_header(unit), *([f"times {base.name}"] if base is REDIS_PY else [])])
        for apps in APPS:
            figures = {name: values for name, values in data[_case(what, apps)].items() if name != other.name}
            for name, values in figures.items():
                ratio = [times(ratios(values, figures[base.name]))] if base is REDIS_PY else []
                table.rows.append([name, f"{apps:,}", *cells(spread(values), unit), *ratio])
        yield table


def headlines(data: Data) -> cabc.Iterator[str]:
    """An application more."""
    time_, size = (spread(data[_case(what, 100)][OURS.name]) for what in ("time", "memory"))
    yield (
        f"An application more takes {between(time_, MICROSECONDS)} µs and {between(size, KIBIBYTES)} KiB, the client of"
        " redis-py included."
    )


def goals(data: Data) -> cabc.Iterator[Goal]:
    """Flat for each app, and nothing left."""
    for what in ("time", "memory"):
        few, many = (spread(data[_case(what, apps)][OURS.name]) for apps in APPS[1:])
        yield at_most(f"{what} for each of 10,000 apps, times that for each of 100", _to(many, few), 1.1)
    for apps in APPS:
        figures = data[_case("left", apps)]
        found = differences(figures[OURS.name], figures[FLASK.name])
        yield at_most(f"left of {apps:,} apps, more than of Flask alone", found, 4, KIBIBYTES)


def _to(many: Spread, few: Spread) -> Spread:
    # Not taken in the same rounds.
    return Spread(many.low / few.high, many.median / few.median, many.high / few.low)


def charts(data: Data) -> cabc.Iterator[Chart]:
    """Time and memory."""
    for what, unit in (("time", MICROSECONDS), ("memory", KIBIBYTES)):
        shown = {
            case: {who: each for who, each in figures.items() if who != FLASK.name} for case, figures in data.items()
        }
        cases = {_case(what, apps): f"{apps:,} {'app' if apps == 1 else 'apps'}" for apps in APPS}
        yield Chart(f"init_app_{what}", f"init_app: {what} for each app", unit, charted(shown, cases))
