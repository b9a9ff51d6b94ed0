"""Every check on certificates: what it finds, what it leaves alone, and what it says."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.own_ca import OwnCA
from tests.support.registry import SCOPE, pem_id
from tests.support.weak import certificate_over, close_modulus, pem_of, primes, roca_modulus

from handfast.core.identity.checks import (
    MAX_RELATED,
    MEANINGS,
    CheckName,
    Finding,
    FindingCode,
    ResourceType,
    Severity,
)
from handfast.core.identity.fleet_check import CheckRequest, FleetCertificate, FleetCheck, known_checks
from handfast.core.identity.observations import Observation, Sighting
from handfast.core.pki.crl import RevocationFile
from handfast.core.pki.weak_keys import debian_fingerprint

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def fleet(cert: x509.Certificate, status: str = "ACTIVE", *, is_ca: bool = False, age: int = 1) -> FleetCertificate:
    return FleetCertificate(pem_id(pem_of(cert)), cert, status, NOW - age * DAY, is_ca)


@dataclass
class Run:
    findings: list[Finding] = field(default_factory=list)
    check: FleetCheck = field(init=False)

    def codes(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for each in self.findings:
            found.setdefault(each.code, set()).add(each.resource.identifier)
        return found


def run(*certificates: FleetCertificate, cas: tuple[FleetCertificate, ...] = (), **request: Any) -> Run:
    made = Run()
    made.check = FleetCheck(CheckRequest(now=NOW, **request), made.findings.append)
    for ca in cas:
        made.check.add_ca(ca)
    made.check.begin()
    for certificate in certificates:
        made.check.add(certificate)
    made.check.finish()
    return made


def ec_certificate(key: Any = None, **options: Any) -> x509.Certificate:
    return certificate_over(None, key=key or ec.generate_private_key(ec.SECP256R1()).public_key(), **options)


def revoked_by(ca: OwnCA, *certificates: x509.Certificate) -> RevocationFile:
    from cryptography.hazmat.primitives import hashes

    builder = x509.CertificateRevocationListBuilder(ca.cert.subject, NOW - DAY, NOW + DAY)
    for cert in certificates:
        entry = x509.RevokedCertificateBuilder(cert.serial_number, NOW - DAY, [])
        builder = builder.add_revoked_certificate(entry.build())
    return RevocationFile((builder.sign(ca.key, hashes.SHA256()),), ())


def below(ca: OwnCA, name: str = "device") -> x509.Certificate:
    return ec_certificate(cn=name, issuer=(ca.cert.subject, ca.key))


def own_ca(name: str, parent: OwnCA | None = None, **options: Any) -> OwnCA:
    return OwnCA(name=name, parent=parent, not_before=NOW - DAY, **{"not_after": NOW + 365 * DAY, **options})


def test_a_sound_fleet_has_no_finding_and_is_counted() -> None:
    ca = own_ca("CA")
    made = run(
        fleet(ec_certificate()), fleet(certificate_over(primes()[0] * primes()[1])), cas=(fleet(ca.cert, is_ca=True),)
    )
    assert [] == made.findings
    tally = made.check.tally
    assert (2, 1, 0, 1) == (tally.certificates, tally.ca_certificates, tally.not_counted, tally.moduli)


@pytest.mark.parametrize(
    ("status", "counted"),
    [
        ("ACTIVE", True),
        ("PENDING_TRANSFER", True),
        ("INACTIVE", False),
        ("REVOKED", False),
        ("REGISTER_INACTIVE", False),
    ],
)
def test_only_certificates_in_use_count(status: str, counted: bool) -> None:
    made = run(fleet(certificate_over(close_modulus()), status))
    assert counted == bool(made.findings)
    assert (int(counted), int(not counted)) == (made.check.tally.certificates, made.check.tally.not_counted)


@pytest.mark.parametrize(
    ("left", "code"),
    [
        (dt.timedelta(days=31), None),
        (dt.timedelta(days=29), FindingCode.APPROACHING_EXPIRATION),
        (dt.timedelta(seconds=-2), FindingCode.PAST_EXPIRATION),
    ],
)
def test_expiry_is_told_thirty_days_ahead(left: dt.timedelta, code: FindingCode | None) -> None:
    leaf = ec_certificate(not_after=NOW + left)
    ca = own_ca("CA", not_after=NOW + left)
    made = run(fleet(leaf), cas=(fleet(ca.cert, is_ca=True),))
    expected = (
        [] if code is None else [("CA_CERTIFICATE_EXPIRING_CHECK", code), ("DEVICE_CERTIFICATE_EXPIRING_CHECK", code)]
    )
    assert expected == [(each.check, each.code) for each in made.findings]
    assert all(Severity.MEDIUM is each.severity for each in made.findings)


def test_how_soon_is_soon_can_be_said() -> None:
    leaf = fleet(ec_certificate(not_after=NOW + 80 * DAY))
    assert [] == run(leaf).findings
    assert 1 == len(run(leaf, expiring_within=90 * DAY).findings)


def test_age_is_checked_only_when_asked_for() -> None:
    old = fleet(ec_certificate(), age=400)
    young = fleet(ec_certificate(), age=300)
    assert [] == run(old, young).findings
    assert CheckName.DEVICE_CERTIFICATE_AGE not in run(old).check.tally.ran
    (found,) = run(old, young, age=365 * DAY).findings
    assert (old.certificate_id, Severity.LOW) == (found.resource.identifier, found.severity)
    assert (("AGE_DAYS", "400"),) == found.resource.info


def test_weak_keys_are_named_by_awss_codes_where_it_has_one() -> None:
    listed = primes()[0] * primes()[1]
    made = run(
        fleet(certificate_over(roca_modulus())),
        fleet(certificate_over(listed)),
        fleet(certificate_over(close_modulus())),
        debian=frozenset({debian_fingerprint(listed)}),
    )
    assert {
        "CERTIFICATE_KEY_VULNERABILITY_CVE-2017-15361",
        "CERTIFICATE_KEY_VULNERABILITY_CVE-2008-0166",
        "HANDFAST_CERTIFICATE_KEY_CLOSE_PRIMES",
        "HANDFAST_CERTIFICATE_KEY_SHARES_FACTOR",  # the close pair begins with the listed key's first prime
    } == set(made.codes())
    assert {"DEVICE_CERTIFICATE_KEY_QUALITY_CHECK"} == {each.check for each in made.findings}
    assert {Severity.CRITICAL} == {each.severity for each in made.findings}


def test_a_weak_ca_key_is_the_cas_finding() -> None:
    weak = FleetCertificate("ca" * 32, certificate_over(roca_modulus()), "ACTIVE", NOW, True)
    (found,) = run(cas=(weak,)).findings
    assert (CheckName.CA_CERTIFICATE_KEY_QUALITY, ResourceType.CA_CERTIFICATE) == (found.check, found.resource.type)


def test_moduli_with_a_common_prime_name_each_other_and_not_the_prime() -> None:
    p, q, r, s, t, _ = primes()
    one, two, sound = (fleet(certificate_over(n)) for n in (p * q, p * r, s * t))
    made = run(one, two, sound)
    assert {FindingCode.SHARED_FACTOR: {one.certificate_id, two.certificate_id}} == made.codes()
    related = {each.resource.identifier: [r.identifier for r in each.related] for each in made.findings}
    assert {one.certificate_id: [two.certificate_id], two.certificate_id: [one.certificate_id]} == related
    assert all(str(p) not in repr(each) and f"{p:x}" not in repr(each) for each in made.findings)


def test_one_key_in_two_certificates_is_found_whatever_its_kind() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    modulus = primes()[0] * primes()[1]
    twins = [fleet(ec_certificate(key, cn=name)) for name in ("a", "b")]
    rsa_twins = [fleet(certificate_over(modulus)), fleet(certificate_over(modulus, exponent=3))]
    made = run(*twins, *rsa_twins, fleet(ec_certificate()))
    assert {FindingCode.SHARED_KEY: {each.certificate_id for each in (*twins, *rsa_twins)}} == made.codes()
    assert {Severity.HIGH} == {each.severity for each in made.findings}


def test_a_renewed_ca_is_no_shared_key_but_a_device_with_its_key_is() -> None:
    ca = own_ca("CA")
    renewed = own_ca("CA", key=ca.key)
    cas = (fleet(ca.cert, is_ca=True), fleet(renewed.cert, is_ca=True))
    assert [] == run(cas=cas).findings
    device = fleet(ec_certificate(ca.key.public_key()))
    made = run(device, cas=cas)
    assert {ResourceType.CA_CERTIFICATE, ResourceType.DEVICE_CERTIFICATE} == {
        each.resource.type for each in made.findings
    }


def test_a_key_of_many_certificates_names_some_and_counts_all() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    made = run(*(fleet(ec_certificate(key, cn=str(n))) for n in range(MAX_RELATED + 5)))
    assert MAX_RELATED + 5 == len(made.findings)
    assert all(MAX_RELATED == len(each.related) for each in made.findings)
    assert all(each.resource.identifier not in {other.identifier for other in each.related} for each in made.findings)
    assert all((("OTHERS", str(MAX_RELATED + 4)),) == each.resource.info for each in made.findings)


def test_revoked_leaves_and_cas_are_found_while_they_are_active_here() -> None:
    root, ca = own_ca("Root"), None
    ca = own_ca("CA", root)
    stolen, fine = below(ca, "stolen"), below(ca, "fine")
    elsewhere = ec_certificate(serial=stolen.serial_number)
    made = run(
        fleet(stolen),
        fleet(fine),
        fleet(elsewhere),
        cas=(fleet(root.cert, is_ca=True), fleet(ca.cert, is_ca=True)),
        files=[revoked_by(ca, stolen), revoked_by(root, ca.cert)],
        checks=known_checks(["REVOKED_CA_CERTIFICATE_STILL_ACTIVE", "revoked-device-certificate-still-active"]),
    )
    assert [
        (CheckName.REVOKED_CA_CERTIFICATE_STILL_ACTIVE, Severity.CRITICAL, pem_id(ca.pem)),
        (CheckName.REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE, Severity.MEDIUM, pem_id(pem_of(stolen))),
    ] == [(each.check, each.severity, each.resource.identifier) for each in made.findings]
    assert {"CERTIFICATE_REVOKED_BY_ISSUER"} == {each.code for each in made.findings}


def test_leaves_under_a_revoked_intermediate_are_found_two_levels_down_and_others_are_not() -> None:
    root = own_ca("Root")
    middle = own_ca("Middle", root)
    low, good = own_ca("Low", middle), own_ca("Good", root)
    leaf, deep, fine = below(middle), below(low), below(good)
    made = run(
        fleet(leaf),
        fleet(deep),
        fleet(fine),
        # Deactivated already: its leaves are not.
        cas=(
            fleet(root.cert, is_ca=True),
            fleet(middle.cert, "INACTIVE", is_ca=True),
            fleet(low.cert, is_ca=True),
            fleet(good.cert, is_ca=True),
        ),
        files=[revoked_by(root, middle.cert)],
    )
    assert {FindingCode.INTERMEDIATE_REVOKED: {pem_id(pem_of(leaf)), pem_id(pem_of(deep))}} == made.codes()
    assert {pem_id(middle.pem)} == {each.related[0].identifier for each in made.findings}


def test_a_list_that_is_not_verified_reports_nothing_and_lets_nothing_pass() -> None:
    ca, twin = own_ca("CA"), own_ca("CA")
    stolen = below(ca)
    made = run(fleet(stolen), cas=(fleet(ca.cert, is_ca=True),), files=[revoked_by(twin, stolen)])
    assert [] == made.findings
    assert not any("REVOKED" in check for check in made.check.tally.ran)
    (warning,) = made.check.tally.warnings
    assert "Revocation list 1 is not used" in warning
    assert "not signed by the key" in warning


def test_without_lists_the_checks_on_revocation_do_not_run() -> None:
    assert not any("REVOKED" in check for check in run().check.tally.ran)


def seen(sighting: Sighting, subject: str, *, days_ago: float = 0) -> Observation:
    at = NOW - dt.timedelta(days=days_ago)
    return Observation(
        scope=SCOPE,
        sighting=sighting,
        subject=subject,
        first_seen=at,
        last_seen=at,
        count=3,
        parties=("one", "two"),
        addresses=("192.0.2.1", "192.0.2.2"),
    )


def test_what_gateways_saw_becomes_findings_for_certificates_in_use() -> None:
    shared, inactive = fleet(ec_certificate()), fleet(ec_certificate(), "INACTIVE")
    made = run(
        shared,
        inactive,
        observations=[
            seen(Sighting.SHARED_CERTIFICATE, shared.certificate_id),
            seen(Sighting.SHARED_CERTIFICATE, inactive.certificate_id),
            seen(Sighting.CLIENT_ID_TAKEN, "pump-7"),
        ],
    )
    taken, found = made.findings
    assert ("CONFLICTING_CLIENT_IDS_CHECK", "HIGH", "pump-7") == (
        taken.check,
        taken.severity,
        taken.resource.identifier,
    )
    assert ("DEVICE_CERTIFICATE_SHARED_CHECK", "CRITICAL") == (found.check, found.severity)
    assert shared.certificate_id == found.resource.identifier
    assert ["one", "two"] == [each.identifier for each in found.related]
    assert "3" == dict(found.resource.info)["COUNT"]


@pytest.mark.parametrize(("days_ago", "found"), [(0, True), (0.05, True), (30.9, True), (31.1, False)])
def test_sightings_count_for_31_days_up_to_this_moment(days_ago: float, found: bool) -> None:
    leaf = fleet(ec_certificate())
    made = run(leaf, observations=[seen(Sighting.SHARED_CERTIFICATE, leaf.certificate_id, days_ago=days_ago)])
    assert found == bool(made.findings)


def test_only_what_was_asked_for_runs() -> None:
    leaf = fleet(certificate_over(roca_modulus(), not_after=NOW + DAY))
    made = run(leaf, checks=frozenset({CheckName.DEVICE_CERTIFICATE_EXPIRING}))
    assert [FindingCode.APPROACHING_EXPIRATION] == [each.code for each in made.findings]
    assert [CheckName.DEVICE_CERTIFICATE_EXPIRING] == made.check.tally.ran


def test_checks_are_known_by_awss_names() -> None:
    assert frozenset({CheckName.DEVICE_CERTIFICATE_SHARED}) == known_checks(["DEVICE_CERTIFICATE_SHARED_CHECK"])
    with pytest.raises(ValueError, match="NO_SUCH"):
        known_checks(["no_such"])


def test_every_code_has_words_and_a_next_step() -> None:
    assert set(FindingCode) == set(MEANINGS)
    assert all(
        meaning.reason.endswith(".") and meaning.next_step.endswith((".", "revoke'.")) for meaning in MEANINGS.values()
    )
