"""The Resources section: each resource with its properties as expressions, checked as far as they are written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from handfast.core.identity.records import CertificateStatus
from handfast.core.identity.things import GROUPS_PER_THING, attributes_limit
from handfast.core.policy.document import parse_document
from handfast.core.policy.reading import is_text, shorten
from handfast.core.provisioning.builtin import ID
from handfast.core.provisioning.builtin import NAMES as BUILTIN_NAMES
from handfast.core.provisioning.findings import child
from handfast.core.provisioning.functions import (
    Evaluation,
    Items,
    ListExpression,
    Maps,
    Reference,
    Text,
    TextExpression,
    Unresolvable,
    list_of,
    one_of,
    references,
    text_of,
)
from handfast.core.provisioning.plan import Override
from handfast.core.provisioning.reader import JsonText, Reader
from handfast.core.provisioning.values import (
    ATTRIBUTE_NAME,
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
from handfast.errors import PolicySyntaxError


class TemplateKind(StrEnum):
    """What a template is for, which decides what it may hold."""

    FLEET = "fleet"
    JITP = "jitp"
    REGISTER_THING = "register"
    BULK = "bulk"

    @property
    def is_for_a_certificate(self) -> bool:
        """Whether it provisions a certificate that is there already, and is named by `AWS::IoT::Certificate::Id`."""
        return self in (TemplateKind.FLEET, TemplateKind.JITP)

    @property
    def built_in(self) -> frozenset[str]:
        """
        The parameters that have their value from the certificate, declared or not.

        Under fleet provisioning the id alone: the subject is what the device asked for.
        """
        match self:
            case TemplateKind.FLEET:
                return frozenset({ID})
            case TemplateKind.JITP:
                return BUILTIN_NAMES
        return frozenset()


class Source(StrEnum):
    """Where the certificate comes from: the property that says it."""

    ID = "CertificateId"
    CSR = "CertificateSigningRequest"
    PEM = "CertificatePem"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingPart:
    """AWS::IoT::Thing before its values are known. None: the template does not say."""

    logical_name: str
    name: TextExpression
    attributes: Mapping[str, TextExpression] | None
    type_name: TextExpression | None
    groups: ListExpression | None
    billing_group: TextExpression | None
    overrides: Mapping[str, Override]  # by property


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePart:
    """AWS::IoT::Certificate before its values are known."""

    logical_name: str
    source: Source
    value: TextExpression
    ca_certificate_pem: TextExpression | None
    status: TextExpression | None
    overrides: Mapping[str, Override]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPart:
    """AWS::IoT::Policy before its values are known: either its name or its document."""

    logical_name: str
    name: TextExpression | None
    document: TextExpression | JsonText | None


ResourcePart: TypeAlias = ThingPart | CertificatePart | PolicyPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """
    What a template holds, checked.

    `parameters` are the declared names with their Default; `resources` stand each
    after those that its name, id or document depends on.
    """

    kind: TemplateKind
    parameters: Mapping[str, str | None]
    maps: Maps
    resources: Sequence[ResourcePart]
    device_configuration: Mapping[str, TextExpression]

    def is_parameter(self, name: str) -> bool:
        """Whether a reference of that name means a parameter, else a resource."""
        return name in self.parameters or name in self.kind.built_in


def identity_references(part: ResourcePart, *, as_values: bool = False) -> Iterator[str]:
    """The names that have to be known before the resource's own `Ref` is, as `functions.references` tells them."""
    match part:
        case ThingPart():
            parts: tuple[TextExpression | JsonText | None, ...] = (part.name,)
        case CertificatePart():
            parts = (part.value,)
        case PolicyPart():
            parts = (part.name, part.document)
    for each in parts:
        if each is not None:
            yield from _references(each, as_values=as_values)


def all_references(part: ResourcePart) -> Iterator[str]:
    """Every name that the resource refers to."""
    yield from identity_references(part)
    match part:
        case ThingPart():
            for attribute in (part.attributes or {}).values():
                yield from references(attribute)
            for each in (part.type_name, part.groups, part.billing_group):
                if each is not None:
                    yield from references(each)
        case CertificatePart():
            for each in (part.ca_certificate_pem, part.status):
                if each is not None:
                    yield from references(each)


def _references(value: TextExpression | JsonText, *, as_values: bool = False) -> Iterator[str]:
    if isinstance(value, JsonText):
        return value.references(as_values=as_values)
    return references(value, as_values=as_values)


