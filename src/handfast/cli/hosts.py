"""`handfast hosts`: lines for the hosts file."""

from __future__ import annotations

import socket
from typing import Any

from handfast.cli.call import Call, calls_server
from handfast.cli.connection import calling, handfast_api, resolves
from handfast.cli.output import print_json
from handfast.cli.screens import hosts_line
from handfast.errors import ConfigurationError
from handfast.printable import printable

_NAMES = ("endpointAddress", "credentialEndpointAddress", "jobsEndpointAddress", "legacyEndpointAddress")


@calls_server(operator=True, region=False)
def hosts(call: Call) -> None:
    """
    Print lines for the hosts file, so that this machine finds every endpoint of the server by its name.

    As root: handfast hosts >> /etc/hosts
    """
    server = call.server()
    with calling(server):
        endpoints: list[dict[str, Any]] = handfast_api(server).list_endpoints().get("endpoints", [])
    address = _address(server.host)
    rows = [
        {
            "address": address,
            "names": [e[key] for key in _NAMES if key in e] + e.get("domainNames", []),
            "accountId": e.get("accountId"),
            "region": e.get("region"),
            "resolves": resolves(e["endpointAddress"]),
        }
        for e in endpoints
    ]
    if call.as_json:
        print_json(rows)
        return
    for row in rows:
        names: Any = row["names"]
        print(hosts_line(address, *map(printable, names)))


def _address(host: str) -> str:
    """The address behind the server's host; loopback for a server that listens on every address of this machine."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    try:
        found: Any = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
        return str(found)
    except OSError:
        raise ConfigurationError(f"{host} does not resolve: give --endpoint-url with a name that does") from None
