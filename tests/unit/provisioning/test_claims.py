"""The policies of a claim are ones that the engine reads, however long the names in them are."""

from __future__ import annotations

import pytest
from tests.support.registry import SCOPE

from handfast.core.identity.ids import Scope
from handfast.core.policy.document import parse_document
from handfast.core.provisioning.claims import claim_policies
from handfast.core.provisioning.records import TemplateName


@pytest.mark.parametrize(
    ("region", "name"), [("us-east-1", "fleet"), ("us-gov-northwest-1", "n" * 36), ("r" * 63, "n" * 36)]
)
def test_every_policy_of_a_claim_can_be_read(region: str, name: str) -> None:
    policies = claim_policies(Scope(SCOPE.account, region), TemplateName(name))
    assert [2, 1, 1] == [len(parse_document(policy.document).statements) for policy in policies]
    assert 3 == len({policy.policy_name for policy in policies})