_TYPES: Final = ("AWS::IoT::Thing", "AWS::IoT::Certificate", "AWS::IoT::Policy")
_MEMBERS: Final = ("Type", "Properties", "OverrideSettings")
_THING_PROPERTIES: Final = ("ThingName", "AttributePayload", "ThingTypeName", "ThingGroups", "BillingGroup")
_CERTIFICATE_PROPERTIES: Final = (*Source, "CertificateID", "CACertificatePem", "Status")
_POLICY_PROPERTIES: Final = ("PolicyName", "PolicyDocument")
_SPELLINGS: Final = {
    # the developer guide's prose has the second, its samples the first
    "AttributePayload": "AttributePayload",
    "ATTRIBUTE_PAYLOAD": "AttributePayload",
    "ThingTypeName": "ThingTypeName",
    "THING_TYPE_NAME": "ThingTypeName",
    "ThingGroups": "ThingGroups",
    "THING_GROUPS": "ThingGroups",
}
_CERTIFICATE_SPELLINGS: Final = {"Status": "Status", "STATUS": "Status"}
_MERGED: Final = frozenset({"AttributePayload", "ThingGroups"})


class ResourceReader:
    """Reads the resources of one template; what is wrong is in the findings of `reader`."""

    def __init__(self, reader: Reader, kind: TemplateKind) -> None:
        self._reader = reader
        self._findings = reader.findings
        self._kind = kind

    def read(self, name: str, value: Any, path: str) -> ResourcePart | None:
        """The resource, or None when it is of no known type."""
        if not name:
            self._findings.error(path, "a resource without a logical name; expected at least one character")
        before = len(self._findings.errors)
        found = self._reader.members(value, path, "a resource: an object with Type and Properties")
        if not found and len(self._findings.errors) > before:
            return None
        self._known(found, _MEMBERS, path, "member")
        kind = self._reader.string(found["Type"], f"{path}.Type", "a type") if "Type" in found else None
        if "Type" not in found:
            self._findings.error(path, f"the member Type is missing; expected {', '.join(_TYPES)}")
        elif kind is not None and kind not in _TYPES:
            self._findings.error(f"{path}.Type", f"unknown type {shown(kind)}; {one_of(_TYPES)}")
        properties: dict[str, Any] = {}
        if "Properties" in found:
            properties = self._reader.members(found["Properties"], f"{path}.Properties", "an object of properties")
        else:
            self._findings.error(path, "the member Properties is missing; expected an object")
        at = f"{path}.OverrideSettings"
        match kind:
            case "AWS::IoT::Thing":
                overrides = self._overrides(found, at, _SPELLINGS)
                return self._thing(name, properties, f"{path}.Properties", overrides)
            case "AWS::IoT::Certificate":
                overrides = self._overrides(found, at, _CERTIFICATE_SPELLINGS)
                return self._certificate(name, properties, f"{path}.Properties", overrides)
            case "AWS::IoT::Policy":
                if "OverrideSettings" in found:
                    self._findings.error(at, "a policy has no OverrideSettings; remove them")
                return self._policy(name, properties, f"{path}.Properties")
        return None

    # --- things -------------------------------------------------------------------------------------------------------

    def _thing(
        self, logical_name: str, found: dict[str, Any], path: str, overrides: Mapping[str, Override]
    ) -> ThingPart:
        if "PackageVersions" in found:
            self._findings.error(
                f"{path}.PackageVersions", "there is no catalog of software packages here; remove PackageVersions"
            )
        self._known(found, (*_THING_PROPERTIES, "PackageVersions"), path, "property of a thing")
        if "ThingName" not in found:
            self._findings.error(path, "the property ThingName is missing; expected a string or a function")
        type_name = self._optional(found, "ThingTypeName", path, THING_TYPE_NAME)
        attributes = None
        if "AttributePayload" in found:
            limit = attributes_limit(None if type_name is None else "")
            attributes = self._attributes(found["AttributePayload"], f"{path}.AttributePayload", limit)
        groups = self._groups(found["ThingGroups"], f"{path}.ThingGroups") if "ThingGroups" in found else None
        return ThingPart(
            logical_name=logical_name,
            name=self._optional(found, "ThingName", path, THING_NAME) or Text(""),
            attributes=attributes,
            type_name=type_name,
            groups=groups,
            billing_group=self._optional(found, "BillingGroup", path, BILLING_GROUP_NAME),
            overrides=overrides,
        )

    def _attributes(self, value: Any, path: str, limit: int) -> dict[str, TextExpression]:
        given = self._reader.members(value, path, "an object of attribute names and values")
        if len(given) > limit:
            self._findings.error(
                path,
                f"{len(given)} attributes; expected at most {limit}"
                + ("" if limit > attributes_limit(None) else ", or a ThingTypeName besides, which allows more"),
            )
        found = {}
        for name, each in given.items():
            place = child(path, name)
            problem = ATTRIBUTE_NAME.problem(name)
            if problem is not None:
                self._findings.error(place, problem)
            found[name] = self._text(each, place, ATTRIBUTE_VALUE)
        return found

    def _groups(self, value: Any, path: str) -> ListExpression:
        before = len(self._findings.errors)
        groups = self._reader.items(value, path)
        if len(self._findings.errors) > before:
            return groups
        if isinstance(groups, Items):
            if len(groups.items) > GROUPS_PER_THING:
                self._findings.error(path, f"{len(groups.items)} groups; expected at most {GROUPS_PER_THING}")
            for index, each in enumerate(groups.items):
                self._check_constant(each, f"{path}[{index}]", THING_GROUP_NAME)
        elif not any(references(groups)):
            self._resolved(lambda evaluation: list_of(groups, evaluation), path)
        return groups

    # --- certificates -------------------------------------------------------------------------------------------------

    def _certificate(
        self, logical_name: str, found: dict[str, Any], path: str, overrides: Mapping[str, Override]
    ) -> CertificatePart:
        self._known(found, _CERTIFICATE_PROPERTIES, path, "property of a certificate")
        given = [name for name in (*Source, "CertificateID") if name in found]
        if len(given) != 1:
            seen = " and ".join(given) if given else "none of them"
            self._findings.error(path, f"found {seen}; expected exactly one of {', '.join(Source)}")
        written = given[0] if given else Source.ID
        source = Source.ID if written == "CertificateID" else Source(written)
        value: TextExpression = Text("")
        if given:
            value = self._text(found[written], child(path, written), CERTIFICATE_ID if source is Source.ID else None)
            self._check_source(source, value, child(path, written))
        if "CACertificatePem" in found and source is not Source.PEM:
            self._findings.error(f"{path}.CACertificatePem", "stands without CertificatePem; remove it, or add that")
        return CertificatePart(
            logical_name=logical_name,
            source=source,
            value=value,
            ca_certificate_pem=self._optional(found, "CACertificatePem", path, None),
            status=self._status(found["Status"], f"{path}.Status") if "Status" in found else None,
            overrides=overrides,
        )

    def _check_source(self, source: Source, value: TextExpression, path: str) -> None:
        if not self._kind.is_for_a_certificate:
            return
        if source is not Source.ID:
            what = "just-in-time provisioning" if self._kind is TemplateKind.JITP else "fleet provisioning"
            self._findings.error(
                path, f'the certificate exists already under {what}; expected "CertificateId": {{"Ref": "{ID}"}}'
            )
        elif value != Reference(ID):
            self._findings.error(path, f'names another certificate than the device\'s own; expected {{"Ref": "{ID}"}}')

    def _status(self, value: Any, path: str) -> TextExpression:
        before = len(self._findings.errors)
        status = self._reader.text(value, path)
        if len(self._findings.errors) == before and isinstance(status, Text) and status_of(status.text) is None:
            self._findings.error(path, status_problem(status.text))
        return status

    # --- policies -----------------------------------------------------------------------------------------------------

    def _policy(self, logical_name: str, found: dict[str, Any], path: str) -> PolicyPart:
        self._known(found, _POLICY_PROPERTIES, path, "property of a policy")
        if not any(name in found for name in _POLICY_PROPERTIES):
            self._findings.error(
                path,
                "neither PolicyName nor PolicyDocument is present; expected the name of a policy that exists, or a "
                "document",
            )
        if all(name in found for name in _POLICY_PROPERTIES):
            self._findings.error(
                path,
                "PolicyName and PolicyDocument stand together; expected PolicyName alone for a policy that exists, or "
                "PolicyDocument alone for one that is called after its document",
            )
        return PolicyPart(
            logical_name=logical_name,
            name=self._optional(found, "PolicyName", path, POLICY_NAME),
            document=self._document(found["PolicyDocument"], f"{path}.PolicyDocument")
            if "PolicyDocument" in found
            else None,
        )

    def _document(self, value: Any, path: str) -> TextExpression | JsonText:
        before = len(self._findings.errors)
        document: TextExpression | JsonText
        if is_text(value) or self._reader.is_function(value):
            document = self._reader.text(value, path)
        else:
            self._reader.members(value, path, "a policy document: a string with JSON in it, or an object")
            document = self._reader.json(value, path)
        if len(self._findings.errors) > before or any(_references(document)):
            return document
        text = self._resolved(lambda evaluation: document_of(document, evaluation), path)
        if text is None:
            return document
        try:
            parse_document(text)
        except PolicySyntaxError as error:
            if isinstance(document, JsonText):
                self._findings.error(path + error.path.removeprefix("$"), error.message)
            else:
                self._findings.error(path, f"the policy document cannot be used: {error}")
        return JsonText((text,)) if isinstance(document, JsonText) else Text(text)

    # --- what they share ----------------------------------------------------------------------------------------------

    def _overrides(self, resource: Mapping[str, Any], path: str, spellings: Mapping[str, str]) -> dict[str, Override]:
        found: dict[str, Override] = {}
        if "OverrideSettings" not in resource:
            return found
        for name, each in self._reader.members(resource["OverrideSettings"], path, "an object of settings").items():
            place = child(path, name)
            if name not in spellings:
                names = sorted(set(spellings.values()))
                self._findings.error(place, f"unknown setting {shown(name)}; {one_of(names)}")
                continue
            if spellings[name] in found:
                self._findings.error(place, f"{spellings[name]} is set twice, in two spellings; expected one of them")
            allowed = [each for each in Override if each is not Override.MERGE or spellings[name] in _MERGED]
            text = self._reader.string(each, place, "a string")
            if text is not None and text not in allowed:
                self._findings.error(place, f"found {shown(text)}; {one_of([each.value for each in allowed])}")
            elif text is not None:
                found[spellings[name]] = Override(text)
        return found

    def _known(self, found: Mapping[str, Any], names: tuple[str, ...], path: str, what: str) -> None:
        for name in found:
            if name not in names:
                self._findings.error(child(path, name), f"unknown {what} {shown(name)}; {one_of(names)}")

    def _optional(self, found: Mapping[str, Any], name: str, path: str, rule: Rule | None) -> TextExpression | None:
        return self._text(found[name], f"{path}.{name}", rule) if name in found else None

    def _text(self, value: Any, path: str, rule: Rule | None) -> TextExpression:
        before = len(self._findings.errors)
        expression = self._reader.text(value, path)
        if len(self._findings.errors) == before:
            self._check_constant(expression, path, rule)
        return expression

    def _check_constant(self, expression: TextExpression, path: str, rule: Rule | None) -> None:
        """What refers to nothing is the same for every device: it is checked now."""
        if any(references(expression)):
            return
        text = self._resolved(lambda evaluation: text_of(expression, evaluation), path)
        problem = rule.problem(text) if rule is not None and text is not None else None
        if problem is not None:
            self._findings.error(path, problem)

    def _resolved(self, compute: Callable[[Evaluation], Any], path: str) -> Any:
        try:
            return compute(Evaluation(_no_reference, self._reader.maps))
        except Unresolvable as error:
            self._findings.error(path, str(error))
            return None


def constant_document(document: TextExpression | JsonText) -> str | None:
    """The text of a policy document that is the same for every device; else None."""
    if isinstance(document, Text):
        return document.text
    if isinstance(document, JsonText) and len(document.pieces) == 1 and isinstance(document.pieces[0], str):
        return document.pieces[0]
    return None


def document_of(document: TextExpression | JsonText, evaluation: Evaluation) -> str:
    """The text of a policy document, or Unresolvable."""
    return document.text(evaluation) if isinstance(document, JsonText) else text_of(document, evaluation)


def status_of(text: str) -> CertificateStatus | None:
    """ACTIVE or INACTIVE in any case (the guide's samples write `Active`); None for anything else."""
    upper = text.upper()
    return CertificateStatus(upper) if upper in (CertificateStatus.ACTIVE, CertificateStatus.INACTIVE) else None


def status_problem(text: str) -> str:
    """What is wrong with a status."""
    return f"found the status {shown(shorten(text))}; expected ACTIVE or INACTIVE"


def _no_reference(name: str) -> str:
    raise Unresolvable(f"{shown(name)} is not known yet")
