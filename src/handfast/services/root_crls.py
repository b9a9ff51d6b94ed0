"""
The roots' own lists of revocations: signed when root keys are at hand, at the first run or in a ceremony.

Each is good for over a year, so that one ceremony a year keeps them. Their numbers are the seconds since 1970 at which
they were signed: the machine in the safe has nothing to remember.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography import x509

from handfast.core.pki.crl import CLOCK_SKEW, MAX_FILE_BYTES
from handfast.core.pki.issue import SigningKey
from handfast.core.pki.revocation_list import sign_list
from handfast.datadir import write_atomically
from handfast.errors import ConfigurationError
from handfast.services.pki_folder import LEGACY, KeyFolder, PkiFolder, holds

LIFETIME: Final = dt.timedelta(days=400)
AHEAD: Final = dt.timedelta(days=120)
"""How long before its end a new list is due."""
BACKDATE: Final = dt.timedelta(hours=1)
ENDING: Final = ".crl"


def signed(root: x509.Certificate, key: SigningKey, now: dt.datetime) -> bytes:
    """DER of the root's list, empty: no intermediate was revoked."""
    return sign_list(
        b"",
        issuer=root,
        key=key,
        number=int(now.timestamp()),
        this_update=now - BACKDATE,
        next_update=now + LIFETIME,
    )


def sign_all(
    directory: Path, keys: KeyFolder, roots: Mapping[str, x509.Certificate], now: dt.datetime
) -> list[tuple[str, Path]]:
    """
    The offline half: the list of every root whose key is here lies in `directory`, as NAME.crl.

    Raises:
        ConfigurationError: A key is another root's.
    """
    made = []
    for name, root in roots.items():
        if name == LEGACY or not keys.has(name):
            continue
        key = keys.signing_key(name)
        if not holds(key, root):
            raise ConfigurationError(f"{name}.key is not the key of {name}.pem.")
        file = directory / f"{name}{ENDING}"
        write_atomically(file, signed(root, key, now))
        made.append((name, file))
    return made


def checked(
    folder: PkiFolder, roots: Mapping[str, x509.Certificate], directory: Path, now: dt.datetime
) -> list[tuple[str, Path, bytes, dt.datetime]]:
    """
    The lists that lie in `directory` and are newer than what is published, verified: name, file, DER and end of each.

    Those of other roots, a retired one's for instance, are not looked at.

    Raises:
        ConfigurationError: One is not signed by its root, or over.
    """
    found = []
    for file in sorted(directory.glob(f"root-ca-*{ENDING}")):
        root = roots.get(file.stem)
        if root is None:
            continue
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"{file} is too large to be a list of revocations.")
        der = file.read_bytes()
        number, end = _verified(file, der, root, now)
        present = folder.list_of(file.stem)
        if present is not None and _number(present) >= number:
            continue
        found.append((file.stem, file, der, end))
    return found


def _verified(file: Path, der: bytes, root: x509.Certificate, now: dt.datetime) -> tuple[int, dt.datetime]:
    try:
        crl = x509.load_der_x509_crl(der)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        genuine = crl.issuer == root.subject and crl.is_signature_valid(root.public_key())  # type: ignore[arg-type]
        begin, end = crl.last_update_utc, crl.next_update_utc
    except Exception as error:  # the library's parser is lazy, and raises what it likes
        raise ConfigurationError(f"{file} is no list of revocations ({type(error).__name__}).") from error
    if not genuine:
        raise ConfigurationError(f"{file} is not signed by {file.stem}.")
    if end is None or end <= now or begin > now + CLOCK_SKEW:
        raise ConfigurationError(f"{file} is not in date: look at the clock of the machine that signed it.")
    return number, end


def _number(der: bytes) -> int:
    """Of a list that is published; 0 where it is damaged, so that any other takes its place."""
    try:
        crl = x509.load_der_x509_crl(der)
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except Exception:
        return 0
