"""
AWS Signature Version 4, verified by recomputing it.

What is verified is what was received: raw path, raw query, header values,
body bytes. Two halves, so that a body is only read for a key that exists:
`begin` reads the claim and looks the key up, `finish` recomputes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import AccountId
from handfast.core.identity.refusal import ReasonCode
from handfast.errors import InvalidRequestError, ServiceError, UnauthorizedError
from handfast.wire.errors import (
    IncompleteSignatureError,
    InvalidSignatureError,
    MissingAuthenticationTokenError,
    UnrecognizedClientError,
)
from handfast.wire.parser import HttpRequest
from handfast.wire.signature import ALGORITHM, canonical_queries, plain_path, signature

MAX_SKEW: Final = dt.timedelta(minutes=5)
MAX_EXPIRES_S: Final = 604800
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

WRONG_SIGNATURE: Final = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)
INVALID_TOKEN: Final = "The security token included in the request is invalid."  # noqa: S105 - AWS's text

_CREDENTIAL: Final = re.compile(
    r"(?P<key>[A-Za-z0-9_-]{1,128})/(?P<day>[0-9]{8})/(?P<region>[a-z0-9]+(?:-[a-z0-9]+)*)"
    r"/(?P<service>[a-z0-9-]{1,64})/aws4_request"
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")
_TIMESTAMP: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_PATH: Final = re.compile(r"/[!$&'()*+,;=:@A-Za-z0-9._~%/-]*")
_QUERY: Final = re.compile(r"[!$&'()*+,;=:@A-Za-z0-9._~%/?\[\]|{}^`\"<>\\-]*")
_DEV_KEY: Final = re.compile(r"[0-9]{12}")
_MAX_SIGNED_HEADERS: Final = 64
_MAX_REGION_CHARS: Final = 32


class Clock(Protocol):
    """Time as the plane sees it."""

    def now(self) -> dt.datetime: ...


@dataclass(frozen=True, slots=True)
class SigningKey:
    """
    A SigV4 key. `account_id` is None for the operator's key; an inactive key is answered as an unknown one.

    A key of a disabled account signs as before and may do nothing: only who holds its secret is told.
    """

    secret: str = field(repr=False)
    account_id: AccountId | None
    active: bool = True
    account_disabled: bool = False


KeyLookup = Callable[[str], Awaitable[SigningKey | None]]
"""The key of an access key id, or None."""


class Refused(Exception):
    """Authentication failed: the answer for the peer, and the reason for the record."""

    def __init__(self, error: ServiceError, reason: ReasonCode, detail: str = "") -> None:
        super().__init__(error.message)
        self.error = error
        self.reason = reason
        self.detail = detail or error.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a request says about its signature, read and bounded, not yet verified."""

    access_key_id: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str
    at: dt.datetime
    expires_s: int | None = None  # of a presigned URL


@dataclass(frozen=True, slots=True)
class Pending:
    """A claim whose key is known; `trusted` where `--dev` takes any secret."""

    claim: Claim
    key: SigningKey
    trusted: bool = False


