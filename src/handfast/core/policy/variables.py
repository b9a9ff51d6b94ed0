"""
Policy variables: which names exist, and what a connection puts in their place.

A value never becomes a wildcard: it is put in as literal text, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from handfast.errors import PolicySyntaxError

CLIENT_ID = "iot:ClientId"
THING_NAME = "iot:Connection.Thing.ThingName"

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

KNOWN = CERTIFICATE_VARIABLES | {CLIENT_ID, THING_NAME}

_LATER = frozenset(
    {
        "aws:SourceIp",
        "iot:DomainName",
        "iot:ConnectAttributes",
        "iot:LastWillTopic",
        "iot:IncludeSocketInformation",
        "iot:Connection.Thing.ThingTypeName",
        "iot:Connection.Thing.IsAttached",
    }
)
_LATER_PREFIXES = ("iot:Connection.Thing.Attributes[",)

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

    def __str__(self) -> str:
        return f"${{{self.name}.{self.index}}}" if self.index else f"${{{self.name}}}"


Values = Mapping[str, tuple[str, ...]]
"""What a connection knows: variable name without index → its values, the first one first. Absent: no value."""


def parse_variable(name: str, path: str) -> Variable:
    """
    The variable called `name`, the text between the braces.

    Raises:
        PolicySyntaxError: Unknown, not supported yet, or not allowed in a resource.
    """
    if name in KNOWN:
        return Variable(name)
    if name.endswith(".List") and name[:-5] in CERTIFICATE_VARIABLES:
        raise PolicySyntaxError(
            f"${{{name}}} has many values and works only in a Condition; expected the name without .List, "
            "or with an index such as .1 for the second value",
            path,
        )
    stem, dot, index = name.rpartition(".")
    if dot and stem in CERTIFICATE_VARIABLES and index.isascii() and index.isdigit():
        if index[0] != "0" and len(index) <= 3:
            return Variable(stem, int(index))
        raise PolicySyntaxError(
            f"index {index[:8]} of ${{{stem}}}; expected no index for the first value, .1 for the second, .2 for the "
            "third",
            path,
        )
    if name in _LATER or name.startswith(_LATER_PREFIXES):
        raise PolicySyntaxError(f"the policy variable ${{{name}}} is not supported yet", path)
    for known in KNOWN:
        if known.lower() == name.lower():
            raise PolicySyntaxError(f"${{{name}}} is not a policy variable; did you mean ${{{known}}}?", path)
    raise PolicySyntaxError(
        f"unknown policy variable ${{{name}}}; expected ${{{CLIENT_ID}}}, ${{{THING_NAME}}} or one of "
        f"${{{CERTIFICATE_PREFIX}…}}; a literal $ is written ${{$}}",
        path,
    )


def substitute(variable: Variable, values: Values, *, denying: bool) -> str | None:
    """
    The literal text for `variable`, or None when it stays unresolved and its statement cannot match.

    None: no value, no value of that index, longer than 1024 characters, or holding one of `* $ + ? #`. The last
    rule has one exception: in a Deny, a client id or thing name is put in literally, so that a device cannot slip
    past a Deny by the client id that it chooses. In values of certificates, `, " \\ + = < > ;` are escaped by a
    backslash, as AWS writes them.
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
