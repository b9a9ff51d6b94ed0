"""A stranger who believes the service model alone: unmodified boto3 whose every answer is checked against it."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from tests.support.device import private_key, self_signed
from tests.support.own_ca import OwnCA
from tests.support.server import Server, make_client

from handfast.wire.client import handfast_client
from handfast.wire.patterns import matches

FRONT_DOOR = frozenset(
    {
        "AccessDeniedException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "NotImplementedException",
        "SerializationException",
        "UnrecognizedClientException",
    }
)
"""Errors that are answered before an operation, and in no operation's model."""

MARKER = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)")
"""Standard base64 with padding, not empty."""


# --- answers against the model


def check_answer(http_response: Any, model: Any, **_: Any) -> None:
    """Of boto3's `after-call` event: status, headers and body are what the model says, to the letter."""
    headers = {name.lower(): value for name, value in http_response.headers.items()}
    assert str(uuid.UUID(headers["x-amzn-requestid"])) == headers["x-amzn-requestid"]
    body = http_response.content
    if http_response.status_code >= 300:
        _check_error(http_response.status_code, headers, body, model)
        return
    assert 200 == http_response.status_code
    assert "x-amzn-errortype" not in headers
    if model.output_shape is None or not model.output_shape.members:
        assert body in (b"", b"{}"), f"{model.name} has no output: {body!r}"
        return
    assert "application/json" == headers["content-type"]
    check_value(model.output_shape, _load(body), model.name)


def _check_error(status: int, headers: dict[str, str], body: bytes, model: Any) -> None:
    code = headers["x-amzn-errortype"]
    assert "application/json" == headers["content-type"]
    document = _load(body)
    assert isinstance(document["message"], str)
    assert document["message"]
    modelled = {shape.name: shape for shape in model.error_shapes}
    assert code in modelled.keys() | FRONT_DOOR, f"{model.name} does not model {code}: {document['message']}"
    if code in modelled:
        assert modelled[code].metadata["error"]["httpStatusCode"] == status
        assert document.keys() <= modelled[code].members.keys()


def _load(body: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(pairs) == len(dict(pairs)), "a member stands twice"
        return dict(pairs)

    return json.loads(body.decode("utf-8"), object_pairs_hook=once)


def check_value(shape: Any, value: Any, where: str) -> None:
    """The JSON value is of the shape: no null, no unknown member, times in epoch seconds, lengths, enums, patterns."""
    assert value is not None, f"{where} is null"
    kind = shape.type_name
    if kind == "structure":
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        assert value.keys() <= members.keys(), f"{where}: {value.keys() - members.keys()}"
        for name, item in value.items():
            check_value(members[name], item, f"{where}.{name}")
    elif kind == "list":
        assert isinstance(value, list), where
        for item in value:
            check_value(shape.member, item, f"{where}[]")
    elif kind == "map":
        for name, item in value.items():
            check_value(shape.key, name, f"{where} key")
            check_value(shape.value, item, f"{where}.{name}")
    elif kind == "timestamp":
        assert isinstance(value, int | float), f"{where}: {value!r} is not a number"
        assert 946684800 <= value < 4102444800, f"{where}: {value!r} is not in epoch seconds of this century"
    elif kind == "string":
        assert isinstance(value, str), f"{where}: {value!r}"
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", len(value))
        assert low <= len(value) <= high, f"{where} has {len(value)} characters"
        assert not shape.enum or value in shape.enum, f"{where}: {value!r}"
        pattern = shape.metadata.get("pattern")
        assert pattern is None or matches(pattern, value, len(value)), f"{where}: {value!r} is not {pattern}"
    else:
        expected = {"boolean": bool, "integer": int, "long": int}[kind]
        assert type(value) is expected, f"{where}: {value!r} is not {kind}"


# --- accounts and clients


def strict_client(server: Server, keys: tuple[str, str], region: str = "us-east-1", *, checked: bool = True) -> Any:
    """A boto3 client that tries once; with `checked` False it sends what the model forbids, too."""
    client = make_client(
        "iot",
        region_name=region,
        endpoint_url=server.api,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}, parameter_validation=checked),
    )
    client.meta.events.register("after-call.iot", check_answer)
    return client


def operator(server: Server) -> Any:
    """A client of /handfast/v1 with the operator's key."""
    found = server.clients.get(("handfast", "", "operator"))
    if found is None:
        key_id, secret = server.credentials("handfast-operator")
        found = server.clients["handfast", "", "operator"] = handfast_client(server.api, "us-east-1", key_id, secret)
    return found


