"""Child processes: started in a group of their own, watched with deadlines, and never left behind."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from . import cleanup
from .ports import free_port
from .waiting import wait_until

_P = t.TypeVar("_P", bound="Process")

#: Variables to set in a child's environment, beside this process's own. None removes one.
Environment: t.TypeAlias = "cabc.Mapping[str, str | None]"


class Process:
    """A child process, its output, and the signals to send to it. As a context manager it is gone at the end.

    It leads a session and a process group of its own: a Ctrl-C meant for the tests does not reach it.

    :param command: the program and its arguments.
    :param env: variables to set beside this process's own; None removes one.
    :param separate_errors: keep standard error out of :attr:`output`.
    :param pass_fds: file descriptors that it inherits.
    """

    def __init__(
        self,
        command: cabc.Sequence[str | Path],
        *,
        env: Environment | None = None,
        cwd: str | Path | None = None,
        separate_errors: bool = False,
        pass_fds: cabc.Sequence[int] = (),
    ) -> None:
        self.command = [str(part) for part in command]
        self._closed = False
        self._stdout = _Output()
        self._stderr = _Output() if separate_errors else self._stdout
        # What it or its children keep there goes with it, though they are killed before they can tidy up.
        self._temporary = cleanup.make_directory()
        try:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=self._stdout.fileno(),
                stderr=self._stderr.fileno(),
                bufsize=0,
                cwd=cwd,
                env=_environment({"TMPDIR": str(self._temporary), **(env or {})}),
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except BaseException:
            self._stdout.close()
            self._stderr.close()
            cleanup.remove_directory(self._temporary)
            raise
        cleanup.guard_group(self.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended. A paused process is running."""
        return self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the number of the signal that ended it; None while it runs."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """What it has written so far, standard error included unless that is kept apart."""
        return self._stdout.text()

    @property
    def errors(self) -> str:
        """What it has written to standard error so far, where that is kept apart."""
        return "" if self._stderr is self._stdout else self._stderr.text()

    def wait_for_line(self, pattern: str, timeout: float = 30.0) -> re.Match[str]:
        """Wait for a line of output in which *pattern* is found. The next call looks at the lines after that one.

        :raises AssertionError: when the time is up, or the process ends without such a line.
        """

        def find() -> re.Match[str] | None:
            ended = not self.running  # asked before reading, lest its last words come in between
            for line in self._stdout.lines(unfinished=ended):
                if match := re.search(pattern, line):
                    return match
            if ended:
                raise AssertionError(f"It ended without a line that matches {pattern!r}: {self!r}")
            return None

        return wait_until(find, timeout, lambda: f"no line that matches {pattern!r}: {self!r}")

    def write_line(self, line: str) -> None:
        """Write a line to its standard input."""
        if self._popen.stdin is not None:
            self._popen.stdin.write(f"{line}\n".encode())

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end, and return its exit status.

        :raises AssertionError: when the time is up.
        """
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"After {timeout:g} s it still runs: {self!r}") from None

    def interrupt(self) -> None:
        """SIGINT to its whole process group, as Ctrl-C in a terminal does."""
        self._signal_group(signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM to this one process."""
        self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to this one process, and wait for its end. Its children live on until :meth:`close`."""
        self._popen.send_signal(signal.SIGKILL)
        self._popen.wait()

    def pause(self) -> None:
        """SIGSTOP, and wait until it has effect: nothing comes from it after this."""
        self._popen.send_signal(signal.SIGSTOP)
        wait_until(lambda: not self.running or state_of(self.pid) == "T", message=lambda: f"not paused: {self!r}")

    def resume(self) -> None:
        """SIGCONT."""
        self._popen.send_signal(signal.SIGCONT)

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM, and SIGKILL if it still runs after *timeout* seconds. Returns its exit status."""
        self.terminate()
        self.resume()  # a paused process would not notice
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._popen.wait()

    def close(self) -> None:
        """Kill it with all its children, and keep nothing of it but the text of its output."""
        if self._closed:
            return
        self._closed = True
        # Those in sessions of their own, such as a server that it has started, are not in its group.
        children = children_of(self.pid, recursive=True) if self.running else []
        self._signal_group(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._popen.wait()
        cleanup.release_group(self.pid)
        cleanup.remove_directory(self._temporary)
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        self._stdout.close()
        self._stderr.close()

    def _signal_group(self, number: signal.Signals) -> None:
        # PermissionError is what macOS says of a group in which all have ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def __enter__(self: _P) -> _P:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "runs" if self.running else f"ended with status {self.returncode}"
        return f"<Process {self.pid}: {' '.join(self.command)}: {state}>\n{self.output}{self.errors}"


class _Output:
    """What a process writes, in an unnamed file.

    Not a pipe: nothing blocks when nobody reads it, and a grandchild that holds it open does no harm.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._position = 0
        self._final: bytes | None = None

    def fileno(self) -> int:
        return self._file.fileno()

    def text(self) -> str:
        return self._read().decode(errors="replace")

    def lines(self, *, unfinished: bool) -> cabc.Iterator[str]:
        """The lines not yet seen. The last one may be *unfinished*, if there will be no more of it."""
        for line in self._read()[self._position :].splitlines(keepends=True):
            if line.endswith(b"\n") or unfinished:
                self._position += len(line)
                yield line.decode(errors="replace").rstrip("\r\n")

    def close(self) -> None:
        self._final = self._read()
        self._file.close()

    def _read(self) -> bytes:
        if self._final is not None:
            return self._final
        # The process writes where the file's own position is, so that must stay as it is.
        return os.pread(self.fileno(), os.fstat(self.fileno()).st_size, 0)


def run_python(
    code_or_path: str | Path,
    *args: str,
    env: Environment | None = None,
    cwd: str | Path | None = None,
    timeout: float = 60.0,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run Python in a child process until it ends.

    :param code_or_path: code, or the path of a script.
    :param args: its arguments.
    :param env: variables to set beside this process's own; None removes one.
    :param check: whether an exit status other than 0 is a failure.
    :raises AssertionError: if it fails, or still runs after *timeout* seconds.
    """
    with Process(_python(code_or_path, args), env=env, cwd=cwd, separate_errors=True) as process:
        status = process.wait(timeout)
        if check and status != 0:
            raise AssertionError(f"It failed: {process!r}")
        return subprocess.CompletedProcess(process.command, status, process.output, process.errors)


def start_python(
    code_or_path: str | Path, *args: str, env: Environment | None = None, cwd: str | Path | None = None
) -> Process:
    """Start Python in a child process. The parameters are those of :func:`run_python`."""
    return Process(_python(code_or_path, args), env=env, cwd=cwd)


def _python(code_or_path: str | Path, args: cabc.Sequence[str]) -> list[str]:
    start = [str(code_or_path)] if isinstance(code_or_path, Path) else ["-c", code_or_path]
    return [sys.executable, *start, *args]


def _environment(changes: Environment) -> dict[str, str]:
    merged = {**os.environ, "PYTHONUNBUFFERED": "1", **changes}
    return {name: value for name, value in merged.items() if value is not None}


class Gunicorn(Process):
    """A gunicorn and its workers. Made by :func:`start_gunicorn`."""

    def __init__(
        self, app_target: str, *options: str, env: Environment | None = None, cwd: str | Path | None = None
    ) -> None:
        self.host = "127.0.0.1"
        self.directory = cleanup.make_directory()
        # It inherits the listening socket: no other process can take the port before it does.
        with _listen(self.host) as listener:
            self.port: int = listener.getsockname()[1]
            where = ["--bind", f"fd://{listener.fileno()}"]
            control = ["--control-socket", str(self.directory / "control")]
            command = [sys.executable, "-m", "gunicorn", *where, *control, *options, app_target]
            super().__init__(command, env=env, cwd=cwd, pass_fds=[listener.fileno()])

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def get(self, path: str = "/", timeout: float = 30.0) -> tuple[int, str]:
        """GET *path*: the status and the body. Each call opens a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")

    def close(self) -> None:
        super().close()
        cleanup.remove_directory(self.directory)


def start_gunicorn(
    app_target: str,
    *options: str,
    env: Environment | None = None,
    cwd: str | Path | None = None,
    path: str = "/",
    timeout: float = 60.0,
) -> Gunicorn:
    """Start gunicorn on a free port, and wait until it answers.

    :param app_target: ``module:app``, found from *cwd*.
    :param options: gunicorn's options, such as ``"--workers", "2"``.
    :param path: what to ask for; any status is an answer.
    :raises AssertionError: if it ends, or does not answer within *timeout* seconds.
    """
    gunicorn = Gunicorn(app_target, *options, env=env, cwd=cwd)

    def answers() -> bool:
        if not gunicorn.running:
            raise AssertionError(f"It ended: {gunicorn!r}")
        return gunicorn.get(path, timeout=1.0)[0] > 0

    try:
        wait_until(
            answers, timeout, lambda: f"no answer from {gunicorn!r}", ignoring=(OSError, http.client.HTTPException)
        )
    except BaseException:
        gunicorn.close()
        raise
    return gunicorn


def _listen(host: str) -> socket.socket:
    for _ in range(100):
        with contextlib.suppress(OSError):
            return socket.create_server((host, free_port()), backlog=128)
    raise RuntimeError("No port is free.")


def children_of(pid: int, *, recursive: bool = False) -> list[int]:
    """The ids of the living child processes of *pid*; with *recursive*, of theirs too."""
    table = _process_table()
    found: list[int] = []
    parents = [pid]
    for parent in parents:
        children = [child for child, (its_parent, state) in table.items() if its_parent == parent and state != "Z"]
        found += children
        if recursive:
            parents += children
    return found


def state_of(pid: int) -> str:
    """The state of a process in one letter as in ``ps``: ``T`` is paused, ``Z`` has ended; empty if there is none."""
    return _process_table().get(pid, (0, ""))[1]


def is_alive(pid: int) -> bool:
    """Whether the process has not ended."""
    return state_of(pid) not in {"", "Z"}


def _process_table() -> dict[int, tuple[int, str]]:
    """The parent and the state of each process."""
    table: dict[int, tuple[int, str]] = {}
    if Path("/proc/self/stat").exists():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                # It may end at any time.
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    # After the name, which is in parentheses and may hold anything.
                    state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                    table[int(entry.name)] = int(parent), state
    else:
        columns = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
        for line in columns.stdout.splitlines():
            pid, parent, state = line.split(maxsplit=2)
            table[int(pid)] = int(parent), state[0]
    return table
