"""What the extension adds to a call of its client: measured by pyperf on a client that does nothing.

As a program it is pyperf's benchmark, which runs in the environment of each contender.
"""

from __future__ import annotations

import collections.abc as cabc
import subprocess
import tempfile
import typing as t
from pathlib import Path

from flask import Flask

from ..bench import shuffled
from ..contenders import EXTENSIONS
from ..contenders import OURS
from ..contenders import ROOT
from ..contenders import variables
from ..figures import at_most
from ..figures import between
from ..figures import cells
from ..figures import Chart
from ..figures import Data
from ..figures import differences
from ..figures import Goal
from ..figures import MICROSECONDS
from ..figures import ratios
from ..figures import spread
from ..figures import spread_header
from ..figures import Table
from ..figures import times

if t.TYPE_CHECKING:
    from ..bench import Bench

TITLE = "The forwarding itself"
METHOD = (
    "`get` of a client that does nothing, through each extension and without one. pyperf measures, in new processes"
    " each round; what the extension adds is the difference to the call without it, in the same round."
)

DIRECT: t.Final = "the client itself"
CASES: t.Final = ("in an app context", "outside of one")


class Stub:
    """A client that does nothing."""

    def __init__(self, **_: object) -> None:
        pass

    @classmethod
    def from_url(cls, *_: object, **__: object) -> Stub:
        """As redis-py's."""
        return cls()

    def get(self, name: str) -> str:
        """Return the name."""
        return name


def measure(bench: Bench) -> Data:
    """Take the figures."""
    contenders = bench.some(EXTENSIONS)
    data: Data = {case: {each.name: [] for each in contenders} for case in (DIRECT, *CASES)}
    for _ in range(bench.number(15)):
        for contender in shuffled(contenders):
            for case, value in _round(bench.python(contender.environment), contender.kind).items():
                data[case][contender.name].append(value)
    return data


def _round(python: str, kind: str) -> dict[str, float]:
    import pyperf

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "pyperf.json")
        command = [python, "-m", __spec__.name, kind, "--quiet", "--output", str(path)]
        subprocess.run(command, check=True, env=variables(), cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: S603
        suite = pyperf.BenchmarkSuite.load(str(path))
        return {benchmark.get_name(): benchmark.median() for benchmark in suite.get_benchmarks()}


def tables(data: Data) -> cabc.Iterator[Table]:
    """What each extension adds."""
    for case in CASES:
        table = Table(f"More than the client itself, {case}", ["", *spread_header(MICROSECONDS), f"times {OURS.name}"])
        added = {name: _added(data, case, name) for name in data[case]}
        for name, values in added.items():
            table.rows.append([name, *cells(spread(values), MICROSECONDS), times(ratios(values, added[OURS.name]))])
        yield table


def _added(data: Data, case: str, name: str) -> list[float]:
    return [a - b for a, b in zip(data[case][name], data[DIRECT][name], strict=True)]


def headlines(data: Data) -> cabc.Iterator[str]:
    """What a call costs more."""
    found = spread(_added(data, CASES[0], OURS.name))
    yield f"The extension itself adds {between(found, MICROSECONDS)} µs to a command."


def goals(data: Data) -> cabc.Iterator[Goal]:
    """Half a microsecond, and no more than any peer."""
    for case in CASES:
        found = differences(data[case][OURS.name], data[DIRECT][OURS.name])
        yield at_most(f"{OURS.name} adds {case}", found, 0.5, MICROSECONDS)
        for peer in [name for name in data[case] if name != OURS.name]:
            found = ratios(_added(data, case, OURS.name), _added(data, case, peer))
            yield Goal(f"{case}: not more than {peer}, times", times(found), found.median <= 1)


def charts(data: Data) -> cabc.Iterator[Chart]:
    """What each extension adds."""
    panels = {case: {name: spread(_added(data, case, name)) for name in data[case]} for case in CASES}
    yield Chart("forwarding", "What the forwarding adds to a call", MICROSECONDS, panels, columns=2)


def main() -> None:
    """Have pyperf measure the kind of extension that the arguments name."""
    import pyperf

    import flask_redis

    runner = pyperf.Runner(
        # As many loops as take some 20 ms, because pyperf takes seconds to find that out.
        processes=1,
        values=5,
        warmups=1,
        loops=2**16,
        program_args=("-m", __spec__.name),
        add_cmdline_args=_pass_on,
    )
    runner.argparser.add_argument("kind")
    kind = runner.parse_args().kind
    inside, outside = Flask("inside"), Flask("outside")
    for app in (inside, outside):
        app.config["REDIS_CLASS"] = Stub
    make: t.Any = getattr(flask_redis, kind)
    if hasattr(make, "from_custom_provider") and kind == "FlaskRedis":
        one, other = make.from_custom_provider(Stub, inside), make.from_custom_provider(Stub, outside)
    else:
        one, other = make(), make(outside)
        one.init_app(inside)
    runner.timeit(DIRECT, "client.get('key')", globals={"client": Stub()})
    with inside.app_context():
        runner.timeit(CASES[0], "client.get('key')", globals={"client": one})
    runner.timeit(CASES[1], "client.get('key')", globals={"client": other})


def _pass_on(command: list[str], args: t.Any) -> None:
    command.append(args.kind)


if __name__ == "__main__":
    main()
