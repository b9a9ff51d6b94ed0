"""The endpoint directory: names that stay, and the account found from a server name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    FakeEntropy,
    cause,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.ids import Scope
from handfast.errors import InvalidRequestError, ServiceUnavailableError, StoreConflict
from handfast.ports import Change, ChangeKind
from handfast.services import endpoints as module
from handfast.services.endpoints import EndpointDirectory, EndpointService, check_region, new_prefix
from handfast.storage.sql import SQLStore


async def silent(changes: Sequence[Change]) -> None:
    del changes


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLStore]:
    async with sqlite_store(tmp_path) as opened:
        await with_accounts(opened)
        yield opened


@pytest.fixture
def directory(store: SQLStore) -> EndpointDirectory:
    return EndpointDirectory(store, FakeEntropy(), "IoT.Example.TEST", silent)


async def test_an_endpoint_is_the_same_for_ever(store: SQLStore, directory: EndpointDirectory) -> None:
    name = await directory.ensure(SCOPE, cause())
    prefix, _, rest = name.partition("-ats.iot.")
    assert "us-east-1.iot.example.test" == rest
    assert 14 == len(prefix)
    assert set("abcdefghijklmnopqrstuvwxyz0123456789") >= set(prefix)
    assert name == await directory.ensure(SCOPE, cause())
    restarted = EndpointDirectory(store, FakeEntropy(), "iot.example.test", silent)
    await restarted.load()
    assert name == restarted.endpoint_name(SCOPE)
    assert SCOPE == restarted.resolve_sni(name)


async def test_a_server_name_leads_to_its_scope_in_any_case(directory: EndpointDirectory) -> None:
    scopes = [SCOPE, OTHER_ACCOUNT, OTHER_REGION]
    for scope in scopes:
        name = await directory.ensure(scope, cause())
        assert scope == directory.resolve_sni(name.upper())
        assert scope == directory.resolve_sni(directory.name(scope, EndpointService.CREDENTIALS))
    assert sorted(scopes) == [record.scope for record in directory.all()]
    assert {"us-east-1", "eu-west-1"} == directory.regions()


async def test_other_names_lead_nowhere(directory: EndpointDirectory) -> None:
    name = await directory.ensure(SCOPE, cause())
    prefix = name.partition("-")[0]
    for other in (
        "",
        "localhost",
        prefix,
        f"x{name}",
        name.replace("us-east-1", "eu-west-1"),
        name.replace("-ats", ""),
        name + ".evil.test",
        f"{prefix}-ats.jobs.iot.us-east-1.iot.example.test",
        # str.lower() would make these equal: the Kelvin sign and the dotted capital I
        name.replace("k", "\u212a", 1) if "k" in name else "\u212a",
        name.replace("i", "\u0130", 1),
    ):
        assert directory.resolve_sni(other) is None


async def test_before_it_is_made_an_endpoint_has_no_name(directory: EndpointDirectory) -> None:
    with pytest.raises(KeyError):
        directory.endpoint_name(SCOPE)


async def test_at_once_means_one_endpoint(store: SQLStore, directory: EndpointDirectory) -> None:
    names = await asyncio.gather(*(directory.ensure(SCOPE, cause()) for _ in range(10)))
    assert 1 == len(set(names))
    assert 1 == len(await store.endpoints())


async def test_an_endpoint_made_by_another_process_is_learnt(directory: EndpointDirectory) -> None:
    await directory.changed([Change(ChangeKind.ENDPOINT, SCOPE, "abc"), Change(ChangeKind.POLICY, SCOPE, "abc")])
    assert SCOPE == directory.resolve_sni("abc-ats.iot.us-east-1.iot.example.test")
    assert 1 == len(directory.all())


async def test_a_prefix_that_is_taken_is_drawn_again(store: SQLStore) -> None:
    refusals = 3

    class Taken:
        async def ensure_endpoint(self, *arguments: Any) -> Any:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise StoreConflict("exists")
            return await store.ensure_endpoint(*arguments)

    taken: Any = Taken()
    directory = EndpointDirectory(taken, FakeEntropy(), "example.test", silent)
    assert await directory.ensure(SCOPE, cause())
    refusals = 100
    with pytest.raises(ServiceUnavailableError):
        await directory.ensure(OTHER_ACCOUNT, cause())


async def test_regions_are_bounded(directory: EndpointDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REGIONS_MAX", 2)
    await directory.ensure(SCOPE, cause())
    await directory.ensure(OTHER_REGION, cause())
    with pytest.raises(InvalidRequestError, match="2 regions"):
        await directory.ensure(Scope(SCOPE.account, "mars-north-1"), cause())
    await directory.ensure(OTHER_ACCOUNT, cause())


@pytest.mark.parametrize("region", ["us-east-1", "a", "x" * 32, "local"])
def test_what_may_be_a_region(region: str) -> None:
    assert region == check_region(region)


@pytest.mark.parametrize("region", ["", "US-EAST-1", "a.b", "-a", "a-", "1a", "a" * 33, "a_b", "\u00e9", "a\n", "a\0"])
def test_what_may_not_be_a_region(region: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_region(region)


def test_prefixes_use_every_letter_and_digit_and_do_not_repeat() -> None:
    entropy = FakeEntropy()
    prefixes = {new_prefix(entropy) for _ in range(500)}
    assert 500 == len(prefixes)
    assert set("abcdefghijklmnopqrstuvwxyz0123456789") == set("".join(prefix[1:] for prefix in prefixes))
