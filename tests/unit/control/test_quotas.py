"""The control plane's rate quotas: a second's worth of calls for each account, region and operation."""

from __future__ import annotations

import pytest
from tests.support.registry import OTHER_ACCOUNT, OTHER_REGION, SCOPE, caller

from handfast.control.quotas import CALLS_PER_S, CallRates
from handfast.core.identity.ids import Scope
from handfast.errors import ThrottlingError
from handfast.wire.spec import load_service


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def admitted(rates: CallRates, operation: str, scope: Scope | None = SCOPE, *, tries: int = 40) -> int:
    count = 0
    for _ in range(tries):
        try:
            rates.admit(caller(scope), operation)
        except ThrottlingError:
            continue
        count += 1
    return count


@pytest.mark.parametrize(("operation", "rate"), [("UpdateCertificate", 10), ("CreateCertificateFromCsr", 15)])
def test_a_seconds_worth_comes_back_at_a_steady_rate(operation: str, rate: int) -> None:
    time = Time()
    rates = CallRates(time)
    assert rate == admitted(rates, operation)
    time.now += 1 / rate
    assert 1 == admitted(rates, operation)
    time.now += 0.5
    assert rate // 2 == admitted(rates, operation)
    time.now += 60
    assert rate == admitted(rates, operation), "no more than a second's worth is saved up"


def test_accounts_regions_and_operations_do_not_spend_each_others_calls() -> None:
    rates = CallRates(Time())
    for scope in (SCOPE, OTHER_ACCOUNT, OTHER_REGION):
        for operation in ("UpdateCertificate", "DescribeCertificate"):
            assert 10 == admitted(rates, operation, scope)


def test_the_operator_and_operations_without_a_quota_are_not_limited() -> None:
    rates = CallRates(Time())
    assert 40 == admitted(rates, "CreateThing")
    assert 40 == admitted(rates, "UpdateCertificate", None)
    assert 0 == len(rates)


def test_what_is_remembered_is_bounded_by_a_seconds_calls() -> None:
    time = Time()
    rates = CallRates(time)
    for number in range(5000):
        rates.admit(caller(Scope(SCOPE.account, f"region-{number}")), "ListCertificates")
        time.now += 0.01
    assert len(rates) <= 1025


def test_every_quota_is_an_operations() -> None:
    operations = load_service("iot").operations
    assert set() == CALLS_PER_S.keys() - operations.keys()
    assert all("ThrottlingException" in operations[name].errors for name in CALLS_PER_S)
