"""
The operator's hooks: what stands here in place of the cloud functions that AWS IoT would call.

A hook is an HTTPS webhook that the operator added, or a local command that the configuration
file names. What a resource calls its function by, an ARN, names the hook. Values and pure
functions only: who calls hooks is `services.hooks`, how is the package `handfast.hooks`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType
from urllib.parse import urlsplit

from handfast.core.identity.ids import AccountId, Scope
from handfast.errors import HandfastError, InvalidRequestError

HookName = NewType("HookName", str)
"""1..64 of `[A-Za-z0-9_-]`, the letters of a function's name."""

MAX_TIMEOUT_S = 5.0
"""The limit of a call in total, as AWS IoT has it."""
MIN_TIMEOUT_S = 0.1
MAX_ANSWER_BYTES = 131_072
MAX_ANSWER_DEPTH = 16
MAX_OVERRIDES = 256
MAX_OVERRIDE_NAME = 256
MAX_OVERRIDE_VALUE = 4096
MAX_URL_CHARACTERS = 2048
SECRET_MIN, SECRET_MAX = 16, 256

PAYLOAD_VERSION = "2020-04-01"
"""The one shape of a pre-provisioning hook's input (ProvisioningHook `payloadVersion`)."""

TIMESTAMP_HEADER = "Handfast-Timestamp"
SIGNATURE_HEADER = "Handfast-Signature"
EVENT_HEADER = "Handfast-Event"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_SHAPE = "arn:aws:lambda:REGION:ACCOUNT:function:NAME"


class HookEvent(StrEnum):
    """What a hook is called for."""

    PRE_PROVISIONING = "PreProvisioning"
    CERTIFICATE_PROVIDER = "CertificateProvider"


class HookResult(StrEnum):
    """How a call ended. Everything but OK denies what the hook was asked for."""

    OK = "ok"
    DENIED = "denied"  # the hook said no
    INVALID = "invalid"  # it answered something that is not an answer
    REFUSED = "refused"  # another HTTP status than 200, or another exit status than 0
    TIMEOUT = "timeout"
    BUSY = "busy"  # too many calls of it are under way
    UNREACHABLE = "unreachable"  # no connection, or none whose certificate is trusted; a command that cannot be run
    MISSING = "missing"  # no hook of that name, or not for this account
    FAILED = "failed"  # an error of ours


class HookFailed(HandfastError):
    """A call did not end well. The message is for the operator; it never goes to a device."""

    def __init__(self, result: HookResult, message: str) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """
    A hook that the operator added: POST to `url`, signed with `secret`.

    `ca_pem` are the only roots that its certificate may lead to; None: those of the system. `accounts`: for these
    alone; none: for every account.
    """

    name: HookName
    url: str
    secret: str = field(repr=False)
    ca_pem: str | None = field(default=None, repr=False)
    accounts: tuple[AccountId, ...] = ()
    timeout_s: float = MAX_TIMEOUT_S
    creation_date: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A hook of the configuration file: a program and its arguments, run without a shell."""

    name: HookName
    argv: tuple[str, ...]
    accounts: tuple[AccountId, ...] = ()
    timeout_s: float = MAX_TIMEOUT_S


Hook = Webhook | Command


def check_hook_name(text: str) -> HookName:
    """The name, or InvalidRequestError."""
    if not _NAME.fullmatch(text):
        raise InvalidRequestError("A hook's name has 1 to 64 letters, digits, _ and -")
    return HookName(text)


def hook_in_arn(scope: Scope, arn: str) -> HookName:
    """
    The hook that an ARN-shaped field of a resource in this scope names.

    Raises:
        InvalidRequestError: Not `arn:aws:lambda:REGION:ACCOUNT:function:NAME` of this account and region.
    """
    parts = arn.split(":")
    if len(parts) != 7 or parts[:3] != ["arn", "aws", "lambda"] or parts[5] != "function":
        raise InvalidRequestError(f"The function's ARN must be {_SHAPE}, where NAME is that of a hook")
    if (parts[3], parts[4]) != (scope.region, scope.account):
        raise InvalidRequestError(
            f"The function's ARN must be of this account and region: "
            f"arn:aws:lambda:{scope.region}:{scope.account}:function:NAME, where NAME is that of a hook"
        )
    return check_hook_name(parts[6])


def hook_arn(scope: Scope, name: HookName) -> str:
    """The ARN that `hook_in_arn` reads."""
    return f"arn:aws:lambda:{scope.region}:{scope.account}:function:{name}"


def serves(hook: Hook, account: AccountId) -> bool:
    """Whether the hook may be called for this account."""
    return not hook.accounts or account in hook.accounts


def check_url(url: str) -> None:
    """
    A URL that may be called: https to any host, http only to this very machine.

    Raises:
        InvalidRequestError: Anything else, or a URL with a user name, a password or a fragment.
    """
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > MAX_URL_CHARACTERS:
        raise InvalidRequestError(f"A hook's URL has at most {MAX_URL_CHARACTERS} printable ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidRequestError("The hook's URL cannot be read; expected https://HOST/PATH") from None
    if parts.scheme not in ("https", "http") or not host or port == 0 or not _HOST.fullmatch(host):
        raise InvalidRequestError("A hook's URL must be https://HOST/PATH")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidRequestError("A hook's URL has no user name, password or fragment; calls are signed instead")
    if parts.scheme == "http" and not is_loopback_host(host):
        raise InvalidRequestError("A hook's URL must begin with https:// unless it leads to this machine (127.0.0.1)")


def shown_url(url: str) -> str:
    """The URL as it may be listed: without its query, in which some keep a secret."""
    address, mark, _ = url.partition("?")
    return f"{address}?…" if mark else address


def is_loopback_host(host: str) -> bool:
    """Whether the name or address means this machine by itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_secret(text: str) -> None:
    """A secret to sign with, or InvalidRequestError, which does not show it."""
    if not SECRET_MIN <= len(text) <= SECRET_MAX or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidRequestError(
            f"A hook's secret has {SECRET_MIN} to {SECRET_MAX} printable ASCII characters and no space"
        )


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256, in hex, of the timestamp's digits, a full stop and the body, under the secret."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


