"""A process in the environment of a contender, that is asked for one figure at a time.

Run as a program it reads requests, a line of JSON each, and writes the answers.
"""

from __future__ import annotations

import collections.abc as cabc
import importlib
import json
import os
import select
import subprocess
import sys
import typing as t
from pathlib import Path

from .contenders import ROOT
from .contenders import variables


class Worker:
    """Calls functions in another interpreter. As a context manager it is gone at the end.

    :param core: the processor core that it keeps to; any by default.
    """

    def __init__(self, python: str | Path, *, core: int | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [str(python), "-m", __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=variables(),
        )
        pin(self._process.pid, core)

    def call(self, function: cabc.Callable[..., t.Any], *args: t.Any, timeout: float | None = None) -> t.Any:
        """Call a function of a module of ours there. The arguments and the result are such as JSON has.

        :param timeout: seconds. After these the process is of no more use.
        :raises TimeoutError: when they are over.
        """
        stdin, stdout = t.cast("t.IO[str]", self._process.stdin), t.cast("t.IO[str]", self._process.stdout)
        print(json.dumps([function.__module__, function.__name__, args]), file=stdin, flush=True)
        if timeout is not None and not select.select([stdout], [], [], timeout)[0]:
            raise TimeoutError
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(f"{function.__name__}{args} has failed in {self._process.args!r}.")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def pin(pid: int, core: int | None) -> None:
    """Have a process keep to one processor core, where the system can do so: the first one of the machine is 0."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {sorted(os.sched_getaffinity(0))[core]})


def main() -> None:
    """Answer until nobody asks any more."""
    for line in sys.stdin:
        module, name, args = json.loads(line)
        print(json.dumps(getattr(importlib.import_module(module), name)(*args)), flush=True)


if __name__ == "__main__":
    main()
