"""Ends what the tests' process leaves behind, however that ends: runs beside it, as a script.

Standard input tells what to guard, a line each: ``+`` or ``-``, then ``group`` or ``directory``, then its id or path.
Its end is the end of the tests' process: then every process group still guarded is killed, and every directory removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    """Listen, then clean up."""
    guarded: dict[tuple[str, str], None] = {}
    for line in sys.stdin:
        sign, kind, value = line.rstrip("\n").split(" ", 2)
        if sign == "+":
            guarded[kind, value] = None
        else:
            guarded.pop((kind, value), None)
    for kind, value in guarded:
        if kind == "group":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(value), signal.SIGKILL)
    for kind, value in guarded:
        if kind == "directory":
            remove(Path(value))


def remove(directory: Path) -> None:
    """Remove a directory in which a process that was killed just now may still be writing."""
    for _ in range(100):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.01)


if __name__ == "__main__":
    main()
