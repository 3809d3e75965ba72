"""What ``import flask_redis`` takes."""

from __future__ import annotations

import collections.abc as cabc
import subprocess
import typing as t

from ..bench import shuffled
from ..contenders import EXTENSIONS
from ..contenders import OURS
from ..contenders import ROOT
from ..contenders import variables
from ..figures import at_most
from ..figures import between
from ..figures import cells
from ..figures import Chart
from ..figures import charted
from ..figures import Data
from ..figures import Goal
from ..figures import MILLISECONDS
from ..figures import ratios
from ..figures import spread
from ..figures import spread_header
from ..figures import Table
from ..figures import times

if t.TYPE_CHECKING:
    from ..bench import Bench

TITLE = "import flask_redis"
METHOD = (
    "Each figure is taken in a new interpreter, with the compiled modules that pip leaves on disk. pyperf would time"
    " the whole process, whose start is noisier than what is asked for."
)

BASE: t.Final = "flask and redis"
ADDED: t.Final = "flask_redis, after these"
_PROGRAM: t.Final = """
import time
start = time.perf_counter()
import flask, redis
middle = time.perf_counter()
import flask_redis
print(middle - start, time.perf_counter() - middle)
"""


def measure(bench: Bench) -> Data:
    """Take the figures."""
    contenders = bench.some(EXTENSIONS)
    data: Data = {case: {each.name: [] for each in contenders} for case in (BASE, ADDED)}
    # The first one finds nothing in the system's cache of files.
    for number in range(-1, bench.number(40)):
        for contender in shuffled(contenders):
            python = bench.python(contender.environment)
            found = subprocess.check_output([python, "-c", _PROGRAM], env=variables(), cwd=ROOT)  # noqa: S603
            if number >= 0:
                for case, seconds in zip(data, map(float, found.split()), strict=True):
                    data[case][contender.name].append(seconds)
    return data


def tables(data: Data) -> cabc.Iterator[Table]:
    """What each extension adds."""
    table = Table("More than importing flask and redis", ["", *spread_header(MILLISECONDS), "the whole, times these"])
    for name, values in data[ADDED].items():
        base = data[BASE][name]
        whole = ratios([a + b for a, b in zip(values, base, strict=True)], base)
        table.rows.append([name, *cells(spread(values), MILLISECONDS), times(whole)])
    yield table


def headlines(data: Data) -> cabc.Iterator[str]:
    """What it adds to the start."""
    found = spread(data[ADDED][OURS.name])
    yield f"`import flask_redis` takes {between(found, MILLISECONDS)} ms more than importing flask and redis."


def goals(data: Data) -> cabc.Iterator[Goal]:
    """Ten milliseconds."""
    yield at_most(f"import of {OURS.name} adds", spread(data[ADDED][OURS.name]), 10, MILLISECONDS)


def charts(data: Data) -> cabc.Iterator[Chart]:
    """The base and what comes on top."""
    cases = {BASE: "import flask, redis", ADDED: "import flask_redis, after these"}
    yield Chart("importing", "What the import takes", MILLISECONDS, charted(data, cases), columns=2)
