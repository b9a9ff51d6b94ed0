"""
Device kits: a thing, its certificate and policy, and a folder with all that the device needs.

Made with the public API alone. The key pair is made here, so the private key
never travels. What was made is taken back when a later step fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handfast.cli.connection import CallFailed, ServerAddress, calling, iot_api, reachable_name
from handfast.cli.key_files import MAX_FILE_BYTES, key_and_csr, read_text, write_new
from handfast.cli.kit_readme import readme
from handfast.errors import ConfigurationError, HandfastError
from handfast.printable import printable

if TYPE_CHECKING:
    from cryptography import x509

THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What the kit's device.json says."""

    thing_name: str
    client_id: str
    certificate_id: str
    endpoint: str
    host: str
    mqtt_port: int
    https_port: int
    region: str
    alpn_port: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of device.json. `host` is a name that resolved where the kit was made."""
        return {
            "thingName": self.thing_name,
            "clientId": self.client_id,
            "certificateId": self.certificate_id,
            "endpoint": self.endpoint,
            "host": self.host,
            "ports": {"mqtt": self.mqtt_port, "https": self.https_port}
            | ({"alpn": self.alpn_port} if self.alpn_port is not None else {}),
            "region": self.region,
        }

    @classmethod
    def read(cls, folder: Path) -> Kit:
        """The kit in a folder; ConfigurationError when it is not one."""
        path = folder / "device.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                thing_name=str(facts["thingName"]),
                client_id=str(facts["clientId"]),
                certificate_id=str(facts["certificateId"]),
                endpoint=str(facts["endpoint"]),
                host=str(facts["host"]),
                mqtt_port=int(facts["ports"]["mqtt"]),
                https_port=int(facts["ports"]["https"]),
                alpn_port=int(facts["ports"]["alpn"]) if "alpn" in facts["ports"] else None,
                region=str(facts["region"]),
            )
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be read ({error.strerror}): give the folder that 'handfast device create' made"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(
                f"{path} is not a kit's file: give the folder that 'handfast device create' made"
            ) from None


def create_kit(
    server: ServerAddress,
    name: str,
    folder: Path,
    *,
    key_kind: str = "p256",
    policy_file: Path | None = None,
    csr_file: Path | None = None,
    root_ca: Path | None = None,
) -> Kit:
    """
    The thing `name` exists with an active certificate and a policy, and `folder` holds its kit.

    Raises:
        ConfigurationError: The name, a file or the folder cannot be used; nothing was changed.
        CallFailed: The server refused a step, or was not there; the earlier steps were taken back.

    A folder or thing that exists is never touched.
    """
    if not THING_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{printable(name, limit=140)!r} is not a thing name: expected 1 to 128 of letters, digits, ':', '_', '-'"
        )
    if folder.exists() or folder.is_symlink():
        raise ConfigurationError(f"{folder} exists and is never overwritten: choose another name, or move it away")
    csr = read_text(csr_file, "--csr") if csr_file else None
    document = read_text(policy_file, "--policy") if policy_file else None
    key_pem = None
    if csr is None:
        key_pem, csr = key_and_csr(_subject(name), key_kind)
    roots = read_text(root_ca, "--root-ca") if root_ca else _roots(server)
    undo = _Undo()
    try:
        with calling(server):
            made = _provision(iot_api(server), name, csr, document, undo)
        kit = Kit(
            thing_name=name,
            client_id=name,
            certificate_id=made.certificate_id,
            endpoint=made.endpoint,
            host=reachable_name(server, made.endpoint),
            mqtt_port=server.mqtt_port,
            https_port=server.https_port,
            alpn_port=server.alpn_port,
            region=server.region,
        )
        _write_folder(folder, kit, made.certificate_pem, key_pem, roots)
    except BaseException as error:
        left = undo.run()
        if left and isinstance(error, HandfastError):
            raise CallFailed(f"{error}; could not take back: {', '.join(left)}") from error
        raise
    return kit


def default_policy(arn_prefix: str, name: str) -> str:
    """The policy of a kit: connect as the thing, and publish, subscribe and receive below `name/`."""
    allow = {
        "iot:Connect": f"{arn_prefix}:client/${{iot:Connection.Thing.ThingName}}",
        "iot:Publish": f"{arn_prefix}:topic/{name}/*",
        "iot:Receive": f"{arn_prefix}:topic/{name}/*",
        "iot:Subscribe": f"{arn_prefix}:topicfilter/{name}/*",
    }
    statements = [{"Effect": "Allow", "Action": action, "Resource": arn} for action, arn in allow.items()]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def policy_name(name: str) -> str:
    """The name of a kit's policy: one to one with the thing's name, legal (no colon) and at most 128 characters."""
    plain = "kit-" + name.replace(":", "=")
    return plain if len(plain) <= 128 else "kit-" + hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Provisioned:
    certificate_id: str
    certificate_pem: str
    endpoint: str


class _Undo:
    """Steps that take back what was made, last first."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []

    def add(self, what: str, step: Callable[[], object]) -> None:
        self._steps.append((what, step))

    def run(self) -> list[str]:
        """Take everything back; the names of what could not be."""
        left = []
        while self._steps:
            what, step = self._steps.pop()
            try:
                step()
            except Exception:  # whatever it was, the next step is still tried
                left.append(what)
        return left


