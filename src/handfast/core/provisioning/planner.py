"""One device's parameters put into a template: the plan, or the first resource that cannot be had and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

from handfast.core.identity.ids import (
    BillingGroupName,
    CertificateId,
    PolicyName,
    ThingGroupName,
    ThingName,
    ThingTypeName,
)
from handfast.core.identity.records import CertificateStatus
from handfast.core.identity.things import GROUPS_PER_THING
from handfast.core.pki.pem import read_certificate, read_request
from handfast.core.policy.document import parse_document
from handfast.core.provisioning.builtin import NAMES, PREFIX, policy_name_of
from handfast.core.provisioning.functions import (
    MAX_VALUE_CHARACTERS,
    Evaluation,
    TextExpression,
    Unresolvable,
    list_of,
    text_of,
)
from handfast.core.provisioning.plan import (
    CertificateResource,
    FailureKind,
    Override,
    Plan,
    PolicyResource,
    ProvisioningFailed,
    ThingResource,
)
from handfast.core.provisioning.resources import (
    CertificatePart,
    Content,
    PolicyPart,
    ResourcePart,
    Source,
    TemplateKind,
    ThingPart,
    constant_document,
    document_of,
    status_of,
    status_problem,
)
from handfast.core.provisioning.values import (
    ATTRIBUTE_VALUE,
    BILLING_GROUP_NAME,
    CERTIFICATE_ID,
    POLICY_NAME,
    THING_GROUP_NAME,
    THING_NAME,
    THING_TYPE_NAME,
    Rule,
    shown,
)
from handfast.errors import CertificateInputError, PolicySyntaxError

MAX_CONFIGURATION_CHARACTERS: Final = 65_536
"""Of the names and values of DeviceConfiguration together: they go back to the device in one message."""
_NOT_INTO_POLICIES: Final = frozenset('*?+#$"\\')
"""Wildcards, which the policy engine never puts in for a variable either, and what ends a string of JSON."""


class Planner:
    """One use of a template; `plan` is called once."""

    def __init__(self, content: Content, given: Mapping[str, str]) -> None:
        self._content = content
        self._given = given
        self._names: dict[str, str] = {}  # what Ref is worth, by logical name, of the resources that are done
        self._resource = ""
        self._plain = Evaluation(self._reference, content.maps)
        self._in_policy = Evaluation(self._reference_in_policy, content.maps)

    def plan(self) -> Plan:
        """The plan, or ProvisioningFailed."""
        thing: ThingResource | None = None
        certificate: CertificateResource | None = None
        policies: list[PolicyResource] = []
        try:
            # First what the resources are called, in an order in which it can be known; then what refers to that.
            identified = [(part, self._identify(part)) for part in self._content.resources]
            for part, value in identified:
                self._resource = part.logical_name
                match part:
                    case ThingPart():
                        thing = self._thing(part, value)
                    case CertificatePart():
                        certificate = self._certificate(part, value)
                    case PolicyPart():
                        policies.append(
                            PolicyResource(
                                logical_name=part.logical_name,
                                policy_name=PolicyName(self._names[part.logical_name]),
                                document=None if part.document is None else value,
                            )
                        )
            self._resource = ""
            configuration = self._configuration()
            self._check_builtin()
        except Unresolvable as error:
            raise ProvisioningFailed(FailureKind.TEMPLATE, self._resource, str(error)) from None
        return Plan(thing=thing, certificate=certificate, policies=tuple(policies), device_configuration=configuration)

    def _identify(self, part: ResourcePart) -> str:
        """The thing's name, what the certificate is given by, or the policy's document or name; its Ref is known."""
        self._resource = name = part.logical_name
        match part:
            case ThingPart():
                value = self._names[name] = self._text(part.name, THING_NAME)
            case CertificatePart():
                value = text_of(part.value, self._plain)
                certificate_id = self._certificate_id(part.source, value)
                if certificate_id is not None:
                    self._names[name] = certificate_id
            case PolicyPart(document=None):
                assert part.name is not None, "read_template saw to it"
                value = self._names[name] = self._text(part.name, POLICY_NAME)
            case PolicyPart():
                value = self._document(part)
                self._names[name] = policy_name_of(value)
        return value

    # --- references ---------------------------------------------------------------------------------------------------

    def _reference(self, name: str) -> str:
        if not self._content.is_parameter(name):
            return self._names[name]  # read_template put the resources in order
        return self._parameter(name)[0]

    def _reference_in_policy(self, name: str) -> str:
        if not self._content.is_parameter(name):
            value, chosen = self._names[name], True
        else:
            value, chosen = self._parameter(name)
        if chosen and self._content.kind.is_for_a_certificate and not _NOT_INTO_POLICIES.isdisjoint(value):
            self._invalid(
                f"{shown(value)}, the value of {shown(name)}, would go into a policy document with one of the "
                'characters * ? + # $ " \\, and could allow more than was meant; expected a value without them'
            )
        return value

    def _parameter(self, name: str) -> tuple[str, bool]:
        """Its value, and whether somebody else than the template's author chose it."""
        value = self._given.get(name)
        if value is None:
            default = self._content.parameters.get(name)
            if default is None and name in NAMES and self._content.kind is TemplateKind.JITP:
                field = name.removeprefix(PREFIX)
                raise ProvisioningFailed(
                    FailureKind.SUBJECT,
                    self._resource,
                    f"the certificate's subject has no {field}, which the template needs: issue the certificate again "
                    "with it, or give the parameter a Default (AWS IoT says: Invalid registration template. Cannot "
                    f"resolve reference value: {{Ref={name}}})",
                )
            if default is None:
                raise Unresolvable(f"Invalid registration template. Cannot resolve reference value: {{Ref={name}}}")
            return default, False
        if len(value) > MAX_VALUE_CHARACTERS:
            self._invalid(
                f"the parameter {shown(name)} has {len(value)} characters; expected at most {MAX_VALUE_CHARACTERS}"
            )
        return value, True

    def _check_builtin(self) -> None:
        """What a template declares of the certificate has to be in it, used or not."""
        for name in self._content.parameters:
            if name in self._content.kind.built_in:
                self._parameter(name)

    # --- resources ----------------------------------------------------------------------------------------------------

    def _thing(self, part: ThingPart, name: str) -> ThingResource:
        overrides = part.overrides
        return ThingResource(
            logical_name=part.logical_name,
            thing_name=ThingName(name),
            attributes=None if part.attributes is None else self._attributes(part.attributes),
            thing_type_name=(
                None if part.type_name is None else ThingTypeName(self._text(part.type_name, THING_TYPE_NAME))
            ),
            thing_groups=None if part.groups is None else self._groups(list_of(part.groups, self._plain)),
            billing_group_name=(
                None
                if part.billing_group is None
                else BillingGroupName(self._text(part.billing_group, BILLING_GROUP_NAME))
            ),
            attributes_override=overrides.get("AttributePayload", Override.DO_NOTHING),
            thing_type_override=overrides.get("ThingTypeName", Override.DO_NOTHING),
            thing_groups_override=overrides.get("ThingGroups", Override.DO_NOTHING),
            takes_over=bool(overrides) and Override.FAIL not in overrides.values(),
        )

    def _attributes(self, given: Mapping[str, TextExpression]) -> dict[str, str]:
        """An attribute with an empty value is one that is not there, as in CreateThing."""
        found = {}
        for name, expression in given.items():
            value = text_of(expression, self._plain)
            problem = ATTRIBUTE_VALUE.problem(value)
            if problem is not None:
                self._invalid(f"{problem} (attribute {shown(name)})")
            if value:
                found[name] = value
        return found

    def _groups(self, names: Iterable[str]) -> tuple[ThingGroupName, ...]:
        """Each once, in order."""
        found = dict.fromkeys(names)
        if len(found) > GROUPS_PER_THING:
            self._invalid(f"{len(found)} thing groups; expected at most {GROUPS_PER_THING}")
        for name in found:
            self._check(name, THING_GROUP_NAME)
        return tuple(map(ThingGroupName, found))

    def _certificate_id(self, source: Source, value: str) -> CertificateId | None:
        """None: it is not known before the certificate is issued."""
        try:
            match source:
                case Source.ID:
                    self._check(value, CERTIFICATE_ID)
                    return CertificateId(value.lower())
                case Source.CSR:
                    read_request(value)
                    return None
                case Source.PEM:
                    return read_certificate(value).certificate_id
        except CertificateInputError as error:
            self._invalid(str(error))

    def _certificate(self, part: CertificatePart, value: str) -> CertificateResource:
        authority = None
        if part.ca_certificate_pem is not None:
            authority = text_of(part.ca_certificate_pem, self._plain)
            try:
                read_certificate(authority)
            except CertificateInputError as error:
                self._invalid(f"CACertificatePem: {error}")
        return CertificateResource(
            logical_name=part.logical_name,
            certificate_id=CertificateId(value.lower()) if part.source is Source.ID else None,
            csr_pem=value if part.source is Source.CSR else None,
            certificate_pem=value if part.source is Source.PEM else None,
            ca_certificate_pem=authority,
            status=self._status(part.status),
            status_override=part.overrides.get("Status", Override.DO_NOTHING),
        )

    def _status(self, expression: TextExpression | None) -> CertificateStatus:
        if expression is None:
            return CertificateStatus.ACTIVE
        text = text_of(expression, self._plain)
        status = status_of(text)
        if status is None:
            self._invalid(status_problem(text))
        return status

    def _document(self, part: PolicyPart) -> str:
        assert part.document is not None, "the caller saw to it"
        document = constant_document(part.document)
        if document is None:
            document = document_of(part.document, self._in_policy)
            try:
                parse_document(document)
            except PolicySyntaxError as error:
                self._invalid(f"The policy document cannot be used: {error}")
        return document

    def _configuration(self) -> dict[str, str]:
        found = {name: text_of(each, self._plain) for name, each in self._content.device_configuration.items()}
        characters = sum(len(name) + len(value) for name, value in found.items())
        if characters > MAX_CONFIGURATION_CHARACTERS:
            self._invalid(
                f"DeviceConfiguration has {characters} characters; expected at most {MAX_CONFIGURATION_CHARACTERS}"
            )
        return found

    # --- values -------------------------------------------------------------------------------------------------------

    def _text(self, expression: TextExpression, rule: Rule) -> str:
        value = text_of(expression, self._plain)
        self._check(value, rule)
        return value

    def _check(self, value: str, rule: Rule) -> None:
        problem = rule.problem(value)
        if problem is not None:
            self._invalid(problem)

    def _invalid(self, message: str) -> NoReturn:
        raise ProvisioningFailed(FailureKind.INVALID, self._resource, message)
