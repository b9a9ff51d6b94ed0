"""Fleet provisioning: ownership tokens and claims."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()


def upgrade() -> None:
    op.create_table(
        "ownership_tokens",
        *(sa.Column(name, KEY, nullable=False) for name in ("account_id", "region", "certificate_id")),
        sa.Column("claim_certificate_id", KEY, nullable=False),
        sa.Column("digest", KEY, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("spent_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "certificate_id", name=op.f("pk_ownership_tokens")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_ownership_tokens_expires_at", "ownership_tokens", ["expires_at"])
    op.create_table(
        "claims",
        *(sa.Column(name, KEY, nullable=False) for name in ("account_id", "region", "certificate_id")),
        sa.Column("provisioned", sa.BigInteger(), nullable=False),
        sa.Column("devices", sa.BigInteger(), nullable=True),
        sa.Column("per_minute", sa.BigInteger(), nullable=True),
        sa.Column("addresses", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "certificate_id", name=op.f("pk_claims")),
        sqlite_with_rowid=False,
    )
