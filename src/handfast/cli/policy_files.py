"""What the policy commands read: documents, drafts and principals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from handfast.core.policy.reading import MAX_TEXT_CHARACTERS
from handfast.errors import ConfigurationError
from handfast.printable import printable

_MAX_PEM_BYTES = 256 * 1024


def read_document(path: Path) -> str:
    """The text of a policy document; ConfigurationError when it cannot be read."""
    return read_json_text(path, MAX_TEXT_CHARACTERS, "a policy document")


def read_json_text(path: Path, characters: int, what: str) -> str:
    """The text of a file that may hold so many characters; ConfigurationError when it cannot be read."""
    data = _read(path, 4 * characters)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{printable(str(path))} is not UTF-8 text: expected {what} in JSON") from None


def read_certificate_file(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file; ConfigurationError when there is none."""
    try:
        return x509.load_pem_x509_certificate(_read(path, _MAX_PEM_BYTES))
    except ValueError:
        raise ConfigurationError(f"{printable(str(path))} holds no certificate in PEM") from None


def principal_id(text: str) -> str:
    """A certificate id or ARN as it is; of a PEM file, the id of its first certificate."""
    if text.startswith("arn:") or (len(text) == 64 and not Path(text).exists()):
        return text
    return read_certificate_file(Path(text)).fingerprint(hashes.SHA256()).hex()


def statement_text(statement: dict[str, Any]) -> str:
    """Which statement of which version of which policy, escaped."""
    sid = f" ({printable(statement['sid'])})" if statement.get("sid") else ""
    number = statement.get("statement")
    which = "(unreadable document)" if number is None else f"statement {number}"
    return f"policy {printable(statement['policyName'])} version {printable(statement['version'])} {which}{sid}"


def _read(path: Path, at_most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(at_most + 1)
    except OSError as error:
        raise ConfigurationError(f"{printable(str(path))} cannot be read: {error.strerror}") from None
    if len(data) > at_most:
        raise ConfigurationError(f"{printable(str(path))} is larger than {at_most} bytes")
    return data