@dataclass(frozen=True)
class Tenant:
    """An account of its own, with nothing in it; `iot` is its client in us-east-1."""

    server: Server
    account: str
    keys: tuple[str, str]
    iot: Any

    def elsewhere(self, region: str = "eu-west-1") -> Any:
        """A client in another region."""
        return strict_client(self.server, self.keys, region)

    @property
    def lax(self) -> Any:
        """A client that sends what boto3 would refuse to."""
        return strict_client(self.server, self.keys, checked=False)

    def arn(self, certificate_id: str, kind: str = "cert") -> str:
        return f"arn:aws:iot:us-east-1:{self.account}:{kind}/{certificate_id}"


def tenant(server: Server) -> Tenant:
    """A new account."""
    account = operator(server).create_account()["accountId"]
    made = operator(server).create_access_key(accountId=account)
    keys = (made["accessKeyId"], made["secretAccessKey"])
    return Tenant(server, account, keys, strict_client(server, keys))


# --- refusals


@dataclass(frozen=True)
class Refusal:
    """An error as a caller sees it; `response` is botocore's."""

    code: str
    status: int
    message: str
    response: dict[str, Any]

    def __iter__(self) -> Any:
        return iter((self.code, self.status))


def refusal(call: Any, **members: Any) -> Refusal:
    """The error that the call ends with; its class is the client's own of that name where the operation models it."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    response = caught.value.response
    code = response["Error"]["Code"]
    client = call.__self__
    modelled = getattr(client.exceptions, code, None) if code not in FRONT_DOOR else ClientError
    assert modelled is not None
    assert isinstance(caught.value, modelled)
    return Refusal(code, response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"], response)


INVALID = ("InvalidRequestException", 400)
NOT_FOUND = ("ResourceNotFoundException", 404)
EXISTS = ("ResourceAlreadyExistsException", 409)
STATE = ("CertificateStateException", 406)
VALIDATION = ("CertificateValidationException", 400)
CODE_VALIDATION = ("RegistrationCodeValidationException", 400)
CONFLICT = ("CertificateConflictException", 409)
DELETE_CONFLICT = ("DeleteConflictException", 409)
TRANSFER_CONFLICT = ("TransferConflictException", 409)
COMPLETED = ("TransferAlreadyCompletedException", 410)
LIMIT = ("LimitExceededException", 410)


def refused(expected: tuple[str, int], call: Any, **members: Any) -> Refusal:
    """The call ends with exactly this code and status."""
    found = refusal(call, **members)
    assert expected == tuple(found), found.message
    return found


# --- certificates


def leaf(name: str | None = None) -> str:
    """A self-signed certificate in PEM, valid now, of a key of its own."""
    return self_signed(name or f"device {uuid.uuid4().hex}")[0].decode()


def request(*names: x509.NameAttribute, kind: str = "p256", extended: bool = False) -> str:
    """A certificate signing request in PEM; `extended`: it asks for names and for CA:TRUE."""
    subject = x509.Name(names or [x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if extended:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("asked.example")]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(private_key(kind), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def own_ca(name: str | None = None, **options: Any) -> OwnCA:
    """A CA that is valid now; its `proof` and `leaf` are too."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    span = {"not_before": now - dt.timedelta(days=1), "not_after": now + dt.timedelta(days=30)}
    return OwnCA(name=name or f"CA {uuid.uuid4().hex}", **span | options)


def issue(ca: OwnCA, name: str | None = None, **options: Any) -> str:
    """A certificate that the CA signed, valid now: a device's, or named after a code the proof of possession."""
    now = dt.datetime.now(dt.UTC)
    span = {"not_before": now - dt.timedelta(hours=1), "not_after": now + dt.timedelta(days=7)}
    return ca.issue(name or f"device {uuid.uuid4().hex}", **span | options)


def register_ca(iot: Any, ca: OwnCA, **members: Any) -> dict[str, Any]:
    """Registered ACTIVE in DEFAULT mode with its proof, unless the members say otherwise."""
    if members.get("certificateMode") != "SNI_ONLY":
        members.setdefault("verificationCertificate", issue(ca, iot.get_registration_code()["registrationCode"]))
    return dict(iot.register_ca_certificate(**{"caCertificate": ca.pem, "setAsActive": True} | members))


def body_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without what botocore adds."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def items(answer: dict[str, Any], member: str = "certificates") -> list[str]:
    """The certificateIds of a listing."""
    return [item["certificateId"] for item in answer[member]]
