"""GetEffectivePolicies and TestAuthorization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, scope_of
from handfast.core.identity.arns import policy_arn, principal_certificate
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import PolicyName, Scope, ThingName
from handfast.core.policy.actions import Action
from handfast.errors import InvalidRequestError
from handfast.services.effective import Answer, EffectivePolicies, Question

_ACTIONS = {
    # actionType → the action, and what its resources begin with
    "CONNECT": (Action.CONNECT, "client/"),
    "PUBLISH": (Action.PUBLISH, "topic/"),
    "SUBSCRIBE": (Action.SUBSCRIBE, "topicfilter/"),
    "RECEIVE": (Action.RECEIVE, "topic/"),
}


class EffectivePolicyHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, effective: EffectivePolicies) -> None:
        self._effective = effective
        self.handlers: dict[str, Handler] = {
            "GetEffectivePolicies": self.get_effective_policies,
            "TestAuthorization": self.test_authorization,
        }

    async def get_effective_policies(
        self,
        ctx: Caller,
        *,
        principal: str | None = None,
        cognito_identity_pool_id: str | None = None,
        thing_name: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        _without_cognito(cognito_identity_pool_id)
        found = await self._effective.of(
            scope,
            principal_certificate(scope, principal) if principal else None,
            ThingName(thing_name) if thing_name else None,
        )
        return {"effective_policies": [_named(scope, each.name) | {"policy_document": each.document} for each in found]}

    async def test_authorization(
        self,
        ctx: Caller,
        *,
        auth_infos: Sequence[Mapping[str, Any]],
        principal: str | None = None,
        cognito_identity_pool_id: str | None = None,
        client_id: str | None = None,
        policy_names_to_add: Sequence[str] | None = None,
        policy_names_to_skip: Sequence[str] | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        _without_cognito(cognito_identity_pool_id)
        if not principal:
            raise InvalidRequestError("The principal is missing: give the ARN of a certificate")
        answers = await self._effective.test(
            scope,
            principal_certificate(scope, principal),
            [_question(scope, info) for info in auth_infos],
            client_id=client_id or None,
            add=[PolicyName(name) for name in policy_names_to_add or ()],
            skip=[PolicyName(name) for name in policy_names_to_skip or ()],
        )
        return {
            "auth_results": [_result(scope, info, answer) for info, answer in zip(auth_infos, answers, strict=True)]
        }


def _without_cognito(pool: str | None) -> None:
    if pool:
        raise InvalidRequestError("Amazon Cognito identities are not supported: leave out cognitoIdentityPoolId")


def _question(scope: Scope, info: Mapping[str, Any]) -> Question:
    kind = info.get("action_type")
    if kind not in _ACTIONS:
        raise InvalidRequestError(f"actionType must be one of {', '.join(_ACTIONS)}")
    action, beginning = _ACTIONS[kind]
    prefix = f"arn:aws:iot:{scope.region}:{scope.account}:{beginning}"
    resources: Sequence[str] = info["resources"]
    for resource in resources:
        if not resource.startswith(prefix) or resource == prefix:
            raise InvalidRequestError(f"A resource of actionType {kind} must be an ARN that begins with {prefix}")
    if not resources:
        raise InvalidRequestError("resources is empty: give at least one ARN")
    return Question(action=action, resources=resources)


def _result(scope: Scope, info: Mapping[str, Any], answer: Answer) -> Result:
    def policies(names: Sequence[PolicyName]) -> Result:
        return {"policies": [_named(scope, name) for name in names]}

    return {
        "auth_info": {"action_type": info["action_type"], "resources": list(info["resources"])},
        "allowed": policies(answer.allowing),
        "denied": {"implicit_deny": policies(answer.silent), "explicit_deny": policies(answer.denying)},
        "auth_decision": str(answer.outcome),
        "missing_context_values": list(answer.missing),
    }


def _named(scope: Scope, name: PolicyName) -> Result:
    return {"policy_name": name, "policy_arn": policy_arn(scope, name)}
