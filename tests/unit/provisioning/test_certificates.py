"""What a certificate says of itself to a template; certificates and requests in plans, as OpenSSL makes them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.core.provisioning.template import (
    Template,
    TemplateKind,
    builtin_parameters,
    policy_name_of,
    read_template,
    with_certificate,
)

SUBJECT = "/C=US/ST=WA/O=Example/OU=first/OU=second/CN=lamp-1/CN=lamp-2/serialNumber=0815/dnQualifier=q/L=Seattle"


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem and csr.pem with every attribute, bare.pem with a common name alone."""
    folder = tmp_path_factory.mktemp("certificates")
    key = str(folder / "key.pem")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    for name, subject in (("cert", SUBJECT), ("bare", "/CN=lamp-1")):
        openssl("req", "-x509", "-key", key, "-subj", subject, "-out", str(folder / f"{name}.pem"))
    openssl("req", "-new", "-key", key, "-subj", SUBJECT, "-out", str(folder / "csr.pem"))
    return folder


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def fingerprint(path: Path) -> str:
    line = openssl("x509", "-in", str(path), "-noout", "-fingerprint", "-sha256")
    return line.partition("=")[2].strip().replace(":", "").lower()


def test_every_built_in_parameter_is_the_first_such_attribute(folder: Path) -> None:
    assert {
        "AWS::IoT::Certificate::Id": fingerprint(folder / "cert.pem"),
        "AWS::IoT::Certificate::Country": "US",
        "AWS::IoT::Certificate::StateName": "WA",
        "AWS::IoT::Certificate::Organization": "Example",
        "AWS::IoT::Certificate::OrganizationalUnit": "first",
        "AWS::IoT::Certificate::CommonName": "lamp-1",
        "AWS::IoT::Certificate::SerialNumber": "0815",
        "AWS::IoT::Certificate::DistinguishedNameQualifier": "q",
    } == builtin_parameters(certificate(folder / "cert.pem"))


def test_what_the_subject_lacks_has_no_value(folder: Path) -> None:
    found = builtin_parameters(certificate(folder / "bare.pem"))
    assert {"AWS::IoT::Certificate::Id", "AWS::IoT::Certificate::CommonName"} == found.keys()


def test_a_device_says_nothing_about_its_certificate(folder: Path) -> None:
    own = builtin_parameters(certificate(folder / "bare.pem"))
    said = {"AWS::IoT::Certificate::Id": "b" * 64, "AWS::IoT::Certificate::Country": "XX", "Location": "WA"}
    assert {**own, "Location": "WA"} == with_certificate(said, own)


def of_register_thing(**properties: str) -> Template:
    resource = {
        "Type": "AWS::IoT::Certificate",
        "Properties": {name: {"Ref": parameter} for name, parameter in properties.items()},
    }
    thing = {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "t", "AttributePayload": {"id": {"Ref": "c"}}}}
    resources = {"c": resource} if "CertificateSigningRequest" in properties else {"t": thing, "c": resource}
    declared = {parameter: {"Type": "String"} for parameter in properties.values()}
    return read_template(json.dumps({"Parameters": declared, "Resources": resources}), TemplateKind.REGISTER_THING)


def test_a_certificate_is_referred_to_by_its_id(folder: Path) -> None:
    pem, authority = (folder / "cert.pem").read_text(), (folder / "bare.pem").read_text()
    plan = of_register_thing(CertificatePem="P", CACertificatePem="C").plan({"P": pem, "C": authority})
    assert plan.certificate is not None
    assert plan.thing is not None
    assert (pem, authority) == (plan.certificate.certificate_pem, plan.certificate.ca_certificate_pem)
    assert plan.certificate.certificate_id is None
    assert {"id": fingerprint(folder / "cert.pem")} == plan.thing.attributes


def test_a_request_is_in_the_plan(folder: Path) -> None:
    plan = of_register_thing(CertificateSigningRequest="R").plan({"R": (folder / "csr.pem").read_text()})
    assert plan.certificate is not None
    assert (folder / "csr.pem").read_text() == plan.certificate.csr_pem


@pytest.mark.parametrize(("name", "file"), [("CertificateSigningRequest", "cert.pem"), ("CertificatePem", "csr.pem")])
def test_one_in_place_of_the_other_is_refused(folder: Path, name: str, file: str) -> None:
    with pytest.raises(ProvisioningFailed, match="was expected") as failed:
        of_register_thing(**{name: "P"}).plan({"P": (folder / file).read_text()})
    assert (FailureKind.INVALID, "c") == (failed.value.kind, failed.value.resource)


def test_a_ca_that_is_none_is_refused(folder: Path) -> None:
    template = of_register_thing(CertificatePem="P", CACertificatePem="C")
    with pytest.raises(ProvisioningFailed, match="empty"):
        template.plan({"P": (folder / "cert.pem").read_text(), "C": ""})


def test_a_policy_without_a_name_is_called_after_its_document() -> None:
    # printf abc | openssl sha1, and FIPS 180-2's example
    assert "A9993E364706816ABA3E25717850C26C9CD0D89D" == policy_name_of("abc")
