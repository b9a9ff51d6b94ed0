"""What holds for any text, any template and any parameters: nothing but the named errors, bounded work and output."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.core.provisioning.plan import Plan, ProvisioningFailed
from handfast.core.provisioning.template import (
    Severity,
    Template,
    TemplateError,
    TemplateKind,
    lint_template,
    read_template,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/provisioning/plans.json").read_text())
ID = "AWS::IoT::Certificate::Id"
CERTIFICATE = {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": ID}}}
WORDS = st.sampled_from(
    [
        "Ref",
        "Fn::Join",
        "Fn::Select",
        "Fn::FindInMap",
        "Fn::Split",
        "Fn::Sub",
        "Fn::",
        "Parameters",
        "Resources",
        "Type",
    ]
    + [
        "Properties",
        "OverrideSettings",
        "ThingName",
        "PolicyDocument",
        "thing",
        "SerialNumber",
        "${SerialNumber}",
        "*",
        "",
    ]
)
VALUES = st.recursive(
    WORDS | st.text(max_size=8) | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(TemplateKind)


def read_or_refuse(text: str, kind: TemplateKind) -> Template | None:
    """The template, or None when it was refused with what lint finds too."""
    errors = [each for each in lint_template(text, kind) if each.severity is Severity.ERROR]
    if not errors:
        return read_template(text, kind)
    with pytest.raises(TemplateError) as refused:
        read_template(text, kind)
    assert errors == list(refused.value.findings)
    assert len(str(refused.value)) < 2100
    return None


def plan_or_fail(template: Template, parameters: dict[str, str]) -> Plan | str:
    try:
        return template.plan(parameters)
    except ProvisioningFailed as error:
        return str(error)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON document, the document's own first."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in items for place in places(each, (*path, key)))]


@given(st.text(max_size=200), KINDS)
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_template_or_refused(text: str, kind: TemplateKind) -> None:
    read_or_refuse(text, kind)


@given(VALUES, KINDS)
@settings(max_examples=60, deadline=None)
def test_any_json_is_a_template_or_refused(value: Any, kind: TemplateKind) -> None:
    read_or_refuse(json.dumps(value), kind)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_template_with_one_value_replaced_is_read_and_planned_or_refused(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(VECTORS))
    template = copy.deepcopy(case["template"])
    path = data.draw(st.sampled_from(places(template)[1:]))
    target = template
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = data.draw(VALUES)
    kind = case["kind"] if isinstance(case["kind"], str) else case["kind"][0]
    read = read_or_refuse(json.dumps(template), TemplateKind(kind))
    if read is not None:
        parameters = data.draw(st.dictionaries(st.sampled_from([*read.parameters, ID]), st.text(max_size=20)))
        given_values = {**case["parameters"], **parameters}
        made = plan_or_fail(read, given_values)
        assert made == plan_or_fail(read, dict(reversed(given_values.items())))
        assert len(str(made)) < 100_000


def device_configuration(expression: Any) -> Template:
    """A template of fleet provisioning with the parameters P and Q that sends the expression's value to the device."""
    return read_template(
        json.dumps(
            {
                "Parameters": {"P": {"Type": "String"}, "Q": {"Type": "String"}},
                "Resources": {"certificate": CERTIFICATE},
                "DeviceConfiguration": {"value": expression},
            }
        ),
        TemplateKind.FLEET,
    )


def value_of(expression: Any, p: str, q: str = "") -> str:
    given_values = {"P": p, "Q": q, ID: "a" * 64}
    return device_configuration(expression).plan(given_values).device_configuration["value"]


@given(st.text(max_size=30), st.sampled_from([",", "--", "a", "/"]))
@settings(max_examples=40, deadline=None)
def test_join_undoes_split(text: str, delimiter: str) -> None:
    assert text == value_of({"Fn::Join": [delimiter, {"Fn::Split": [delimiter, {"Ref": "P"}]}]}, text)


