"""Bulk registration tasks and how far they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()
OPEN = sa.text("status IN ('InProgress', 'Cancelling')")


def upgrade() -> None:
    op.create_table(
        "thing_registration_tasks",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("task_id", KEY, nullable=False),
        sa.Column("template_body", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("role_arn", sa.Text(), nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("success_count", sa.BigInteger(), nullable=False),
        sa.Column("failure_count", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("input_version", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("last_modified_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_thing_registration_tasks_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "region", "task_id", name=op.f("pk_thing_registration_tasks")),
    )
    op.create_index(
        "uq_thing_registration_tasks_open",
        "thing_registration_tasks",
        ["account_id", "region"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index(
        "ix_thing_registration_tasks_listing",
        "thing_registration_tasks",
        ["account_id", "region", "creation_date", "task_id"],
        unique=False,
    )
