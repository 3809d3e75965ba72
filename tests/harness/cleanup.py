"""The safety net under the context managers: nothing outlives the tests' process, even one that is killed itself."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from . import reaper

_lock = threading.Lock()
_reaper: tuple[int, subprocess.Popen[bytes]] | None = None


def guard_group(group: int) -> None:
    """Have the process group killed when this process ends, unless it is released before."""
    _tell(f"+ group {group}")


def release_group(group: int) -> None:
    """The process group has ended: its id may belong to others from now on."""
    _tell(f"- group {group}")


def make_directory() -> Path:
    """A new private directory with a path short enough for a Unix socket in it (about 100 bytes)."""
    path = tempfile.mkdtemp(prefix="fr-")
    if len(os.fsencode(path)) >= 60:
        Path(path).rmdir()
        path = tempfile.mkdtemp(prefix="fr-", dir="/tmp")
    _tell(f"+ directory {path}")
    return Path(path)


def remove_directory(path: Path) -> None:
    """Remove a directory made by :func:`make_directory`."""
    reaper.remove(path)
    _tell(f"- directory {path}")


def _tell(line: str) -> None:
    global _reaper  # noqa: PLW0603
    with _lock:
        # A fork has a copy of this state, but its parent's processes are none of its business.
        if _reaper is None or _reaper[0] != os.getpid():
            _reaper = os.getpid(), _start_reaper()
        stdin = _reaper[1].stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                stdin.write(f"{line}\n".encode())


def _start_reaper() -> subprocess.Popen[bytes]:
    # In a session of its own, for the Ctrl-C that ends the tests must not end this one before its work is done.
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(reaper.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )
    atexit.register(_finish, os.getpid(), process)
    return process


def _finish(owner: int, process: subprocess.Popen[bytes]) -> None:
    if owner == os.getpid():
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
