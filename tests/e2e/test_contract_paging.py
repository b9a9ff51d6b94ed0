"""Paging of the four listings of certificates: sizes, order, markers, and what happens between two pages."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.server import Server
from tests.support.strict import INVALID, MARKER, Tenant, body_of, issue, leaf, own_ca, refused, register_ca, tenant

COUNT = 27  # more than a page of the default size


@dataclass(frozen=True)
class Listing:
    """One paged operation over resources that `add` makes; `ids` in the order of their creation."""

    side: Tenant
    operation: str
    member: str
    members: dict[str, str]
    add: Callable[[], str]
    ids: list[str]

    def page(self, **members: Any) -> dict[str, Any]:
        return body_of(getattr(self.side.lax, self.operation)(**self.members, **members))

    def call(self) -> Any:
        return getattr(self.side.lax, self.operation)

    def walk(self, **members: Any) -> list[list[str]]:
        """The ids on each page, until there is no marker."""
        pages, marker = [], {}
        while True:
            answer = self.page(**members, **marker)
            pages.append([item["certificateId"] for item in answer[self.member]])
            if "nextMarker" not in answer:
                return pages
            assert MARKER.fullmatch(answer["nextMarker"])
            assert len(answer["nextMarker"]) <= 1024
            assert {"marker": answer["nextMarker"]} != marker
            marker = {"marker": answer["nextMarker"]}


def _make(server: Server, name: str) -> Listing:
    side, other = tenant(server), tenant(server)
    ca = own_ca()
    members: dict[str, str] = {}
    operation, member = f"list_{name}", "certificates"
    if name == "ca_certificates":

        def add() -> str:
            return str(register_ca(side.iot, own_ca(), certificateMode="SNI_ONLY")["certificateId"])
    elif name == "certificates_by_ca":
        register_ca(side.iot, ca, certificateMode="SNI_ONLY")
        members = {"caCertificateId": ca.id}

        def add() -> str:
            return str(side.iot.register_certificate(certificatePem=issue(ca))["certificateId"])
    else:

        def add() -> str:
            made = side.iot.register_certificate_without_ca(certificatePem=leaf())["certificateId"]
            if name == "outgoing_certificates":
                side.iot.transfer_certificate(certificateId=made, targetAwsAccount=other.account)
            return str(made)

        if name == "outgoing_certificates":
            member = "outgoingCertificates"
    return Listing(side, operation, member, members, add, [add() for _ in range(COUNT)])


NAMES = ("certificates", "certificates_by_ca", "ca_certificates", "outgoing_certificates")


@pytest.fixture(scope="module")
def listings(server: Server) -> dict[str, Listing]:
    return {name: _make(server, name) for name in NAMES}


@pytest.fixture(params=NAMES)
def listing(listings: dict[str, Listing], request: pytest.FixtureRequest) -> Listing:
    return listings[request.param]


def test_twenty_five_to_a_page_newest_first(listing: Listing) -> None:
    newest_first = listing.ids[::-1]
    assert [newest_first[:25], newest_first[25:]] == listing.walk()
    assert [newest_first] == listing.walk(pageSize=250)
    assert [newest_first] == listing.walk(pageSize=250, ascendingOrder=False)
    assert [listing.ids] == listing.walk(pageSize=250, ascendingOrder=True)
    dates = [item["creationDate"] for item in listing.page(pageSize=250)[listing.member]]
    assert sorted(dates, reverse=True) == dates


@pytest.mark.parametrize("size", [1, 26, COUNT, COUNT + 1])
def test_any_size_gives_everything_once(listing: Listing, size: int) -> None:
    for ascending in (True, False):
        pages = listing.walk(pageSize=size, ascendingOrder=ascending)
        assert (listing.ids if ascending else listing.ids[::-1]) == [each for page in pages for each in page]
        assert all(len(page) == size for page in pages[:-1])
        assert 0 < len(pages[-1]) <= size, "no empty page at the end"


@pytest.mark.parametrize("size", [0, -1, 251, 10**12])
def test_sizes_that_are_none(listing: Listing, size: int) -> None:
    refused(INVALID, listing.call(), **listing.members, pageSize=size)


@pytest.mark.parametrize(
    "marker",
    ["", "x", "AAAA", "AAA=", "_-_-", "A" * 1025, "e30=", "bWFya2Vy", "!", base64.b64encode(b"\0" * 60).decode()],
)
def test_markers_that_are_none(listing: Listing, marker: str) -> None:
    refused(INVALID, listing.call(), **listing.members, marker=marker)


def test_a_marker_that_was_changed_is_none(listing: Listing) -> None:
    marker = listing.page(pageSize=3)["nextMarker"]
    raw = base64.b64decode(marker)
    for changed in (raw[:-1], raw + b"x", bytes([raw[0] ^ 1]) + raw[1:], raw[:9]):
        refused(INVALID, listing.call(), **listing.members, marker=base64.b64encode(changed).decode())


def test_a_marker_belongs_to_its_listing_order_account_and_region(listings: dict[str, Listing]) -> None:
    for name, listing in listings.items():
        marker = listing.page(pageSize=3)["nextMarker"]
        refused(INVALID, listing.call(), **listing.members, marker=marker, ascendingOrder=True)
        for other_name, other in listings.items():
            if other_name != name:
                refused(INVALID, other.call(), **other.members, marker=marker)  # another account's, too
                theirs = getattr(listing.side.lax, other.operation)
                refused(INVALID, theirs, **other.members, marker=marker)
        elsewhere = getattr(listing.side.elsewhere(), listing.operation)
        refused(INVALID, elsewhere, **listing.members, marker=marker)
        listing.page(pageSize=250, marker=marker)  # and may be used twice, with another size


def test_pages_survive_what_is_made_and_deleted_between_them(server: Server) -> None:
    listing = _make(server, "certificates")
    iot = listing.side.iot
    for ascending in (False, True):
        expected = listing.ids if ascending else listing.ids[::-1]
        first = listing.page(pageSize=10, ascendingOrder=ascending)
        got = [item["certificateId"] for item in first[listing.member]]
        last, following = got[-1], expected[10]
        iot.delete_certificate(certificateId=last)  # the very one that the marker stands at
        iot.delete_certificate(certificateId=following)
        new = listing.add()
        rest = listing.page(pageSize=250, ascendingOrder=ascending, marker=first["nextMarker"])
        got += [item["certificateId"] for item in rest[listing.member]]
        assert [each for each in expected if each != following] + ([new] if ascending else []) == got
        listing.ids[:] = [each for each in listing.ids if each not in (last, following)] + [new]


def test_botocores_own_paginator_ends(listing: Listing) -> None:
    client = listing.side.iot
    if not client.can_paginate(listing.operation):
        pytest.fail(f"botocore has no paginator for {listing.operation}")
    pages = client.get_paginator(listing.operation).paginate(**listing.members, PaginationConfig={"PageSize": 9})
    assert listing.ids[::-1] == [item["certificateId"] for page in pages for item in page[listing.member]]
