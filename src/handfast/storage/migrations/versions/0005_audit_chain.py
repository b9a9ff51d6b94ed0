"""Audit rows numbered and hash-chained for each account; registration codes in them replaced by their digests."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

from handfast.core.identity.audit_chain import AuditFields, AuditHead, chain_of, genesis, links

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OF_OPERATOR = sa.text("account_id IS NULL")
CHUNK = 1000

OLD = sa.table(
    "audit_unchained",
    sa.column("sequence"),
    *[
        sa.column(name)
        for name in (
            "at",
            "actor",
            "address",
            "operation",
            "request_id",
            "account_id",
            "region",
            "what",
            "subject",
            "before",
            "after",
        )
    ],
)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        for event in ("update", "delete"):
            op.execute(f"DROP TRIGGER audit_append_only_{event}")
    op.drop_index("ix_audit_subject", "audit")
    op.rename_table("audit", "audit_unchained")
    audit = op.create_table(
        "audit",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("operation", KEY, nullable=False),
        sa.Column("request_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=True),
        sa.Column("region", KEY, nullable=True),
        sa.Column("what", KEY, nullable=False),
        sa.Column("subject", KEY, nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("link", KEY, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit") if sqlite else "pk_audit_chained"),
        sqlite_autoincrement=True,
    )
    heads = op.create_table(
        "audit_heads",
        sa.Column("chain", KEY, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("link", KEY, nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_audit_heads")),
        sqlite_with_rowid=False,
    )
    _chain(op.get_bind(), audit, heads)
    op.drop_table("audit_unchained")
    op.create_index("ix_audit_subject", "audit", ["subject", "account_id"], unique=False)
    op.create_index("uq_audit_number", "audit", ["account_id", "number"], unique=True)
    op.create_index(
        "uq_audit_operator_number",
        "audit",
        ["number"],
        unique=True,
        sqlite_where=OF_OPERATOR,
        postgresql_where=OF_OPERATOR,
    )
    if sqlite:
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_append_only_{event.lower()} BEFORE {event} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END"
            )


def _chain(connection: sa.Connection, audit: sa.Table, heads: sa.Table) -> None:
    """Every row moves over, in the order they were written, a piece at a time."""
    found: dict[str, AuditHead] = {}
    last = 0
    while True:
        query = sa.select(OLD).where(OLD.c.sequence > last).order_by(OLD.c.sequence).limit(CHUNK)
        rows = connection.execute(query).all()
        if not rows:
            break
        moved = []
        for sequence, *values in rows:
            fields = AuditFields(*values)
            if fields.kind == "registration_code":
                fields = fields._replace(before=_without_code(fields.before), after=_without_code(fields.after))
            chain = chain_of(fields.account_id)
            head = found.get(chain) or AuditHead(chain, 0, genesis(chain).hex())
            (head,) = links(head, [fields])
            found[chain] = head
            names = dict(zip([column.name for column in OLD.columns][1:], fields, strict=True))
            moved.append({"sequence": sequence, **names, "number": head.number, "link": head.link})
            last = sequence
        connection.execute(audit.insert(), moved)
    if found:
        connection.execute(heads.insert(), [head._asdict() for head in found.values()])


def _without_code(facts: str | None) -> str | None:
    """The facts as they are written from now on: a code that is still good has no place in a log."""
    if facts is None:
        return None
    known = json.loads(facts)
    code = known.pop("code", None)
    if code is not None:
        known["codeSha256"] = hashlib.sha256(code.encode()).hexdigest()
    return json.dumps(known, ensure_ascii=False, separators=(",", ":"))
