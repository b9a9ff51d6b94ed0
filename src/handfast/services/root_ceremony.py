"""
What needs a root key, in two halves, so that the root keys can live in a safe.

    online    roots request DIR         writes DIR/ACT.request.json for each act that is wanted
    offline   roots sign --offline DIR  answers each with DIR/ACT.answer.pem, signed by the root keys that lie in DIR
    online    roots install DIR         verifies every answer completely, then puts it in place

The acts:

    intermediate-rsa     a new RSA intermediate under root 1 (or 2)
    intermediate-ecdsa   a new P-256 intermediate under root 3 (or 4)
    next-rsa             the same as intermediate-rsa, but it waits: nothing is served below it before `roots promote`
    next-ecdsa           the same for P-256
    intermediate-legacy  the RSA intermediate in use again, under the legacy root alone, for --legacy-endpoint
    root                 a new root: its key is made and stays where the root keys are; signed by the root that it
                         follows, and by the legacy root where its key is there
    crl                  the list of revocations of every root whose key is there (`root_crls`)
    cross                the roots signed anew by the legacy root
    legacy               the legacy root signed anew by itself: the same key, ten more years; `cross` belongs to it

A request carries only the act, for a root the kind of its key, and for an intermediate a signing
request for a key that never leaves the server, and the URL below which its issuer is published, where
there is one. Names, validity, profile and the roots to be
cross-signed are the signer's own: a request that was tampered with can obtain an intermediate for
another key at most, which is why both halves print the key's identifier for comparison. The key of
a new root never leaves the folder of the root keys.

Every step may be repeated. `request` reuses a key that waits already; `install` of an answer that
is in place changes nothing; a running server takes a new intermediate up at its next renewal
check, without a restart.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from handfast.core.pki import chain as chains
from handfast.core.pki import profile as profiles
from handfast.core.pki.issue import SigningKey, VerifyingKey
from handfast.core.pki.keys import request_refusals
from handfast.core.pki.names import display
from handfast.core.pki.pem import read_request
from handfast.core.pki.pointers import pointers_to, points_to, public_base
from handfast.datadir import write_atomically
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.ports import Entropy
from handfast.services import publication, root_crls
from handfast.services.new_root import agree, carries, check_added, crossed, make_root, verifying_key
from handfast.services.pki_creation import LEGACY_LIFETIME, intermediate_subject, issue
from handfast.services.pki_folder import (
    KINDS,
    LEAF_KEYS,
    LEGACY,
    ROOT_KEYS,
    ROOTS,
    ChainKind,
    Intermediate,
    KeyFolder,
    PkiFolder,
    RootSpec,
    Served,
    bundle_pem,
    holds,
    intermediate_name,
    legacy_intermediate_name,
    load_certificates,
    publish_trust,
)

FORMAT = 1
REQUEST_ENDING = ".request.json"
ANSWER_ENDING = ".answer.pem"
INTERMEDIATES: Mapping[str, ChainKind] = {
    "next-rsa": "rsa",
    "next-ecdsa": "ecdsa",
    "intermediate-rsa": "rsa",
    "intermediate-ecdsa": "ecdsa",
}
"""The acts that make an intermediate; one that waits or one that is served at once."""
UNDER_LEGACY = "intermediate-legacy"
ACTS = (*INTERMEDIATES, UNDER_LEGACY, "root", "crl", "cross", "legacy")
MAX_REQUEST_BYTES = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one half did for one act. `key` is the subjectKeyIdentifier to compare, in hex, where there is one."""

    act: str
    file: Path
    subject: str
    signer: str
    key: str | None = None
    not_after: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    act: str
    root: int | None = None
    generation: int | None = None
    csr: x509.CertificateSigningRequest | None = field(default=None, repr=False)
    number: int | None = None
    key: str = ""
    public_url: str | None = None

    @property
    def kind(self) -> ChainKind:
        if self.act == UNDER_LEGACY:
            return "rsa"
        return INTERMEDIATES[self.act] if self.act in INTERMEDIATES else ROOT_KEYS[self.key]

    @property
    def signer(self) -> str:
        return f"root-ca-{self.root}" if self.root is not None else LEGACY


def due(folder: PkiFolder, now: dt.datetime, ahead: dt.timedelta) -> list[str]:
    """The acts whose certificates have less than `ahead` left."""
    acts = [
        f"intermediate-{kind}"
        for kind in KINDS
        if folder.intermediate(kind).certificate.not_valid_after_utc - now < ahead
    ]
    if folder.roots()[LEGACY].not_valid_after_utc - now < ahead:
        acts += ["legacy", "cross"]
    elif min(cert.not_valid_after_utc for cert in folder.cross_certificates()) - now < ahead:
        acts.append("cross")
    if publication.warnings(folder, now):
        acts.append("crl")
    return acts


