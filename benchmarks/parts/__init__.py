"""What is measured: a module for each part, with both its halves.

``measure`` runs in the parent process. What it hands to a worker runs in the environment of a contender, so a module
imports at its top what all of these have, and the rest where it needs it.
"""

from __future__ import annotations

import collections.abc as cabc
import importlib
import typing as t

from ..bench import Bench
from ..figures import Chart
from ..figures import Data
from ..figures import Goal
from ..figures import Table


class Part(t.Protocol):
    """A module of this package."""

    #: The heading.
    TITLE: str
    #: How it is measured, in a sentence or two.
    METHOD: str

    def measure(self, bench: Bench) -> Data:
        """Take the figures."""
        ...

    def tables(self, data: Data) -> cabc.Iterable[Table]:
        """The figures, to read."""
        ...

    def headlines(self, data: Data) -> cabc.Iterable[str]:
        """The short answer: whole sentences."""
        ...

    def goals(self, data: Data) -> cabc.Iterable[Goal]:
        """What was to be reached."""
        ...

    def charts(self, data: Data) -> cabc.Iterable[Chart]:
        """The figures, to look at."""
        ...


NAMES: t.Final = (
    "beside",
    "command",
    "forwarding",
    "init_app",
    "importing",
    "pages",
    "asyncio_pages",
    "outage",
    "profile",
)


def part(name: str) -> Part:
    """The part of that name."""
    return t.cast(Part, importlib.import_module(f"{__name__}.{name}"))
