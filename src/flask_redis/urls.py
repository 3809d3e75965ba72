"""What a URL states about a server, by the names of the configuration keys."""

from __future__ import annotations

import collections.abc as cabc
import re
import typing as t
import urllib.parse

from .parameters import CONVERTERS
from .parameters import NotAcceptedError
from .parameters import TRUE

#: Names of configuration keys and URL options whose values are not shown.
SECRET: t.Final = re.compile(r"password|passwd|passphrase|secret|token|credential|key\b", re.IGNORECASE)


class Scheme(t.NamedTuple):
    """What the scheme of a URL says."""

    topology: str
    package: str = "redis"
    tls: bool = False
    unix: bool = False


SCHEMES: t.Final[cabc.Mapping[str, Scheme]] = {
    "redis": Scheme("standalone"),
    "rediss": Scheme("standalone", tls=True),
    "unix": Scheme("standalone", unix=True),
    "redis+socket": Scheme("standalone", unix=True),
    "redis+unix": Scheme("standalone", unix=True),
    "redis+sentinel": Scheme("sentinel"),
    "rediss+sentinel": Scheme("sentinel", tls=True),
    "redis+cluster": Scheme("cluster"),
    "rediss+cluster": Scheme("cluster", tls=True),
    "valkey": Scheme("standalone", "valkey"),
    "valkeys": Scheme("standalone", "valkey", tls=True),
    "valkey+unix": Scheme("standalone", "valkey", unix=True),
    "valkey+sentinel": Scheme("sentinel", "valkey"),
    "valkeys+sentinel": Scheme("sentinel", "valkey", tls=True),
    "valkey+cluster": Scheme("cluster", "valkey"),
    "valkeys+cluster": Scheme("cluster", "valkey", tls=True),
    "memory": Scheme("memory"),
    "embedded": Scheme("embedded"),
}


def mask(url: str) -> str:
    """*url* with its password, and everything that could be part of one, replaced by ``***``."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    # A password with an unescaped "/" or "@" in it reaches to the last "@", wherever a parser would end it.
    userinfo, at, address = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    address = re.sub(r"#.*", "#***", address, flags=re.DOTALL)
    if not at:
        # A password whose host is missing stands where a port would.
        address = re.sub(r":(?!\d+(?:[,/?]|$))[^,/?\[\]:]+(?=[,/?]|$)", ":***", address)
    # The whole of it, because the last "@" may be in an option.
    shown = f"{user}{colon and ':***'}{at}{address}"
    shown = re.sub(rf"([?&][^=&]*(?:{SECRET.pattern})[^=&]*=)[^&#]*", r"\1***", shown, flags=re.IGNORECASE)
    return f"{scheme}://{shown}"


class URL(t.NamedTuple):
    """A URL taken apart."""

    scheme: Scheme
    #: The URL with its password masked.
    shown: str
    #: What it states beside its query, by the names of redis-py's parameters.
    stated: cabc.Mapping[str, t.Any]
    #: Its query options.
    options: cabc.Mapping[str, str]
    #: The addresses in a Sentinel or cluster URL.
    nodes: tuple[tuple[str, int | None], ...] = ()
    #: The name in a ``memory://`` or ``embedded://`` URL.
    name: str = ""

    def __repr__(self) -> str:
        # Tracebacks with local variables would show the password.
        return f"<{type(self).__name__} {self.shown}>"


def read(url: str) -> URL:
    """Take *url* apart. Percent-escapes are decoded once.

    :raises NotAcceptedError: if the URL cannot be understood.
    """
    name, separator, _ = url.partition("://")
    scheme = SCHEMES.get(name.lower())
    _refuse_celery(url)
    if not separator:
        raise NotAcceptedError("a URL, with a scheme, such as redis://localhost:6379/0")
    if scheme is None:
        raise NotAcceptedError("a URL that begins with one of " + ", ".join(f"{known}://" for known in SCHEMES))
    if "#" in url:
        raise NotAcceptedError("a URL without '#' (in a password it is written %23)")
    try:
        parts = urllib.parse.urlsplit(url)
        options = urllib.parse.parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        # urllib's own message may hold the password.
        raise NotAcceptedError("a valid URL (in a password, special characters are percent-escaped)") from None
    if "@" in parts.path + parts.query:
        # Probably the rest of a password that holds one of the characters that end the part before.
        raise NotAcceptedError("a URL with '@' before the host alone (elsewhere it is written %40)")
    # As in redis-py: of an option given twice the first one counts, and of the database that in the options.
    given = dict(reversed(options))
    if scheme.unix and "virtual_host" in given:
        # Celery's spelling.
        given.setdefault("db", given.pop("virtual_host"))
    if scheme.topology == "sentinel":
        _read_flask_redis_sentinel(given)
    found = URL(scheme, mask(url), {}, given)
    userinfo, _, address = parts.netloc.rpartition("@")
    path = urllib.parse.unquote(parts.path)
    stated: dict[str, t.Any] = {}
    if scheme.unix:
        stated["host"] = _socket(address, path)
        path = ""
    elif scheme.topology in {"memory", "embedded"}:
        found = found._replace(name=_name(address, userinfo))
    elif scheme.topology in {"sentinel", "cluster"}:
        found = found._replace(nodes=split_addresses(address) if address else ())
    else:
        stated["host"], stated["port"] = _split_address(address)
        if "is_master" in given:
            raise NotAcceptedError(sentinel_url(scheme, mask(url).partition("://")[2], given["is_master"]))
    if scheme.topology == "sentinel":
        stated["sentinel_service"], _, path = path.strip("/").partition("/")
        stated["sentinel_service"] = given.pop("service", None) or stated["sentinel_service"]
    if "db" not in given:
        stated["db"] = _database(path.strip("/"))
    username, _, password = userinfo.partition(":")
    stated["username"] = urllib.parse.unquote(username)
    stated["password"] = urllib.parse.unquote(password)
    stated["ssl"] = scheme.tls or None
    return found._replace(stated={name: value for name, value in stated.items() if value not in {None, ""}})


def _refuse_celery(url: str) -> None:
    """Refuse several URLs in one, and say what Celery's URL of sentinels is here."""
    first, *others = re.split(r";(?=[a-z+-]+://)", url, flags=re.IGNORECASE)
    if re.match(r"(?:redis-)?sentinel://", first, re.IGNORECASE):
        rests = [each.partition("://")[2].rpartition("@") for each in (first, *others)]
        addresses = [re.fullmatch(r"([\w.-]+|\[[\w:.]+\])(:\d+)?/*(\d*)/*", address) for *_, address in rests]
        hosts = ",".join(match[1] + (match[2] or "") for match in addresses if match)
        # Where one of them is odd, it may be a part of a password.
        hosts = hosts if all(addresses) else "host:26379,host:26379"
        # Celery takes that of the first one.
        database = (addresses[0] and addresses[0][3]) or "0"
        userinfo = ":***@" if any(at for _, at, _ in rests) else ""
        raise NotAcceptedError(
            f"redis+sentinel://{userinfo}{hosts}/service/{database}, where the service is what Celery calls master_name"
        )
    if others:
        raise NotAcceptedError(f"one URL, such as {mask(first)}; several servers are a Sentinel or a cluster")


