"""Revocations of certificates that were issued here; what is REVOKED now is the beginning."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "revocations",
        sa.Column("sequence", SERIAL, nullable=False),
        *(sa.Column(name, KEY, nullable=False) for name in ("account_id", "region", "certificate_id")),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", KEY, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_revocations")),
    )
    op.create_index(
        "uq_revocations_certificate", "revocations", ["account_id", "region", "certificate_id"], unique=True
    )
    # Of what was deleted as REVOKED only a digest is left, which no list of serial numbers can hold.
    op.execute(
        "INSERT INTO revocations (account_id, region, certificate_id, pem, revoked_at, reason) "
        "SELECT account_id, region, certificate_id, pem, last_modified_date, 'unspecified' FROM certificates "
        "WHERE status = 'REVOKED' AND mode = 'DEFAULT' AND ca_certificate_id IS NULL "
        "ORDER BY last_modified_date, certificate_id"
    )