class Authenticator:
    """Verifies who signed a request. Never says which of unknown or revoked a key is."""

    def __init__(
        self,
        keys: KeyLookup,
        clock: Clock,
        *,
        dev: Callable[[str], Awaitable[SigningKey]] | None = None,
        max_skew: dt.timedelta = MAX_SKEW,
    ) -> None:
        """
        Args:
            keys: Looks an access key id up.
            clock: The server's time.
            dev: With `--dev`, makes or finds the account named by a 12-digit access key id; its signature,
                date and session token are then not looked at.
            max_skew: How far the client's clock may be off, both ways.
        """
        self._keys = keys
        self._clock = clock
        self._dev = dev
        self._max_skew = max_skew

    async def verify(
        self, request: HttpRequest, *, signing_names: Collection[str], address: str = "", request_id: str = ""
    ) -> Caller:
        """
        The verified caller of a whole request.

        Raises:
            Refused: Not, wrongly, or too early or late signed; or by a key that does not exist.
        """
        claim = read_claim(request)
        pending = await self.begin(claim, request, signing_names=signing_names)
        self.finish(pending, request)
        return self.caller(pending, address=address, request_id=request_id)

    async def begin(
        self,
        claim: Claim,
        request: HttpRequest,
        *,
        signing_names: Collection[str],
        must_sign: Collection[str] = (),
    ) -> Pending:
        """Check everything but the signature itself: service, key, headers, token and time; the body is not needed."""
        if claim.service not in signing_names:
            raise Refused(
                InvalidSignatureError(
                    f"Credential should be scoped to correct service: '{sorted(signing_names)[0]}', "
                    f"not '{claim.service}'."
                    if len(signing_names) == 1
                    else f"Credential should be scoped to one of the services {sorted(signing_names)}, "
                    f"not '{claim.service}'."
                ),
                ReasonCode.API_WRONG_SIGNATURE,
            )
        if self._dev is not None and _DEV_KEY.fullmatch(claim.access_key_id):
            return Pending(claim, await self._dev(claim.access_key_id), trusted=True)
        if request.header("x-amz-security-token") is not None or "X-Amz-Security-Token" in _query_names(request.query):
            raise Refused(
                UnrecognizedClientError(f"{INVALID_TOKEN} handfast issues no session tokens: unset AWS_SESSION_TOKEN."),
                ReasonCode.API_UNKNOWN_KEY,
                "a session token was sent, and none is ever issued",
            )
        key = await self._keys(claim.access_key_id)
        if key is None or not key.active:
            known = "unknown" if key is None else "revoked"
            raise Refused(
                UnrecognizedClientError(INVALID_TOKEN),
                ReasonCode.API_UNKNOWN_KEY,
                f"the access key {claim.access_key_id} is {known}",
            )
        self._check_headers(claim, request, must_sign)
        self._check_time(claim)
        return Pending(claim, key)

    def finish(self, pending: Pending, request: HttpRequest) -> None:
        """
        Recompute the signature over the request with its body.

        Raises:
            Refused: It differs, or the account that the key belongs to is disabled.
        """
        if not pending.trusted:
            self._compare(pending, request)
        if pending.key.account_disabled:
            raise Refused(
                UnauthorizedError(f"Account {pending.key.account_id} is disabled; an operator can enable it again."),
                ReasonCode.ACCOUNT_DISABLED,
            )

    @staticmethod
    def _compare(pending: Pending, request: HttpRequest) -> None:
        content_hash = hashlib.sha256(request.body).hexdigest() if request.body else EMPTY_SHA256
        stated = request.header("x-amz-content-sha256")
        if stated is not None and stated != content_hash and not (stated == UNSIGNED_PAYLOAD and request.secure):
            raise Refused(
                InvalidSignatureError("The value of x-amz-content-sha256 does not match the SHA-256 of the body."),
                ReasonCode.API_WRONG_SIGNATURE,
            )
        claim, key = pending.claim, pending.key
        for query in canonical_queries(request.query, presigned=claim.expires_s is not None):
            expected = signature(claim, key.secret, request, query, stated or content_hash)
            if hmac.compare_digest(expected, claim.signature):
                return
        raise Refused(InvalidSignatureError(WRONG_SIGNATURE), ReasonCode.API_WRONG_SIGNATURE)

    def caller(self, pending: Pending, *, address: str, request_id: str) -> Caller:
        """Who it is, once `finish` has not raised."""
        return Caller(
            account_id=pending.key.account_id,
            region=pending.claim.region,
            access_key_id=pending.claim.access_key_id,
            address=address,
            request_id=request_id,
            at=self._clock.now(),
        )

    def _check_headers(self, claim: Claim, request: HttpRequest, must_sign: Collection[str]) -> None:
        present = {name for name, _ in request.headers}
        required = {n for n in present if n.startswith("x-amz-")} | (present & set(must_sign)) | {"host"}
        if claim.expires_s is None:
            required.add("x-amz-date" if "x-amz-date" in present else "date")
        missing = sorted(required - set(claim.signed_headers))
        if missing:
            raise Refused(
                InvalidSignatureError(f"These headers must be signed: {', '.join(missing)}."),
                ReasonCode.API_WRONG_SIGNATURE,
            )
        absent = sorted(set(claim.signed_headers) - present)
        if absent:
            raise Refused(
                InvalidSignatureError(f"These headers are signed but were not received: {', '.join(absent)}."),
                ReasonCode.API_WRONG_SIGNATURE,
            )

    def _check_time(self, claim: Claim) -> None:
        now = self._clock.now()
        skew = self._max_skew
        lasts = skew if claim.expires_s is None else dt.timedelta(seconds=claim.expires_s)
        limit = "5 min" if claim.expires_s is None else f"{claim.expires_s} s"
        advice = "set the client's clock"
        # The texts are AWS's, which people search for.
        if claim.at > now + skew:
            text = (
                f"not yet current: {claim.timestamp} is still later than {_stamp(now + skew)} ({_stamp(now)} + 5 min.)"
            )
        elif claim.at + lasts < now:
            text = f"expired: {claim.timestamp} is now earlier than {_stamp(now - lasts)} ({_stamp(now)} - {limit}.)"
            if claim.expires_s is not None:
                advice = f"it was good for {limit}; sign it anew"
        else:
            return
        raise Refused(
            InvalidSignatureError(f"Signature {text}"),
            ReasonCode.API_CLOCK_SKEW,
            f"the request says {claim.timestamp}, the server's clock {_stamp(now)}: {advice}",
        )


def _stamp(at: dt.datetime) -> str:
    return f"{at:%Y%m%dT%H%M%SZ}"


def check_target(raw_path: str, query: str) -> None:
    """
    Refuse a request target that a signature does not pin down, or that a URL cannot hold.

    SigV4's canonical form drops empty and dot segments, so `/a/../b` would carry
    the signature of `/b`. No SDK sends such a path: they percent-encode labels.

    Raises:
        InvalidRequestError: Naming what is wrong.
    """
    if not _PATH.fullmatch(raw_path):
        raise InvalidRequestError("the path holds characters that must be percent-encoded")
    if plain_path(raw_path) != raw_path:
        raise InvalidRequestError("the path holds empty or dot segments; percent-encode slashes inside names as %2F")
    if not _QUERY.fullmatch(query):
        raise InvalidRequestError("the query holds characters that must be percent-encoded")


