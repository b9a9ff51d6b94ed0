"""
`connections.json` and `examples.json` of `tests/vectors/policy/` as objects.

The first is for the engine, TestAuthorization and live connections alike.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from handfast.core.identity.ids import Scope, ThingName
from handfast.core.identity.records import AttachedThing, ThingPrincipalType

_FOLDER = Path(__file__).parents[1] / "vectors/policy"
_OIDS = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}
_ASKED = {
    "CONNECT": ("iot:Connect", "client/"),
    "PUBLISH": ("iot:Publish", "topic/"),
    "RETAIN": ("iot:RetainPublish", "topic/"),
    "SUBSCRIBE": ("iot:Subscribe", "topicfilter/"),
    "RECEIVE": ("iot:Receive", "topic/"),
    "GET_RETAINED": ("iot:GetRetainedMessage", "topic/"),
    "LIST_RETAINED": ("iot:ListRetainedMessages", ""),
    "GET_SHADOW": ("iot:GetThingShadow", "thing/"),
    "UPDATE_SHADOW": ("iot:UpdateThingShadow", "thing/"),
    "DELETE_SHADOW": ("iot:DeleteThingShadow", "thing/"),
}
KINDS = {action: kind for action, (_, kind) in _ASKED.items()}
ACTIONS = {action: name for action, (name, _) in _ASKED.items()}


@dataclass(frozen=True)
class Thing:
    """The thing of a case. `attached`: client (non-exclusive), exclusive or no."""

    name: str
    type: str | None
    attributes: dict[str, str]
    attached: str


@dataclass(frozen=True)
class Ask:
    """`action` is a key of ACTIONS; `by` is who decides: (policy number, statement number)."""

    action: str
    name: str
    answer: str
    by: tuple[tuple[int, int], ...]

    @property
    def resource(self) -> str:
        """What stands behind arn:aws:iot:REGION:ACCOUNT: ."""
        return KINDS[self.action] + self.name


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    policies: list[Any]
    client: str
    thing: Thing | None
    subject: list[tuple[str, str]]
    alternative: list[tuple[str, str]]
    persistent: bool
    will: str | None
    asks: list[Ask]

    def documents(self, scope: Scope) -> list[str]:
        """The policies as documents for this account and region, p0 first."""
        return [
            json.dumps(
                {"Version": "2012-10-17", "Statement": [_statement(each, scope) for each in policy]},
                ensure_ascii=False,
                separators=(",", ":"),
            )
            for policy in self.policies
        ]

    def certificate(self, now: dt.datetime) -> tuple[x509.Certificate, bytes]:
        """A self-signed certificate with the case's names, valid around `now`, and its private key as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(_OIDS[kind], value) for kind, value in self.subject or [("CN", "device")]])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=365))
        )
        if self.alternative:
            names = [_general_name(kind, value) for kind, value in self.alternative]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return builder.sign(key, hashes.SHA256()), pem

    @property
    def associated(self) -> AttachedThing | None:
        """The thing that the connection is associated with."""
        thing = self.thing
        if thing is None or thing.attached == "no" or (thing.attached == "client" and thing.name != self.client):
            return None
        exclusive = thing.attached == "exclusive"
        return AttachedThing(
            thing_name=ThingName(thing.name),
            thing_type_name=thing.type,
            attributes=thing.attributes,
            thing_principal_type=ThingPrincipalType.EXCLUSIVE_THING
            if exclusive
            else ThingPrincipalType.NON_EXCLUSIVE_THING,
        )


def load_cases() -> list[Case]:
    """Every row of `connections.json`, in order."""
    return [_case(each) for each in json.loads((_FOLDER / "connections.json").read_text())["cases"]]


def load_examples() -> list[Case]:
    """The published examples of `examples.json`, a case for each of their connections."""
    return [
        _case(
            {
                "name": f"{row['page']}: {row['says']} ({number})",
                "policies": [row["policy"]],
                "connection": connection,
                "asks": asks,
            }
        )
        for row in json.loads((_FOLDER / "examples.json").read_text())["examples"]
        for number, (connection, asks) in enumerate(row["connections"], 1)
    ]


def _case(row: dict[str, Any]) -> Case:
    connection = row.get("connection", {})
    thing = connection.get("thing")
    return Case(
        name=row["name"],
        policies=row["policies"],
        client=connection.get("client", "c"),
        thing=None
        if thing is None
        else Thing(thing["name"], thing.get("type"), thing.get("attributes", {}), thing["attached"]),
        subject=[tuple(each) for each in connection.get("subject", [])],
        alternative=[tuple(each) for each in connection.get("alternative", [])],
        persistent=connection.get("persistent", False),
        will=connection.get("will"),
        asks=[_ask(*each) for each in row["asks"]],
    )


def _ask(action: str, name: str, answer: str, by: str = "") -> Ask:
    statements = (tuple(map(int, each[1:].split("."))) for each in by.split())
    return Ask(action, name, answer, tuple((policy, statement) for policy, statement in statements))


def _statement(row: Any, scope: Scope) -> Any:
    if isinstance(row, list):
        effect, action, resource, *condition = row
        row = {"Effect": effect, "Action": action, "Resource": resource}
        if condition:
            row["Condition"] = condition[0]
    return _spelled_out(row, scope)


def _spelled_out(value: Any, scope: Scope) -> Any:
    if isinstance(value, dict):
        return {name: _spelled_out(each, scope) for name, each in value.items()}
    if isinstance(value, list):
        return [_spelled_out(each, scope) for each in value]
    if isinstance(value, str) and value.startswith("@"):
        return f"arn:aws:iot:{scope.region}:{scope.account}:{value[1:]}"
    return value.replace(":ACCOUNT:", f":{scope.account}:") if isinstance(value, str) else value


def _general_name(kind: str, value: str) -> x509.GeneralName:
    match kind:
        case "DNS":
            return x509.DNSName(value)
        case "email":
            return x509.RFC822Name(value)
        case "URI":
            return x509.UniformResourceIdentifier(value)
        case _:
            return x509.IPAddress(ipaddress.ip_address(value))
