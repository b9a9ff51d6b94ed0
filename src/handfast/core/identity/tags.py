"""Tags: which resources can have them, and what a tag may be."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from handfast.core.identity.arns import fold_certificate_id, resource_in_arn
from handfast.core.identity.ids import Scope
from handfast.errors import InvalidRequestError, ResourceNotFoundError

TAGS_MAX = 50
KEY_MAX = 128
VALUE_MAX = 256
_RESERVED_PREFIX = "aws:"
_PUNCTUATION = frozenset("_.:/=+-@")


class Taggable(StrEnum):
    """The kinds of resource that can have tags, as their ARNs name them."""

    CA_CERTIFICATE = "cacert"
    POLICY = "policy"
    THING_TYPE = "thingtype"
    BILLING_GROUP = "billinggroup"
    THING_GROUP = "thinggroup"
    PROVISIONING_TEMPLATE = "provisioningtemplate"
    CERTIFICATE_PROVIDER = "certificateprovider"
    DOMAIN_CONFIGURATION = "domainconfiguration"


class TaggedResource(NamedTuple):
    """A resource of a scope that can have tags; whether it exists the store knows."""

    kind: Taggable
    name: str


def tagged_resource(scope: Scope, arn: str) -> TaggedResource:
    """
    What the ARN names in this scope.

    Raises:
        InvalidRequestError: Not an ARN of a kind that can have tags.
        ResourceNotFoundError: Another account's or region's.
    """
    owner, kind, name = resource_in_arn(arn)
    try:
        taggable = Taggable(kind)
    except ValueError:
        raise InvalidRequestError(
            f"A resource of this kind has no tags; those that can have them are {', '.join(Taggable)}"
        ) from None
    if owner != scope:
        raise ResourceNotFoundError("The resource does not exist in this account and region")
    return TaggedResource(taggable, fold_certificate_id(name) if taggable is Taggable.CA_CERTIFICATE else name)


def check_tags(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """
    The tags by key.

    Raises:
        InvalidRequestError: A key twice, or one that begins with `aws:` in
            whatever case; a key or value that is too long or holds another
            character than letters, digits, white space and `_.:/=+-@`.
    """
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not 1 <= len(key) <= KEY_MAX or not _allowed(key):
            raise InvalidRequestError(f"A tag key must be 1 to {KEY_MAX} letters, digits, white space and _.:/=+-@")
        if len(value) > VALUE_MAX or not _allowed(value):
            raise InvalidRequestError(
                f"A tag value must be at most {VALUE_MAX} letters, digits, white space and _.:/=+-@"
            )
        if key.lower().startswith(_RESERVED_PREFIX):
            raise InvalidRequestError("A tag key must not begin with aws:, which is reserved")
        if key in tags:
            raise InvalidRequestError("A tag key is given twice; give each once")
        tags[key] = value
    return tags


def _allowed(text: str) -> bool:
    return all(each in _PUNCTUATION or unicodedata.category(each)[0] in "LZN" for each in text)
