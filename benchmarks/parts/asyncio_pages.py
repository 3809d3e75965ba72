"""A page that sends one command: in a synchronous view, in an async view of Flask's, and in Quart."""

from __future__ import annotations

import collections.abc as cabc
import statistics
import typing as t

from ..bench import shuffled
from ..contenders import ASYNCIO
from ..figures import between
from ..figures import cells
from ..figures import Chart
from ..figures import charted
from ..figures import Data
from ..figures import differences
from ..figures import Goal
from ..figures import MILLISECONDS
from ..figures import ratios
from ..figures import spread
from ..figures import spread_header
from ..figures import Table
from ..figures import times

if t.TYPE_CHECKING:
    from ..bench import Bench

TITLE = "asyncio"
METHOD = (
    "A page that sends one `INCR`, and the same page without Redis. gunicorn serves Flask and hypercorn Quart, with one"
    " worker each. A figure is the median of 40 requests, one after the other, each on a connection of its own."
)

SYNCHRONOUS: t.Final = "Flask, synchronous view"
PAGES: t.Final = {
    "sync": SYNCHRONOUS,
    "async": "Flask, async view, a fresh connection",
    "quart": "Quart, its pool",
}
WITH: t.Final = "with Redis"
WITHOUT: t.Final = "without Redis"


def measure(bench: Bench) -> Data:
    """Take the figures."""
    from tests.harness.servers import Server

    from ..web import serving
    from ..web import visit

    python = bench.python(ASYNCIO)
    data: Data = {case: {name: [] for name in PAGES.values()} for case in (WITH, WITHOUT)}
    flask = "gunicorn", "--no-control-socket", "benchmarks.asyncio_app:flask_app()"
    quart = "hypercorn", "--workers=0", "benchmarks.asyncio_app:quart_app()"
    with (
        Server() as server,
        serving(python, *flask, BENCHMARK_URL=server.url) as flask_port,
        serving(python, *quart, BENCHMARK_URL=server.url) as quart_port,
    ):
        for number in range(-1, bench.number(60)):
            for page in shuffled(PAGES):
                for case, path in ((WITH, f"/{page}"), (WITHOUT, f"/{page}/bare")):
                    port = quart_port if page == "quart" else flask_port
                    found = statistics.median(visit(port, path) for _ in range(bench.number(40)))
                    # The first ones warm up.
                    if number >= 0:
                        data[case][PAGES[page]].append(found)
    return data


def tables(data: Data) -> cabc.Iterator[Table]:
    """The table of the page about asyncio."""
    header = ["page", *spread_header(MILLISECONDS), "times a synchronous view", "without Redis", "for Redis"]
    table = Table("One INCR, in milliseconds", header)
    for name, values in data[WITH].items():
        bare = data[WITHOUT][name]
        ratio = times(ratios(values, data[WITH][SYNCHRONOUS]))
        alone, added = spread(bare), differences(values, bare)
        table.rows.append(
            [
                name,
                *cells(spread(values), MILLISECONDS),
                ratio,
                between(alone, MILLISECONDS),
                between(added, MILLISECONDS),
            ]
        )
    yield table


def headlines(data: Data) -> cabc.Iterator[str]:
    """What asyncio costs."""
    for name in (PAGES["async"], PAGES["quart"]):
        found = times(ratios(data[WITH][name], data[WITH][SYNCHRONOUS]))
        yield f"{name}: a page with one command takes {found} times what it takes in a synchronous view."


def goals(data: Data) -> cabc.Iterator[Goal]:
    """None was set for this part."""
    return iter(())


def charts(data: Data) -> cabc.Iterator[Chart]:
    """The pages with and without Redis."""
    cases = {WITH: "with one INCR", WITHOUT: "without Redis"}
    yield Chart("asyncio_pages", "A page in Flask and in Quart", MILLISECONDS, charted(data, cases), columns=2)
