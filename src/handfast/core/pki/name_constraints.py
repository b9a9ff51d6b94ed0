"""
Name constraints of an issuer, evaluated for one certificate below it (RFC 5280 §4.2.1.10).

Directory names, DNS names, email addresses, URIs and addresses are compared. A
constraint of another form, or one that cannot be read, refuses every
certificate: what is not evaluated here cannot be said to hold.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from handfast.core.pki.rules import BrokenRule

MAX_COMPARISONS = 4096  # names of the certificate times constraints of the issuer: both may be written by a peer

_Pair = tuple[type[x509.GeneralName], Any]


def name_refusals(cert: x509.Certificate, issuer: x509.Certificate) -> tuple[BrokenRule, ...]:
    """
    Why the issuer's name constraints forbid `cert`; empty when they do not, and when it has none.

    Only this issuer's, not those of a CA above it.
    """
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    except ValueError:
        return (_broken("its issuer's name constraints cannot be read."),)
    try:
        return tuple(_refusals(cert, constraints))
    except Exception as error:  # whatever the parser finds wrong with a name
        return (_broken(f"a name in it, or one that constrains it, cannot be read ({type(error).__name__})."),)


def _refusals(cert: x509.Certificate, constraints: x509.NameConstraints) -> Iterator[BrokenRule]:
    permitted = [_pair(each) for each in constraints.permitted_subtrees or ()]
    excluded = [_pair(each) for each in constraints.excluded_subtrees or ()]
    for form, _ in (*permitted, *excluded):
        if form not in _WITHIN:
            yield _broken(f"its issuer constrains names of the form {form.__name__}, which is not evaluated here.")
            return
    names = list(_names(cert))
    if len(names) * (len(permitted) + len(excluded)) > MAX_COMPARISONS:
        yield _broken("it and its issuer's constraints have too many names to compare.")
        return
    for form, name in names:
        within = _WITHIN.get(form)
        if within is None:
            continue  # a form that no constraint is about
        wanted = [value for each, value in permitted if each is form]
        if wanted and not any(within(name, value) for value in wanted):
            yield _broken(f"its issuer may not sign for the {_WORDS[form]} in it.")
        if any(within(name, value) for each, value in excluded if each is form):
            yield _broken(f"its issuer is forbidden to sign for the {_WORDS[form]} in it.")


def _names(cert: x509.Certificate) -> Iterator[_Pair]:
    """The subject unless it is empty, its email addresses, and every alternative name."""
    if cert.subject.rdns:
        yield x509.DirectoryName, cert.subject
    for attribute in cert.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        yield x509.RFC822Name, str(attribute.value)
    try:
        alternatives: Iterable[x509.GeneralName] = cert.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return
    for name in alternatives:
        yield _pair(name)


def _pair(name: x509.GeneralName) -> _Pair:
    return type(name), getattr(name, "value", None)


def _within_directory(name: x509.Name, base: x509.Name) -> bool:
    """The base's RDNs are the name's first ones; text is compared without case, and white space as one blank."""
    if len(base.rdns) > len(name.rdns):
        return False
    return all(_folded(one) == _folded(other) for one, other in zip(name.rdns, base.rdns, strict=False))


def _folded(rdn: x509.RelativeDistinguishedName) -> set[tuple[str, str | bytes]]:
    return {
        (each.oid.dotted_string, " ".join(each.value.split()).casefold() if isinstance(each.value, str) else each.value)
        for each in rdn
    }


def _within_domain(name: str, base: str) -> bool:
    """The base or any name below it. A name that begins with `*.` stands for names below what follows."""
    host, domain = name.lower().removesuffix("."), base.lower().removeprefix(".")
    return not domain or host == domain or host.endswith("." + domain)


def _within_mail(name: str, base: str) -> bool:
    """One mailbox; all of one host; with a dot in front, all of the hosts below a domain."""
    local, _, host = name.rpartition("@")
    if "@" in base:
        wanted, _, domain = base.rpartition("@")
        return local == wanted and host.lower() == domain.lower()
    return _of_host(host, base)


def _within_uri(name: str, base: str) -> bool:
    host = urlsplit(name).hostname
    if not host:
        raise ValueError("a URI without a host")  # RFC 5280: it cannot satisfy a constraint
    return _of_host(host, base)


def _of_host(host: str, base: str) -> bool:
    host, base = host.lower(), base.lower()
    return host.endswith(base) and len(host) > len(base) if base.startswith(".") else host == base


def _within_network(name: Any, base: Any) -> bool:
    if isinstance(base, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return name.version == base.version and name in base
    raise ValueError("an address is constrained by something else than a network")


_WITHIN: dict[type[x509.GeneralName], Callable[[Any, Any], bool]] = {
    x509.DirectoryName: _within_directory,
    x509.DNSName: _within_domain,
    x509.RFC822Name: _within_mail,
    x509.UniformResourceIdentifier: _within_uri,
    x509.IPAddress: _within_network,
}
_WORDS: dict[type[x509.GeneralName], str] = {
    x509.DirectoryName: "directory name",
    x509.DNSName: "DNS name",
    x509.RFC822Name: "email address",
    x509.UniformResourceIdentifier: "URI",
    x509.IPAddress: "address",
}


def _broken(text: str) -> BrokenRule:
    return BrokenRule("chain_name_constraints", f"The certificate is outside its issuer's name constraints: {text}")
