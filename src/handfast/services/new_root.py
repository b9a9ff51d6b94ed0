"""A new root: made where the root keys are, and verified where the server runs. See `root_ceremony`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from handfast.core.pki import chain as chains
from handfast.core.pki import profile as profiles
from handfast.core.pki.issue import SigningKey, VerifyingKey
from handfast.core.pki.keys import BrokenRule
from handfast.core.pki.names import display
from handfast.errors import ConfigurationError
from handfast.ports import Entropy
from handfast.services.pki_creation import LEGACY_LIFETIME, ROOT_LIFETIME, issue
from handfast.services.pki_folder import (
    LEGACY,
    ROOTS,
    ChainKind,
    KeyFolder,
    PkiFolder,
    RootSpec,
    holds,
    root_spec,
    twin_of,
)


def make_root(
    wanted: RootSpec,
    keys: KeyFolder,
    roots: Mapping[str, x509.Certificate],
    before: x509.Certificate,
    before_key: SigningKey,
    *,
    now: dt.datetime,
    entropy: Entropy,
) -> list[x509.Certificate]:
    """
    The root, then the root as the one before it signed it, and as the legacy root did where its key is there.

    What an earlier try has made is used again: a ceremony that was killed leaves no second root.

    Args:
        keys: The folder of the root keys, which gets that of the new root.
        roots: What lies beside these keys, by name.
        before: The root that it follows, with its key.

    Raises:
        ConfigurationError: It is not the next one, or was made before with a key of another kind.
    """
    name = wanted.file
    highest = max(int(each.removeprefix("root-ca-")) for each in roots if each != LEGACY)
    if name not in roots and wanted.number != highest + 1:
        raise ConfigurationError(
            f"The next root beside these keys is root-ca-{highest + 1}, the request is for {name}."
        )
    key = keys.signing_key(name) if keys.has(name) else keys.generate(name, wanted.key)
    root = roots.get(name)
    if root is None:
        subject = profiles.authority_name(wanted.common_name)
        root = issue(profiles.root(ROOT_LIFETIME), subject, key.public_key(), None, key, now=now, entropy=entropy)
    made = root_spec(wanted.number, root)
    if made.key != wanted.key or not holds(key, root):
        raise ConfigurationError(
            f"{name} was made before with another key ({made.key}): ask for that kind, or move it away if no server "
            "has installed it."
        )
    certificates = [root, crossed(root, before, before_key, ROOT_LIFETIME, now=now, entropy=entropy)]
    if keys.has(LEGACY):
        legacy_key = keys.signing_key(LEGACY)
        certificates.append(crossed(root, roots[LEGACY], legacy_key, LEGACY_LIFETIME, now=now, entropy=entropy))
    return certificates


def crossed(
    root: x509.Certificate,
    signer: x509.Certificate,
    key: SigningKey,
    lifetime: dt.timedelta,
    *,
    now: dt.datetime,
    entropy: Entropy,
) -> x509.Certificate:
    """A root under another issuer: its name and key."""
    return issue(profiles.root(lifetime), root.subject, verifying_key(root), signer, key, now=now, entropy=entropy)


def check_added(
    folder: PkiFolder,
    roots: Mapping[str, x509.Certificate],
    cross: Sequence[x509.Certificate],
    answer: Sequence[x509.Certificate],
    *,
    now: dt.datetime,
) -> tuple[RootSpec, list[tuple[str, list[x509.Certificate]]], str]:
    """
    A new root, verified; what is to be written for it, in this order, and which root signed it.

    The root itself comes last: with it the root is there, and nothing before it matters alone.

    Raises:
        ConfigurationError: The answer does not verify, or is for no root of this server.
    """
    agree((), "root", 2 <= len(answer) <= 3, f"it holds {len(answer)} certificates, expected two or three")
    root = answer[0]
    number = folder.next_root()
    for spec, present in folder.rooted().items():
        if present == root and spec.number > len(ROOTS):
            number = spec.number  # installed before
    spec = root_spec(number, root)
    wanted = profiles.authority_name(spec.common_name)
    agree((), "root", root.subject == wanted, f"it is not named {display(wanted)}")
    agree(chains.verify([root], [root], at=now), "root")
    for twin in answer[1:]:
        same = twin.subject == root.subject and chains.same_key(twin, root)
        agree((), "root", same, "a cross-certificate in it is for another root")
    bridge = answer[1]
    signer = next((each.file for each, old in folder.rooted().items() if chains.signed_by(bridge, old)), None)
    agree((), "root", signer is not None and signer != spec.file, "no root of this server signed its cross-certificate")
    assert signer is not None
    agree((), "root", carries(roots[signer], spec.kind), f"{signer} has not the kind of key that it follows")
    agree(chains.verify([bridge], [roots[signer]], at=now), "root")
    whole = list(cross)
    for twin in answer[2:]:
        agree(chains.verify([twin], [roots[LEGACY]], at=now), "root")
        if twin_of(root, whole) is None:
            whole.append(twin)
    return (
        spec,
        [
            ("roots/cross", whole),
            (f"roots/{spec.file}-by-{signer}", [bridge]),
            (f"roots/{spec.file}", [root]),
        ],
        signer,
    )


def carries(root: x509.Certificate, kind: ChainKind) -> bool:
    """Whether chains of the kind can hang on the root."""
    return isinstance(root.public_key(), rsa.RSAPublicKey) == (kind == "rsa")


def agree(broken: Sequence[BrokenRule], act: str, condition: bool = True, otherwise: str = "") -> None:
    """Nothing is broken and the condition holds, or the one error says what is wrong with the act."""
    if broken:
        raise ConfigurationError(f"{act} is refused: {' '.join(rule.message for rule in broken)}")
    if not condition:
        raise ConfigurationError(f"{act} is refused: {otherwise}.")


def verifying_key(holder: x509.Certificate | x509.CertificateSigningRequest) -> VerifyingKey:
    """The public key of one of our own certificates or requests."""
    key = holder.public_key()
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    return key
