"""Rotations of certificates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()
WAITING = sa.text("state = 'WAITING'")


def upgrade() -> None:
    op.create_table(
        "rotations",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("successor_id", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("retire_action", KEY, nullable=False),
        sa.Column("on_deadline", KEY, nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("deadline", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("ended_by", KEY, nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_rotations_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", "successor_id", name=op.f("pk_rotations")),
    )
    op.create_index(
        "uq_rotations_waiting",
        "rotations",
        ["account_id", "region", "certificate_id"],
        unique=True,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index(
        "ix_rotations_deadline",
        "rotations",
        ["deadline"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index(
        "ix_rotations_certificate",
        "rotations",
        ["account_id", "region", "certificate_id", "started_at"],
        unique=False,
    )
    op.create_index(
        "ix_rotations_listing",
        "rotations",
        ["account_id", "region", "started_at", "successor_id"],
        unique=False,
    )
