"""What the gateway tells its observer: at the CONNECT, and only of what two devices should not have in common."""

from __future__ import annotations

from tests.support.gateway import SCOPE, World, facts

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.mqtt.packets import Disconnect

A, B = facts("a").certificate_id, facts("b").certificate_id
HERE = ("127.0.0.1", "127.0.0.1")


class Observer:
    """`seam.ConnectionObserver`, written down."""

    def __init__(self) -> None:
        self.shared: list[tuple[Scope, CertificateId, tuple[str, str], tuple[str, str]]] = []
        self.taken: list[tuple[Scope, str, tuple[CertificateId, CertificateId], tuple[str, str]]] = []

    def certificate_shared(
        self, scope: Scope, certificate_id: CertificateId, client_ids: tuple[str, str], addresses: tuple[str, str]
    ) -> None:
        self.shared.append((scope, certificate_id, client_ids, addresses))

    def client_id_taken(
        self,
        scope: Scope,
        client_id: str,
        certificates: tuple[CertificateId, CertificateId],
        addresses: tuple[str, str],
    ) -> None:
        self.taken.append((scope, client_id, certificates, addresses))


async def test_two_clients_with_one_certificate_are_told_of() -> None:
    observer = Observer()
    world = World(observer=observer)
    await world.client("one", certificate="a")
    assert [] == observer.shared
    await world.client("two", certificate="a")
    assert [(SCOPE, A, ("one", "two"), HERE)] == observer.shared
    assert [] == observer.taken


async def test_a_client_that_reconnects_is_no_second_device() -> None:
    observer = Observer()
    world = World(observer=observer)
    await world.client("one", certificate="a")
    await world.client("one", certificate="a")
    assert ([], []) == (observer.shared, observer.taken)


async def test_one_after_the_other_is_no_sharing() -> None:
    observer = Observer()
    world = World(observer=observer)
    first = await world.client("one", certificate="a")
    first.send(Disconnect())
    assert first.closed
    await world.client("two", certificate="a")
    assert [] == observer.shared


async def test_another_certificate_that_takes_the_client_id_is_told_of() -> None:
    observer = Observer()
    world = World(observer=observer)
    await world.client("pump", certificate="a")
    await world.client("pump", certificate="b")
    assert [(SCOPE, "pump", (A, B), HERE)] == observer.taken
    assert [] == observer.shared


async def test_a_connection_that_was_refused_is_not_told_of() -> None:
    observer = Observer()
    world = World(observer=observer)
    await world.client("pump", certificate="a")
    world.plane.refuse_connect = True
    await world.device(certificate="a").connect("other")
    await world.device(certificate="b").connect("pump")
    assert ([], []) == (observer.shared, observer.taken)
