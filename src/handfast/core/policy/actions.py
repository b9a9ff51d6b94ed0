"""The actions that a policy may name, in one table: wildcards in `Action` are matched against it."""

from __future__ import annotations

from enum import StrEnum

from handfast.core.policy.match import ANY_ONE, ANY_RUN, Glob, Token


class Action(StrEnum):
    """What a device, or a caller of the data plane, wants to do."""

    CONNECT = "iot:Connect"
    PUBLISH = "iot:Publish"
    RETAIN_PUBLISH = "iot:RetainPublish"
    SUBSCRIBE = "iot:Subscribe"
    RECEIVE = "iot:Receive"
    GET_RETAINED_MESSAGE = "iot:GetRetainedMessage"
    LIST_RETAINED_MESSAGES = "iot:ListRetainedMessages"
    GET_THING_SHADOW = "iot:GetThingShadow"
    UPDATE_THING_SHADOW = "iot:UpdateThingShadow"
    DELETE_THING_SHADOW = "iot:DeleteThingShadow"
    LIST_NAMED_SHADOWS_FOR_THING = "iot:ListNamedShadowsForThing"
    DESCRIBE_JOB_EXECUTION = "iotjobsdata:DescribeJobExecution"
    GET_PENDING_JOB_EXECUTIONS = "iotjobsdata:GetPendingJobExecutions"
    UPDATE_JOB_EXECUTION = "iotjobsdata:UpdateJobExecution"
    START_NEXT_PENDING_JOB_EXECUTION = "iotjobsdata:StartNextPendingJobExecution"
    # Older pages of the AWS guide give the jobs actions the prefix `iot:`.
    IOT_DESCRIBE_JOB_EXECUTION = "iot:DescribeJobExecution"
    IOT_GET_PENDING_JOB_EXECUTIONS = "iot:GetPendingJobExecutions"
    IOT_UPDATE_JOB_EXECUTION = "iot:UpdateJobExecution"
    IOT_START_NEXT_PENDING_JOB_EXECUTION = "iot:StartNextPendingJobExecution"
    ASSUME_ROLE_WITH_CERTIFICATE = "iot:AssumeRoleWithCertificate"
    DELETE_CONNECTION = "iot:DeleteConnection"
    GET_CONNECTION = "iot:GetConnection"
    LIST_SUBSCRIPTIONS = "iot:ListSubscriptions"
    SEND_DIRECT_MESSAGE = "iot:SendDirectMessage"


GRANTS_NOTHING = frozenset({"iot:publishretain"})
"""Lower-case names that the AWS console's quick start writes into policies although AWS checks no such action.
Harmless in an Allow; in a Deny the author believes in a protection that does not exist, so there they are refused."""

_BY_LOWER_NAME = {action.value.lower(): action for action in Action}


def expand(pattern: str) -> frozenset[Action]:
    """
    Every known action that `pattern` names; empty when it names none.

    Names compare case-insensitively; `*` is any run of characters, `?` exactly one.
    """
    lowered = pattern.lower()
    exact = _BY_LOWER_NAME.get(lowered)
    if exact is not None:
        return frozenset((exact,))
    if "*" not in lowered and "?" not in lowered:
        return frozenset()
    glob = Glob(_tokens(lowered))
    return frozenset(action for name, action in _BY_LOWER_NAME.items() if glob.matches(name))


def _tokens(pattern: str) -> list[Token]:
    tokens: list[Token] = []
    for character in pattern:
        tokens.append(ANY_RUN if character == "*" else ANY_ONE if character == "?" else character)
    return tokens