def read_claim(
    request: HttpRequest, *, max_expires_s: int = MAX_EXPIRES_S, default_expires_s: int | None = None
) -> Claim:
    """
    The claim of the Authorization header, or of a presigned URL's query.

    Args:
        request: Its body is not looked at.
        max_expires_s: How long a presigned URL may be good for.
        default_expires_s: How long one is that does not say so; None: it must.

    Raises:
        Refused: There is none, or it cannot be read.
    """
    header = request.header("authorization")
    presigned = _presigned(request.query)
    if header is None and not presigned:
        raise Refused(
            MissingAuthenticationTokenError("Missing Authentication Token: sign the request with SigV4."),
            ReasonCode.API_MISSING_SIGNATURE,
        )
    if header is not None and presigned:
        raise _incomplete("Only one auth mechanism allowed; the request has an Authorization header and a signed query")
    if header is not None:
        return _header_claim(header, request)
    if default_expires_s is not None:
        presigned.setdefault("X-Amz-Expires", str(default_expires_s))
    return _query_claim(presigned, max_expires_s)


def _incomplete(message: str) -> Refused:
    return Refused(IncompleteSignatureError(f"{message}."), ReasonCode.API_WRONG_SIGNATURE)


def _header_claim(header: str, request: HttpRequest) -> Claim:
    algorithm, _, rest = header.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Authorization must use {ALGORITHM}")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        if name in parts:
            raise _incomplete(f"Authorization names {name[:32]} twice")
        parts[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not parts.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter")
    stamp = request.header("x-amz-date")
    if stamp is None:
        stamp = _from_http_date(request.header("date"))
    return _claim(parts["Credential"], parts["SignedHeaders"], parts["Signature"], stamp, None)


def _query_claim(given: dict[str, str], max_expires_s: int) -> Claim:
    if given.get("X-Amz-Algorithm") != ALGORITHM:
        raise _incomplete(f"X-Amz-Algorithm must be {ALGORITHM}")
    for name in ("X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"):
        if not given.get(name):
            raise _incomplete(f"The signed query requires '{name}'")
    expires = given["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 6 and 1 <= int(expires) <= max_expires_s):
        raise _incomplete(f"X-Amz-Expires must be between 1 and {max_expires_s} seconds")
    return _claim(
        given["X-Amz-Credential"],
        given["X-Amz-SignedHeaders"],
        given["X-Amz-Signature"],
        given["X-Amz-Date"],
        int(expires),
    )


def _claim(credential: str, signed_headers: str, signature: str, stamp: str | None, expires_s: int | None) -> Claim:
    scope = _CREDENTIAL.fullmatch(credential)
    if scope is None or len(scope["region"]) > _MAX_REGION_CHARS:
        raise _incomplete("Credential must be ACCESS_KEY_ID/YYYYMMDD/region/service/aws4_request")
    names = tuple(signed_headers.split(";"))
    if len(names) > _MAX_SIGNED_HEADERS or not all(_HEADER_NAME.fullmatch(n) for n in names):
        raise _incomplete("SignedHeaders must be lower-case header names separated by semicolons")
    if list(names) != sorted(set(names)):
        raise _incomplete("SignedHeaders must be sorted and without repetition")
    if not _SIGNATURE.fullmatch(signature):
        raise _incomplete("Signature must be 64 lower-case hex digits")
    if stamp is None or not _TIMESTAMP.fullmatch(stamp):
        raise _incomplete("The request needs a date in the form YYYYMMDD'T'HHMMSS'Z' (X-Amz-Date)")
    try:
        at = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        raise _incomplete(f"{stamp} is no date") from None
    if scope["day"] != stamp[:8]:
        raise Refused(
            InvalidSignatureError(
                f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{scope['day']}' != '{stamp[:8]}', from '{stamp}'."
            ),
            ReasonCode.API_WRONG_SIGNATURE,
        )
    return Claim(
        access_key_id=scope["key"],
        day=scope["day"],
        region=scope["region"],
        service=scope["service"],
        signed_headers=names,
        signature=signature,
        timestamp=stamp,
        at=at,
        expires_s=expires_s,
    )


def _from_http_date(value: str | None) -> str | None:
    if value is None:
        return None
    if _TIMESTAMP.fullmatch(value):
        return value
    try:
        return f"{parsedate_to_datetime(value).astimezone(dt.UTC):%Y%m%dT%H%M%SZ}"
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _query_names(query: str) -> set[str]:
    return {pair.partition("=")[0] for pair in query.split("&")}


def _presigned(query: str) -> dict[str, str]:
    """The signature's parameters in a query, decoded; empty when there are none. A repeated one is refused."""
    if "X-Amz-" not in query:
        return {}
    given: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if not name.startswith("X-Amz-"):
            continue
        if name in given:
            raise _incomplete(f"The signed query names {name[:64]} twice")
        given[name] = unquote_to_bytes(value).decode("utf-8", "replace")
    return given if given.keys() & {"X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential"} else {}
