"""
Provisioning templates: text in, a checked `Template` out, and from it a plan for each device.

A template is read once and refused with every mistake that it has. What it
makes of one device's parameters is a `Plan`, every value of which the registry
takes, or a `ProvisioningFailed`. Nothing here looks anything up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from handfast.core.policy.reading import check_unicode, is_object, is_text, load_bounded, shorten
from handfast.core.provisioning.builtin import builtin_parameters, policy_name_of, with_certificate
from handfast.core.provisioning.dangers import warn_of_dangers
from handfast.core.provisioning.findings import Finding, Findings, Severity, TemplateError, child
from handfast.core.provisioning.functions import Maps, TextExpression, one_of
from handfast.core.provisioning.plan import Plan
from handfast.core.provisioning.planner import Planner
from handfast.core.provisioning.reader import Reader
from handfast.core.provisioning.resources import (
    CertificatePart,
    Content,
    PolicyPart,
    ResourcePart,
    ResourceReader,
    Source,
    TemplateKind,
    ThingPart,
    all_references,
    identity_references,
)
from handfast.core.provisioning.values import shown
from handfast.errors import PolicySyntaxError

__all__ = [
    "Finding",
    "Severity",
    "Template",
    "TemplateError",
    "TemplateKind",
    "builtin_parameters",
    "lint_template",
    "policy_name_of",
    "read_template",
    "with_certificate",
]

MAX_TEMPLATE_CHARACTERS: Final = 10_240
"""AWS IoT model, shape TemplateBody; white space counts."""
MAX_DEPTH: Final = 32
_SECTIONS: Final = ("Parameters", "Mappings", "Resources", "DeviceConfiguration")
_FLEET_ONLY: Final = frozenset({"Mappings", "DeviceConfiguration"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template that can be used; `warnings` are what lint found."""

    content: Content = field(repr=False)
    warnings: tuple[Finding, ...] = ()

    @property
    def kind(self) -> TemplateKind:
        """What it is for."""
        return self.content.kind

    @property
    def parameters(self) -> Mapping[str, str | None]:
        """The declared names with their Default."""
        return self.content.parameters

    def plan(self, parameters: Mapping[str, str]) -> Plan:
        """
        What the template makes of these parameters.

        Args:
            parameters: By name; those that the template does not declare are ignored. The
                `AWS::IoT::Certificate::*` ones are believed: see `with_certificate`.

        Raises:
            ProvisioningFailed: TEMPLATE: a value cannot be resolved. INVALID: a resolved value is
                not one that the registry takes. `resource` is the resource's logical name.

        Deterministic; work and output are bounded whatever the parameters hold.
        """
        return Planner(self.content, parameters).plan()


@lru_cache(maxsize=128)
def read_template(text: str, kind: TemplateKind) -> Template:
    """
    The template in `text`, checked.

    Raises:
        TemplateError: Every mistake that it has, each with its JSON path.

    What was read lately is not read again: a fleet that comes up has one template.
    """
    findings = Findings()
    template = _read(text, kind, findings)
    if template is None:
        raise TemplateError(findings.errors)
    return template


def lint_template(text: str, kind: TemplateKind) -> list[Finding]:
    """Every error and every warning, errors first; with an error, warnings are those that could be found at all."""
    findings = Findings()
    template = _read(text, kind, findings)
    return list(template.warnings) if template is not None else [*findings.errors, *findings.warnings]


def _read(text: str, kind: TemplateKind, findings: Findings) -> Template | None:
    """The template, or None when there are errors."""
    try:
        root = load_bounded(text, max_characters=MAX_TEMPLATE_CHARACTERS, max_depth=MAX_DEPTH)
        _check_unicode(root)
    except PolicySyntaxError as error:
        findings.error(error.path, error.message)
        return None
    reader = Reader(findings)
    found = reader.members(root, "$", "an object with Parameters and Resources")
    if not found:
        if not findings.errors:
            findings.error("$", "the template is empty; expected an object with Resources")
        return None
    for name in found:
        if name not in _SECTIONS:
            findings.error(child("$", name), f"unknown section {shown(name)}; {one_of(_SECTIONS)}")
        elif name in _FLEET_ONLY and kind is not TemplateKind.FLEET:
            findings.error(f"$.{name}", f"{name} stands in templates of fleet provisioning alone; remove it")
    parameters = _parameters(reader, found.get("Parameters"), kind) if "Parameters" in found else {}
    reader.maps = _mappings(reader, found["Mappings"]) if "Mappings" in found else {}
    logical_names = _names_of(found.get("Resources"))
    reader.referable = _Names(parameters, logical_names, kind).problem
    resources = _resources(reader, found.get("Resources"), kind, present="Resources" in found)
    configuration = (
        _device_configuration(reader, found["DeviceConfiguration"]) if "DeviceConfiguration" in found else {}
    )
    content = Content(
        kind=kind,
        parameters=parameters,
        maps=reader.maps,
        resources=resources,
        device_configuration=configuration,
    )
    content = replace(content, resources=_in_order(content, findings))
    if findings.errors:
        return None
    warn_of_dangers(content, findings)
    return Template(content=content, warnings=tuple(findings.warnings))


def _check_unicode(value: Any) -> None:
    """Half a surrogate pair can be written in JSON, and nowhere be kept."""
    if isinstance(value, str):
        check_unicode(value, "$")
    elif isinstance(value, list):
        for each in value:
            _check_unicode(each)
    elif is_object(value):
        for name, member in value.pairs:
            check_unicode(name, "$")
            _check_unicode(member)


# --- sections ---------------------------------------------------------------------------------------------------------


