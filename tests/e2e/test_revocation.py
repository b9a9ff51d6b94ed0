"""Revocation with a receipt: how many sessions were cut, how long the last took, and that they are gone."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

from tests.support.device import create_device
from tests.support.raw import connect_packet, connect_tls, read_all
from tests.support.server import Server

from handfast.wire.client import handfast_client

SESSIONS = 8


def test_the_receipt_says_how_many_and_how_fast_and_every_one_is_gone(server: Server, folder: Path) -> None:
    device = create_device(server, folder)
    other = create_device(server, folder)

    def connected(number: int, of: object = device) -> ssl.SSLSocket:
        version = 5 if number % 2 else 4
        sock = connect_tls(server, of)  # type: ignore[arg-type]
        sock.sendall(connect_packet(f"revoked-{number}", version))
        assert 0x20 == sock.recv(200)[0]
        return sock

    sockets = [connected(number) for number in range(SESSIONS)]
    bystander = connected(SESSIONS, other)
    deaf = connect_tls(server, device)  # past the handshake, before its CONNECT
    ran = server.handfast("cert", "revoke", device.certificate_id, "--json")
    receipt = json.loads(ran.stdout)
    assert {"certificateId", "status", "sessionsCut", "worstDelayMs"} == receipt.keys()
    assert (device.certificate_id, "REVOKED", SESSIONS + 1) == (
        receipt["certificateId"],
        receipt["status"],
        receipt["sessionsCut"],
    )
    assert 0 < receipt["worstDelayMs"] < 1000
    for number, sock in enumerate(sockets):
        expected = bytes([0xE0, 1, 0x87]) if number % 2 else b""
        assert expected == read_all(sock)[:3]
        sock.close()
    deaf.close()
    bystander.sendall(bytes([0xC0, 0]))
    assert bytes([0xD0, 0]) == bystander.recv(2)
    bystander.close()

    api = handfast_client(server.api, "us-east-1", *server.credentials())
    again = api.revoke_certificate(certificateId=device.certificate_id)
    assert (0, 0.0) == (again["sessionsCut"], again["worstDelayMs"])
    rows = api.list_audit_events(subject=device.certificate_id, operation="RevokeCertificate")["events"]
    assert 1 == len(rows)
