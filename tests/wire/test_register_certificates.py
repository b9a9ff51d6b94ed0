"""RegisterCertificates on the wire: how many, how long, and that a long request does not hold up the loop."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.inprocess import CountingEntropy, SystemClock, client, known_keys

from handfast.control.bulk_registration import BODY_LIMITS
from handfast.wire.sigv4 import Authenticator
from handfast.wire.skeleton import LARGE_BODY_BYTES, ApiApplication, ApiRefusal, MountedService
from handfast.wire.spec import load_service

PEM = "-----BEGIN CERTIFICATE-----\n" + ("A" * 64 + "\n") * 24 + "-----END CERTIFICATE-----\n"


class Plane:
    """The mounted service over a handler that registers everything."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.refused: list[ApiRefusal] = []
        clock = SystemClock()
        handlers = {"RegisterCertificates": self.register, "ListAccounts": self.register}
        service = MountedService(load_service("handfast"), handlers, body_limits=BODY_LIMITS)
        self.application = ApiApplication(
            [service], Authenticator(known_keys, clock), clock, CountingEntropy(), self.refused.append
        )
        self.api = client("handfast", self.application)

    async def register(self, ctx: Any, **members: Any) -> dict[str, Any]:
        self.seen.append(members)
        result = {"certificate_id": "ab" * 32, "outcome": "registered", "certificate_status": "ACTIVE"}
        return {"results": [result for _ in members["certificates"]]}


def test_500_of_usual_size_are_read_and_answered_one_by_one() -> None:
    plane = Plane()
    entries = [{"certificatePem": PEM, "status": "ACTIVE"}] * 500
    answer = plane.api.register_certificates(certificates=entries, requireCa=True)
    result = {"certificateId": "ab" * 32, "outcome": "registered", "certificateStatus": "ACTIVE"}
    assert [result] * 500 == answer["results"]
    (members,) = plane.seen
    assert {"certificate_pem": PEM, "status": "ACTIVE"} == members["certificates"][499]
    assert members["require_ca"] is True


def test_more_than_500_are_refused() -> None:
    plane = Plane()
    with pytest.raises(ClientError) as caught:
        plane.api.register_certificates(certificates=[{"certificatePem": "x"}] * 501)
    assert "InvalidRequestException" == caught.value.response["Error"]["Code"]
    assert [] == plane.seen


def test_the_body_is_bounded_at_4_mb() -> None:
    plane = Plane()
    plane.api.register_certificates(certificates=[{"certificatePem": "x" * (3 * 1024 * 1024)}])
    with pytest.raises(ClientError) as caught:
        plane.api.register_certificates(certificates=[{"certificatePem": "x" * (4 * 1024 * 1024)}])
    assert 413 == caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
    assert 1 == len(plane.seen)


def test_a_long_request_is_read_and_answered_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from handfast.wire import skeleton

    threads: dict[str, list[bool]] = {"parse": [], "serialize": []}
    for name in threads:
        real = getattr(skeleton, name)

        def watched(*arguments: Any, _name: str = name, _real: Any = real) -> Any:
            threads[_name].append(threading.current_thread() is threading.main_thread())
            return _real(*arguments)

        monkeypatch.setattr(skeleton, name, watched)
    plane = Plane()
    plane.api.register_certificates(certificates=[{"certificatePem": "x"}])
    plane.api.register_certificates(certificates=[{"certificatePem": "x" * LARGE_BODY_BYTES}])
    assert {"parse": [True, False], "serialize": [True, False]} == threads


def test_a_limit_names_an_operation() -> None:
    with pytest.raises(ValueError, match="Nonsense"):
        MountedService(load_service("handfast"), {}, body_limits={"Nonsense": 1})
