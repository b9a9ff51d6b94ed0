"""Indexes by the end of validity: listings by expiry, and how many ACTIVE certificates end when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ACTIVE = sa.text("status = 'ACTIVE'")


def upgrade() -> None:
    for table in ("certificates", "ca_certificates"):
        op.create_index(
            f"ix_{table}_expiry",
            table,
            ["account_id", "region", "status", "not_after", "certificate_id"],
            unique=False,
        )
        op.create_index(
            f"ix_{table}_active_expiry",
            table,
            ["not_after", "status"],
            unique=False,
            sqlite_where=ACTIVE,
            postgresql_where=ACTIVE,
        )