@given(st.lists(st.text(alphabet="ab-", max_size=5), min_size=1, max_size=5), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_select_of_split_is_an_element_or_a_failure(parts: list[str], index: int) -> None:
    expression = {"Fn::Select": [{"Ref": "Q"}, {"Fn::Split": [",", {"Ref": "P"}]}]}
    if index < len(parts):
        assert parts[index] == value_of(expression, ",".join(parts), str(index))
    else:
        with pytest.raises(ProvisioningFailed, match="outside of a list"):
            value_of(expression, ",".join(parts), str(index))


@given(st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=40, deadline=None)
def test_sub_puts_values_in_and_looks_at_none_of_them(first: str, second: str) -> None:
    assert f"<{first}|{second}>" == value_of({"Fn::Sub": "<${P}|${Q}>"}, first, second)


# --- hostile ----------------------------------------------------------------------------------------------------------


def nested(levels: int, around: Any) -> Any:
    found: Any = {"Ref": "P"}
    for _ in range(levels):
        found = around(found)
    return found


def test_substitutions_in_substitutions_do_not_double_the_work() -> None:
    tree = nested(8, lambda inner: {"Fn::Sub": ["${v}" * 60, {"v": inner}]})
    template = device_configuration(tree)
    begun = time.process_time()
    assert 0 == len(template.plan({"P": "", "Q": "", ID: "a" * 64}).device_configuration["value"])
    with pytest.raises(ProvisioningFailed, match="more than 65536 characters"):
        template.plan({"P": "x", "Q": "", ID: "a" * 64})
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "expression",
    [
        {"Fn::Join": ["", [{"Ref": "P"}] * 400]},
        {"Fn::Sub": "${P}" * 1200},
        {"Fn::Join": ["", {"Fn::Split": ["x", {"Fn::Join": ["", [{"Ref": "P"}] * 3]}]}]},
        nested(9, lambda inner: {"Fn::Join": ["", [inner, {"Ref": "P"}]]}),
    ],
    ids=["join", "sub", "split", "nested"],
)
def test_values_that_grow_are_ended(expression: Any) -> None:
    begun = time.process_time()
    with pytest.raises(ProvisioningFailed, match=r"characters|parts"):
        value_of(expression, "x" * 60_000)
    assert time.process_time() - begun < 1


def test_all_values_together_are_bounded() -> None:
    template = read_template(
        json.dumps(
            {
                "Parameters": {"P": {"Type": "String"}},
                "Resources": {"certificate": CERTIFICATE},
                "DeviceConfiguration": {f"k{n}": {"Ref": "P"} for n in range(300)},
            }
        ),
        TemplateKind.FLEET,
    )
    with pytest.raises(ProvisioningFailed, match="262144 characters"):
        template.plan({"P": "x" * 1500, ID: "a" * 64})
    with pytest.raises(ProvisioningFailed, match="DeviceConfiguration has"):
        template.plan({"P": "x" * 300, ID: "a" * 64})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_240,
        '{"a":' * 2048,
        '{"Resources":' + "[" * 5000 + "]" * 5000 + "}",
        json.dumps({"Parameters": {f"p{n}": {} for n in range(800)}}),
        '{"Resources": {' + ",".join(['"t": 1'] * 900) + "}}",
        json.dumps({"Resources": {f"p{n}": {"Type": "X", "Properties": {"Ref": 1}} for n in range(180)}}),
        json.dumps({"DeviceConfiguration": {f"{n}": {"Ref": "q"} for n in range(500)}, "Resources": {}}),
        json.dumps({"DeviceConfiguration": {"a": {"Fn::Sub": "${" * 4000}}, "Resources": {}}),
        '{"Parameters": ' + "9" * 10_000 + "}",
    ],
    ids=["brackets", "objects", "lists", "parameters", "twice", "resources", "references", "sub", "number"],
)
def test_hostile_texts_are_refused_at_once(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(TemplateError) as refused:
        read_template(text, TemplateKind.FLEET)
    assert time.process_time() - begun < 1
    assert len(refused.value.findings) <= 100
    assert len(str(refused.value)) < 2100


def test_a_chain_of_resources_is_followed_however_long() -> None:
    chain = {"p0": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "first"}}}
    for n in range(1, 120):
        chain[f"p{n}"] = {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": {"Ref": f"p{n - 1}"}}}
    resources = dict(reversed(chain.items()))
    plan = read_template(json.dumps({"Resources": resources}), TemplateKind.REGISTER_THING).plan({})
    assert ["first"] * 120 == [policy.policy_name for policy in plan.policies]
