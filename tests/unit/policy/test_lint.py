"""tests/vectors/policy/lint.json holds, and no document makes lint slow or fail."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from handfast.core.policy.lint import Severity, lint_document

_FILE = Path(__file__).parents[2] / "vectors/policy/lint.json"
CASES = json.loads(_FILE.read_text())["cases"]
ACCOUNT, REGION = "111122223333", "us-east-1"


def document(statements: Any) -> str:
    rows = [_statement(each) for each in statements] if isinstance(statements, list) else _statement(statements)
    return json.dumps({"Version": "2012-10-17", "Statement": rows}).replace('"@', f'"arn:aws:iot:{REGION}:{ACCOUNT}:')


def _statement(row: Any) -> Any:
    if isinstance(row, dict):
        return row
    effect, action, resource, *condition = row
    found = {"Effect": effect, "Action": action, "Resource": resource}
    return found | {"Condition": condition[0]} if condition else found


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_case_of_the_table(case: dict[str, Any]) -> None:
    found = lint_document(document(case["statements"]), account=ACCOUNT, region=REGION)
    assert case["findings"] == [[each.code, each.path] for each in found]
    assert all(each.message and each.instead for each in found)


def test_the_checks_of_aws_have_its_names_and_severities() -> None:
    broad, *_ = lint_document(document([["Allow", "iot:Connect", "@client/*"]]))
    assert ("IOT_POLICY_OVERLY_PERMISSIVE_CHECK", Severity.CRITICAL) == (broad.check, broad.severity)
    deny, *_ = lint_document(document([["Deny", "iot:Receive", "@topic/a/#"]]))
    assert ("IOT_POLICY_POTENTIAL_MISCONFIGURATION_CHECK", Severity.MEDIUM) == (deny.check, deny.severity)


def test_without_an_account_the_first_whole_arn_says_where_it_is() -> None:
    text = document([["Allow", "iot:Connect", ["@client/a", "arn:aws:iot:us-east-1:999999999999:client/a"]]])
    (found,) = lint_document(text)
    assert ("RESOURCE_OF_ANOTHER_ACCOUNT_OR_REGION", "$.Statement[0].Resource[1]") == (found.code, found.path)


@pytest.mark.parametrize(
    "resource",
    ["arn:aws:iot:" + "*?" * 880, "arn:aws:iot:us-east-1:111122223333:topicfilter/" + "a/" * 800 + "*", "*" * 1800],
)
def test_a_hostile_document_is_judged_in_bounded_time(resource: str) -> None:
    before = time.process_time()
    lint_document(document([["Deny", "*", resource], ["Allow", "*", "*"]]))
    assert 2 > time.process_time() - before