def _read_flask_redis_sentinel(options: dict[str, str]) -> None:
    """Let flask-redis-sentinel's words in *options* stand for ours."""
    if (kind := options.pop("client_type", None)) is not None:
        options.setdefault("role", "replica" if kind == "slave" else kind)


def sentinel_url(scheme: Scheme, rest: str, is_master: str = "1") -> str:
    """What a URL is here that names the service in the place of the host, as django-redis does.

    :param rest: what follows the slashes, the password masked.
    """
    userinfo, at, address = rest.partition("?")[0].rpartition("@")
    role = "" if is_master.lower() in TRUE else "?role=replica"
    tls = "s" if scheme.tls else ""
    service = re.sub(r":\d*(?=/|$)", "", address).rstrip("/")
    return f"{scheme.package}{tls}+sentinel://{userinfo}{at}host:26379,host:26379/{service}{role}"


def may_be_a_service(url: URL) -> bool:
    """Whether the host in *url* may be the name of a Sentinel service, as in django-redis."""
    return url.scheme.topology == "standalone" and "host" in url.stated and "port" not in url.stated


def _socket(address: str, path: str) -> str:
    if address or not path.strip("/"):
        raise NotAcceptedError("three slashes and the path of a socket, as in unix:///run/redis.sock")
    return path


def _name(address: str, userinfo: str) -> str:
    # Nothing in the URL may lead out of the instance folder: no dot, no slash.
    if userinfo or not re.fullmatch(r"[A-Za-z0-9_-]*", address):
        raise NotAcceptedError("after the slashes a name of letters, digits, '-' and '_', or none")
    return address


def _database(path: str) -> int | None:
    if not re.fullmatch("[0-9]*", path):
        raise NotAcceptedError("a path that is the number of a database")
    return int(path) if path else None


def split_addresses(addresses: str) -> tuple[tuple[str, int | None], ...]:
    """The hosts and ports in ``host1:port,host2``.

    :raises NotAcceptedError: if one of them has no host.
    """
    nodes = []
    for address in addresses.split(","):
        host, port = _split_address(address.strip())
        if host is None:
            raise NotAcceptedError("host or host:port, several of them separated by commas")
        nodes.append((host, port))
    return tuple(nodes)


def _split_address(address: str) -> tuple[str | None, int | None]:
    """The host and port of ``host``, ``host:port``, ``[IPv6]:port`` or the empty text."""
    if "," in address:
        raise NotAcceptedError("one host; several take a redis+sentinel:// or redis+cluster:// URL")
    match = re.fullmatch(r"(?:\[([0-9A-Za-z:.%]+)\]|([^\[\]:@\s]*))(?::([0-9]*))?", address)
    if match is None:
        raise NotAcceptedError("host or host:port (in a password, special characters are percent-escaped)")
    port = CONVERTERS["port"](match[3]) if match[3] else None
    return urllib.parse.unquote(match[1] or match[2]) or None, port
