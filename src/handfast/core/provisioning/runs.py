"""What came of provisioning a device at its connection: a record for the people who run the fleet."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from handfast.core.identity.ids import CertificateId, Scope, ThingName
from handfast.core.provisioning.plan import FailureKind

MAX_MESSAGE_CHARACTERS = 1000


class RunOutcome(StrEnum):
    """Everything that the template says is so, or nothing changed."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningRun:
    """
    One run of a CA's template for one device, or several that failed alike: `attempts`, the latest at `at`.

    `template_name` and `template_version` are None where the CA has a template body of its own. Of a failure:
    `resource` is the logical name ("" for the template as a whole), `message` says what was seen and what to do.
    """

    scope: Scope
    run_id: str
    at: dt.datetime
    certificate_id: CertificateId
    ca_certificate_id: CertificateId
    template_name: str | None
    template_version: int | None
    outcome: RunOutcome
    attempts: int = 1
    thing_name: ThingName | None = None
    resource: str = ""
    kind: FailureKind | None = None
    message: str = ""
