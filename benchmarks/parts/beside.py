"""One command through an extension, beside the same command of redis-py in the same process."""

from __future__ import annotations

import collections.abc as cabc
import random
import statistics
import timeit
import typing as t

from .. import clients
from ..contenders import CONTENDERS
from ..contenders import GUARDED
from ..contenders import OURS
from ..contenders import OURS_WITHOUT_HIREDIS
from ..figures import at_most
from ..figures import Chart
from ..figures import Data
from ..figures import Goal
from ..figures import spread
from ..figures import Table
from ..figures import times
from .command import asking
from .command import CASES
from .command import serving

if t.TYPE_CHECKING:
    from ..bench import Bench
    from ..contenders import Contender
    from ..worker import Worker

#: How many of a command are asked before it is the other client's turn: some milliseconds at most.
COMMANDS: t.Final[cabc.Mapping[str, int]] = {"get of 64 B": 15, "get of 10 KiB": 15, "lrange of 1,000": 2}
TURNS: t.Final = 30

TITLE = "One command, beside redis-py in the same process"
METHOD = (
    "Two processes that do the same differ by some percent, and one percent is the question. So the client that an"
    " extension makes and one of `redis.Redis.from_url()` are asked in turn in one process, a few commands each: a"
    f" figure is the median of {TURNS} such ratios, with clients made for it."
)


def measure(bench: Bench) -> Data:
    """Take the figures: ratios."""
    with serving() as urls:

        def one(worker: Worker, contender: Contender, case: str) -> float:
            command, transport = case.split(", ")
            arguments = (contender.kind, urls[transport], command, COMMANDS[command], bench.number(TURNS))
            return t.cast(float, worker.call(ratio, *arguments))

        contenders = [each for each in bench.some() if each.kind in {"Redis", "FlaskRedis", GUARDED.kind}]
        return bench.interleaved(contenders, CASES, one, rounds=5, restarts=8, core=0)


def ratio(kind: str, url: str, key: str, number: int, turns: int) -> float:
    """In a worker: how many times as long a command of the extension takes as that of redis-py."""
    # Both anew, and in an order of chance: where they have their memory makes one faster than the other for life.
    made = {each: clients.application(each, url) for each in random.sample([kind, "redis-py"], 2)}
    app, client = made[kind]
    ours, alone = asking(client, key), asking(made["redis-py"][1], key)
    found: list[float] = []
    with app.app_context():
        ours()
        alone()
        for turn in range(turns):
            # Who comes first meets what the other processes left in the caches.
            order = (ours, alone) if turn % 2 else (alone, ours)
            taken = {each: timeit.timeit(each, number=number) for each in order}
            found.append(taken[ours] / taken[alone])
    return statistics.median(found)


def tables(data: Data) -> cabc.Iterator[Table]:
    """The ratios of each extension."""
    table = Table("Times redis-py in the same process", ["", *data])
    for contender in CONTENDERS:
        found = [figures[contender.name] for figures in data.values() if contender.name in figures]
        if found:
            table.rows.append([contender.name, *(times(spread(values)) for values in found)])
    yield table


def headlines(data: Data) -> cabc.Iterator[str]:
    """The most common of all commands."""
    found = spread(data["get of 64 B, TCP"][OURS.name])
    yield f"A `get` takes {times(found)} times what it takes redis-py alone in the same process."


def goals(data: Data) -> cabc.Iterator[Goal]:
    """Next to nothing above redis-py alone."""
    for case, figures in data.items():
        for ours in (OURS, OURS_WITHOUT_HIREDIS):
            if ours.name in figures:
                yield at_most(f"{case}: {ours.name}, times redis-py alone", spread(figures[ours.name]), 1.01)


def charts(data: Data) -> cabc.Iterator[Chart]:
    """None: bars of the same length."""
    return iter(())
