"""
The public corpora of certification paths, wherever a chain decides something.

PKITS is committed as published (tests/vectors/path_validation/pkits.json). Of x509-limbo (C2SP, Apache-2.0) nothing is
copied: cases that it has for RFC 5280 §6 are made here with certificates of our own, named after its test cases.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.first_connections import FIRST, FirstConnections, first_connections, presented
from tests.support.own_ca import DAY, OwnCA, named
from tests.support.registry import NOW, Plane, caller, make_plane

from handfast.core.identity.refusal import ReasonCode
from handfast.core.pki import chain as chains
from handfast.core.pki.describe import describe_chain
from handfast.errors import CertificateValidationError, InvalidRequestError, ResourceAlreadyExistsError

VECTORS = Path(__file__).parents[2] / "vectors" / "path_validation"
PKITS: dict[str, Any] = json.loads((VECTORS / "pkits.json").read_text(encoding="utf-8"))
AT = dt.datetime.fromisoformat(PKITS["at"])

NAMES_AS_WRITTEN = "names are compared as they are written (RFC 5280 §4.1.2.6)"
STRICTER = dict.fromkeys(("4.3.3", "4.3.4", "4.3.5", "4.3.10", "4.3.11"), NAMES_AS_WRITTEN)
"""Valid paths that are refused here all the same, and why."""


def load(name: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(base64.b64decode(PKITS["certificates"][name]))


def pem_of(cert: x509.Certificate) -> str:
    return cert.public_bytes(Encoding.PEM).decode()


DECIDERS = ("RegisterCertificate", "first connection")
ANCHOR = load(PKITS["anchor"])
CASES: list[dict[str, Any]] = PKITS["cases"]


def expected(case: dict[str, Any]) -> bool:
    return case["valid"] and case["test"] not in STRICTER


class TestPKITS:
    @pytest.mark.parametrize("case", CASES, ids=[case["test"] for case in CASES])
    def test_as_a_whole_chain(self, case: dict[str, Any]) -> None:
        """What lint, forecast, ceremony and start ask; lint finds the ways through a pool, then judges each."""
        path = [load(name) for name in case["path"]]
        broken = chains.verify(path, [ANCHOR], at=AT)
        assert expected(case) == (not broken), (case["name"], broken)
        problems = [each.problems for each in describe_chain([*path, ANCHOR], at=AT)[:-1]]
        if case["test"] not in ("4.16.2",):  # what a certificate itself says is told apart
            assert expected(case) == (not any(problems)), problems
        ways = chains.paths(path[0], path[1:], [ANCHOR])
        assert expected(case) == any(not chains.verify(way[:-1], [way[-1]], at=AT) for way in ways)

    @pytest.mark.parametrize("decider", DECIDERS)
    async def test_where_a_registered_ca_vouches(self, tmp_path: Path, decider: str) -> None:
        """
        The CA that signed directly is the anchor then, whatever stands above it: of the paths, those of one CA.

        A CA (4.6.8) is no device that registers itself.
        """
        other = {"4.6.8": False} if decider == "first connection" else {}
        async with first_connections(tmp_path) as world:
            world.clock.instant = AT
            plane = await make_plane(world.store)
            for case in CASES:
                if len(case["path"]) > 2:
                    continue
                leaf, *above = (pem_of(load(name)) for name in case["path"])
                taken = await decided(decider, world, plane, leaf, (above or [pem_of(ANCHOR)])[0], at=AT)
                assert other.get(case["test"], expected(case)) == taken, case["name"]


async def decided(decider: str, world: FirstConnections, plane: Plane, leaf: str, ca: str, *, at: dt.datetime) -> bool:
    """Whether the certificate gets into the registry under this CA, which is registered first if it may be."""
    try:
        await plane.call(
            "RegisterCACertificate",
            caller(at=at),
            ca_certificate=ca,
            certificate_mode="SNI_ONLY",
            set_as_active=True,
            allow_auto_registration=True,
        )
        await world.load()
    except ResourceAlreadyExistsError:
        pass
    except CertificateValidationError:
        return False
    if decider == "first connection":
        return [ReasonCode.CERTIFICATE_JUST_REGISTERED.value] == await world.codes(presented(leaf), FIRST)
    try:
        await plane.call("RegisterCertificate", caller(at=at), certificate_pem=leaf, ca_certificate_pem=ca)
    except (CertificateValidationError, InvalidRequestError):
        return False
    return True


# --- x509-limbo -------------------------------------------------------------------------------------------------------

Extension = tuple[x509.ExtensionType, bool]
Drawn = tuple[str, list[OwnCA]]  # the leaf, and the CAs from the one that signed it up to the root


def names(*, permitted: tuple[x509.GeneralName, ...] = (), excluded: tuple[x509.GeneralName, ...] = ()) -> Extension:
    return x509.NameConstraints(permitted or None, excluded or None), True


def alternative(*general: x509.GeneralName) -> Extension:
    return x509.SubjectAlternativeName(general), False


def dns(name: str) -> x509.GeneralName:
    return x509.DNSName(name)


def network(text: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_network(text))


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(text))


def directory(common_name: str) -> x509.GeneralName:
    return x509.DirectoryName(named(common_name))


def usage(**said: bool) -> Extension:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    every += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: said.get(name, False) for name in every}), False


def unknown() -> Extension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55738.666.1"), b""), True


numbers = itertools.count(1)


def below(root: dict[str, Any] | None = None, leaf: dict[str, Any] | None = None) -> Drawn:
    """root ← leaf"""
    ca = OwnCA(**{"name": f"root {next(numbers)}", **(root or {})})
    return ca.issue(**(leaf or {})), [ca]


def through(
    *intermediates: dict[str, Any], root: dict[str, Any] | None = None, leaf: dict[str, Any] | None = None
) -> Drawn:
    """root ← intermediates ← leaf"""
    cas = [OwnCA(**{"name": "root", **(root or {})})]
    for number, options in enumerate(intermediates):
        cas.append(OwnCA(**{"name": f"intermediate {number}", "parent": cas[-1], **options}))
    return cas[-1].issue(**(leaf or {})), cas[::-1]


def constrained(constraints: Extension, *general: x509.GeneralName, name: str = "device") -> Drawn:
    leaf: dict[str, Any] = {"name": name, "extensions": (alternative(*general),) if general else ()}
    return below({"extensions": (constraints,)}, leaf)


def ca_leaf(path_length: int | None) -> Extension:
    return x509.BasicConstraints(True, path_length), True


EXPIRED = {"not_before": NOW - 9 * DAY, "not_after": NOW - DAY}
EXAMPLE = dns("example.com")

VALID: dict[str, Callable[[], Drawn]] = {
    "nc::permitted-dns-match": lambda: constrained(names(permitted=(EXAMPLE,)), EXAMPLE),
    "nc::permitted-dns-match-more": lambda: constrained(names(permitted=(EXAMPLE,)), dns("foo.bar.example.com")),
    "nc::permitted-ipv4-match": lambda: constrained(names(permitted=(network("192.0.2.0/24"),)), address("192.0.2.1")),
    "nc::permitted-ipv6-match": lambda: constrained(names(permitted=(network("::1/128"),)), address("::1")),
    "nc::permitted-dn-match": lambda: constrained(names(permitted=(directory("foo"),)), directory("foo"), name="foo"),
    "nc::permitted-self-issued": lambda: through(
        {"name": "root"}, root={"extensions": (names(permitted=(directory("device"),)),)}
    ),
    "pathlen::ee-with-intermediate-pathlen-0": lambda: through({"path_length": 0}),
    "pathlen::ee-with-intermediate-pathlen-1": lambda: through({"path_length": 1}),
    "pathlen::ee-with-intermediate-pathlen-2": lambda: through({"path_length": 2}),
    "pathlen::validation-ignores-pathlen-in-leaf": lambda: through(
        {"path_length": 0}, leaf={"extensions": (ca_leaf(0),)}
    ),
    "pathlen::intermediate-pathlen-may-increase": lambda: through({"path_length": 1}, {"path_length": 41}),
    "pathlen::self-issued-certs-pathlen": lambda: through(
        {"name": "I", "path_length": 0}, {"name": "I", "path_length": 0}
    ),
    "rfc5280::no-keyusage": lambda: below(),
    "rfc5280::no-basicconstraints": lambda: below(leaf={"extensions": (usage(digital_signature=True),)}),
    "eku::ee-anyeku": lambda: below(
        leaf={"extensions": ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),)}
    ),
}

INVALID: dict[str, Callable[[], Drawn]] = {
    "nc::permitted-dns-mismatch": lambda: constrained(names(permitted=(EXAMPLE,)), dns("not-example.com")),
    "nc::excluded-dns-match": lambda: through(
        {"extensions": (names(excluded=(EXAMPLE,)),)}, leaf={"extensions": (alternative(EXAMPLE),)}
    ),
    "nc::excluded-dns-match, two above": lambda: through(
        {}, {}, root={"extensions": (names(excluded=(EXAMPLE,)),)}, leaf={"extensions": (alternative(EXAMPLE),)}
    ),
    "nc::permitted-dns-mismatch, two above": lambda: through(
        {"extensions": (names(permitted=(EXAMPLE,)),)}, {}, leaf={"extensions": (alternative(dns("example.net")),)}
    ),
    "nc::excluded-dns-match-second": lambda: constrained(
        names(excluded=(dns("not-allowed.example.com"),)), EXAMPLE, dns("not-allowed.example.com")
    ),
    "nc::permitted-ip-mismatch": lambda: constrained(names(permitted=(network("192.0.2.0/24"),)), address("192.0.3.1")),
    "nc::excluded-ipv4-match": lambda: constrained(names(excluded=(network("192.0.2.0/24"),)), address("192.0.2.1")),
    "nc::excluded-ipv6-match": lambda: constrained(names(excluded=(network("::1/128"),)), address("::1")),
    "nc::permitted-dn-mismatch": lambda: constrained(
        names(permitted=(directory("foo"),)), directory("not-foo"), name="not-foo"
    ),
    "nc::excluded-dn-match": lambda: constrained(names(excluded=(directory("foo"),)), directory("foo"), name="foo"),
    "nc::permitted-dn-match-subject-san-mismatch": lambda: constrained(
        names(permitted=(directory("foo"),)), directory("foo"), name="not-foo"
    ),
    "nc::excluded-dn-match-sub-mismatch": lambda: constrained(
        names(excluded=(directory("foo"),)), directory("not-foo"), name="foo"
    ),
    "nc::excluded-self-issued-leaf": lambda: below(
        {"name": "itself", "extensions": (names(excluded=(directory("itself"),)),)}, {"name": "itself"}
    ),
    "pathlen::intermediate-violates-pathlen-0": lambda: through({"path_length": 0}, {"path_length": 0}),
    "pathlen::intermediate-pathlen-too-long": lambda: through({"path_length": 1}, {}, {}),
    "rfc5280::unknown-critical-extension-ee": lambda: below(leaf={"extensions": (unknown(),)}),
    "rfc5280::unknown-critical-extension-root": lambda: below({"extensions": (unknown(),)}),
    "rfc5280::unknown-critical-extension-intermediate": lambda: through({"extensions": (unknown(),)}),
    "rfc5280::intermediate-ca-without-ca-bit": lambda: through({"ca": False}),
    "rfc5280::intermediate-ca-missing-basic-constraints": lambda: through({"ca": None}),
    "rfc5280::root-missing-basic-constraints": lambda: below({"ca": None}),
    "rfc5280::root-inconsistent-ca-extensions": lambda: below({"key_cert_sign": False}),
    "rfc5280::ica-ku-keycertsign": lambda: through({"path_length": 0, "key_cert_sign": False}),
    "validity::expired-root": lambda: below(EXPIRED),
    "validity::expired-intermediate": lambda: through(EXPIRED),
    "validity::expired-leaf": lambda: below(leaf=EXPIRED),
    "validity::not-yet-valid-leaf": lambda: below(leaf={"not_before": NOW + DAY, "not_after": NOW + 2 * DAY}),
}

OF_DEVICES = {
    "eku::ee-wrong-eku": lambda: below(
        leaf={"extensions": ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),)}
    ),
    "ku::ee-without-digital-signature": lambda: below(leaf={"extensions": (usage(key_encipherment=True),)}),
}
"""What a path may be and the certificate of a client may not."""


class TestLimbo:
    @pytest.mark.parametrize("case", [*VALID, *INVALID])
    def test_as_a_whole_chain(self, case: str) -> None:
        pem, (*between, root) = (VALID | INVALID)[case]()
        chain = [x509.load_pem_x509_certificate(pem.encode()), *(ca.cert for ca in between)]
        broken = chains.verify(chain, [root.cert], at=NOW)
        assert (case in VALID) == (not broken), broken
        ways = chains.paths(chain[0], chain[1:], [root.cert])
        assert (case in VALID) == any(not chains.verify(way[:-1], [way[-1]], at=NOW) for way in ways)

    @pytest.mark.parametrize("decider", DECIDERS)
    async def test_where_a_registered_ca_vouches(self, tmp_path: Path, decider: str) -> None:
        """Every case of a root and a leaf."""
        async with first_connections(tmp_path) as world:
            plane = await make_plane(world.store)
            for case, make in (VALID | INVALID | OF_DEVICES).items():
                leaf, cas = make()
                if len(cas) > 1:
                    continue
                taken = await decided(decider, world, plane, leaf, cas[0].pem, at=NOW)
                may = case in VALID or (case in OF_DEVICES and decider != "first connection")
                assert may == taken, case

    async def test_another_root_of_the_name_vouches_for_nothing(self, tmp_path: Path) -> None:
        """rfc5280::chain-untrusted-root"""
        leaf, (intermediate, _) = through({"path_length": 0})
        stranger = OwnCA(name="root")
        chain = [x509.load_pem_x509_certificate(leaf.encode()), intermediate.cert]
        assert "chain_signature" in {rule.rule for rule in chains.verify(chain, [stranger.cert], at=NOW)}
        assert [] == chains.paths(chain[0], chain[1:], [stranger.cert])
