"""
Policy variables: which names exist, and what a connection puts in their place.

A value never becomes a wildcard: it is put in as literal text, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from handfast.errors import PolicySyntaxError

CLIENT_ID = "iot:ClientId"
SOURCE_IP = "aws:SourceIp"
DOMAIN_NAME = "iot:DomainName"
CERTIFICATE_ID = "iot:CertificateId"
THING_NAME = "iot:Connection.Thing.ThingName"
THING_TYPE_NAME = "iot:Connection.Thing.ThingTypeName"
IS_ATTACHED = "iot:Connection.Thing.IsAttached"
THING_ATTRIBUTE_PREFIX = "iot:Connection.Thing.Attributes["
# Keys of conditions on iot:Connect, and on GetConnection.
CONNECT_ATTRIBUTES = "iot:ConnectAttributes"
LAST_WILL_TOPIC = "iot:LastWillTopic"
SOCKET_INFORMATION = "iot:IncludeSocketInformation"

_NAME_ATTRIBUTES = (
    "Country",
    "Organization",
    "OrganizationalUnit",
    "State",
    "CommonName",
    "SerialNumber",
    "Title",
    "Surname",
    "GivenName",
    "Initials",
    "Pseudonym",
    "GenerationQualifier",
    "DistinguishedNameQualifier",
)
_ALTERNATIVE_NAMES = ("RFC822Name", "DNSName", "DirectoryName", "UniformResourceIdentifier", "IPAddress")

CERTIFICATE_PREFIX = "iot:Certificate."
CERTIFICATE_VARIABLES = frozenset(
    [f"{CERTIFICATE_PREFIX}{side}.{name}" for side in ("Subject", "Issuer") for name in _NAME_ATTRIBUTES]
    + [
        f"{CERTIFICATE_PREFIX}{side}.AlternativeName.{name}"
        for side in ("Subject", "Issuer")
        for name in _ALTERNATIVE_NAMES
    ]
    + [f"{CERTIFICATE_PREFIX}SerialNumber", f"{CERTIFICATE_PREFIX}AvailableKeys"]
)
"""Every `iot:Certificate.*` variable, without an index."""

AVAILABLE_KEYS = f"{CERTIFICATE_PREFIX}AvailableKeys"

KNOWN = CERTIFICATE_VARIABLES | {
    CLIENT_ID,
    SOURCE_IP,
    DOMAIN_NAME,
    CERTIFICATE_ID,
    THING_NAME,
    THING_TYPE_NAME,
    IS_ATTACHED,
}
"""What stands between `${` and `}`, without an index and without thing attributes."""
CONDITION_ONLY = frozenset({CONNECT_ATTRIBUTES, LAST_WILL_TOPIC, SOCKET_INFORMATION})
_MULTI_VALUED = frozenset({CONNECT_ATTRIBUTES, AVAILABLE_KEYS})
_LIST = ".List"

_ATTRIBUTE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,@/:#-")
_MAX_ATTRIBUTE_CHARACTERS = 128

MAX_VALUE_CHARACTERS = 1024
_NEVER_SUBSTITUTED = frozenset("*$+?#")
_ESCAPED_IN_VALUES = str.maketrans({character: f"\\{character}" for character in ',"\\+=<>;'})


@dataclass(frozen=True, slots=True)
class Variable:
    """`${name}` or `${name.index}`: index 0 is the first value, 1 the second."""

    name: str
    index: int = 0

    @property
    def is_certificate(self) -> bool:
        """True for the `iot:Certificate.*` family."""
        return self.name.startswith(CERTIFICATE_PREFIX)

    def resolve(self, values: Values, *, denying: bool) -> str | None:
        """What is put in its place (`substitute`)."""
        return substitute(self, values, denying=denying)

    @property
    def written(self) -> str:
        """What stands between the braces."""
        return f"{self.name}.{self.index}" if self.index else self.name

    def __str__(self) -> str:
        return f"${{{self.written}}}"


Values = Mapping[str, tuple[str, ...]]
"""What a connection knows: variable name without index → its values, the first one first. Absent: no value."""


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key of a condition. `index` None: all of its values (`.List`, and keys that are many-valued by nature);
    else the one value of that index.
    """

    name: str
    index: int | None = 0

    def values(self, values: Values) -> tuple[str, ...]:
        """What the connection knows of it, as it is, nothing escaped; empty: the key is missing."""
        found = values.get(self.name, ())
        return found if self.index is None else found[self.index : self.index + 1]

    def __str__(self) -> str:
        if self.index is None:
            return self.name if self.name in _MULTI_VALUED else f"{self.name}{_LIST}"
        return f"{self.name}.{self.index}" if self.index else self.name


