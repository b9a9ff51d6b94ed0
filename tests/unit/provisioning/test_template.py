"""The template language, from its vectors; and what holds for any text and any parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handfast.core.provisioning.plan import Plan, ProvisioningFailed
from handfast.core.provisioning.template import (
    Severity,
    TemplateError,
    TemplateKind,
    lint_template,
    read_template,
)

FOLDER = Path(__file__).parents[2] / "vectors/provisioning"
KINDS = {"fleet", "jitp", "register", "bulk"}


def vectors(name: str) -> list[Any]:
    """The cases of a file, each of its kinds on its own."""
    cases = json.loads((FOLDER / f"{name}.json").read_text())
    return [
        pytest.param({**case, "kind": kind}, id=f"{kind}: {case['name']}")
        for case in cases
        for kind in ([case["kind"]] if isinstance(case["kind"], str) else case["kind"])
    ]


def text_of(case: dict[str, Any]) -> str:
    template = case["template"]
    return template if isinstance(template, str) else json.dumps(template)


def shape_of(plan: Plan) -> dict[str, Any]:
    """The plan as the vectors write it: nothing that is absent or its default."""
    found: dict[str, Any] = {}
    if plan.thing is not None:
        found["thing"] = _shape(plan.thing)
    if plan.certificate is not None:
        found["certificate"] = _shape(plan.certificate)
    if plan.policies:
        found["policies"] = [_shape(policy) for policy in plan.policies]
    if plan.device_configuration:
        found["device_configuration"] = dict(plan.device_configuration)
    return found


def _shape(resource: Any) -> dict[str, Any]:
    found = {name: getattr(resource, name) for name in resource.__slots__}
    defaults = {"DO_NOTHING", None, False, "ACTIVE"}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if isinstance(value, dict | tuple) or value not in defaults
    }


@pytest.mark.parametrize("case", vectors("plans"))
def test_a_template_makes_this_plan(case: dict[str, Any]) -> None:
    template = read_template(text_of(case), TemplateKind(case["kind"]))
    assert case["plan"] == shape_of(template.plan(case.get("parameters", {})))


@pytest.mark.parametrize("case", vectors("failures"))
def test_a_plan_cannot_be_made_and_the_resource_is_named(case: dict[str, Any]) -> None:
    template = read_template(text_of(case), TemplateKind(case["kind"]))
    with pytest.raises(ProvisioningFailed) as failed:
        template.plan(case.get("parameters", {}))
    assert (case["failure"], case["resource"]) == (failed.value.kind.value, failed.value.resource)
    assert case["says"] in str(failed.value)


@pytest.mark.parametrize("case", vectors("refused"))
def test_a_template_is_refused_with_the_place_of_each_mistake(case: dict[str, Any]) -> None:
    with pytest.raises(TemplateError) as refused:
        read_template(text_of(case), TemplateKind(case["kind"]))
    assert [each["path"] for each in case["findings"]] == [each.path for each in refused.value.findings]
    for expected, found in zip(case["findings"], refused.value.findings, strict=True):
        assert expected["says"] in found.message
        assert f"{found.path}: {found.message}" in str(refused.value)


@pytest.mark.parametrize("case", vectors("warnings"))
def test_a_template_that_can_be_used_is_warned_of(case: dict[str, Any]) -> None:
    found = lint_template(text_of(case), TemplateKind(case["kind"]))
    assert {Severity.WARNING} >= {each.severity for each in found}
    assert case["findings"] == [[each.code, each.path] for each in found]
