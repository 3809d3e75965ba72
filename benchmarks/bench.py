"""What the parts share: who takes part, and rounds in which all take turns."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import random
import sys
import typing as t

from .contenders import build_wheel
from .contenders import Contender
from .contenders import CONTENDERS
from .contenders import Environment
from .contenders import OURS
from .contenders import REDIS_PY
from .figures import Data
from .worker import Worker


class Bench:
    """A run of the benchmarks.

    :param quick: a few figures, of this interpreter's own packages: to see that everything works.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick
        self._wheel = None if quick else build_wheel()
        self._prepared: set[Environment] = set()

    def python(self, environment: Environment) -> str:
        """The interpreter of an environment, which is made if need be."""
        if self._wheel is None:
            return sys.executable
        if environment not in self._prepared:
            environment.prepare(self._wheel)
            self._prepared.add(environment)
        return str(environment.python)

    @property
    def environments(self) -> cabc.Iterable[Environment]:
        """Those that have been used."""
        return self._prepared

    def some(self, contenders: cabc.Iterable[Contender] = CONTENDERS) -> list[Contender]:
        """Those of *contenders* that take part."""
        return [each for each in contenders if not self.quick or each in {OURS, REDIS_PY}]

    def number(self, usual: int) -> int:
        """How many rounds, calls or applications."""
        return max(1, usual // 100) if self.quick else usual

    def interleaved(
        self,
        contenders: cabc.Sequence[Contender],
        cases: cabc.Iterable[str],
        measure: cabc.Callable[[Worker, Contender, str], float],
        *,
        rounds: int,
        restarts: int = 1,
        core: int | None = None,
    ) -> Data:
        """Ask a worker of each contender in turn, case by case and round after round, in changing order.

        :param rounds: how many figures one process gives for each case.
        :param restarts: how often all start anew. Where a process has its memory makes it faster or slower for life, by
            some percent: that is noise too.
        :param core: the processor core that they keep to.
        """
        data: Data = {case: {each.name: [] for each in contenders} for case in cases}
        for _ in range(self.number(restarts)):
            with contextlib.ExitStack() as stack:
                workers = {
                    each.name: stack.enter_context(Worker(self.python(each.environment), core=core))
                    for each in contenders
                }
                for _ in range(self.number(rounds)):
                    for case, figures in data.items():
                        for each in shuffled(contenders):
                            figures[each.name].append(measure(workers[each.name], each, case))
        return data


_T = t.TypeVar("_T")


def shuffled(everybody: cabc.Iterable[_T]) -> list[_T]:
    """All of them, in an order of chance."""
    everybody = list(everybody)
    return random.sample(everybody, len(everybody))
