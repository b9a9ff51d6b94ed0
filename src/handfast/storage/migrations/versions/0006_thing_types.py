"""Thing types, billing groups, tags and event configurations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()


def _scope() -> list[sa.Column[str]]:
    return [
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
    ]


def _owned(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=f"fk_{table}_accounts")


def upgrade() -> None:
    op.create_table(
        "thing_types",
        *_scope(),
        sa.Column("thing_type_name", KEY, nullable=False),
        sa.Column("thing_type_id", KEY, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("searchable_attributes", sa.Text(), nullable=True),
        sa.Column("propagating_attributes", sa.Text(), nullable=True),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("deprecation_date", INSTANT, nullable=True),
        _owned("thing_types"),
        sa.PrimaryKeyConstraint("account_id", "region", "thing_type_name", name="pk_thing_types"),
    )
    op.create_table(
        "billing_groups",
        *_scope(),
        sa.Column("billing_group_name", KEY, nullable=False),
        sa.Column("billing_group_id", KEY, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        _owned("billing_groups"),
        sa.PrimaryKeyConstraint("account_id", "region", "billing_group_name", name="pk_billing_groups"),
    )
    op.create_table(
        "tags",
        *_scope(),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        _owned("tags"),
        sa.PrimaryKeyConstraint("account_id", "region", "kind", "name", "key", name="pk_tags"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event_configurations",
        *_scope(),
        sa.Column("enabled", sa.Text(), nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("last_modified_date", INSTANT, nullable=False),
        _owned("event_configurations"),
        sa.PrimaryKeyConstraint("account_id", "region", name="pk_event_configurations"),
        sqlite_with_rowid=False,
    )
    for name, column in (("type", "thing_type_name"), ("billing_group", "billing_group_name")):
        op.create_index(
            f"ix_things_{name}",
            "things",
            ["account_id", "region", column, "thing_name"],
            unique=False,
            sqlite_where=sa.text(f"{column} IS NOT NULL"),
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
