"""Where the time of one command goes: cProfile's answer, by package and by function."""

from __future__ import annotations

import collections
import collections.abc as cabc
import cProfile
import pstats
import typing as t

from .. import clients
from ..contenders import Contender
from ..contenders import OURS
from ..contenders import OURS_WITHOUT_HIREDIS
from ..contenders import VERSION_1
from ..figures import cells
from ..figures import Chart
from ..figures import Data
from ..figures import Goal
from ..figures import spread
from ..figures import spread_header
from ..figures import Table
from ..figures import Unit
from ..worker import pin
from ..worker import Worker

if t.TYPE_CHECKING:
    from ..bench import Bench

TITLE = "Where the time of a command goes"
METHOD = (
    "cProfile's own time of 5,000 `get` of 64 B over TCP, as a share of the whole. The profiler slows functions of"
    " Python down, and calls of C and of the system next to not at all: so the shares of the packages are upper"
    " bounds. Beside it the number of functions that one `get` calls."
)

PERCENT: t.Final = Unit("%", 100)
CALLS: t.Final = Unit("calls")
#: The packages that are told apart. Everything else is Python's own.
PACKAGES: t.Final = ("flask_redis", "flask", "werkzeug", "redis", "hiredis")
PYTHON: t.Final = "Python's own, with the socket"
FUNCTIONS: t.Final = 10
KEPT: t.Final = 20


def measure(bench: Bench) -> Data:
    """Take the figures."""
    from tests.harness.servers import Server

    with Server() as server:
        pin(server.pid, -1)
        server.client().set("key", "x" * 64)
        data: Data = {}
        for contender in bench.some((OURS, OURS_WITHOUT_HIREDIS, VERSION_1)):
            found = [_shares(bench, contender, server.url) for _ in range(bench.number(5))]
            for what in found[0]:
                names = sorted(set[str]().union(*(each[what] for each in found)))
                figures = {name: [each[what].get(name, 0.0) for each in found] for name in names}
                data[f"{what}, {contender.name}"] = figures
        return data


def _shares(bench: Bench, contender: Contender, url: str) -> dict[str, dict[str, float]]:
    with Worker(bench.python(contender.environment), core=0) as worker:
        return t.cast("dict[str, dict[str, float]]", worker.call(shares, contender.kind, url, bench.number(5000)))


def shares(kind: str, url: str, number: int) -> dict[str, dict[str, float]]:
    """In a worker: the share of each package, and of the functions that take most."""
    app, client = clients.application(kind, url)
    profile = cProfile.Profile()
    with app.app_context():
        client.get("key")
        with profile:
            for _ in range(number):
                client.get("key")
    statistics: t.Any = pstats.Stats(profile)
    packages: collections.Counter[str] = collections.Counter()
    functions: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for (path, _, name), (_, count, own, _, _) in statistics.stats.items():
        package = _package(path, name)
        calls[package] += count / number
        packages[package] += own / statistics.total_tt
        functions[f"{package}: `{name}`" if package != PYTHON else f"`{name}`"] += own / statistics.total_tt
    return {"package": dict(packages), "function": dict(functions.most_common(KEPT)), "calls": dict(calls)}


def _package(path: str, name: str) -> str:
    for package in PACKAGES:
        # C has no path, and a name such as <method 'gets' of 'hiredis.Reader' objects>.
        if path == "~" and f"'{package}." in name:
            return package
        if any(f"{folder}/{package}{end}" in path for folder in ("site-packages", "src") for end in ("/", ".py")):
            return package
    return PYTHON


def tables(data: Data) -> cabc.Iterator[Table]:
    """The shares, the greatest first."""
    for case, figures in data.items():
        what, who = case.split(", ", 1)
        unit = CALLS if what == "calls" else PERCENT
        title = f"Functions called by one get, {who}" if what == "calls" else f"Time by {what}, {who}"
        table = Table(title, ["", *spread_header(unit)])
        greatest = sorted(figures, key=lambda name: -spread(figures[name]).median)
        table.rows += [[name, *cells(spread(figures[name]), unit)] for name in greatest[:FUNCTIONS]]
        yield table


def headlines(data: Data) -> cabc.Iterator[str]:
    """None: it explains the others."""
    return iter(())


def goals(data: Data) -> cabc.Iterator[Goal]:
    """None was set for this part."""
    return iter(())


def charts(data: Data) -> cabc.Iterator[Chart]:
    """By package."""
    panels = {
        case.split(", ", 1)[1]: {name: spread(values) for name, values in figures.items()}
        for case, figures in data.items()
        if case.startswith("package")
    }
    yield Chart("profile", TITLE, PERCENT, panels, columns=2)