# --- what a hook answers ---------------------------------------------------------------------------------------------


def read_answer(body: bytes) -> dict[str, Any]:
    """
    The JSON object that a hook answered.

    Raises:
        HookFailed: INVALID: too long, not UTF-8, not JSON, no object, nested too deep, or a member twice.
    """
    if len(body) > MAX_ANSWER_BYTES:
        raise HookFailed(HookResult.INVALID, f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    # Counted, not parsed: more brackets than this, wherever they stand, are not worth a recursive parser's time.
    outside = b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    if _depth(outside) > MAX_ANSWER_DEPTH:
        raise HookFailed(HookResult.INVALID, f"the answer is nested deeper than {MAX_ANSWER_DEPTH} levels")
    try:
        answer = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise HookFailed(HookResult.INVALID, "the answer is not JSON in UTF-8") from None
    if not isinstance(answer, dict):
        raise HookFailed(HookResult.INVALID, "the answer is not a JSON object")
    return answer


def overrides_of(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """
    The `parameterOverrides` of a pre-provisioning hook that allows it; {} when there are none.

    Raises:
        HookFailed: DENIED: `allowProvisioning` is false. INVALID: it is absent or no boolean, or the overrides are
            no strings by name, or too many or too long.
    """
    allowed = answer.get("allowProvisioning")
    if allowed is False:
        raise HookFailed(HookResult.DENIED, "allowProvisioning is false")
    if allowed is not True:
        raise HookFailed(
            HookResult.INVALID, f"allowProvisioning is {'absent' if allowed is None else 'no boolean'}: expected true"
        )
    overrides = answer.get("parameterOverrides", {})
    if not isinstance(overrides, dict) or not all(isinstance(value, str) for value in overrides.values()):
        raise HookFailed(HookResult.INVALID, "parameterOverrides must be an object whose values are strings")
    if len(overrides) > MAX_OVERRIDES:
        raise HookFailed(HookResult.INVALID, f"parameterOverrides has more than {MAX_OVERRIDES} members")
    for name, value in overrides.items():
        if not 1 <= len(name) <= MAX_OVERRIDE_NAME or len(value) > MAX_OVERRIDE_VALUE:
            raise HookFailed(
                HookResult.INVALID,
                f"a name in parameterOverrides has 1 to {MAX_OVERRIDE_NAME} characters, a value at most "
                f"{MAX_OVERRIDE_VALUE}",
            )
        if not _storable(name) or not _storable(value):
            raise HookFailed(HookResult.INVALID, "parameterOverrides holds a NUL or half a surrogate pair")
    return overrides


def _depth(outside: bytes) -> int:
    depth = deepest = 0
    for byte in outside:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a member stands twice")
    return read


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
