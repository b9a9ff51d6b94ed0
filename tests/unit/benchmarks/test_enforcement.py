"""The policies of the enforcement benchmark are what it says they are."""

from __future__ import annotations

import pytest
from benchmarks.enforcement import POLICIES, parse, real_policies

from handfast.core.policy.actions import Action
from handfast.core.policy.document import parse_document
from handfast.core.policy.evaluate import Outcome, Policy, compile_policies
from handfast.core.policy.reading import MAX_CHARACTERS

ACCOUNT = "123456789012"
ARN = f"arn:aws:iot:us-east-1:{ACCOUNT}:"
VALUES = {
    "iot:ClientId": ("d00001",),
    "aws:SourceIp": ("127.0.0.1",),
    "iot:Certificate.Subject.CommonName": ("d00001",),
}


def test_ten_long_policies_allow_a_device_its_own_topics_and_no_others() -> None:
    documents = real_policies(ACCOUNT)
    assert POLICIES == len(documents)
    assert all(MAX_CHARACTERS * 0.85 < len(text) <= MAX_CHARACTERS for text in documents)
    policies = [Policy(f"p{n}", "1", parse_document(text)) for n, text in enumerate(documents)]
    compiled = compile_policies(policies, VALUES)
    for action, resource, outcome in (
        (Action.CONNECT, "client/d00001", Outcome.ALLOWED),
        (Action.CONNECT, "client/d00002", Outcome.IMPLICIT_DENY),
        (Action.PUBLISH, "topic/dev/d00001/up/1", Outcome.ALLOWED),
        (Action.PUBLISH, "topic/dev/d00002/up/1", Outcome.IMPLICIT_DENY),
        (Action.RECEIVE, "topic/dev/d00002/up/1", Outcome.ALLOWED),
        (Action.PUBLISH, "topic/x/site-3-2/d00001/a/d00001/y", Outcome.EXPLICIT_DENY),
    ):
        assert outcome == compiled.decide(action, ARN + resource).outcome, resource


def test_rounds_are_bounded() -> None:
    with pytest.raises(SystemExit):
        parse(["--rounds", "0"])
    assert 1 == parse(["--quick", "--server-core", "0", "--load-core", "0"]).rounds
