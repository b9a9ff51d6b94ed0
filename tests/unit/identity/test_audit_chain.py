"""The hash chain: an encoding that is unambiguous and frozen, and a check that names whatever was done to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handfast.core.identity.audit_chain import (
    OPERATOR,
    AuditFields,
    AuditHead,
    AuditRow,
    ChainCheck,
    Finding,
    FindingKind,
    Seal,
    chain_of,
    encode,
    genesis,
    links,
)
from handfast.core.identity.ids import AccountId

ACCOUNT = "123456789012"
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MAYBE = st.none() | TEXT
FIELDS = st.builds(
    AuditFields,
    at=st.integers(0, 2**53 - 1),
    actor=TEXT,
    address=TEXT,
    operation=TEXT,
    request_id=TEXT,
    account_id=MAYBE,
    region=MAYBE,
    kind=TEXT,
    subject=TEXT,
    before=MAYBE,
    after=MAYBE,
)


def fields(name: str = "lamp", account: str | None = ACCOUNT) -> AuditFields:
    account_id = None if account is None else AccountId(account)
    return AuditFields(1, "who", "::1", "Do", "r", account_id, "us-east-1", "thing", name, None, '{"a":"b"}')


def chain(count: int, *, name: str = ACCOUNT) -> list[AuditRow]:
    """A chain as it is written; every second sequence number belongs to another one."""
    said = [fields(f"thing-{n}", None if name == OPERATOR else name) for n in range(1, count + 1)]
    start = AuditHead(name, 0, genesis(name).hex())
    return [
        AuditRow(2 * head.number, head.number, head.link, each)
        for head, each in zip(links(start, said), said, strict=True)
    ]


def check(
    rows: list[AuditRow], *, sealed: dict[int, Seal] | None = None, head: AuditHead | None = None, piece: int = 1000
) -> ChainCheck:
    found = ChainCheck(ACCOUNT, sealed or {})
    for start in range(0, len(rows), piece):
        found.feed(rows[start : start + piece])
    last = rows[-1] if rows else None
    found.finish(head or (AuditHead(ACCOUNT, last.number, last.link) if last is not None else None))
    return found


def seals(rows: list[AuditRow], *numbers: int) -> dict[int, Seal]:
    return {number: Seal(rows[number - 1].link, checkpoint) for checkpoint, number in enumerate(numbers, 1)}


def test_the_format_is_frozen() -> None:
    """What anybody needs to know to verify a link, written out once more by hand."""
    before = hashlib.sha256(b"handfast audit chain 1 123456789012").digest()
    row = '[1,1,1700000000000000,"who","::1","Do","r","123456789012",null,"thing","Lämp\\"\\n","{}",null]'
    said = AuditFields(
        1_700_000_000_000_000, "who", "::1", "Do", "r", AccountId(ACCOUNT), None, "thing", 'Lämp"\n', "{}", None
    )
    (head,) = links(AuditHead(ACCOUNT, 0, genesis(ACCOUNT).hex()), [said])
    assert hashlib.sha256(before + row.encode()).hexdigest() == head.link
    assert ("operator", ACCOUNT) == (chain_of(None), chain_of(ACCOUNT))


@UNHURRIED
@given(FIELDS, st.integers(1, 2**53 - 1), FIELDS, st.integers(1, 2**53 - 1))
def test_two_rows_never_encode_alike(one: AuditFields, number: int, other: AuditFields, second: int) -> None:
    same = (one, number) == (other, second)
    assert same == (encode(number, one) == encode(second, other))


@UNHURRIED
@given(FIELDS, st.integers(1, 2**53 - 1))
def test_an_encoding_says_everything(said: AuditFields, number: int) -> None:
    assert [1, number, *said] == json.loads(encode(number, said))


@UNHURRIED
@given(st.integers(1, 12), st.integers(1, 5), st.sets(st.integers(1, 12)))
def test_a_chain_as_it_was_written_is_beyond_doubt(count: int, piece: int, numbers: set[int]) -> None:
    rows = chain(count)
    found = check(rows, sealed=seals(rows, *sorted(n for n in numbers if n <= count)), piece=piece)
    assert ([], None, count) == (found.findings, found.damaged, found.rows)


@UNHURRIED
@given(st.data(), st.integers(2, 10), st.integers(1, 4))
def test_no_change_of_a_row_goes_unseen(data: st.DataObject, count: int, piece: int) -> None:
    rows = chain(count)
    number = data.draw(st.integers(1, count))
    name = data.draw(st.sampled_from(AuditFields._fields))
    old = getattr(rows[number - 1].fields, name)
    strategy = st.integers(0, 2**53 - 1) if name == "at" else MAYBE
    new = data.draw(strategy.filter(lambda value: value != old))
    rows[number - 1] = rows[number - 1]._replace(fields=rows[number - 1].fields._replace(**{name: new}))
    found = check(rows, piece=piece)
    assert [FindingKind.CHANGED] == [finding.kind for finding in found.findings]
    assert found.damaged is not None
    assert found.damaged <= number
    assert f"row {number} does not hash" in found.findings[0].detail


@UNHURRIED
@given(st.data(), st.integers(2, 10), st.integers(1, 4))
def test_no_order_but_the_one_written_passes(data: st.DataObject, count: int, piece: int) -> None:
    rows = chain(count)
    order = data.draw(st.permutations(range(count)).filter(lambda drawn: drawn != list(range(count))))
    shuffled = [rows[place]._replace(number=number) for number, place in enumerate(order, 1)]
    found = check(shuffled, head=AuditHead(ACCOUNT, count, rows[-1].link), piece=piece)
    assert found.findings
    first = next(number for number, place in enumerate(order, 1) if place != number - 1)
    assert found.damaged is not None
    assert found.damaged <= first


@UNHURRIED
@given(st.data(), st.integers(2, 10), st.integers(1, 4))
def test_no_missing_row_goes_unseen(data: st.DataObject, count: int, piece: int) -> None:
    rows = chain(count)
    gone = data.draw(st.sets(st.integers(1, count), min_size=1))
    left = [row for row in rows if row.number not in gone]
    found = check(left, head=AuditHead(ACCOUNT, count, rows[-1].link), piece=piece)
    assert min(gone) == found.damaged
    assert {FindingKind.GAP, FindingKind.TRUNCATED} >= {finding.kind for finding in found.findings}
    assert (count in gone) == (FindingKind.TRUNCATED in {finding.kind for finding in found.findings})


def only(found: ChainCheck) -> Finding:
    (finding,) = found.findings
    return finding


def test_two_rows_that_changed_places_are_told_as_that() -> None:
    rows = chain(5)
    rows[1], rows[2] = rows[2]._replace(number=2, sequence=4), rows[1]._replace(number=3, sequence=6)
    found = check(rows)
    assert [
        (FindingKind.REORDERED, 2, f"{ACCOUNT}: the row that belongs at 2 stands at 3"),
        (FindingKind.REORDERED, 3, f"{ACCOUNT}: the row that belongs at 3 stands at 2"),
    ] == [(finding.kind, finding.number, finding.detail) for finding in found.findings]


def test_a_row_written_out_of_turn_is_told() -> None:
    rows = chain(4)
    rows[2] = rows[2]._replace(sequence=1)
    assert (FindingKind.REORDERED, 3) == only(check(rows))[0:3:2]


@pytest.mark.parametrize(
    ("cut", "head"),
    [
        (lambda rows: rows[:3], lambda rows: AuditHead(ACCOUNT, 3, rows[2].link)),
        (lambda rows: rows[:3], lambda rows: AuditHead(ACCOUNT, 5, rows[4].link)),
        (lambda rows: [], lambda rows: None),
    ],
    ids=["head moved back", "head left alone", "all of it"],
)
def test_a_tail_that_was_sealed_cannot_be_cut(
    cut: Callable[[list[AuditRow]], list[AuditRow]], head: Callable[[list[AuditRow]], AuditHead | None]
) -> None:
    rows = chain(5)
    found = ChainCheck(ACCOUNT, seals(rows, 2, 5))
    found.feed(cut(rows))
    found.finish(head(rows))
    finding = only(found)
    assert (FindingKind.TRUNCATED, len(cut(rows)) + 1) == (finding.kind, finding.number)
    assert "checkpoint 2 sealed 5" in finding.detail


def test_a_chain_written_anew_is_not_the_one_that_was_sealed() -> None:
    rows = chain(6)
    sealed = seals(rows, 2, 4, 6)
    said = [row.fields if row.number != 3 else fields("another") for row in rows]
    start = AuditHead(ACCOUNT, 0, genesis(ACCOUNT).hex())
    forged = [
        AuditRow(2 * head.number, head.number, head.link, each)
        for head, each in zip(links(start, said), said, strict=True)
    ]
    assert [] == check(forged).findings, "nothing but a seal tells"
    finding = only(check(forged, sealed=sealed))
    assert (FindingKind.REWRITTEN, 3) == (finding.kind, finding.number)
    assert "checkpoint 2" in finding.detail


def test_a_chain_cannot_pass_for_another_accounts() -> None:
    found = ChainCheck("210987654321", {})
    rows = chain(2)
    found.feed(rows)
    assert found.damaged == 1


def test_values_that_were_never_written_there_are_findings_and_no_failures() -> None:
    rows = chain(3)
    for wrong in (b"bytes", "\udcff", 1.5):
        changed = [rows[0], rows[1]._replace(fields=rows[1].fields._replace(actor=wrong)), rows[2]]  # type: ignore[arg-type]
        assert FindingKind.CHANGED is only(check(changed)).kind
    for link in ("zz", "", None):
        changed = [rows[0], rows[1]._replace(link=link), rows[2]]  # type: ignore[arg-type]
        assert FindingKind.CHANGED is check(changed).findings[0].kind


def test_findings_are_bounded() -> None:
    rows = [row._replace(fields=fields("wrong")) for row in chain(500)]
    found = check(rows)
    assert (100, 400) == (len(found.findings), found.uncounted)
