"""What the server knows of a certificate, asked through the public API: its registration, its rights, its refusals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from handfast.core.identity.ids import AccountId
from handfast.core.identity.refusal import ReasonCode, Refusal, Stage
from handfast.doctor.report import Report, State, Step, fail, ok, warn
from handfast.services.explanations import explain_code

_STATUS = {
    "INACTIVE": ReasonCode.CERTIFICATE_INACTIVE,
    "REVOKED": ReasonCode.CERTIFICATE_REVOKED,
    "PENDING_TRANSFER": ReasonCode.CERTIFICATE_PENDING_TRANSFER,
    "PENDING_ACTIVATION": ReasonCode.CERTIFICATE_PENDING_ACTIVATION,
}
REFUSALS = 3
POLICIES = 250


def examine(report: Report, iot: Any, certificate_id: str, client_id: str | None) -> None:
    """
    Status, policies, and whether iot:Connect would be allowed; with no client id that is left out.

    `iot` is a botocore client of the control plane, handfast's or AWS's. What
    cannot be asked is a WARN: the device may get in all the same.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    except ClientError as error:
        if _code(error) == "ResourceNotFoundException":
            report.add(_unregistered(certificate_id, str(iot.meta.region_name)))
        else:
            report.add(_not_asked("registry", error))
        report.skip(["policy"])
        return
    except BotoCoreError as error:
        report.add(_not_asked("registry", error))
        report.skip(["policy"])
        return
    arn = str(found["certificateArn"])
    report.add(_status(found, arn))
    try:
        report.add(_policy(iot, arn, client_id))
    except (ClientError, BotoCoreError) as error:
        report.add(_not_asked("policy", error))


def thing_of(iot: Any, certificate_arn: str) -> str | None:
    """The one thing that the certificate is attached to; None where there is none, several, or no answer."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        things = iot.list_principal_things(principal=certificate_arn)["things"]
    except (BotoCoreError, ClientError):
        return None
    return str(things[0]) if len(things) == 1 else None


def certificate_arn_of(iot: Any, certificate_id: str) -> str | None:
    """The ARN of a registered certificate; None where it is not registered or there is no answer."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return str(iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["certificateArn"])
    except (BotoCoreError, ClientError, KeyError):
        return None


_UP_TO_CONNECT = (Stage.TLS, Stage.ACCOUNT, Stage.CERTIFICATE, Stage.CONNECT)
"""The stages of a refusal that a device which gets in has behind it."""


def examine_refusals(report: Report, api: Any, certificate_id: str, trace_id: str | None) -> None:
    """
    What the server recorded: the refusal just met where it told a trace id, else the last ones of the certificate.

    `api` is a botocore client of /handfast/v1.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = api.explain(query=trace_id or certificate_id, maxResults=REFUSALS).get("refusals", [])
    except (BotoCoreError, ClientError) as error:
        report.add(_not_asked("record", error))
        return
    if not found:
        report.add(ok("record", "no refusal of this certificate is recorded"))
        return
    newest: Mapping[str, Any] = found[0]
    reasons: list[Mapping[str, Any]] = list(newest.get("reasons", ()))
    saw = f"{newest['at']:%Y-%m-%dT%H:%M:%SZ}, trace {newest['traceId']}: " + ", ".join(
        str(reason.get("code", "")) for reason in reasons
    )
    aws = [str(reason["awsLogReason"]) for reason in reasons if reason.get("awsLogReason")]
    if aws:
        saw += f" (AWS logs {', '.join(aws)})"
    why = " ".join(str(reason.get("explanation", "")) for reason in reasons)
    fix = str(reasons[0].get("fix", "")) if reasons else ""
    passed = [(step.name, step.state) for step in report.steps]
    if trace_id:
        report.add(fail("record", saw, why, fix))
    elif newest.get("stage") in _UP_TO_CONNECT and ("MQTT CONNECT", State.OK) in passed:
        report.add(ok("record", f"the device gets in now; it was refused last {saw}"))
    else:
        report.add(warn("record", f"last refusal {saw}", why, fix))


def _unregistered(certificate_id: str, region: str) -> Step:
    what, fix = _words(ReasonCode.CERTIFICATE_NOT_REGISTERED, certificate_id, region=region)
    fix += " With a registered CA that registers automatically, the first connection does it."
    return fail("registry", f"{certificate_id} is not registered in {region} of the account that was asked", what, fix)


def _status(found: Mapping[str, Any], arn: str) -> Step:
    status = str(found["status"])
    if status == "ACTIVE":
        return ok("registry", f"ACTIVE, {arn}")
    code = _STATUS.get(status)
    if code is None:
        return fail("registry", f"{status}, {arn}", "Only an ACTIVE certificate is let in.", "Activate it.")
    return fail("registry", f"{status}, {arn}", *_words(code, str(found["certificateId"]), arn=arn))


def _policy(iot: Any, arn: str, client_id: str | None) -> Step:
    """TestAuthorization of iot:Connect; of handfast, by the very engine that decides."""
    listed = iot.list_attached_policies(target=arn, recursive=False, pageSize=POLICIES)["policies"]
    names = [str(each["policyName"]) for each in listed]
    attached = f"attached: {', '.join(names[:8]) or 'none'}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if client_id is None:
        if names:
            return ok("policy", attached)
        return warn("policy", attached, "Only a policy of a thing group could let it in.", "Attach a policy.")
    resource = f"{arn.rpartition(':cert/')[0]}:client/{client_id}"
    (answer,) = iot.test_authorization(
        principal=arn, clientId=client_id, authInfos=[{"actionType": "CONNECT", "resources": [resource]}]
    )["authResults"]
    decision = str(answer["authDecision"])
    saw = f"iot:Connect on {resource}: {decision}; {attached}"
    if decision == "ALLOWED":
        return ok("policy", saw)
    code = ReasonCode.EXPLICIT_DENY if decision == "EXPLICIT_DENY" else ReasonCode.IMPLICIT_DENY
    if not names and decision != "EXPLICIT_DENY":
        code = ReasonCode.NO_POLICY_ATTACHED
    what, fix = _words(code, arn.rpartition("/")[2], arn=arn)
    if answer.get("missingContextValues"):
        what += f" Without a value: {', '.join(map(str, answer['missingContextValues']))}."
    return fail("policy", saw, what, fix)


def _words(code: ReasonCode, certificate_id: str, *, arn: str = "", region: str = "") -> tuple[str, str]:
    """What the record of refusals would say."""
    parts = arn.split(":")
    account, where = (AccountId(parts[4]), parts[3]) if len(parts) > 4 else (None, region)
    about = Refusal(
        trace_id="",
        at=dt.datetime.min.replace(tzinfo=dt.UTC),
        stage=Stage.CERTIFICATE,
        reasons=(),
        account=account,
        region=where,
        certificate_id=certificate_id,
    )
    explanation = explain_code(code, about)
    return explanation.what, explanation.fix


def _not_asked(name: str, error: Exception) -> Step:
    return warn(name, f"the API did not say: {error}", "The device may get in all the same.", "Check key and region.")


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