def _parameters(reader: Reader, value: Any, kind: TemplateKind) -> dict[str, str | None]:
    declared: dict[str, str | None] = {}
    for name, each in reader.members(value, "$.Parameters", "an object of parameters").items():
        path = child("$.Parameters", name)
        declared[name] = None
        if kind.is_for_a_certificate and name.startswith("AWS::") and name not in kind.built_in:
            what = "under fleet provisioning" if kind is TemplateKind.FLEET else "from the certificate"
            reader.findings.error(path, f"{shown(name)} has no value {what}; {one_of(sorted(kind.built_in))}")
        before = len(reader.findings.errors)
        found = reader.members(each, path, 'a declaration such as {"Type": "String"}')
        if len(reader.findings.errors) > before:
            continue
        for member in found:
            if member not in ("Type", "Default"):
                reader.findings.error(child(path, member), f"unknown member {shown(member)}; expected Type or Default")
        if "Type" not in found:
            reader.findings.error(path, 'the member Type is missing; expected "String"')
        elif found["Type"] != "String" or not is_text(found["Type"]):
            seen = shown(found["Type"]) if is_text(found["Type"]) else "no string"
            reader.findings.error(f"{path}.Type", f'found {seen}; expected "String", the only type')
        if "Default" in found:
            declared[name] = reader.string(found["Default"], f"{path}.Default", "a string")
    return declared


def _mappings(reader: Reader, value: Any) -> Maps:
    maps: dict[str, dict[str, dict[str, str]]] = {}
    for map_name, entries in reader.members(value, "$.Mappings", "an object of maps").items():
        at = child("$.Mappings", map_name)
        maps[map_name] = {}
        for first, entry in reader.members(entries, at, "an object of keys, each with an object of values").items():
            place = child(at, first)
            if reader.is_function(entry):
                reader.findings.error(place, "Mappings holds no functions; expected an object of values")
                continue
            maps[map_name][first] = {}
            for second, each in reader.members(entry, place, "an object of names and values").items():
                if reader.is_function(each):
                    reader.findings.error(child(place, second), "Mappings holds no functions; expected a string")
                    continue
                text = reader.string(each, child(place, second), "a string")
                maps[map_name][first][second] = text or ""
    return maps


def _names_of(value: Any) -> frozenset[str]:
    """The logical names, whatever else is wrong with the section."""
    return frozenset(name for name, _ in value.pairs) if is_object(value) else frozenset()


@dataclass(frozen=True, slots=True)
class _Names:
    """What can be referred to."""

    parameters: Mapping[str, str | None]
    resources: frozenset[str]
    kind: TemplateKind

    def problem(self, name: str) -> str | None:
        if name in self.parameters:
            if self.kind is TemplateKind.JITP and name not in self.kind.built_in and self.parameters[name] is None:
                return (
                    f"{shown(name)} has no value under just-in-time provisioning, where values come from the "
                    f"certificate alone; {one_of(sorted(self.kind.built_in))}, or a Default"
                )
            return None
        if name in self.resources or name in self.kind.built_in:
            return None
        known = sorted({*self.parameters, *self.resources})
        expected = f"{one_of(known)}, or" if known else "expected"
        return f"{shown(name)} is neither a parameter nor a resource; {expected} a declaration in Parameters"


def _resources(reader: Reader, value: Any, kind: TemplateKind, *, present: bool) -> list[ResourcePart]:
    findings = reader.findings
    if not present:
        findings.error("$", "the section Resources is missing; expected at least one resource")
        return []
    before = len(findings.errors)
    found = reader.members(value, "$.Resources", "an object of resources")
    if not found and len(findings.errors) == before:
        findings.error("$.Resources", "no resource; expected at least one")
    each_reader = ResourceReader(reader, kind)
    parts: list[ResourcePart] = []
    for name, each in found.items():
        part = each_reader.read(name, each, child("$.Resources", name))
        if part is None:
            continue
        if not isinstance(part, PolicyPart) and any(type(other) is type(part) for other in parts):
            what = "thing" if isinstance(part, ThingPart) else "certificate"
            findings.error(child("$.Resources", name), f"a second {what}; expected at most one")
        parts.append(part)
    if kind.is_for_a_certificate and found and not any(isinstance(part, CertificatePart) for part in parts):
        findings.error(
            "$.Resources",
            "no resource of type AWS::IoT::Certificate; expected one, else the device's certificate is never activated",
        )
    return parts


def _device_configuration(reader: Reader, value: Any) -> dict[str, TextExpression]:
    path = "$.DeviceConfiguration"
    return {
        name: reader.text(each, child(path, name))
        for name, each in reader.members(value, path, "an object of names and strings").items()
    }


def _in_order(content: Content, findings: Findings) -> list[ResourcePart]:
    """The resources, each after those that it refers to; what cannot be had so is an error."""
    by_name = {part.logical_name: part for part in content.resources if not content.is_parameter(part.logical_name)}
    waiting = {}
    for part in content.resources:
        waiting[part.logical_name] = {name for name in identity_references(part) if name in by_name}
        for name in sorted({name for name in all_references(part) if name in by_name}):
            target = by_name[name]
            if isinstance(target, CertificatePart) and target.source is Source.CSR:
                findings.error(
                    child("$.Resources", part.logical_name),
                    f"refers to {shown(name)}, whose certificateId is not known before the certificate is issued",
                )
    ordered: list[ResourcePart] = []
    while waiting:
        ready = [name for name, names in waiting.items() if not names & waiting.keys()]
        if not ready:
            circle = ", ".join(shorten(name) for name in list(waiting)[:8])
            findings.error("$.Resources", f"resources that refer to each other in a circle: {circle}")
            return list(content.resources)
        for name in ready:
            del waiting[name]
            ordered += [part for part in content.resources if part.logical_name == name]
    return ordered
