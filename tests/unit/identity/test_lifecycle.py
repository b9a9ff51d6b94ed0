"""Every pair of status and event: allowed as the table says, or forbidden with the specified error."""

from __future__ import annotations

import itertools

import pytest

from handfast.core.identity.ids import CertificateId
from handfast.core.identity.lifecycle import (
    KEPT_FROM_DELETION,
    TRANSITIONS,
    CertificateEvent,
    next_status,
    register_event,
    update_event,
)
from handfast.core.identity.records import CertificateStatus
from handfast.errors import (
    CertificateStateError,
    InvalidRequestError,
    ServiceError,
    TransferAlreadyCompletedError,
)

ID = CertificateId("ab" * 32)
NONE = "(not registered)"
# spec/certificates.md §4 and §6, written out again: rows are the status, columns the event.
ALLOWED = {
    NONE: {
        "REGISTER_ACTIVE": "ACTIVE",
        "REGISTER_INACTIVE": "INACTIVE",
        "REGISTER_REVOKED": "REVOKED",
        "REGISTER_JUST_IN_TIME": "PENDING_ACTIVATION",
    },
    "ACTIVE": {"UPDATE_TO_ACTIVE": "ACTIVE", "UPDATE_TO_INACTIVE": "INACTIVE", "UPDATE_TO_REVOKED": "REVOKED"},
    "INACTIVE": {
        "UPDATE_TO_ACTIVE": "ACTIVE",
        "UPDATE_TO_INACTIVE": "INACTIVE",
        "UPDATE_TO_REVOKED": "REVOKED",
        "TRANSFER": "PENDING_TRANSFER",
    },
    "REVOKED": {"UPDATE_TO_REVOKED": "REVOKED"},
    "PENDING_TRANSFER": {"ACCEPT": "INACTIVE", "ACCEPT_ACTIVE": "ACTIVE", "REJECT": "INACTIVE", "CANCEL": "INACTIVE"},
    "PENDING_ACTIVATION": {
        "UPDATE_TO_ACTIVE": "ACTIVE",
        "UPDATE_TO_INACTIVE": "INACTIVE",
        "UPDATE_TO_REVOKED": "REVOKED",
    },
    "REGISTER_INACTIVE": {},
}
PAIRS = list(itertools.product([None, *CertificateStatus], CertificateEvent))


def expected_error(event: CertificateEvent) -> type[ServiceError]:
    if event == "UPDATE_TO_REGISTER_INACTIVE":
        return InvalidRequestError
    if event in ("ACCEPT", "ACCEPT_ACTIVE", "REJECT", "CANCEL"):
        return TransferAlreadyCompletedError
    return CertificateStateError


@pytest.mark.parametrize(("status", "event"), PAIRS)
def test_every_pair_is_allowed_or_forbidden_as_specified(
    status: CertificateStatus | None, event: CertificateEvent
) -> None:
    expected = ALLOWED[status or NONE].get(event)
    if expected is not None:
        assert expected == next_status(status, event, ID)
    else:
        with pytest.raises(ServiceError) as caught:
            next_status(status, event, ID)
        assert expected_error(event) is type(caught.value)


def test_nothing_leads_to_the_deprecated_status() -> None:
    assert CertificateStatus.REGISTER_INACTIVE not in TRANSITIONS.values()


def test_what_is_revoked_stays_revoked() -> None:
    assert {"REVOKED"} == {new for (old, _), new in TRANSITIONS.items() if old is CertificateStatus.REVOKED}


def test_only_active_and_transferred_certificates_are_kept_from_deletion() -> None:
    assert {"ACTIVE", "PENDING_TRANSFER"} == KEPT_FROM_DELETION


@pytest.mark.parametrize("status", CertificateStatus)
def test_each_new_status_of_an_update_has_its_event(status: CertificateStatus) -> None:
    assert f"UPDATE_TO_{status}" == update_event(status)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("PENDING_ACTIVATION", "Not allowed to register certificate with PENDING_ACTIVATION status"),
        ("PENDING_TRANSFER", "Not allowed to register certificate with PENDING_TRANSFER status"),
    ],
)
def test_registering_with_a_status_of_the_service_is_a_state_error(status: str, message: str) -> None:
    with pytest.raises(CertificateStateError) as caught:
        register_event(CertificateStatus(status))
    assert message == caught.value.message


def test_registering_as_register_inactive_is_invalid() -> None:
    with pytest.raises(InvalidRequestError):
        register_event(CertificateStatus.REGISTER_INACTIVE)


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE", "REVOKED"])
def test_registering_with_a_usable_status_gives_it(status: str) -> None:
    assert status == next_status(None, register_event(CertificateStatus(status)), ID)
