"""
The making of a successor: its key and certificate in files, whatever goes wrong in between.

The key is on disk before the server is asked, so that no certificate is made
for a key that is lost. When the answer is lost, the successor is recognised by
its key.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handfast.cli.call import Call
from handfast.cli.connection import CallFailed
from handfast.cli.key_files import key_and_csr, read_text, write_new
from handfast.errors import ConfigurationError
from handfast.printable import printable

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE, KEY = "certificate.pem", "private.key"
_TAKEN = "ResourceAlreadyExistsException"


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """A successor whose files are written. `files` maps what they hold to where; `rotation` is as the API has it."""

    certificate_id: str
    files: dict[str, Path]
    rotation: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For programs; `keyFile` is absent when the device keeps its key."""
        names = {"certificate": "certificateFile", "key": "keyFile"}
        return {"successorId": self.certificate_id} | {names[what]: str(path) for what, path in self.files.items()}


def request_successor(
    call: Call,
    certificate_id: str,
    folder: Path,
    *,
    csr_file: Path | None,
    key_kind: str | None,
    options: dict[str, Any],
) -> Successor:
    """
    The rotation of the certificate has begun and the folder holds the successor.

    `options` are RotateCertificate's. Raises ConfigurationError (a file or the
    folder cannot be used; nothing was changed) and CallFailed (refused, and
    nothing is left behind; or not answered, and the message says what to do).
    """
    if csr_file is not None and key_kind is not None:
        raise ConfigurationError("--csr and --key exclude each other: the request is for a key that exists")
    files = {"certificate": folder / CERTIFICATE}
    if csr_file is None:
        files["key"] = folder / KEY
    for path in files.values():
        if path.exists() or path.is_symlink():
            raise ConfigurationError(f"{path} exists and is never overwritten: choose another folder with --out")
    key_pem: bytes | None = None
    if csr_file is not None:
        csr = read_text(csr_file, "--csr")
    else:
        with call.iot() as iot:
            old = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["certificatePem"]
        key_pem, csr = _like(old, key_kind)
    made_folder = _make(folder)
    try:
        if key_pem is not None:
            _place(files["key"], key_pem, 0o600)
        made = _begin(call, certificate_id, csr, options)
    except BaseException as error:
        if isinstance(error, CallFailed) and not error.code and key_pem is not None:
            raise CallFailed(
                f"{error}; whether the rotation has begun is not known: see 'handfast cert rotations' when it answers "
                f"again. The new key is kept in {files['key']}"
            ) from error
        if isinstance(error, CallFailed | ConfigurationError):
            with contextlib.suppress(OSError):
                if key_pem is not None:
                    files["key"].unlink(missing_ok=True)
                if made_folder:
                    folder.rmdir()
        raise
    try:
        _place(files["certificate"], made["certificatePem"].encode(), 0o644)
    except ConfigurationError as error:
        raise CallFailed(
            f"{error}. The rotation has begun all the same: DescribeCertificate has the new certificate "
            f"{made['certificateId']}, 'handfast cert rotate --cancel {printable(certificate_id)}' takes it back"
        ) from None
    return Successor(certificate_id=made["certificateId"], files=files, rotation=made["rotation"])


def _begin(call: Call, certificate_id: str, csr: str, options: dict[str, Any]) -> dict[str, Any]:
    """RotateCertificate, or what an earlier try of it has made for the same key."""
    try:
        with call.handfast() as api:
            answer: dict[str, Any] = api.rotate_certificate(
                certificateId=certificate_id, certificateSigningRequest=csr, **options
            )
            return answer
    except CallFailed as error:
        if error.code and error.code != _TAKEN:
            raise
        earlier = _earlier(call, certificate_id, csr)
        if earlier is None:
            raise
        return earlier


def _earlier(call: Call, certificate_id: str, csr: str) -> dict[str, Any] | None:
    from cryptography import x509

    try:
        with call.handfast() as api:
            rotation = api.describe_rotation(certificateId=certificate_id)
        rotation.pop("ResponseMetadata", None)
        if rotation["certificateId"] != certificate_id.lower() or rotation["state"] != "WAITING":
            return None
        with call.iot() as iot:
            found = iot.describe_certificate(certificateId=rotation["successorId"])["certificateDescription"]
        asked = x509.load_pem_x509_csr(csr.encode()).public_key()
        if x509.load_pem_x509_certificate(found["certificatePem"].encode()).public_key() != asked:
            return None
    except (CallFailed, ConfigurationError, ValueError):
        return None
    return {
        "certificateId": rotation["successorId"],
        "certificatePem": found["certificatePem"],
        "rotation": rotation,
    }


def _like(pem: str, kind: str | None) -> tuple[bytes, str]:
    """A key of the kind, by default that of the certificate, and a request for it with the certificate's subject."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(pem.encode())
    return key_and_csr(certificate.subject, kind or _kind(certificate))


def _kind(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa2048"
    return "p384" if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size > 256 else "p256"


def _make(folder: Path) -> bool:
    """The folder exists; whether it was made now."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is no folder: choose another one with --out") from None
        return False
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be made ({error.strerror}): choose another with --out") from None
    return True


def _place(path: Path, data: bytes, mode: int) -> None:
    try:
        write_new(path, data, mode)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists and is never overwritten: choose another folder with --out") from None
    except OSError as error:
        shown = printable(str(path))
        raise ConfigurationError(f"{shown} cannot be written ({error.strerror}): choose another with --out") from None
