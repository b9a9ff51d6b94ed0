"""RFC 5280 §4.2.1.10: what an issuer may sign for."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.support.own_ca import OwnCA, named
from tests.support.registry import NOW

from handfast.core.pki.chain import link_refusals
from handfast.core.pki.possession import ca_refusals

DNS, MAIL, URI, DIRECTORY = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.DirectoryName


def address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))


def organised(organisation: str, *names: str) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)]
    return x509.Name(attributes + [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def refused(
    names: list[x509.GeneralName],
    *,
    permitted: list[x509.GeneralName] | None = None,
    excluded: list[x509.GeneralName] | None = None,
    subject: x509.Name | None = None,
) -> list[str]:
    """The rules that the link breaks from a certificate with these names to an issuer with these constraints."""
    ca = OwnCA(extensions=((x509.NameConstraints(permitted, excluded), True),))
    alternatives = ((x509.SubjectAlternativeName(names), False),) if names else ()
    leaf = x509.load_pem_x509_certificate(ca.issue(extensions=alternatives, subject=subject).encode())
    assert () == ca_refusals(ca.cert, now=NOW), "such a CA can be registered: its constraints are obeyed"
    return [broken.rule for broken in link_refusals(leaf, ca.cert)]


NO = ["chain_name_constraints"]


@pytest.mark.parametrize(
    ("name", "base", "within"),
    [
        (DNS("lamp.example"), DNS("lamp.example"), True),
        (DNS("A.Lamp.Example"), DNS("lamp.example"), True),
        (DNS("*.lamp.example"), DNS("lamp.example"), True),
        (DNS("clamp.example"), DNS("lamp.example"), False),
        (DNS("example"), DNS("lamp.example"), False),
        (MAIL("a@lamp.example"), MAIL("lamp.example"), True),
        (MAIL("a@x.lamp.example"), MAIL("lamp.example"), False),
        (MAIL("a@x.lamp.example"), MAIL(".lamp.example"), True),
        (MAIL("a@lamp.example"), MAIL("a@LAMP.example"), True),
        (MAIL("A@lamp.example"), MAIL("a@lamp.example"), False),
        (URI("https://lamp.example/x"), URI("lamp.example"), True),
        (URI("https://x.lamp.example/x"), URI("lamp.example"), False),
        (URI("https://x.lamp.example:8/x"), URI(".lamp.example"), True),
        (URI("urn:lamp"), URI("lamp.example"), False),
        (address("192.0.2.7"), address("192.0.2.0/24"), True),
        (address("192.0.3.7"), address("192.0.2.0/24"), False),
        (address("2001:db8::7"), address("192.0.2.0/24"), False),
        (DIRECTORY(organised("Lamps", "one")), DIRECTORY(organised(" LAMPS")), True),
        (DIRECTORY(organised("Doors", "one")), DIRECTORY(organised("Lamps")), False),
    ],
)
def test_each_form_of_name(name: x509.GeneralName, base: x509.GeneralName, within: bool) -> None:
    subject = organised("Lamps", "device")
    assert ([] if within else NO) == refused([name], permitted=[base], subject=subject)
    if not isinstance(name, URI) or name.value.startswith("https"):
        assert (NO if within else []) == refused([name], excluded=[base], subject=organised("Neither", "device"))


def test_the_subject_counts_and_other_forms_do_not() -> None:
    lamps = [DIRECTORY(organised("Lamps"))]
    assert [] == refused([], permitted=lamps, subject=organised("Lamps", "one"))
    assert NO == refused([], permitted=lamps, subject=organised("Doors", "one"))
    assert NO == refused([], permitted=lamps, subject=named("one"))
    assert NO == refused([], excluded=lamps, subject=organised("Lamps", "one"))
    assert [] == refused([DNS("anything.example")], permitted=lamps, subject=organised("Lamps", "one"))
    mail = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@doors.example")])
    assert NO == refused([], permitted=[MAIL("lamps.example")], subject=mail)
    assert NO == refused([DNS("a.example"), DNS("b.example")], permitted=[DNS("a.example")]), "each name counts"


def test_what_is_not_evaluated_refuses() -> None:
    assert NO == refused([], excluded=[x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))])


def test_too_many_names_refuse() -> None:
    names: list[x509.GeneralName] = [DNS(f"lamp-{number}.example") for number in range(100)]
    assert [] == refused(names[:9], permitted=[DNS("example")])
    assert NO == refused(names, permitted=[DNS("example")] * 50)
