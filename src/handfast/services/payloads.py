"""
The payloads of requests on reserved topics, JSON or CBOR: read within bounds, written.

Either way a payload is one map of text keys. Of CBOR (RFC 8949) only plain data
is taken: no tags, so that nothing is made of it but strings, numbers, lists and
maps. Repeated keys are refused in both: two readers could differ on which holds.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import cbor2

from handfast.core.provisioning.fleet import Rejected, RejectionCode
from handfast.core.topics.reserved import PayloadFormat

MAX_PAYLOAD_BYTES = 65_536
"""A certificate signing request has at most 4 KB, a token 512 characters; the rest is for parameters."""
MAX_DEPTH = 8
MAX_VALUE_CHARACTERS = 16_384
MAX_PARAMETERS = 128


class _NoTags(Mapping[int, Any]):
    """Has a decoder for every tag, and it refuses: nothing is dated, compiled, shared or computed."""

    def __getitem__(self, tag: int) -> NoReturn:
        raise ValueError("tags are not taken")

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def read_payload(data: bytes, format_: PayloadFormat, *, may_be_empty: bool = False) -> dict[str, Any]:
    """
    The members of a request.

    Args:
        may_be_empty: No octets at all are as good as an empty map.

    Raises:
        Rejected: It is too large, not in the format, not one map of text keys, or nested deeper than MAX_DEPTH.
    """
    if not data and may_be_empty:
        return {}
    if len(data) > MAX_PAYLOAD_BYTES:
        raise _invalid(f"The payload has {len(data)} bytes; at most {MAX_PAYLOAD_BYTES} are read.")
    members = _read_cbor(data) if format_ is PayloadFormat.CBOR else _read_json(data)
    if not isinstance(members, dict) or not all(isinstance(key, str) for key in members):
        raise _invalid(f"The payload must be one {format_.upper()} map with text keys.")
    return members


def write_payload(members: Mapping[str, Any], format_: PayloadFormat) -> bytes:
    """The members of a reply: text, whole numbers and maps of text."""
    if format_ is PayloadFormat.CBOR:
        return cbor2.dumps(members)
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def text_member(members: Mapping[str, Any], name: str) -> str:
    """A member that is text; empty when it is absent or null."""
    value = members.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(f"{name} must be text.")
    _check_text(value, name)
    return value


def parameters_member(members: Mapping[str, Any]) -> dict[str, str]:
    """`parameters`: a map of text to text; empty when it is absent or null."""
    value = members.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid("parameters must be a map of text to text.")
    if len(value) > MAX_PARAMETERS:
        raise _invalid(f"{len(value)} parameters are given; at most {MAX_PARAMETERS} are taken.")
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise _invalid("parameters must be a map of text to text.")
        _check_text(key, "A parameter's name")
        _check_text(item, "A parameter")
    return value


def _check_text(text: str, what: str) -> None:
    if len(text) > MAX_VALUE_CHARACTERS:
        raise _invalid(f"{what} is longer than {MAX_VALUE_CHARACTERS} characters.")
    if any("\ud800" <= character <= "\udfff" for character in text):  # JSON can spell half a pair
        raise _invalid(f"{what} holds a lone surrogate.")


def _read_cbor(data: bytes) -> Any:
    decoder = cbor2.CBORDecoder(
        io.BytesIO(data),
        semantic_decoders=_NoTags(),
        max_depth=MAX_DEPTH,
        # Small encoders write maps before they know how long they get.
        allow_indefinite=True,
        allow_duplicate_keys=False,
    )
    try:
        members = decoder.decode()
    except Exception as error:  # whatever a device makes of the decoder, it is the payload's fault
        raise _invalid("The payload is not CBOR that is taken here: plain data, no tags, no repeated keys.") from error
    try:
        decoder.read(1)
    except cbor2.CBORDecodeEOF:
        return members
    raise _invalid("Something follows the payload's CBOR map.")


def _read_json(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
        members = json.loads(
            text,
            object_pairs_hook=_unrepeated,
            # Numbers are not used; long ones cost time to convert.
            parse_int=_number,
            parse_float=_number,
            parse_constant=_number,
        )
    except (ValueError, RecursionError) as error:
        raise _invalid("The payload is not JSON in UTF-8 without repeated keys.") from error
    if _deeper_than(members, MAX_DEPTH):
        raise _invalid(f"The payload is nested deeper than {MAX_DEPTH} levels.")
    return members


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is repeated")
    return members


def _number(_: str) -> int:
    return 0


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
    return any(isinstance(item, dict | list) for item in level)


def _invalid(message: str) -> Rejected:
    return Rejected(RejectionCode.INVALID_PAYLOAD, message)
