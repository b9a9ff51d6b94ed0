"""`--quotas aws`, as a client of the API sees it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.server import start
from tests.support.strict import Tenant, tenant

CALLS = 60


def outcome(side: Tenant) -> str:
    try:
        side.iot.get_registration_code()
    except side.iot.exceptions.ThrottlingException as error:
        return str(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return "ok"


def test_an_account_that_asks_too_often_is_throttled_and_others_are_not(tmp_path: Path) -> None:
    server = start(tmp_path / "data", "--quotas", "aws")
    try:
        one, two = tenant(server), tenant(server)
        with ThreadPoolExecutor(20) as pool:
            outcomes = list(pool.map(lambda _: outcome(one), range(CALLS)))
        assert {"ok", "400"} == set(outcomes)
        assert outcomes.count("ok") >= 10
        assert "ok" == outcome(two)
    finally:
        assert 0 == server.stop()