def parse_variable(name: str, path: str) -> Variable:
    """
    The variable called `name`, the text between the braces.

    Raises:
        PolicySyntaxError: Unknown, or one that only a condition can ask for.
    """
    if name.endswith(_LIST) and name[:-5] in CERTIFICATE_VARIABLES:
        raise PolicySyntaxError(
            f"${{{name}}} has many values and works only as the key of a Condition; expected the name without .List, "
            "or with an index such as .1 for the second value",
            path,
        )
    if name in CONDITION_ONLY:
        raise PolicySyntaxError(f"{name} works only as the key of a Condition, not as a variable", path)
    found = _indexed(name, path)
    if found is None:
        raise _unknown(name, path, KNOWN, "policy variable", "${%s}")
    return Variable(*found)


def parse_key(name: str, path: str) -> Key:
    """
    The key of a condition called `name`.

    Raises:
        PolicySyntaxError: Unknown.
    """
    if name.endswith(_LIST) and name[:-5] in CERTIFICATE_VARIABLES:
        return Key(name[:-5], None)
    if name in _MULTI_VALUED:
        return Key(name, None)
    if name in CONDITION_ONLY:
        return Key(name)
    found = _indexed(name, path)
    if found is None:
        raise _unknown(name, path, KNOWN | CONDITION_ONLY, "condition key", "%s")
    return Key(*found)


def _indexed(name: str, path: str) -> tuple[str, int] | None:
    """(name, index) of what has one value; None: not known."""
    if name in KNOWN:
        return name, 0
    stem, dot, index = name.rpartition(".")
    if dot and stem in CERTIFICATE_VARIABLES and index.isascii() and index.isdigit():
        if index[0] != "0" and len(index) <= 3:
            return stem, int(index)
        raise PolicySyntaxError(
            f"index {index[:8]} of {stem}; expected no index for the first value, .1 for the second, .2 for the third",
            path,
        )
    if name.startswith(THING_ATTRIBUTE_PREFIX) and name.endswith("]"):
        attribute = name[len(THING_ATTRIBUTE_PREFIX) : -1]
        if not 1 <= len(attribute) <= _MAX_ATTRIBUTE_CHARACTERS or not _ATTRIBUTE_CHARACTERS.issuperset(attribute):
            raise PolicySyntaxError(
                f"{_shortened(name)} names no attribute of a thing; expected 1 to 128 of a-z A-Z 0-9 _ . , @ / : # - "
                "between the brackets",
                path,
            )
        return name, 0
    return None


def _unknown(name: str, path: str, known: frozenset[str], what: str, form: str) -> PolicySyntaxError:
    written = form % _shortened(name)
    for each in known:
        if each.lower() == name.lower():
            return PolicySyntaxError(f"{written} is not a {what}; did you mean {form % each}?", path)
    return PolicySyntaxError(
        f"unknown {what} {written}; expected {CLIENT_ID}, {SOURCE_IP}, {DOMAIN_NAME}, {CERTIFICATE_ID}, one of "
        f"iot:Connection.Thing.… or of {CERTIFICATE_PREFIX}…; a literal $ is written ${{$}}",
        path,
    )


def _shortened(name: str) -> str:
    return name if len(name) <= 64 else name[:64] + "…"


def substitute(variable: Variable, values: Values, *, denying: bool) -> str | None:
    """
    The literal text for `variable`, or None when it stays unresolved and its statement cannot match.

    None: no value, no value of that index, longer than 1024 characters, or holding one of `* $ + ? #`. The last
    rule has one exception: in a Deny, what does not come from the certificate is put in literally, so that a
    device cannot slip past a Deny by the client id that it chooses. In values of certificates,
    `, " \\ + = < > ;` are escaped by a backslash, as AWS writes them.
    """
    found = values.get(variable.name)
    if found is None or variable.index >= len(found):
        return None
    value = found[variable.index]
    if len(value) > MAX_VALUE_CHARACTERS:
        return None
    if variable.is_certificate:
        if not _NEVER_SUBSTITUTED.isdisjoint(value):
            return None
        return value.translate(_ESCAPED_IN_VALUES)
    if not denying and not _NEVER_SUBSTITUTED.isdisjoint(value):
        return None
    return value
