"""Policy variables out of certificates, and names as a person reads them."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.support.pki import certificate, key_of, name

from handfast.core.pki.names import certificate_variables, common_name, display

ATTRIBUTES = {
    "Country": (NameOID.COUNTRY_NAME, "DE"),
    "Organization": (NameOID.ORGANIZATION_NAME, "Example"),
    "OrganizationalUnit": (NameOID.ORGANIZATIONAL_UNIT_NAME, "Field"),
    "State": (NameOID.STATE_OR_PROVINCE_NAME, "Bremen"),
    "CommonName": (NameOID.COMMON_NAME, "device 1"),
    "SerialNumber": (NameOID.SERIAL_NUMBER, "A-17"),
    "Title": (NameOID.TITLE, "Dr"),
    "Surname": (NameOID.SURNAME, "Doe"),
    "GivenName": (NameOID.GIVEN_NAME, "Jo"),
    "Initials": (NameOID.INITIALS, "J"),
    "Pseudonym": (NameOID.PSEUDONYM, "jd"),
    "GenerationQualifier": (NameOID.GENERATION_QUALIFIER, "3rd"),
    "DistinguishedNameQualifier": (NameOID.DN_QUALIFIER, "q"),
}


def test_every_attribute_of_subject_and_issuer() -> None:
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in ATTRIBUTES.values()])
    variables = certificate_variables(certificate(subject))
    for key, (_, value) in ATTRIBUTES.items():
        assert (value,) == variables[f"iot:Certificate.Subject.{key}"]
        assert (value,) == variables[f"iot:Certificate.Issuer.{key}"]


def test_issuer_and_subject_are_told_apart() -> None:
    variables = certificate_variables(certificate("device", issuer_name=name("maker")))
    assert ("device",) == variables["iot:Certificate.Subject.CommonName"]
    assert ("maker",) == variables["iot:Certificate.Issuer.CommonName"]


def test_several_values_keep_their_order_and_end_at_five() -> None:
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"unit {n}") for n in range(7)]
    variables = certificate_variables(certificate(x509.Name(units)))
    expected = ("unit 0", "unit 1", "unit 2", "unit 3", "unit 4")
    assert expected == variables["iot:Certificate.Subject.OrganizationalUnit"]


def test_alternative_names_of_each_kind() -> None:
    names: list[x509.GeneralName] = [
        x509.RFC822Name("a@example.test"),
        x509.DNSName("one.example.test"),
        x509.DNSName("two.example.test"),
        x509.DirectoryName(name("directory")),
        x509.UniformResourceIdentifier("urn:example:1"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
    cert = certificate(extensions=[x509.SubjectAlternativeName(names), x509.IssuerAlternativeName(names[:1])])
    prefix = "iot:Certificate.Subject.AlternativeName."
    found = {key.removeprefix(prefix): values for key, values in certificate_variables(cert).items() if prefix in key}
    assert {
        "RFC822Name": ("a@example.test",),
        "DNSName": ("one.example.test", "two.example.test"),
        "DirectoryName": ("CN=directory",),
        "UniformResourceIdentifier": ("urn:example:1",),
        "IPAddress": ("192.0.2.1", "2001:db8::1"),
    } == found
    variables = certificate_variables(cert)
    assert ("a@example.test",) == variables["iot:Certificate.Issuer.AlternativeName.RFC822Name"]


def test_the_serial_number_is_decimal_and_the_available_keys_are_all_others() -> None:
    cert = certificate("device")
    variables = certificate_variables(cert)
    assert (str(cert.serial_number),) == variables["iot:Certificate.SerialNumber"]
    assert (
        "iot:Certificate.Subject.CommonName",
        "iot:Certificate.Issuer.CommonName",
        "iot:Certificate.SerialNumber",
    ) == variables["iot:Certificate.AvailableKeys"]


def test_an_attribute_that_is_not_there_has_no_key() -> None:
    variables = certificate_variables(certificate(x509.Name([]), key=key_of("p384")))
    assert {"iot:Certificate.SerialNumber", "iot:Certificate.AvailableKeys"} == set(variables)


def test_display_keeps_the_order_and_escapes_separators() -> None:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A, CN=root"),
            x509.NameAttribute(NameOID.COMMON_NAME, "device"),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b"),
        ]
    )
    assert "O=A\\, CN=root,CN=device,emailAddress=a@b" == display(subject)
    assert "(empty)" == display(x509.Name([]))
    assert "device" == common_name(subject)
    assert common_name(x509.Name([])) is None


def test_display_is_bounded() -> None:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60) for _ in range(50)]
    assert 101 == len(display(x509.Name(attributes), 100))
