"""The topics that begin with `$`: what a device may do with them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from handfast.core.topics.name import RULES_PREFIX


class TopicClass(StrEnum):
    """Whose topic it is."""

    ORDINARY = "ordinary"  # the account's own: publish, subscribe, retain
    INGEST = "ingest"  # $aws/rules/<rule>/<topic>: publish only, nobody can subscribe
    REQUEST = "request"  # a question to the service: publish over MQTT only, nobody but the service gets it
    RESERVED = "reserved"  # everything else that begins with $

    @property
    def is_routed(self) -> bool:
        """Whether a message on it is for subscribers or rules."""
        return self is TopicClass.ORDINARY or self is TopicClass.INGEST


class RequestKind(StrEnum):
    """What is asked on a request topic: AWS IoT's operation of that name."""

    CREATE_KEYS_AND_CERTIFICATE = "CreateKeysAndCertificate"
    CREATE_CERTIFICATE_FROM_CSR = "CreateCertificateFromCsr"
    REGISTER_THING = "RegisterThing"


class PayloadFormat(StrEnum):
    """The format of a request's payload and of its reply's."""

    JSON = "json"
    CBOR = "cbor"


class RequestTopic(NamedTuple):
    """What a request topic says. `template_name` belongs to RegisterThing."""

    kind: RequestKind
    format: PayloadFormat
    template_name: str | None = None


_REQUEST = re.compile(
    r"\$aws/(?:certificates/(create|create-from-csr)|provisioning-templates/([0-9A-Za-z_-]{1,36})/provision)/(json|cbor)"
)
_CREATING = {
    "create": RequestKind.CREATE_KEYS_AND_CERTIFICATE,
    "create-from-csr": RequestKind.CREATE_CERTIFICATE_FROM_CSR,
}


def request_topic(topic: str) -> RequestTopic | None:
    """The parts of a request topic; None when it is not one. Its replies come on `…/accepted` and `…/rejected`."""
    found = _REQUEST.fullmatch(topic)
    if found is None:
        return None
    creating, template_name, format_ = found.groups()
    kind = RequestKind.REGISTER_THING if creating is None else _CREATING[creating]
    return RequestTopic(kind, PayloadFormat(format_), template_name)


def classify_topic(topic: str) -> TopicClass:
    """The class of a legal Topic Name as a publisher meets it."""
    if not topic.startswith("$"):
        return TopicClass.ORDINARY
    if topic.startswith(RULES_PREFIX):
        rule, slash, rest = topic[len(RULES_PREFIX) :].partition("/")
        if rule and slash and rest:
            return TopicClass.INGEST
    return TopicClass.RESERVED if request_topic(topic) is None else TopicClass.REQUEST


def filter_reserved(plain: str) -> bool:
    """True when nobody may subscribe to the legal filter `plain`: names with `$` that AWS IoT does not offer."""
    if not plain.startswith("$"):
        return False
    if not plain.startswith("$aws/"):
        return True
    # Basic ingest has no broker behind it: a filter below $aws/rules could never match.
    return plain == "$aws/rules" or plain.startswith((RULES_PREFIX, "$aws/+", "$aws/#"))