def request(
    folder: PkiFolder,
    online: KeyFolder,
    directory: Path,
    acts: Iterable[str],
    *,
    under: int | None = None,
    key: str | None = None,
) -> list[Step]:
    """
    The online half: a request for each act lies in `directory`.

    Args:
        acts: Of `ACTS`.
        under: The root to sign a new intermediate, where it is not the one that carries the chain today.
        key: The kind of key of a new root.

    Raises:
        ConfigurationError: The directory cannot be written, or the root does not fit the act.
    """
    acts = list(dict.fromkeys(acts))
    specs = list(folder.rooted())
    if "root" in acts:
        if key is None or key not in ROOT_KEYS:
            raise ConfigurationError(f"A new root needs a kind of key: one of {', '.join(ROOT_KEYS)}.")
        specs.append(RootSpec(folder.next_root(), key, ROOT_KEYS[key]))
    for kind in KINDS:
        if {f"next-{kind}", f"intermediate-{kind}"} <= set(acts):
            raise ConfigurationError(f"Ask for next-{kind} or intermediate-{kind}: one ceremony makes one of a kind.")
    public_url = publication.base_named(folder)
    if public_url is not None and "crl" not in acts and not set(acts).isdisjoint(INTERMEDIATES):
        acts.append("crl")  # the new intermediate names its root's list
    _make(directory)
    steps = []
    for act in acts:
        document: dict[str, Any] = {"format": FORMAT, "act": act}
        identifier = None
        subject, signer = "the roots", LEGACY
        if act in INTERMEDIATES:
            kind = INTERMEDIATES[act]
            root = under or carrier(folder, kind).number
            if all((spec.number, spec.kind) != (root, kind) for spec in specs):
                raise ConfigurationError(f"Root {root} cannot sign the {kind.upper()} intermediate: its key differs.")
            generation = folder.next_generation(kind)
            name = intermediate_name(kind, generation)
            private = online.signing_key(name) if online.has(name) else online.generate(name, LEAF_KEYS[kind])
            document |= {"root": root, "generation": generation, "csr": _csr(private, kind, generation)}
            if public_url is not None:
                document["publicUrl"] = public_url
            identifier = _identifier(private.public_key())
            subject, signer = display(intermediate_subject(kind, generation)), f"root-ca-{root}"
        elif act == UNDER_LEGACY:
            current = folder.intermediate("rsa")
            private = online.signing_key(current.name)
            document |= {"generation": current.generation, "csr": _csr(private, "rsa", current.generation)}
            identifier = _identifier(private.public_key())
            subject = display(intermediate_subject("rsa", current.generation))
        elif act == "root":
            wanted = specs[-1]
            before = carrier(folder, wanted.kind)
            document |= {"number": wanted.number, "key": wanted.key, "root": before.number}
            subject, signer = display(profiles.authority_name(wanted.common_name)), before.file
        elif act == "legacy":
            subject = "the legacy root itself"
        elif act == "crl":
            subject, signer = "the roots' lists of revocations", "each root"
        elif act != "cross":
            raise ConfigurationError(f"{act!r} is none of {', '.join(ACTS)}.")
        file = directory / f"{act}{REQUEST_ENDING}"
        for stale in _answers(directory, act):
            stale.unlink(missing_ok=True)  # of an earlier ceremony
        write_atomically(file, json.dumps(document, indent=2).encode("ascii") + b"\n")
        steps.append(Step(act=act, file=file, subject=subject, signer=signer, key=identifier))
    return steps


def requests_in(directory: Path) -> list[Path]:
    """The requests in a directory, in order of name; ConfigurationError when there is none."""
    found = sorted(directory.glob(f"*{REQUEST_ENDING}"))
    if not found:
        raise ConfigurationError(f"{directory} holds no *{REQUEST_ENDING}: begin with `handfast roots request DIR`.")
    return found


def _answers(directory: Path, act: str) -> list[Path]:
    """The files that answer an act."""
    if act == "crl":
        return list(directory.glob(f"root-ca-*{root_crls.ENDING}"))
    return [directory / f"{act}{ANSWER_ENDING}"]


