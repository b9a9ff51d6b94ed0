"""
Make the certificates of a benchmark: python -m benchmarks.make_fleet DIR [--count N] [--fillers N]

DIR/ca.crt                  the P-256 CA that signed everything below
DIR/server.crt, server.key  for mosquitto: localhost, 127.0.0.1, ::1
DIR/clients/NAME.crt, .key  COUNT identities that connect; NAME (d00000 …) is the CN and the client id
DIR/fillers.der             FILLERS certificates that are registered and never connect

A filler is a real certificate with a serial number and a CN of its own; all of them share one key, because
nobody will ever prove possession of it. What is there already is kept when its size fits.
"""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENTS = 2_000
FILLERS = 100_000
_LIFE = dt.timedelta(days=3650)
_STAMP = "fleet.json"


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Issuer:
    """A P-256 CA made for this fleet alone."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._start = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(days=1)
        self._name = _name("handfast benchmark CA")
        self.certificate = self._sign(
            self._builder("handfast benchmark CA", self._key.public_key()).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
        )

    def _builder(self, common_name: str, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._start)
            .not_valid_after(self._start + _LIFE)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())

    def client(self, common_name: str, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        """A device's certificate, with the two extensions that a strict verifier wants."""
        return self._sign(
            self._builder(common_name, public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )

    def server(self, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        """A server's certificate for the loopback names."""
        names: list[x509.GeneralName] = [x509.DNSName("localhost")]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
        return self._sign(
            self._builder("localhost", public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )


def _write_pair(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    folder.joinpath(f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.joinpath(f"{name}.key").write_bytes(pem)


def make_fleet(folder: Path, count: int = CLIENTS, fillers: int = FILLERS) -> None:
    """The fleet is in `folder`: made, or found there with the same numbers. Takes about 15 s for the usual size."""
    stamp = folder / _STAMP
    wanted = {"clients": count, "fillers": fillers}
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    clients = folder / "clients"
    clients.mkdir(parents=True)
    issuer = Issuer()
    folder.joinpath("ca.crt").write_bytes(issuer.certificate.public_bytes(serialization.Encoding.PEM))
    server_key = ec.generate_private_key(ec.SECP256R1())
    _write_pair(folder, "server", issuer.server(server_key.public_key()), server_key)
    for number in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"d{number:05d}"
        _write_pair(clients, name, issuer.client(name, key.public_key()), key)
    shared = ec.generate_private_key(ec.SECP256R1()).public_key()
    with folder.joinpath("fillers.der").open("wb") as out:
        for number in range(fillers):
            der = issuer.client(f"f{number:06d}", shared).public_bytes(serialization.Encoding.DER)
            out.write(struct.pack(">H", len(der)) + der)
    stamp.write_text(json.dumps(wanted))


def client_certificates(folder: Path) -> Iterator[bytes]:
    """DER of every identity that connects, in order of name."""
    for path in sorted(folder.joinpath("clients").glob("*.crt")):
        yield x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)


def filler_certificates(folder: Path) -> Iterator[bytes]:
    """DER of every certificate that is registered only."""
    with folder.joinpath("fillers.der").open("rb") as file:
        while prefix := file.read(2):
            yield file.read(struct.unpack(">H", prefix)[0])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.make_fleet")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=CLIENTS)
    parser.add_argument("--fillers", type=int, default=FILLERS)
    arguments = parser.parse_args()
    make_fleet(arguments.folder, arguments.count, arguments.fillers)


if __name__ == "__main__":
    main()
