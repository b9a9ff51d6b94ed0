"""
The part of a bulk registration that only computes: reading certificates, their rules, and who signed them.

A question and its answer are plain JSON values, so that another process can answer: half a millisecond for each
certificate, in which the event loop and the devices behind it would wait for the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from cryptography import x509

from handfast.core.identity.ids import CertificateId
from handfast.core.identity.records import CACertificateRecord, CACertificateStatus
from handfast.core.pki import keys
from handfast.core.pki.possession import name_digest
from handfast.errors import ServiceError
from handfast.services.certificates import chosen_signer, read, refuse_broken

Ask: TypeAlias = Callable[[dict[str, Any]], Awaitable[list[Any]]]
"""Answers a question as `answer` does, off the event loop."""


class Fault(NamedTuple):
    """Why a certificate is not registered: the exception's name in the model, and its text."""

    code: str
    message: str

    @classmethod
    def of(cls, error: ServiceError) -> Fault:
        """The error in these words."""
        return cls(error.code, error.message)


class Judged(NamedTuple):
    """A certificate as it was read; where it could not be, `certificate_id` is empty and the others mean nothing."""

    pem: str
    certificate_id: CertificateId
    not_before: dt.datetime
    not_after: dt.datetime
    issuer: str
    fault: Fault | None


class SigningCA(NamedTuple):
    """What is needed of a registered CA to say whether it vouches for a certificate."""

    certificate_id: CertificateId
    pem: str
    status: CACertificateStatus


async def judged(ask: Ask, pems: Sequence[str], at: dt.datetime) -> list[Judged]:
    """Each certificate, read and held against the rules of keys, signatures and dates, in order."""
    answers = await ask({"pems": list(pems), "at": at.isoformat()})
    return [
        Judged(
            pem,
            certificate_id,
            dt.datetime.fromisoformat(not_before),
            dt.datetime.fromisoformat(not_after),
            issuer,
            None if fault is None else Fault(*fault),
        )
        for pem, (certificate_id, not_before, not_after, issuer, fault) in zip(pems, answers, strict=True)
    ]


async def signed_by(
    ask: Ask,
    leaves: Sequence[Judged],
    candidates: Sequence[Sequence[CACertificateRecord]],
    at: dt.datetime,
    *,
    named: bool,
) -> list[CACertificateRecord | Fault]:
    """For each certificate the one of its candidates that vouches for it, or why none does."""
    cas = {record.certificate_id: record for of_leaf in candidates for record in of_leaf}
    question = {
        "leaves": [
            [leaf.pem, [ca.certificate_id for ca in of_leaf]] for leaf, of_leaf in zip(leaves, candidates, strict=True)
        ],
        "cas": {key: [record.pem, record.status.value] for key, record in cas.items()},
        "named": named,
        "at": at.isoformat(),
    }
    return [cas[CertificateId(found)] if isinstance(found, str) else Fault(*found) for found in await ask(question)]


async def in_thread(question: dict[str, Any]) -> list[Any]:
    """`answer` in a thread of this process."""
    return await asyncio.to_thread(answer, question)


def answer(question: dict[str, Any]) -> list[Any]:
    """The answer to a question of `judged` or `signed_by`: JSON values both."""
    at = dt.datetime.fromisoformat(question["at"])
    if "pems" in question:
        return [_judge(pem, at) for pem in question["pems"]]
    cas = {
        key: SigningCA(CertificateId(key), pem, CACertificateStatus(status))
        for key, (pem, status) in question["cas"].items()
    }
    return [_find_signer(pem, [cas[key] for key in ids], at, question["named"]) for pem, ids in question["leaves"]]


def _judge(pem: str, at: dt.datetime) -> list[Any]:
    found: list[Any] = ["", at.isoformat(), at.isoformat(), ""]
    try:
        parsed = read(pem, "certificate")
        found = [
            parsed.certificate_id,
            parsed.not_before.isoformat(),
            parsed.not_after.isoformat(),
            name_digest(parsed.cert.issuer),
        ]
        refuse_broken(keys.refusals(parsed.cert, now=at))
    except ServiceError as error:
        return [*found, Fault.of(error)]
    return [*found, None]


def _find_signer(pem: str, candidates: Sequence[SigningCA], at: dt.datetime, named: bool) -> Any:
    try:
        leaf = x509.load_pem_x509_certificate(pem.encode())  # read strictly before
        return chosen_signer(leaf, candidates, at, named=named).certificate_id
    except ServiceError as error:
        return Fault.of(error)
