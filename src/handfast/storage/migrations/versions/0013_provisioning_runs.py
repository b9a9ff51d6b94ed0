"""Just-in-time provisioning: its runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "provisioning_runs",
        sa.Column("sequence", SERIAL, nullable=False),
        *(sa.Column(name, KEY, nullable=False) for name in ("account_id", "region", "run_id")),
        sa.Column("at", sa.BigInteger(), nullable=False),
        *(sa.Column(name, KEY, nullable=False) for name in ("certificate_id", "ca_certificate_id")),
        sa.Column("template_name", KEY, nullable=True),
        sa.Column("template_version", sa.BigInteger(), nullable=True),
        sa.Column("outcome", KEY, nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("thing_name", KEY, nullable=True),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("kind", KEY, nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_provisioning_runs")),
    )
    for name, columns, unique in (
        ("uq_provisioning_runs_run", ["account_id", "region", "run_id"], True),
        ("ix_provisioning_runs_listing", ["account_id", "region", "at", "run_id"], False),
        ("ix_provisioning_runs_outcome", ["account_id", "region", "outcome", "at", "run_id"], False),
        ("ix_provisioning_runs_certificate", ["account_id", "region", "certificate_id", "sequence"], False),
    ):
        op.create_index(name, "provisioning_runs", columns, unique=unique)
