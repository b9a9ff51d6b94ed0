"""DescribeEndpoint: types, and the region made ready."""

from __future__ import annotations

import pytest
from tests.support.operations import refusal
from tests.support.registry import OTHER_REGION, SCOPE, Plane, caller

from handfast.errors import InvalidRequestError


async def test_an_endpoint_is_described_and_its_region_made_ready(plane: Plane) -> None:
    data = (await plane.call("DescribeEndpoint", endpoint_type="iot:Data-ATS"))["endpoint_address"]
    assert data.endswith("-ats.iot.us-east-1.example.test")
    for spelled in ("iot:Data-ATS", "IoT:Data-ATS"):
        assert {"endpoint_address": data} == await plane.call("DescribeEndpoint", endpoint_type=spelled)
    assert SCOPE == plane.endpoints.resolve_sni(data)
    credentials = (await plane.call("DescribeEndpoint", endpoint_type="iot:CredentialProvider"))["endpoint_address"]
    assert data.replace("-ats.iot.", ".credentials.iot.") == credentials
    jobs = (await plane.call("DescribeEndpoint", endpoint_type="iot:Jobs"))["endpoint_address"]
    assert data.replace("-ats.iot.", ".jobs.iot.") == jobs
    await plane.call("DescribeEndpoint", caller(OTHER_REGION), endpoint_type="iot:Data-ATS")
    assert "eu-west-1" == plane.regions[-1]
    assert 1 == sum(change.subject == data[:14] for change in plane.notified)


@pytest.mark.parametrize("kind", [None, "iot:Data", "iot:Data-Beta", "iot:DeviceAdvisor", "iot:data-ats", "x"])
async def test_other_endpoint_types_are_invalid(plane: Plane, kind: str | None) -> None:
    assert InvalidRequestError is type(await refusal(plane, "DescribeEndpoint", endpoint_type=kind))
    assert [] == plane.endpoints.all()