def carrier(folder: PkiFolder, kind: ChainKind) -> RootSpec:
    """The root that the chain of a kind hangs on today."""
    serving = folder.intermediate(kind).certificate
    for spec, root in folder.rooted().items():
        if chains.signed_by(serving, root):
            return spec
    raise ConfigurationError(f"No root signed the {kind.upper()} intermediate: restore {folder.path} from a backup.")


def check_serving(folder: PkiFolder, online: KeyFolder, chosen: Intermediate, *, now: dt.datetime) -> None:
    """ConfigurationError: the intermediate cannot sign leaves, for its chain, its dates or its key."""
    anchors = list(folder.rooted().values())
    agree(chains.verify([chosen.certificate], anchors, at=now), chosen.name)
    agree((), chosen.name, online.has(chosen.name), "its key is not there: restore it from a backup")
    mine = holds(online.signing_key(chosen.name), chosen.certificate)
    agree((), chosen.name, mine, "its key is another one: restore both from a backup")


def sign(directory: Path, keys: KeyFolder, roots_in: Path, *, now: dt.datetime, entropy: Entropy) -> list[Step]:
    """
    The offline half: every request in `directory` has its answer beside it.

    Args:
        directory: Holds the requests.
        keys: The root keys, opened with their passphrase.
        roots_in: The folder with the copies of the roots that lie beside these keys.

    Raises:
        ConfigurationError: No request, a request that breaks a rule, a key missing or not its root's.
    """
    requests = [_read(file) for file in requests_in(directory)]
    # The legacy root first: the cross-certificates are to end with the new one.
    requests.sort(key=lambda each: ACTS[::-1].index(each.act))
    names = {*(spec.file for spec in ROOTS), *(file.stem for file in roots_in.glob("root-ca-*.pem"))}
    roots = {name: _single(roots_in / f"{name}.pem") for name in (*sorted(names), LEGACY)}
    steps = []
    for each in requests:
        if each.act == "crl":
            continue  # last: a root of this ceremony has one too
        private = keys.signing_key(each.signer)
        if each.signer not in roots:
            raise ConfigurationError(f"{each.signer}.pem is not in {roots_in}: it belongs beside its key.")
        signer = roots[each.signer]
        if not holds(private, signer):
            raise ConfigurationError(f"{each.signer}.key is not the key of {each.signer}.pem in {roots_in}.")
        if each.act in ("root", *INTERMEDIATES) and not carries(signer, each.kind):
            raise ConfigurationError(f"{each.signer} has another kind of key than {each.act} needs.")
        if each.act == "root":
            assert each.number is not None
            wanted = RootSpec(each.number, each.key, each.kind)
            certificates = make_root(wanted, keys, roots, signer, private, now=now, entropy=entropy)
            # The copy beside its key: what intermediates, of this ceremony and of later ones, are signed as.
            roots[wanted.file] = certificates[0]
            write_atomically(roots_in / f"{wanted.file}.pem", bundle_pem(certificates[:1]))
        elif each.act == "legacy":
            lifetime = profiles.root(LEGACY_LIFETIME)
            signer = issue(lifetime, signer.subject, private.public_key(), None, private, now=now, entropy=entropy)
            roots[LEGACY] = signer
            certificates = [signer]
        elif each.act == "cross":
            certificates = [
                crossed(root, signer, private, LEGACY_LIFETIME, now=now, entropy=entropy)
                for name, root in roots.items()
                if name != LEGACY
            ]
        else:
            assert each.csr is not None
            assert each.generation is not None
            certificates = [
                issue(
                    profiles.INTERMEDIATE,
                    intermediate_subject(each.kind, each.generation),
                    verifying_key(each.csr),
                    signer,
                    private,
                    now=now,
                    entropy=entropy,
                    pointers=pointers_to(each.public_url, each.signer),
                )
            ]
        file = directory / f"{each.act}{ANSWER_ENDING}"
        write_atomically(file, bundle_pem(certificates))
        if each.act == "legacy":
            # The copy beside the keys is what a later `cross` is signed as.
            write_atomically(roots_in / f"{LEGACY}.pem", bundle_pem(certificates))
        steps.append(_step(each.act, file, certificates, each.signer))
    if any(each.act == "crl" for each in requests):
        for name, file in root_crls.sign_all(directory, keys, roots, now):
            end = now + root_crls.LIFETIME
            steps.append(Step(act="crl", file=file, subject=f"revocations of {name}", signer=name, not_after=end))
    return steps


