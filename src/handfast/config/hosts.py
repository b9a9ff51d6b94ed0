"""Host names and listening addresses: what is legal, and what only this machine reaches."""

from __future__ import annotations

import ipaddress
import re

from handfast.printable import printable

MAX_NAME_OCTETS = 253
MAX_LABEL_OCTETS = 63
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def name_problem(name: str) -> str | None:
    """What keeps a lower-case name from being a legal DNS host name (RFC 1123 §2.1, RFC 1035 §2.3.4), or None."""
    if not name:
        return "the name is empty"
    if len(name) > MAX_NAME_OCTETS:
        return f"the name has {len(name)} octets; a DNS name has at most {MAX_NAME_OCTETS}"
    labels = name.split(".")
    for label in labels:
        if len(label) > MAX_LABEL_OCTETS:
            return f"the label '{label[:20]}…' has {len(label)} octets; a DNS label has at most {MAX_LABEL_OCTETS}"
        if not LABEL.fullmatch(label):
            shown = printable(label)
            return f"'{shown}' is not a DNS label; use letters, digits and inner hyphens, no empty label, no final dot"
    if labels[-1].isdigit():
        return "the last label is a number, so the name looks like an address"
    return None


def is_loopback(host: str) -> bool:
    """Whether a listening address or host name reaches this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
