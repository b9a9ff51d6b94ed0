"""An endpoint that speaks S3: read from a byte on, only while the object is the same, never without an end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.s3 import ACCESS_KEY, SECRET, ObjectServer, object_server

from handfast.bulk_inputs.configured import ConfiguredInputs
from handfast.core.identity.ids import AccountId
from handfast.core.provisioning.inputs import S3Bucket
from handfast.errors import InputUnavailable

FIRST = AccountId("123456789012")
LINES = b"one\ntwo\n"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture(scope="module")
def inputs(endpoint: ObjectServer) -> ConfiguredInputs:
    bucket = S3Bucket(
        endpoint_url=endpoint.url, bucket="devices", region="us-east-1", access_key_id=ACCESS_KEY, secret=SECRET
    )
    return ConfiguredInputs({"archive": bucket}, FIRST)


@pytest.fixture(autouse=True)
def _fresh(endpoint: ObjectServer) -> None:
    endpoint.objects = {"devices/in/lines.json": LINES}
    endpoint.asked, endpoint.cut, endpoint.ranges = [], None, True


def read(inputs: ConfiguredInputs, offset: int = 0, version: str | None = None) -> tuple[int, str, bytes]:
    found = inputs.open(FIRST, "archive", "in/lines.json", offset=offset, version=version)
    try:
        return found.size, found.version, found.read(3) + found.read(99) + found.read(99)
    finally:
        found.close()


def test_an_object_is_read_and_gone_on_with(inputs: ConfiguredInputs, endpoint: ObjectServer) -> None:
    inputs.check(FIRST, "archive", "in/lines.json")
    assert [] == endpoint.asked, "the endpoint is asked when the task reads"
    size, version, data = read(inputs)
    assert (8, LINES) == (size, data)
    assert (8, version, b"two\n") == read(inputs, 4, version)
    assert (8, version, b"") == read(inputs, 8, version)
    assert [None, "bytes=4-", "bytes=8-"] == endpoint.asked


def test_another_object_of_the_name_is_not_gone_on_with(inputs: ConfiguredInputs, endpoint: ObjectServer) -> None:
    _, version, _ = read(inputs)
    endpoint.objects["devices/in/lines.json"] = b"one\ntoo\n"
    with pytest.raises(InputUnavailable, match="changed"):
        read(inputs, 4, version)


def test_what_cannot_be_read_is_told(inputs: ConfiguredInputs, endpoint: ObjectServer) -> None:
    _, version, _ = read(inputs)
    endpoint.ranges = False
    with pytest.raises(InputUnavailable, match="ranges"):
        read(inputs, 4, version)
    endpoint.cut = 5
    with pytest.raises(InputUnavailable, match="cut off"):
        read(inputs)
    endpoint.objects.clear()
    with pytest.raises(InputUnavailable, match="NoSuchKey"):
        read(inputs)