def install(folder: PkiFolder, online: KeyFolder, trust_dir: Path, directory: Path, *, now: dt.datetime) -> list[Step]:
    """
    The last half: every answer in `directory` is verified, then all are put in place.

    Raises:
        ConfigurationError: No answer, or one that does not verify; then nothing was changed.
    """
    answers = {
        act: load_certificates(directory / f"{act}{ANSWER_ENDING}")
        for act in ACTS
        if (directory / f"{act}{ANSWER_ENDING}").exists()
    }
    if not answers and not any(directory.glob(f"root-ca-*{root_crls.ENDING}")):
        raise ConfigurationError(
            f"{directory} holds no *{ANSWER_ENDING}: `handfast roots sign --offline DIR` makes them."
        )
    roots = folder.roots()
    steps: list[Step] = []
    writes: list[tuple[str, list[x509.Certificate]]] = []
    cross = folder.cross_certificates()
    if "legacy" in answers:
        renewed = _only(answers["legacy"], "legacy")
        agree(
            chains.verify([renewed], [renewed], at=now),
            "legacy",
            renewed.subject == roots[LEGACY].subject and chains.same_key(renewed, roots[LEGACY]),
            "it is not the legacy root's name and key",
        )
        roots[LEGACY] = renewed
        writes.append((f"roots/{LEGACY}", [renewed]))
        steps.append(_step("legacy", directory / f"legacy{ANSWER_ENDING}", [renewed], LEGACY))
    if "cross" in answers:
        cross = answers["cross"]
        for spec in folder.rooted():
            root = roots[spec.file]
            twins = [cert for cert in cross if cert.subject == root.subject and chains.same_key(cert, root)]
            agree((), "cross", len(twins) == 1, f"{spec.common_name} is not in it once")
        for twin in cross:
            agree(chains.verify([twin], [roots[LEGACY]], at=now), "cross")
        writes.append(("roots/cross", cross))
        steps.append(_step("cross", directory / f"cross{ANSWER_ENDING}", cross, LEGACY))
    if "root" in answers:
        added, new_writes, signer = check_added(folder, roots, cross, answers["root"], now=now)
        writes = [each for each in writes if each[0] != "roots/cross"] + new_writes
        roots[added.file] = answers["root"][0]
        steps.append(_step("root", directory / f"root{ANSWER_ENDING}", answers["root"][:1], signer))
    lists = root_crls.checked(folder, roots, directory, now)
    for name, file, _, end in lists:
        steps.append(Step(act="crl", file=file, subject=f"revocations of {name}", signer=name, not_after=end))
    if UNDER_LEGACY in answers:
        certificate = _only(answers[UNDER_LEGACY], UNDER_LEGACY)
        current = folder.intermediate("rsa")
        same = certificate.subject == current.certificate.subject and chains.same_key(certificate, current.certificate)
        agree(chains.verify([certificate], [roots[LEGACY]], at=now), UNDER_LEGACY)
        agree((), UNDER_LEGACY, same, "it is not the RSA intermediate in use: request it again")
        agree((), UNDER_LEGACY, _is_intermediate(certificate), "it has not the profile of an intermediate")
        steps.append(_step(UNDER_LEGACY, directory / f"{UNDER_LEGACY}{ANSWER_ENDING}", [certificate], LEGACY))
        writes.append((legacy_intermediate_name(current.generation), [certificate]))
    for act, kind in INTERMEDIATES.items():
        if act not in answers:
            continue
        certificate = _only(answers[act], act)
        anchors = [root for name, root in roots.items() if name != LEGACY and carries(root, kind)]
        signer = next((name for name, root in roots.items() if root.subject == certificate.issuer), "?")
        steps.append(_step(act, directory / f"{act}{ANSWER_ENDING}", [certificate], signer))
        if any(each.certificate == certificate for each in folder.intermediates(kind)):
            continue  # installed before
        generation = folder.next_generation(kind)
        name = intermediate_name(kind, generation)
        agree(chains.verify([certificate], anchors, at=now), act)
        agree((), act, online.has(name), "no request for it was made here, or a later one was installed")
        agree((), act, holds(online.signing_key(name), certificate), "it is for another key than the one requested")
        agree((), act, _is_intermediate(certificate), "it has not the profile of an intermediate")
        places = (None, pointers_to(publication.base_named(folder), signer))
        agree((), act, any(points_to(certificate, each) for each in places), "it names another public URL than ours")
        named = certificate.subject == intermediate_subject(kind, generation)
        agree((), act, named, f"it is not named {display(intermediate_subject(kind, generation))}")
        writes.append((name, [certificate]))
        if act.startswith("next-"):
            # Before the certificate is there: from then on the newest one is not what is served.
            folder.serve(kind, folder.served(kind)._replace(next=generation))
    for name, _, der, _ in lists:
        folder.write_list(name, der)
    for name, certificates in writes:
        folder.write(name, certificates)
    for act, kind in INTERMEDIATES.items():
        if act in answers and not act.startswith("next-"):
            _serve_at_once(folder, kind, answers[act][0])
    publish_trust(folder, trust_dir)
    return steps