def _provision(iot: Any, name: str, csr: str, document: str | None, undo: _Undo) -> _Provisioned:
    # CreateThing answers success for a thing that exists with the same attributes, so ask first.
    try:
        iot.describe_thing(thingName=name)
    except iot.exceptions.ResourceNotFoundException:
        pass
    else:
        raise CallFailed(f"the thing {name} exists and is never overwritten: choose another name", "exists")
    endpoint = iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    thing_arn = iot.create_thing(thingName=name)["thingArn"]
    undo.add(f"thing {name}", lambda: iot.delete_thing(thingName=name))
    policy = policy_name(name)
    prefix = thing_arn.split(":thing/", 1)[0]
    iot.create_policy(policyName=policy, policyDocument=document or default_policy(prefix, name))
    undo.add(f"policy {policy}", lambda: iot.delete_policy(policyName=policy))
    made = iot.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=True)
    certificate_id, arn = made["certificateId"], made["certificateArn"]
    undo.add(f"certificate {certificate_id}", lambda: iot.delete_certificate(certificateId=certificate_id))
    undo.add(
        f"status of certificate {certificate_id}",
        lambda: iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE"),
    )
    iot.attach_policy(policyName=policy, target=arn)
    undo.add(f"attachment of policy {policy}", lambda: iot.detach_policy(policyName=policy, target=arn))
    iot.attach_thing_principal(thingName=name, principal=arn)
    undo.add(f"attachment of thing {name}", lambda: iot.detach_thing_principal(thingName=name, principal=arn))
    return _Provisioned(certificate_id, made["certificatePem"], endpoint)


def _subject(name: str) -> x509.Name:
    """The CN has room for 64 characters."""
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])


def _roots(server: ServerAddress) -> str:
    """What the device trusts, as PEM: the server's published bundle, or AWS's roots for AWS."""
    if server.trust_dir is not None:
        return read_text(server.trust_dir / "bundle.pem", "the server's bundle")
    if server.is_aws:
        return _amazon_roots()
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session

    url = f"{server.api}/trust/bundle.pem"
    with calling(server):
        answer = URLLib3Session(verify=server.ca_bundle or True, timeout=10).send(AWSRequest("GET", url).prepare())
    text = bytes(answer.content[:MAX_FILE_BYTES]).decode("ascii", "replace")
    if answer.status_code != 200 or "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigurationError(f"{url} has no root certificates: give the device's roots with --root-ca FILE")
    return text


def _amazon_roots() -> str:
    """Amazon Root CA 1 to 4, from the bundle of public roots that botocore carries."""
    import botocore
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    bundle = (Path(botocore.__file__).parent / "cacert.pem").read_bytes()
    with warnings.catch_warnings(action="ignore"):  # other roots in the bundle are oddly encoded
        certificates = x509.load_pem_x509_certificates(bundle)
    found = [
        certificate.public_bytes(Encoding.PEM).decode()
        for certificate in certificates
        if "CN=Amazon Root CA " in certificate.subject.rfc4514_string()
    ]
    if not found:
        raise ConfigurationError("Amazon's roots were not found on this machine: give them with --root-ca FILE")
    return "".join(found)


def _write_folder(folder: Path, kit: Kit, certificate_pem: str, key_pem: bytes | None, roots: str) -> None:
    """The folder appears with everything in it, or not at all."""
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        folder.mkdir(mode=0o700)  # takes the name; an empty folder may be replaced by a rename, a full one not
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be made ({error.strerror}): choose another place") from None
    try:
        fresh.mkdir(mode=0o700)
        write_new(fresh / "certificate.pem", certificate_pem.encode(), 0o644)
        if key_pem is not None:
            write_new(fresh / "private.key", key_pem, 0o600)
        write_new(fresh / "root-ca.pem", roots.encode(), 0o644)
        write_new(fresh / "device.json", (json.dumps(kit.as_json(), indent=2) + "\n").encode(), 0o644)
        text = readme(
            thing=kit.thing_name,
            client_id=kit.client_id,
            endpoint=kit.endpoint,
            host=kit.host,
            mqtt_port=kit.mqtt_port,
            https_port=kit.https_port,
            alpn_port=kit.alpn_port,
            has_key=key_pem is not None,
        )
        write_new(fresh / "README.txt", text.encode(), 0o644)
        fresh.rename(folder)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
        if isinstance(error, OSError):
            raise ConfigurationError(f"{folder} cannot be written ({error.strerror}): choose another place") from None
        raise
