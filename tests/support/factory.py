"""A maker of devices with an own CA, made and signed by `openssl` as the AWS tutorials do."""

from __future__ import annotations

import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.device import Device
from tests.support.server import Server

P256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


def openssl(folder: Path, *arguments: str) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Factory:
    """A CA in `folder`, as ca.pem and ca.key, and the devices below it."""

    server: Server
    folder: Path

    @classmethod
    def make(cls, server: Server, folder: Path, *extensions: str, days: int = 30) -> Factory:
        """A self-signed CA; `extensions` beside basicConstraints, as `openssl req -addext` takes them."""
        folder.mkdir(parents=True, exist_ok=True)
        subject = f"/O=Maker/CN=Factory {uuid.uuid4().hex[:8]}"
        given = extensions or ("basicConstraints=critical,CA:TRUE",)
        openssl(
            folder,
            *("req", "-x509", *P256, "-keyout", "ca.key", "-out", "ca.pem", "-days", str(days), "-subj", subject),
            *(item for extension in given for item in ("-addext", extension)),
        )
        return cls(server, folder)

    @property
    def pem(self) -> str:
        return (self.folder / "ca.pem").read_text()

    @property
    def id(self) -> str:
        return identifier(self.folder / "ca.pem")

    def register(self, iot: Any, *, allow: bool = True, **members: Any) -> str:
        """RegisterCACertificate with the verification certificate of the tutorials; the CA's id."""
        code = iot.get_registration_code()["registrationCode"]
        proof = self.sign(f"/CN={code}", "proof").certificate.read_text()
        made = iot.register_ca_certificate(
            caCertificate=self.pem,
            verificationCertificate=proof,
            setAsActive=True,
            allowAutoRegistration=allow,
            **members,
        )
        return str(made["certificateId"])

    def sign(self, subject: str | None = None, stem: str | None = None, *extensions: str, days: int = 5) -> Device:
        """A device that nobody registered."""
        name = stem or f"device-{uuid.uuid4().hex[:10]}"
        request = ("req", "-new", *P256, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(self.folder, *request, "-subj", subject or f"/O=Maker/CN={name}")
        options = []
        if extensions:
            (self.folder / f"{name}.ext").write_text("\n".join(extensions) + "\n")
            options = ["-extfile", f"{name}.ext"]
        openssl(
            self.folder,
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-sha256"),
            *("-set_serial", f"0x{uuid.uuid4().hex[:30]}", "-days", str(days), "-out", f"{name}.pem", *options),
        )
        certificate = self.folder / f"{name}.pem"
        return Device(
            name=name,
            certificate_id=identifier(certificate),
            arn="",
            certificate=certificate,
            key=self.folder / f"{name}.key",
            root=self.server.trust / "bundle.pem",
        )

    def with_chain(self, device: Device) -> Device:
        """The same device, presenting the CA certificate behind its own."""
        both = self.folder / f"{device.name}-chain.pem"
        both.write_text(device.certificate.read_text() + self.pem)
        return Device(device.name, device.certificate_id, device.arn, both, device.key, device.root)


def identifier(certificate: Path) -> str:
    """The certificateId, as openssl computes it."""
    printed = openssl(certificate.parent, "x509", "-in", certificate.name, "-noout", "-fingerprint", "-sha256")
    return printed.strip().partition("=")[2].replace(":", "").lower()


def mosquitto_pub(
    server: Server,
    device: Device,
    version: str = "mqttv311",
    *,
    client_id: str | None = None,
    host: str = "localhost",
    alpn: bool = False,
) -> subprocess.CompletedProcess[str]:
    """One message, published at QoS 1 by a device that connects for it; `alpn`: to the port where ALPN decides."""
    port = server.alpn_port if alpn else server.mqtt_port
    return subprocess.run(
        [
            *("mosquitto_pub", "-h", host, "-p", str(port), "--cafile", str(device.root), "-V", version),
            *("--cert", str(device.certificate), "--key", str(device.key), "-i", client_id or device.name),
            *(("--tls-alpn", "x-amzn-mqtt-ca") if alpn else ()),
            *("-t", f"{device.name}/up", "-m", "hello", "-q", "1"),
        ],
        capture_output=True,
        text=True,
        timeout=20,
    )