def _serve_at_once(folder: PkiFolder, kind: ChainKind, certificate: x509.Certificate) -> None:
    """The intermediate signs leaves from now on; where nothing is pinned, being the newest is enough."""
    served = folder.served(kind)
    for each in folder.intermediates(kind):
        if folder.pinned(kind) and each.certificate == certificate and each.generation != served.generation:
            waiting = served.next if served.next != each.generation else None
            folder.serve(kind, Served(each.generation, served.bridged, waiting))


def _read(file: Path) -> _Request:
    """A request as it came over from the online side: everything in it is checked."""
    try:
        if file.stat().st_size > MAX_REQUEST_BYTES:
            raise ConfigurationError(f"{file} is too large to be a request.")
        document = json.loads(file.read_text(encoding="ascii"))
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not a request: not JSON.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigurationError(f"{file} is not a request of format {FORMAT}.")
    act: Any = document.get("act")
    if act in ("crl", "cross", "legacy"):
        return _Request(act=act)
    root, number, kind_of_key = document.get("root"), document.get("number"), document.get("key")
    if act == "root":
        if not _is_number(root) or not _is_number(number) or number <= len(ROOTS) or kind_of_key not in (*ROOT_KEYS,):
            raise ConfigurationError(f"{file} lacks the number of the root, of the one before it, or its key's kind.")
        return _Request(act=act, root=root, number=number, key=str(kind_of_key))
    if act not in (*INTERMEDIATES, UNDER_LEGACY):
        raise ConfigurationError(f"{file} asks for an act that is none of {', '.join(ACTS)}.")
    kind: ChainKind = "rsa" if act == UNDER_LEGACY else INTERMEDIATES[act]
    generation, csr = document.get("generation"), document.get("csr")
    if act == UNDER_LEGACY:
        root = None
    elif not _is_number(root) or any(spec.number == root and spec.kind != kind for spec in ROOTS):
        raise ConfigurationError(f"{file} names a root that cannot sign the {kind.upper()} intermediate.")
    if type(generation) is not int or not 1 <= generation <= 9999 or not isinstance(csr, str):
        raise ConfigurationError(f"{file} lacks its generation or its signing request.")
    try:
        parsed = read_request(csr).request
    except CertificateInputError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    agree(request_refusals(parsed), act)
    key = parsed.public_key()
    fits = (
        isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048
        if kind == "rsa"
        else isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    )
    if not fits:
        raise ConfigurationError(f"{file}: the key is not {'RSA 2048' if kind == 'rsa' else 'P-256'}.")
    try:
        public_url = None if (url := document.get("publicUrl")) is None else public_base(str(url))
    except ValueError as error:
        raise ConfigurationError(f"{file} names no public URL: expected {error}.") from error
    return _Request(act=act, root=root, generation=generation, csr=parsed, public_url=public_url)


def _csr(private: SigningKey, kind: ChainKind, generation: int) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(intermediate_subject(kind, generation))
    return request.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= 9999


def _is_intermediate(certificate: x509.Certificate) -> bool:
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    return (
        constraints.critical
        and constraints.value == x509.BasicConstraints(ca=True, path_length=0)
        and usage.critical
        and usage.value == profiles.INTERMEDIATE.key_usage()
        and chains.subject_key_identifier(certificate) is not None
        and chains.authority_key_identifier(certificate) is not None
    )


def _only(certificates: Sequence[x509.Certificate], act: str) -> x509.Certificate:
    agree((), act, len(certificates) == 1, f"it holds {len(certificates)} certificates, expected one")
    return certificates[0]


def _single(file: Path) -> x509.Certificate:
    return _only(load_certificates(file), file.name)


def _step(act: str, file: Path, certificates: Sequence[x509.Certificate], signer: str) -> Step:
    first = certificates[0]
    identifier = chains.subject_key_identifier(first)
    return Step(
        act=act,
        file=file,
        subject=display(first.subject) if len(certificates) == 1 else "the roots",
        signer=signer,
        key=identifier.hex() if identifier is not None and len(certificates) == 1 else None,
        not_after=min(cert.not_valid_after_utc for cert in certificates),
    )


def _identifier(key: VerifyingKey) -> str:
    return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be made: {error.strerror}.") from error
