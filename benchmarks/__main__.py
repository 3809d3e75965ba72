"""Measure, print, and have ``docs/performance.md`` show it: ``make bench``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from . import report
from .bench import Bench
from .contenders import BUILD
from .parts import NAMES
from .parts import part


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one of {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a few figures of this environment, to try it out")
    parser.add_argument("--output", type=Path, default=BUILD, help="the folder for the results and the charts")
    parser.add_argument("--page", action="store_true", help="write the page again, from the results beside it")
    arguments = parser.parse_args()
    if arguments.page:
        report.document(report.read(report.FOLDER))
        return
    if unknown := set(arguments.parts) - set(NAMES):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")

    bench = Bench(quick=arguments.quick)
    parts = {}
    for name in NAMES:
        if name in arguments.parts or not arguments.parts:
            started = time.monotonic()
            parts[name] = part(name).measure(bench)
            print(f"Measured {name} in {time.monotonic() - started:.0f} s", flush=True)
    results = {**report.surroundings(bench), "parts": parts}
    report.write(results, arguments.output)
    # What is shown is what was written, in which figures are rounded.
    written = report.read(arguments.output)
    print(f"\n{report.text(written)}")
    if not arguments.quick:
        report.draw(written, arguments.output)
    if report.complete(written) and not arguments.quick:
        report.document(written)
        print(f"\nWritten: {report.PAGE} and {report.FOLDER}")
    missed = list(report.goals(written))
    print(f"\nGoals that were missed: {len(missed)}", *missed, sep="\n")


if __name__ == "__main__":
    main()
