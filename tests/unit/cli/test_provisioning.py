"""`handfast provisioning runs` against the API in this process."""

from __future__ import annotations

from typing import Any

from tests.support.command_line import CommandLine
from tests.support.registry import NOW, SCOPE, cause, certificate

from handfast.core.identity.ids import CertificateId, ThingName
from handfast.core.identity.records import CertificateStatus
from handfast.core.provisioning.plan import FailureKind
from handfast.core.provisioning.runs import ProvisioningRun, RunOutcome

RUN = "0f9e8d7c-0000-4000-8000-00000000000"
READY, WAITING = "d" * 64, "e" * 64


def record(handfast: CommandLine, number: int, device: str, **members: Any) -> None:
    given: dict[str, Any] = {"outcome": RunOutcome.SUCCEEDED, "thing_name": ThingName("lamp-7")} | members
    run = ProvisioningRun(
        scope=SCOPE,
        run_id=f"{RUN}{number}",
        at=NOW,
        certificate_id=CertificateId(device),
        ca_certificate_id=CertificateId("a" * 64),
        template_name="a-template-with-a-name-of-36-letters",
        template_version=3,
        **given,
    )
    handfast.wait(handfast.store.record_provisioning_run(run))


def test_failed_lists_who_still_waits_in_a_hundred_columns(handfast: CommandLine) -> None:
    assert ["no device whose last run failed"] == handfast.ok("provisioning", "runs", "--failed").lines
    said = "Thing type lamp does not exist in this account and region: create it, or take it out of the template"
    failed = {"outcome": RunOutcome.FAILED, "resource": "thing", "kind": FailureKind.MISSING, "message": said}
    for number, device, members in ((1, READY, failed), (2, WAITING, failed), (3, READY, {})):
        record(handfast, number, device, **members)
    lines = handfast.ok("provisioning", "runs", "--failed").lines
    assert ["date", "outcome", "attempts", "run"] == lines[0].split()
    assert lines[1].endswith(f"{RUN}2")
    assert f"  certificate {WAITING}" == lines[2]
    assert "  template a-template-with-a-name-of-36-letters version 3, thing lamp-7" == lines[3]
    assert f"failed: thing: {said}" == " ".join(" ".join(lines[4:]).split())
    assert 100 >= max(map(len, lines))
    assert READY not in "".join(lines)
    waiting = certificate(certificate_id=CertificateId(WAITING), status=CertificateStatus.PENDING_ACTIVATION)
    handfast.wait(handfast.store.insert_certificate(waiting, cause()))
    assert [f"{RUN}2"] == [run["runId"] for run in handfast.ok("provisioning", "runs", "--failed", "--json").json]
    handfast.ok("cert", "activate", WAITING)
    assert [] == handfast.ok("provisioning", "runs", "--failed", "--json").json, "somebody decided by hand"
    everything = handfast.ok("provisioning", "runs", "--json").json
    assert [f"{RUN}{number}" for number in (3, 2, 1)] == [run["runId"] for run in everything]
