"""Where a URL that somebody else wrote may lead: anywhere but to this machine, its link, and what clouds keep there."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        # Metadata services outside 169.254.0.0/16 and fe80::/10: over IPv4 Azure's, Alibaba's and Oracle's, over IPv6
        # AWS's (EC2, EKS), Google's, Oracle's, Scaleway's and Linode's.
        ("168.63.129.16", "100.100.100.200", "192.0.0.192")
        + ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1"),
    )
)


def may_be_called(text: str) -> bool:
    """
    Whether the address is neither loopback, link-local, multicast, unspecified or reserved nor a metadata service's.

    An IPv4 address inside an IPv6 one (mapped, 6to4, Teredo, NAT64) is judged itself. Private networks may be
    called: a private CA's responder is there.
    """
    address = _address(text)
    return address is not None and all(_harmless(each) for each in (address, *_inside(address)))


def allowing(networks: Iterable[str]) -> Callable[[str], bool]:
    """`may_be_called`, and besides every address of these networks, in CIDR form."""
    own = [ipaddress.ip_network(each) for each in networks]

    def allowed(text: str) -> bool:
        address = _address(text)
        return may_be_called(text) or (address is not None and any(address in each for each in own))

    return allowed


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _inside(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in ipaddress.ip_network("64:ff9b::/96") or int(address) >> 32 == 0:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]


def _harmless(address: Address) -> bool:
    return address not in _METADATA and not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and not _translated(address))
    )


def _translated(address: Address) -> bool:
    """Within the prefix of NAT64, which is reserved and in use; what is inside is judged by itself."""
    return address in ipaddress.ip_network("64:ff9b::/96") or (
        isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    )
